"""Manga face clustering: pre-train, adapt to one title without its labels, cluster, compare in MLflow."""

__version__ = "0.2.0"
