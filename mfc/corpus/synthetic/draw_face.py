"""A whole head in any pose from front to back-turned, from its parts."""

from __future__ import annotations

import numpy as np

from mfc.corpus.synthetic.draw_features import brows, ear, eyes, mouth, nose
from mfc.corpus.synthetic.draw_hair import front_hair
from mfc.corpus.synthetic.draw_worn import marks, worn
from mfc.corpus.synthetic.head import Head, outline
from mfc.corpus.synthetic.raster import WHITE, Points


def draw_skin(head: Head, shadow: int) -> None:
    """Face, ears and features; hair over it is drawn by `front_hair`."""
    look, pen = head.look, head.pen
    points = outline(look, head.yaw, np.radians(head.pose.pitch))
    pen.fill(points, WHITE, 48)
    covered = look.back in ("bob", "long", "wavy") or look.genes.side_locks > 0.75
    if not covered:
        ear(head, 1.0)
    if shadow or (look.style.shade != "none" and head.rng.random() < look.style.shade_rate):
        _shade(head, points, shadow)
    start, stop = (2, 13)
    whole = look.back in ("bald", "ring", "shaved")
    pen.line(points[start:stop], 1.15, (0.4, 0.4), samples=40)
    if whole:
        pen.line(points[[12, 13, 14, 15, 0, 1, 2]], 1.0, (0.5, 0.5), samples=24)
    if head.yaw < 1.75:
        eyes(head)
        nose(head)
        mouth(head)
    marks(head)


def _shade(head: Head, points: Points, shadow: int) -> None:
    look, pen = head.look, head.pen
    tone = "hatched" if look.style.shade == "hatch" and shadow == 0 else "skin" if shadow < 2 else "skin_dark"
    screen = head.tones[tone]
    if shadow == 2 or shadow == 3:
        pen.canvas.tone([pen.curve(points, 40)], screen)
        return
    # Half the face in shadow, or a strip along the near cheek.
    cut = -0.15 if shadow == 1 else -0.62
    side = points.copy()
    side[:, 0] = np.minimum(side[:, 0], cut + 0.2 * head.side + 0.15 * np.sin(3 * side[:, 1]))
    pen.canvas.tone([pen.curve(side, 40)], screen)


def draw_head(head: Head, shadow: int) -> None:
    """Skin, features, hair and what is worn; the hair behind the head has been drawn before the body."""
    draw_skin(head, shadow)
    front_hair(head)
    covered = head.look.back in ("bob", "long", "wavy") or head.look.genes.side_locks > 0.75
    if not covered:
        ear(head, -1.0)
    if head.yaw < 1.75:
        brows(head)
    worn(head)
