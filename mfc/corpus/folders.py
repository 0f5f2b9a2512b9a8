"""The pictures of a folder, in the order of its pages, and which of them a name means."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mfc.corpus.names import composed, natural_key, printable, refuse_unusable_path
from mfc.corpus.pictures import SUFFIXES
from mfc.errors import UserError


@dataclass(frozen=True)
class PictureFolder:
    """The pictures below a folder; page 2 stands before page 10."""

    root: Path
    paths: tuple[Path, ...]
    passed_over: str
    """What else lies there, as a sentence; empty for nothing."""

    @property
    def names(self) -> tuple[str, ...]:
        """What each picture is called: its path below the folder, with ``/``."""
        return tuple(path.relative_to(self.root).as_posix() for path in self.paths)


def find_pictures(root: Path) -> PictureFolder:
    """All pictures below a folder, by the endings of their names; hidden files and folders are none.

    Raises:
        UserError: for a folder that cannot be read, and a picture whose name is not UTF-8.
    """

    def unreadable(error: OSError) -> None:
        name = printable(str(error.filename))
        raise UserError(f"{name}: cannot be read ({error.strerror}); mend its permissions") from None

    paths: list[Path] = []
    others: Counter[str] = Counter()
    for folder, below, files in os.walk(root, onerror=unreadable):
        below[:] = [name for name in below if not name.startswith(".")]
        others["linked folders"] += sum(Path(folder, name).is_symlink() for name in below)
        for path in (Path(folder, name) for name in files if not name.startswith(".")):
            if path.suffix.lower() not in SUFFIXES:
                others[printable(path.suffix.lower()) or "without an ending"] += 1
            elif path.is_file():
                refuse_unusable_path(path)
                paths.append(path)
            else:
                others["no regular files"] += 1
    by_number = sorted((+others).items(), key=lambda item: (-item[1], item[0]))
    counted = ", ".join([*(f"{n} {what}" for what, n in by_number[:8]), *["…"] * (len(by_number) > 8)])
    passed_over = f"{root}: what is no picture by its name is passed over: {counted}" if counted else ""
    order = sorted(paths, key=lambda p: ([natural_key(part) for part in p.relative_to(root).parts], p))
    return PictureFolder(root, tuple(order), passed_over)


class PageFinder:
    """Finds which pictures the names in one file mean; a picture cannot be two different pages."""

    def __init__(self, folder: PictureFolder) -> None:
        self._root = folder.root
        self._index_of = {name: index for index, name in enumerate(folder.names)}
        self._names = folder.names
        self._by_last: dict[str, list[int]] = {}
        for index, name in enumerate(folder.names):
            self._by_last.setdefault(_parts(name)[-1], []).append(index)
        self._above = _parts(str(folder.root.absolute()))
        self._meant: dict[int, str] = {}

    def page_of(self, name: str, where: str) -> int:
        """The index of the picture whose path ends most like ``name``.

        Raises:
            UserError: beginning with ``where``, when there is none or several, or it is another page already.
        """
        found = self._find(name)
        if not found:
            some = ", ".join([*self._names[:3], *["…"] * (len(self._names) > 3)])
            raise UserError(
                f"{where}: page {printable(name)!r} is not in {self._root}, which has {some}; mend the name"
            )
        if len(found) > 1:
            some = " or ".join(self._names[index] for index in found[:2])
            raise UserError(f"{where}: page {name!r} may be {some}; write which")
        self.claim(name, where)
        return found[0]

    def claim(self, name: str, where: str) -> None:
        """Remember that a name means its picture; raises `UserError` when a different one did before."""
        found = self._find(name)
        if len(found) != 1:
            return
        before = self._meant.setdefault(found[0], name)
        if _common_end(before, name) < min(len(_parts(before)), len(_parts(name))):
            raise UserError(
                f"{where}: {before!r} and {name!r} would both be {self._names[found[0]]} in {self._root}; "
                "give the folder that holds both"
            )
        self._meant[found[0]] = max(before, name, key=len)

    def _find(self, name: str) -> list[int]:
        """All pictures that end most like a name, and as far as their path below the folder goes."""
        if name in self._index_of:
            return [self._index_of[name]]
        parts = _parts(name)
        lengths: dict[int, int] = {}
        for index in self._by_last.get(parts[-1], []) if parts else []:
            below = _parts(self._names[index])
            length = _common_end("/".join([*self._above, *below]), name)
            if length >= min(len(parts), len(below)):
                lengths[index] = length
        return [index for index, length in lengths.items() if length == max(lengths.values())]


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[/\\]", composed(name)) if part not in ("", ".")]


def _common_end(a: str, b: str) -> int:
    """How many last parts two paths share."""
    pairs = zip(reversed(_parts(a)), reversed(_parts(b)), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
