"""Genes under an author's hand: the measures that a head is drawn with, ready for the pen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mfc.corpus.synthetic.genes import Genes
from mfc.corpus.synthetic.raster import Points
from mfc.corpus.synthetic.style import Style

# Outline of a head that turns to the right of the page, in half face widths, y down: front, half, profile.
# From the crown over the far side (forehead, eye, nose, lips) and the chin to the near jaw, nape and skull.
_FRONT = (
    (0, -1.1), (0.6, -0.9), (0.92, -0.45), (0.97, -0.05), (0.95, 0.3), (0.9, 0.5), (0.82, 0.68), (0.66, 0.87),
    (0.36, 1.09), (0, 1.2), (-0.36, 1.09), (-0.66, 0.87), (-0.88, 0.5), (-0.97, 0.05), (-0.92, -0.45),
    (-0.6, -0.9),
)  # fmt: skip
_HALF = (
    (-0.1, -1.1), (0.5, -0.92), (0.84, -0.5), (0.8, -0.08), (0.88, 0.26), (0.84, 0.5), (0.77, 0.7),
    (0.68, 0.9),
    (0.56, 1.08), (0.36, 1.2), (0.04, 1.12), (-0.4, 0.9), (-0.72, 0.55), (-0.98, 0.2), (-1.15, -0.35),
    (-0.8, -0.88),
)  # fmt: skip
_PROFILE = (
    (-0.2, -1.1), (0.42, -0.96), (0.8, -0.52), (0.8, -0.1), (1.05, 0.36), (0.84, 0.48), (0.9, 0.64),
    (0.82, 0.8),
    (0.82, 0.99), (0.58, 1.15), (0.2, 1.02), (-0.1, 0.84), (-0.3, 0.5), (-0.8, 0.45), (-1.3, -0.2),
    (-0.95, -0.88),
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """A character as this author draws it at one time of the story."""

    genes: Genes
    style: Style
    outline: Points
    """(3, 16, 2): the head's outline in front, half and side view."""
    length: float
    """How far the chin lies below the eye line's origin."""
    eye_width: float
    eye_height: float
    eye_space: float
    eye_y: float
    eye_tilt: float
    eye_round: float
    iris: str
    iris_size: float
    lashes: int
    lid_weight: float
    brow_weight: float
    brow_gap: float
    brow_tilt: float
    brow_length: float
    nose_y: float
    nose_size: float
    mouth_y: float
    mouth_width: float
    ear_size: float
    volume: float
    fringe_locks: Points
    """(n, 5): azimuth of root and tip (radians), height of root and tip, half-width."""
    back_locks: Points
    """(m, 6): azimuth, height and reach of the root, the same of the tip: spikes around the skull."""
    collar: str
    cloth: str
    hat: str
    ribbon: str
    back: str
    jitter: Points
    """(64,) normal deviates that fix the character's small irregularities."""


def make_look(genes: Genes, style: Style, costume: int, hair_down: bool, chibi: bool) -> Look:
    """What the pen needs to draw ``genes`` in ``style``; ``costume`` counts in the wardrobe."""
    c = style.contrast
    g = genes
    child = max(0.0, 0.3 - g.age) * 2
    width = float(np.clip(1 + 0.085 * c * g.face_width, 0.82, 1.2))
    length = float(np.clip(style.face_length * (1 + 0.1 * c * g.face_length), 0.74, 1.32))
    jaw = style.jaw + 0.3 * c * g.jaw
    chin = style.chin + 0.35 * c * g.chin
    cheek = style.cheek + 0.3 * c * g.cheek
    if chibi:
        length, jaw, cheek, width = 0.82 * length, 0.2 + 0.4 * jaw, 0.9, width * 1.06
    outline = np.array([_FRONT, _HALF, _PROFILE], dtype=float)
    lower = np.clip(outline[:, :, 1], 0, None) / 1.2
    outline[:, :, 1] = np.where(outline[:, :, 1] > 0, outline[:, :, 1] * length, outline[:, :, 1])
    # Wide jaws push the corners out, pointed chins pull the points beside it in, cheeks fill the middle.
    corner = np.exp(-(((lower - 0.72) / 0.18) ** 2)) * (jaw - 0.5) * 0.3
    side = np.exp(-(((lower - 0.92) / 0.1) ** 2)) * (0.5 - chin) * 0.34
    middle = np.exp(-(((lower - 0.42) / 0.2) ** 2)) * (cheek - 0.5) * 0.12
    axis = np.array([0.0, 0.36, 0.58])[:, None] * np.clip(lower, 0, 1)
    outward = np.sign(outline[:, :, 0] - axis) * (corner + side + middle)
    outward[2, 2:10] *= 0.2
    outline[:, :, 0] += outward
    outline[:, :, 0] *= np.where(np.arange(3) == 2, 1 + 0.3 * (width - 1), width)[:, None]
    nose = style.nose_size * (1 + 0.45 * c * g.nose_size) * (0.5 if chibi else 1)
    outline[2, 4, 0] = 0.86 + 1.15 * nose
    outline[2, 4, 1] = (0.36 + 0.1 * g.nose_y) * length
    rng = np.random.default_rng(g.hair_seed)
    jitter = rng.normal(size=64)
    eye_width, eye_height = (
        style.eye_width * (1 + 0.2 * c * g.eye_width),
        style.eye_height * (1 + 0.3 * c * g.eye_height),
    )
    iris, rounding, iris_size = style.iris, style.eye_round, style.iris_size * (1 + 0.18 * c * g.iris_size)
    if g.eye_kind == "narrow":
        eye_height *= 0.55
    elif g.eye_kind == "round":
        rounding, eye_height, eye_width = 1.0, eye_height * 1.1, eye_width * 0.9
    elif g.eye_kind == "dot":
        iris, eye_width, eye_height = "dot", eye_width * 0.7, eye_height * 0.6
    elif g.eye_kind == "slit":
        eye_height, iris = eye_height * 0.28, "black"
    elif g.eye_kind == "wide":
        eye_height, iris_size = eye_height * 1.15, iris_size * 0.66
    if chibi:
        eye_height, eye_width = eye_height * 1.25, eye_width * 1.1
    eye_height = float(np.clip(eye_height * (1 + 0.3 * child), 0.035, 0.42))
    back = g.back
    if g.grown_out and hair_down:
        back = {
            "pony": "long",
            "twin": "wavy",
            "bun": "long",
            "braid": "wavy",
            "long": "pony",
            "short": "flip",
        }.get(back, back)
    return Look(
        genes=g,
        style=style,
        outline=outline,
        length=length,
        eye_width=float(np.clip(eye_width, 0.1, 0.36)),
        eye_height=eye_height,
        eye_space=float(np.clip(style.eye_space * (1 + 0.12 * c * g.eye_space), 0.32, 0.56)),
        eye_y=style.eye_y + 0.06 * c * g.eye_y + (0.1 if chibi else 0) + 0.08 * child,
        eye_tilt=style.eye_tilt + 0.2 * c * g.eye_tilt,
        eye_round=rounding,
        iris=iris,
        iris_size=float(np.clip(iris_size, 0.35, 1.15)),
        lashes=max(0, style.lashes + g.lashes),
        lid_weight=style.lid_weight * (1.15 if g.female else 0.85),
        brow_weight=float(np.clip(style.brow_weight * (1 + 0.6 * c * g.brow_weight), 0.35, 5)),
        brow_gap=float(np.clip(style.brow_gap * (1 + 0.35 * c * g.brow_gap), 0.08, 0.34)),
        brow_tilt=0.22 * c * g.brow_tilt,
        brow_length=1 + 0.2 * c * g.brow_length,
        nose_y=(style.nose_y + 0.04 * g.nose_y) * length,
        nose_size=nose,
        mouth_y=(style.mouth_y + 0.03 * g.mouth_y) * length,
        mouth_width=style.mouth_width * (1 + 0.28 * c * g.mouth_width),
        ear_size=style.ear_size * (1 + 0.3 * c * g.ear_size),
        volume=float(np.clip(style.hair_volume * (1 + 0.5 * c * g.hair_volume), 0.03, 0.4)),
        fringe_locks=_fringe(g, style, rng),
        back_locks=_spikes(g, style, rng, back),
        collar=g.wardrobe[costume][0],
        cloth=g.wardrobe[costume][1],
        hat=g.hat if g.hat_outfits >> costume & 1 else "",
        ribbon=g.ribbon if g.ribbon_outfits >> costume & 1 else "",
        back=back,
        jitter=jitter,
    )


def _fringe(g: Genes, style: Style, rng: np.random.Generator) -> Points:
    """Locks over the forehead: root and tip as azimuths and heights on the skull, and half-widths."""
    wide = style.lock_width * (1 + 0.3 * g.lock_width)
    n = g.lock_count

    def locks(
        root: Points, tip: Points, top: Points | float, bottom: Points | float, width: Points | float
    ) -> Points:
        parts = np.broadcast_arrays(root, tip, top, bottom, width)
        return np.stack([np.asarray(part, dtype=float) for part in parts], axis=1)

    around = np.linspace(-1.05, 1.05, n) + rng.normal(0, 0.05, n)
    loose = rng.normal(0, 1, n)
    side = g.side
    if g.fringe == "straight":
        return locks(around * 0.9, around, -0.85, -0.14 + 0.03 * loose, 0.19 * wide)
    if g.fringe == "hime":
        n = 8
        around = np.linspace(-0.85, 0.85, n)
        return locks(around * 0.92, around, -0.85, -0.16, 0.2)
    if g.fringe == "parted":
        part = 0.35 * side
        tips = np.where(around > part, 1.2, -1.2) * rng.uniform(0.6, 1.05, n)
        return locks(
            part + 0.25 * (around - part), tips, -0.95, -0.3 + 0.25 * np.abs(tips) + 0.06 * loose, 0.2 * wide
        )
    if g.fringe == "middle":
        tips = np.where(around > 0, 1.25, -1.25) * rng.uniform(0.55, 1.05, n)
        return locks(0.2 * around, tips, -0.98, -0.34 + 0.3 * np.abs(tips) + 0.05 * loose, 0.2 * wide)
    if g.fringe == "curtain":
        tips = np.where(around > 0, 1.0, -1.0) * rng.uniform(0.75, 1.1, n)
        return locks(0.25 * around, tips, -0.98, 0.28 + 0.12 * loose, 0.2 * wide)
    if g.fringe == "swept":
        roots = np.linspace(-0.5, 0.8, n) * side
        tips = roots - side * rng.uniform(0.45, 1.0, n)
        return locks(roots, tips, -0.95, -0.16 + 0.07 * loose, 0.24 * wide)
    if g.fringe == "spiky":
        return locks(around * 0.8, around + 0.15 * loose, -0.9, -0.25 + 0.16 * loose, 0.17 * wide)
    if g.fringe == "mess":
        return locks(around * 0.8, around + 0.3 * loose, -0.9, -0.02 + 0.16 * rng.normal(size=n), 0.2 * wide)
    if g.fringe == "curly":
        return locks(around, around + 0.1 * loose, -0.75, -0.35 + 0.06 * loose, 0.3 * wide)
    if g.fringe == "widow":
        tips = np.array([0.0, -0.16, 0.16])
        return locks(tips, tips * 0.8, -0.95, np.array([-0.52, -0.6, -0.6]), 0.2)
    return np.zeros((0, 5))


def _spikes(g: Genes, style: Style, rng: np.random.Generator, back: str) -> Points:
    """Locks that break the outline of the hair."""
    sharp = style.lock_sharp
    if back == "spiky":
        n = 14 + int(6 * sharp)
        azimuth = np.linspace(-np.pi, np.pi, n, endpoint=False) + rng.normal(0, 0.15, n)
        height = rng.uniform(-0.95, 0.35, n)
        reach = rng.uniform(0.3, 0.62, n) * (1 + 0.3 * g.hair_length)
        return np.stack(
            [azimuth, height, np.full(n, 0.9), azimuth + 0.2 * rng.normal(size=n), height - 0.2, 1 + reach],
            axis=1,
        )
    if back in ("short", "flip", "bob"):
        n = 10
        azimuth = np.linspace(-np.pi, np.pi, n, endpoint=False) + rng.normal(0, 0.2, n)
        height = rng.uniform(-0.6, 0.5, n)
        reach = rng.uniform(0.05, 0.2, n) * (0.5 + sharp)
        return np.stack(
            [azimuth, height, np.full(n, 0.9), azimuth + 0.1, height + 0.25, 1.05 + reach], axis=1
        )
    return np.zeros((0, 6))
