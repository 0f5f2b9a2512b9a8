"""The files of a result: their names, how they get into their folder, and whose result lies there."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mfc.corpus.reading import read_json
from mfc.errors import UserError
from mfc.files import is_gone

TABLE, GALLERY, COCO, XML, RECORD = FILES = (
    "clusters.csv",
    "gallery.html",
    "coco.json",
    "manga109.xml",
    "cluster.json",
)
"""The files of a result; with the record, which is written last, it is whole."""
SCRATCH = ".mfc-cluster-"
"""How the folder begins in which a result is written; one that is left tells of a killed call."""
STALE = 3600.0
"""Seconds after which such a folder is nobody's."""


def publish(files: Mapping[str, str], out: Path) -> None:
    """Write all files beside their places, then move them there; other files in the folder are left alone.

    Raises:
        UserError: when the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for old in out.glob(f"{SCRATCH}*"):
            writer = old.name.removeprefix(SCRATCH).partition("-")[0]
            if is_gone(writer) or time.time() - old.stat().st_mtime > STALE:
                shutil.rmtree(old, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(dir=out, prefix=f"{SCRATCH}{os.getpid()}-"))
        try:
            for name, text in files.items():
                (scratch / name).write_text(text, encoding="utf-8")
            (out / RECORD).unlink(missing_ok=True)  # it speaks for all files or is not there
            for name in sorted(files, key=FILES.index):
                (scratch / name).replace(out / name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"--out {out}: cannot be written ({error.strerror}); make room or choose another"
        ) from None


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a result; empty when there is none that can be read."""
    try:
        record = read_json(folder / RECORD)
    except UserError:
        return {}
    return record if isinstance(record, dict) else {}


def holds_result(folder: Path) -> bool:
    """Whether what lies in a folder under our names is ours: a result, or what a killed call left of one."""
    return (folder / RECORD).is_file() or any(folder.glob(f"{SCRATCH}*"))


def other_comic(folder: Path, source: Path, title: str) -> str:
    """The comic whose result lies in a folder; empty when that is ``title`` in ``source``, or not known."""
    record = read_record(folder)
    parameters = record.get("parameters")
    given = parameters.get("input") if isinstance(parameters, dict) else ""
    try:
        was = Path(str(record.get("input") or given or "")).resolve()
    except (OSError, ValueError):  # no path at all, e.g. with a NUL in it
        return ""
    name = str(record.get("title", title))
    if not (record.get("input") or given) or (was == source.resolve() and name == title):
        return ""
    return f"{name} in {was}"


def check_writable(out: Path) -> None:
    """Refuse a folder that nothing can be written to.

    Raises:
        UserError: naming it.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; give a folder")
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"--out {out}: nothing can be written to {nearest}; give another folder")
