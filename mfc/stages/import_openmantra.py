"""import_openmantra: OpenMantra as downloaded, and boxes of its faces, become a corpus of real manga."""

from __future__ import annotations

from pathlib import Path

from mfc.config import ImportOpenMantra
from mfc.corpus.openmantra import read_import, write_import
from mfc.errors import UserError
from mfc.log import Log


def import_openmantra(config: ImportOpenMantra, log: Log, overwrite: bool = False) -> Path:
    """Write the corpus and return its root; one that is there already, of the same input, is kept.

    Args:
        overwrite: replace an OpenMantra corpus of other books or boxes, or one that was changed by hand.

    Raises:
        UserError: for anything wrong in the dataset or the boxes, before anything is written, and when
            ``out`` holds something else.
    """
    for name, words in (("input", "the folder of the dataset"), ("out", "a folder to write")):
        if not getattr(config, name):
            raise UserError(f"import_openmantra: give {words} by --{name}")
    plan = read_import(Path(config.input), Path(config.faces) if config.faces else None)
    out = Path(config.out)
    written = write_import(plan, out, overwrite)
    for remark in plan.remarks:
        log.say(f"import_openmantra: {remark}")
    counts = ", ".join(f"{count:,} {what}{'s' * (count != 1)}" for what, count in plan.counts.items())
    log.say(f"import_openmantra: {out} {'has now' if written else 'is up to date with'} {counts}")
    log.say(f"import_openmantra: the pages are CC BY-NC 4.0, no commercial use; see {out / 'ATTRIBUTION.md'}")
    return out
