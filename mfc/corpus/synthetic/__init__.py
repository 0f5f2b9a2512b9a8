"""A drawn corpus in the Manga109 layout: styles, genes, stories, pages; deterministic per seed."""
