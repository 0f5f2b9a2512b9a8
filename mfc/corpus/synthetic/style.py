"""An author's hand: the parameters that all characters of one title share.

The space is wide on purpose. The same gene looks different under two authors, because a style sets both where
a feature starts from (``eye_height``) and how far genes may move it (``contrast``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

IRISES = ("black", "ring", "gradient", "bright", "dot", "hollow", "pie")
NOSES = ("none", "dot", "tick", "corner", "wedge", "bridge")
MOUTHS = ("line", "lip", "broken")
LIDS = ("heavy", "thin", "double", "flicked")
SHADES = ("tone", "hatch", "none")


@dataclass(frozen=True)
class Style:
    """One author's way of drawing; lengths in half face widths, weights relative, shares from 0 to 1."""

    weight: float
    """Ordinary line weight as a share of the face's half width."""
    weight_floor: float
    """Thinnest line, final pixels."""
    taper: float
    wobble: float
    contrast: float
    face_length: float
    jaw: float
    chin: float
    cheek: float
    eye_width: float
    eye_height: float
    eye_space: float
    eye_y: float
    eye_round: float
    eye_tilt: float
    iris: str
    iris_size: float
    highlights: int
    lid: str
    lid_weight: float
    lower_lid: float
    lashes: int
    brow_weight: float
    brow_gap: float
    nose: str
    nose_size: float
    nose_y: float
    mouth: str
    mouth_width: float
    mouth_y: float
    ear_size: float
    hair_volume: float
    lock_width: float
    lock_sharp: float
    hair_lines: int
    tone_from: float
    """Heads smaller than this (half a face width, pixels) are left without tone."""
    shine: int
    """How dark hair shines: 0 not, 1 band, 2 streaks, 3 zigzag."""
    shade: str
    shade_rate: float
    hatch_angle: int
    tone_pitch: float
    """Distance of screen dots, pixels of a page 1170 high."""
    tone_angle: int
    tone_ink: int
    blush: float
    lip: float
    neck: float
    shoulders: float
    heads: float
    """Height of a grown-up in heads."""
    chibi_rate: float
    zoom: float
    effects: float
    detail: float
    slant: float
    gutter: float
    border: float
    balloon: int
    """Outline of speech balloons: 0 oval, 1 lumpy, 2 superellipse, 3 box with round corners."""
    paper: int
    black: int
    blur: float
    noise: float
    quality: int
    turn: float
    """How much this author likes turned heads: scales yaw."""


def draw_style(rng: np.random.Generator) -> Style:
    """One author out of the space of styles."""
    # Three correlated axes keep styles coherent, as drawing schools do: cute, realistic, retro.
    cute = float(rng.beta(0.9, 0.9))
    real = float(rng.beta(0.8, 1.3)) * (1 - 0.6 * cute)
    retro = float(rng.beta(0.6, 1.4))

    def near(value: float, spread: float) -> float:
        return float(value + spread * rng.uniform(-1, 1))

    irises = np.array(
        [0.6 + 0.6 * real, 0.7, 0.4 + cute, 0.2 + 1.2 * cute, 0.15 + 0.5 * retro, 0.3, 0.8 * retro]
    )
    noses = np.array([0.2 + 0.4 * cute, 0.3 + 0.4 * cute, 0.8, 0.7, 0.2 + real, 0.1 + 1.2 * real])
    return Style(
        weight=near(0.052 + 0.012 * retro - 0.012 * real, 0.02),
        weight_floor=float(rng.uniform(0.75, 1.25)),
        taper=float(rng.uniform(0.08, 0.85)),
        wobble=float(rng.choice([0.0, 0.004, 0.01, 0.018])),
        contrast=float(rng.uniform(0.7, 1.3)),
        face_length=near(1.0 - 0.14 * cute + 0.14 * real, 0.07),
        jaw=near(0.45 + 0.3 * real, 0.3),
        chin=near(0.5 - 0.1 * retro, 0.4),
        cheek=near(0.5 + 0.2 * cute + 0.2 * retro, 0.3),
        eye_width=near(0.235 + 0.05 * cute - 0.03 * real, 0.035),
        eye_height=near(0.15 + 0.17 * cute - 0.06 * real + 0.05 * retro, 0.045),
        eye_space=near(0.43 + 0.03 * cute, 0.035),
        eye_y=near(0.1 + 0.1 * cute, 0.06),
        eye_round=float(np.clip(near(0.3 + 0.5 * retro + 0.2 * cute, 0.3), 0, 1)),
        eye_tilt=near(0.0, 0.12),
        iris=str(rng.choice(IRISES, p=irises / irises.sum())),
        iris_size=near(0.78 + 0.1 * cute - 0.1 * real, 0.16),
        highlights=int(rng.choice([0, 1, 2, 3], p=_normed([0.25 + real, 0.8, 0.4 + cute, 0.1 + 0.6 * cute]))),
        lid=str(rng.choice(LIDS)),
        lid_weight=near(1.7 + 0.7 * cute, 0.8),
        lower_lid=float(rng.uniform(0, 1)),
        lashes=int(rng.choice([0, 1, 2, 3, 4], p=_normed([0.6, 0.5, 0.4, 0.3 * cute + 0.1, 0.3 * cute]))),
        brow_weight=near(1.4 + 0.6 * real, 0.7),
        brow_gap=near(0.17, 0.05),
        nose=str(rng.choice(NOSES, p=noses / noses.sum())),
        nose_size=near(0.15 + 0.08 * real, 0.05),
        nose_y=near(0.5, 0.05),
        mouth=str(rng.choice(MOUTHS)),
        mouth_width=near(0.23 + 0.05 * real, 0.06),
        mouth_y=near(0.79, 0.04),
        ear_size=near(0.2 + 0.05 * retro, 0.05),
        hair_volume=near(0.13 + 0.06 * cute, 0.07),
        lock_width=near(1.0, 0.4),
        lock_sharp=float(rng.uniform(0, 1)),
        hair_lines=int(rng.integers(0, 5)),
        tone_from=float(rng.choice([0.0, 13.0, 18.0, 24.0])),
        shine=int(rng.integers(0, 4)),
        shade=str(rng.choice(SHADES, p=[0.5, 0.3, 0.2])),
        shade_rate=float(rng.uniform(0.1, 0.6)),
        hatch_angle=int(rng.integers(0, 4)),
        tone_pitch=float(rng.uniform(2.6, 6.0)),
        tone_angle=int(rng.integers(0, 3)),
        tone_ink=int(rng.integers(0, 60)),
        blush=float(rng.uniform(0, 1)) * cute,
        lip=float(rng.uniform(0, 1)) * (0.3 + 0.7 * real),
        neck=near(0.4, 0.08),
        shoulders=near(1.75 - 0.2 * cute + 0.2 * real, 0.2),
        heads=near(6.3 - 1.2 * cute + 1.0 * real - 0.8 * retro, 0.5),
        chibi_rate=float(rng.choice([0.0, 0.02, 0.06, 0.1])) * (0.4 + cute),
        zoom=float(np.exp(rng.normal(0, 0.05))),
        effects=float(rng.uniform(0.05, 0.4)),
        detail=float(rng.uniform(0.2, 1)),
        slant=float(rng.choice([0.0, 0.03, 0.07])),
        gutter=float(rng.uniform(0.006, 0.016)),
        border=float(rng.uniform(0.8, 2.2)),
        balloon=int(rng.integers(0, 4)),
        paper=int(rng.integers(236, 256)),
        black=int(rng.integers(0, 38)),
        blur=float(rng.uniform(0, 0.7)),
        noise=float(rng.uniform(0.5, 5)),
        quality=int(rng.integers(72, 94)),
        turn=float(rng.uniform(0.8, 1.2)),
    )


def _normed(weights: list[float]) -> np.ndarray:
    return np.asarray(weights) / np.sum(weights)


def aged(style: Style, other: Style, share: float) -> Style:
    """The same author later in the story: measures moved by ``share`` towards ``other``, taste unchanged.

    Authors' hands change over a volume; kinds (how an iris is filled, which nose) stay.
    """
    moved = {
        name: getattr(style, name) + share * (getattr(other, name) - getattr(style, name))
        for name in [
            "weight",
            "face_length",
            "jaw",
            "chin",
            "cheek",
            "eye_width",
            "eye_height",
            "eye_space",
            "eye_y",
            "eye_round",
            "iris_size",
            "lid_weight",
            "brow_weight",
            "nose_size",
            "mouth_width",
            "hair_volume",
            "lock_width",
        ]
    }
    return replace(style, **moved)
