"""Draw a synthetic corpus in the Manga109 layout."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mfc.config import Synthesize
from mfc.corpus.synthetic.write import write_corpus
from mfc.log import Log, progress


def synthesize(config: Synthesize, out: Path, log: Log, overwrite: bool = False) -> Path:
    """Draw the corpus into ``out`` and return its root; a finished one with the same parameters is kept.

    Args:
        overwrite: replace a synthetic corpus with other parameters instead of stopping.

    Raises:
        UserError: when ``out`` holds something else.
    """

    def bar(items: Iterable[int], total: int, label: str) -> Iterable[int]:
        return progress(items, label=label, total=total)

    return write_corpus(
        out,
        config.preset,
        config.seed,
        jobs=config.jobs,
        overwrite=overwrite,
        preview=config.preview,
        say=log.say,
        progress=bar,
    )
