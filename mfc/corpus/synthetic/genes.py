"""What makes a character: a set of genes, drawn in the author's style whenever the character appears.

Genes hold everything about a person that the renderer may know. Measures are deviations around 0 (about -1 to
1), scaled by the author's ``contrast``; kinds are words. Nothing here says which character it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

FRINGES = (
    "none",
    "straight",
    "parted",
    "swept",
    "spiky",
    "middle",
    "curly",
    "hime",
    "mess",
    "widow",
    "curtain",
)
BACKS = ("shaved", "short", "bob", "long", "spiky", "wavy", "pony", "twin", "bun", "braid", "afro", "flip")
FILLS = ("white", "black", "light", "mid", "dark", "hatched", "grained")
_COMMON = (1.0, 1.0, 0.4, 0.4, 0.3, 0.2, 0.15)
"""How many authors use each of `FILLS` for hair."""
COLLARS = ("crew", "sailor", "suit", "gakuran", "hood", "kimono", "vneck", "blouse", "turtle", "armour")
HATS = ("", "cap", "beanie", "wide", "helmet", "band", "hood", "crown")
BEARDS = ("", "moustache", "goatee", "full", "stubble")
SCARS = ("", "cheek", "eye", "cross", "nose")
RIBBONS = ("", "bow", "clip", "flower", "two")
OUTFITS = 6
GLASSES = ("", "round", "square", "half", "dark", "patch")


@dataclass(frozen=True)
class Genes:
    """One character. Measures around 0; ``side`` is -1 or 1; seeds fix the shape of locks."""

    female: bool
    age: float
    """0 child, 0.3 youth, 0.6 grown-up, 1 old."""
    face_width: float
    face_length: float
    jaw: float
    chin: float
    cheek: float
    eye_width: float
    eye_height: float
    eye_space: float
    eye_y: float
    eye_tilt: float
    eye_kind: str
    """Overrides of the author's eye: "" as the author draws it, narrow, round, dot, slit, wide."""
    iris_size: float
    iris_tone: float
    lashes: int
    brow_weight: float
    brow_tilt: float
    brow_length: float
    brow_gap: float
    brow_arch: float
    nose_size: float
    nose_y: float
    mouth_width: float
    mouth_y: float
    lip: float
    ear_size: float
    fringe: str
    back: str
    fill: str
    side: int
    hair_volume: float
    hair_length: float
    lock_count: int
    lock_width: float
    side_locks: float
    antenna: int
    hair_seed: int
    grown_out: bool
    """Hair may be worn down in another part of the story."""
    glasses: str
    hat: str
    beard: str
    scar: str
    ribbon: str
    mole: int
    freckles: bool
    earrings: bool
    wrinkles: float
    shoulders: float
    wardrobe: tuple[tuple[str, str], ...]
    """Collar and cloth of each outfit: two that are worn for long, then those of single scenes."""
    hat_outfits: int
    """Bit k is set when the hat goes with outfit k."""
    ribbon_outfits: int


def draw_genes(rng: np.random.Generator) -> Genes:
    """One person, whoever the author is."""
    female = bool(rng.random() < 0.45)
    age = float(rng.choice([0.08, 0.3, 0.36, 0.6, 0.65, 0.95], p=[0.1, 0.3, 0.24, 0.16, 0.1, 0.1]))
    old, child = age > 0.8, age < 0.2

    def measure(mean: float = 0.0, spread: float = 0.5) -> float:
        return float(np.clip(mean + spread * rng.normal(), -1.6, 1.6))

    def some(kinds: tuple[str, ...], chance: float) -> str:
        return str(rng.choice(kinds[1:])) if rng.random() < chance else ""

    if female:
        back = rng.choice(BACKS, p=[0, 0.1, 0.2, 0.22, 0.04, 0.1, 0.12, 0.08, 0.05, 0.05, 0.01, 0.03])
        fringe = rng.choice(FRINGES, p=[0.04, 0.15, 0.14, 0.16, 0.03, 0.13, 0.05, 0.13, 0.05, 0.0, 0.12])
    else:
        back = rng.choice(BACKS, p=[0.14, 0.42, 0.07, 0.06, 0.18, 0.03, 0.04, 0, 0.01, 0.01, 0.02, 0.02])
        fringe = rng.choice(FRINGES, p=[0.08, 0.07, 0.13, 0.16, 0.18, 0.08, 0.06, 0.01, 0.12, 0.07, 0.04])
    bald = not female and rng.random() < (0.3 if old else 0.05 if age > 0.5 else 0.01)
    if old:
        fill = rng.choice(FILLS, p=[0.55, 0.03, 0.2, 0.05, 0.02, 0.15, 0.0])
    else:
        fill = rng.choice(FILLS, p=[0.24, 0.3, 0.12, 0.12, 0.08, 0.07, 0.07])
    kind = str(
        rng.choice(["", "narrow", "round", "dot", "slit", "wide"], p=[0.68, 0.1, 0.06, 0.04, 0.04, 0.08])
    )
    beard = some(BEARDS, 0.55 if old else 0.3 if age > 0.5 else 0.0) if not female else ""
    return Genes(
        female=female,
        age=age,
        face_width=measure(0.3 if child else 0.0),
        face_length=measure(-0.7 if child else -0.15 if female else 0.25),
        jaw=measure(-0.5 if child or female else 0.4),
        chin=measure(0.2 if female else -0.1),
        cheek=measure(0.6 if child else 0.0),
        eye_width=measure(0.2 if female else -0.1),
        eye_height=measure(0.5 if child else 0.35 if female else -0.7 if old else -0.2),
        eye_space=measure(),
        eye_y=measure(0.4 if child else 0.0, 0.4),
        eye_tilt=measure(0.0, 0.6),
        eye_kind=kind,
        iris_size=measure(0.2 if female else 0.0),
        iris_tone=float(rng.random()),
        lashes=int(rng.integers(0, 3)) + (1 if female else -1),
        brow_weight=measure(-0.5 if female else 0.4, 0.6),
        brow_tilt=measure(0.0, 0.5),
        brow_length=measure(),
        brow_gap=measure(),
        brow_arch=measure(0.2, 0.5),
        nose_size=measure(-0.4 if child else 0.6 if old else 0.0, 0.6),
        nose_y=measure(),
        mouth_width=measure(),
        mouth_y=measure(0.0, 0.4),
        lip=float(np.clip(rng.normal(0.6 if female and not child else 0.0, 0.3), 0, 1)),
        ear_size=measure(),
        fringe="none" if bald else str(fringe),
        back=str(rng.choice(["bald", "ring"])) if bald else str(back),
        fill=str(fill),
        side=int(rng.choice([-1, 1])),
        hair_volume=measure(),
        hair_length=measure(0.0, 0.6),
        lock_count=int(rng.integers(4, 10)),
        lock_width=measure(),
        side_locks=float(np.clip(rng.normal(0.5 if female else 0.1, 0.4), 0, 1.2)),
        antenna=int(rng.choice([0, 1, 2, 3], p=[0.8, 0.1, 0.05, 0.05])),
        hair_seed=int(rng.integers(1 << 30)),
        grown_out=bool(rng.random() < 0.35),
        glasses=some(GLASSES, 0.14),
        hat=some(HATS, 0.08),
        beard=beard,
        scar=some(SCARS, 0.06),
        ribbon=some(RIBBONS, 0.22) if female else "",
        mole=int(rng.choice([0, 1, 2, 3], p=[0.88, 0.04, 0.04, 0.04])),
        freckles=bool(rng.random() < 0.05),
        earrings=bool(rng.random() < (0.15 if female else 0.04)),
        wrinkles=float(np.clip((age - 0.55) * 2.2 + 0.2 * rng.normal(), 0, 1)) if age > 0.5 else 0.0,
        shoulders=measure(-0.6 if female or child else 0.4),
        wardrobe=tuple((str(rng.choice(COLLARS)), str(rng.choice(FILLS))) for _ in range(OUTFITS)),
        hat_outfits=int(rng.integers(1, 1 << OUTFITS)),
        ribbon_outfits=int(rng.integers(1, 1 << OUTFITS)),
    )


RESEMBLANCE = [
    "face_width",
    "face_length",
    "jaw",
    "chin",
    "cheek",
    "eye_width",
    "eye_height",
    "eye_space",
    "eye_y",
    "eye_tilt",
    "iris_size",
    "iris_tone",
    "brow_tilt",
    "brow_arch",
    "nose_size",
    "nose_y",
    "mouth_width",
    "mouth_y",
    "ear_size",
]


def relative(genes: Genes, rng: np.random.Generator) -> Genes:
    """A sibling or a near double: most measures inherited, hair often alike, something always different."""
    other = draw_genes(rng)
    keep = {name: 0.75 * getattr(genes, name) + 0.25 * getattr(other, name) for name in RESEMBLANCE}
    alike = {name: getattr(genes, name) for name in ("fill", "eye_kind", "female") if rng.random() < 0.75} | {
        name: getattr(genes, name) for name in ("fringe", "back") if rng.random() < 0.45
    }
    return replace(other, **{**keep, **alike, "hair_seed": other.hair_seed})


def draw_cast(rng: np.random.Generator, count: int) -> list[Genes]:
    """The people of one title: some related, some in one uniform, all to the author's taste."""
    uniform = str(rng.choice(COLLARS)), str(rng.choice(FILLS))
    in_uniform = float(rng.choice([0.0, 0.35, 0.7]))
    kinship = float(rng.choice([0.2, 0.35, 0.5]))
    # An author knows a few ways to draw hair, and uses them over and over.
    fringes, backs, fills = (
        _some(rng, FRINGES[1:], 5),
        _some(rng, BACKS[1:], 5),
        _some(rng, FILLS, 3, _COMMON),
    )
    cast: list[Genes] = []
    for _ in range(count):
        if cast and rng.random() < kinship:
            genes = relative(cast[int(rng.integers(len(cast)))], rng)
        else:
            genes = draw_genes(rng)
        if genes.fringe not in fringes and genes.fringe != "none" and rng.random() < 0.8:
            genes = replace(genes, fringe=str(rng.choice(fringes)))
        if genes.back not in backs and genes.back in BACKS and rng.random() < 0.7:
            genes = replace(genes, back=str(rng.choice(backs)))
        if genes.fill not in fills and rng.random() < 0.85:
            genes = replace(genes, fill=str(rng.choice(fills)))
        if rng.random() < in_uniform and genes.age < 0.7:
            genes = replace(genes, wardrobe=(uniform, *genes.wardrobe[1:]))
        cast.append(genes)
    return cast


def _some(
    rng: np.random.Generator, kinds: tuple[str, ...], count: int, weights: tuple[float, ...] | None = None
) -> list[str]:
    p = None if weights is None else np.array(weights) / sum(weights)
    return [str(kind) for kind in rng.choice(kinds, size=count, replace=False, p=p)]
