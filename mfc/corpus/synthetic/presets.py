"""How large a corpus is, and the numbers that its pages are calibrated to."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass

VERSION = 7
"""Raised when the same preset and seed would give other bytes."""

Quantiles = tuple[tuple[float, float], ...]
"""(probability, value) pairs, ascending: a distribution by its quantiles."""


@dataclass(frozen=True)
class Preset:
    """Sizes in final pixels; rates per annotated double page."""

    train: int
    val: int
    test: int
    volumes: int
    """Titles named ..._vol01, on top of the others, in no split."""
    pages: Quantiles
    """Double pages of a title, empty ones included."""
    width: int
    height: int
    oversize: int
    """How much larger a page is drawn before it is shrunk."""
    frames: Quantiles
    """Frames of a double page."""
    face_width: Quantiles
    """As wished for; frames and crowds leave less room, so that faces come out smaller on the page."""
    cast: Quantiles
    """Characters of a title."""
    decay: float
    """The next most frequent character appears this share as often."""
    scene_frames: float
    """Mean length of a scene, frames."""
    faces_in_frame: tuple[float, ...]
    """Chances of 0, 1, 2, ... faces in a frame."""
    bodies_alone: float
    """Bodies without a visible face, a frame."""
    texts: float
    """Texts a frame."""

    @property
    def titles(self) -> int:
        return self.train + self.val + self.test + self.volumes


_SHARES = (0.185, 0.57, 0.19, 0.041, 0.014)

PRESETS: Mapping[str, Preset] = types.MappingProxyType(
    {
        "tiny": Preset(
            train=2, val=1, test=2, volumes=0,
            pages=((0, 10), (1, 12)),
            width=620, height=438, oversize=3,
            frames=((0, 3), (0.5, 5), (1, 7)),
            face_width=((0, 22), (0.05, 30), (0.25, 42), (0.5, 52), (0.75, 66), (0.95, 92), (1, 130)),
            cast=((0, 4), (1, 5)), decay=0.8, scene_frames=10,
            faces_in_frame=_SHARES, bodies_alone=0.5, texts=1.68,
        ),
        "demo": Preset(
            train=14, val=4, test=11, volumes=0,
            pages=((0, 24), (0.5, 30), (1, 36)),
            width=827, height=585, oversize=3,
            frames=((0, 1), (0.1, 4), (0.5, 6), (0.9, 8), (1, 10)),
            face_width=((0, 20), (0.05, 36), (0.25, 57), (0.5, 74), (0.75, 104), (0.95, 165), (1, 270)),
            cast=((0, 10), (0.5, 15), (1, 20)), decay=0.8, scene_frames=22,
            faces_in_frame=_SHARES, bodies_alone=0.5, texts=1.68,
        ),
        "manga109": Preset(
            train=83, val=10, test=11, volumes=5,
            pages=((0, 27), (0.1, 80), (0.5, 97), (0.9, 114), (1, 185)),
            width=1654, height=1170, oversize=2,
            frames=((0, 1), (0.1, 6.3), (0.5, 10.9), (0.9, 13.9), (1, 18)),
            face_width=((0, 18), (0.05, 34.6), (0.25, 70.5), (0.5, 99), (0.75, 156), (0.95, 248), (1, 470)),
            cast=((0, 8), (0.25, 19), (0.5, 27), (0.75, 35), (1, 52)), decay=0.84, scene_frames=38,
            faces_in_frame=_SHARES, bodies_alone=0.5, texts=1.68,
        ),
    }
)  # fmt: skip
