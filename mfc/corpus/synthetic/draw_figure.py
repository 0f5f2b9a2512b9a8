"""A person at a place on a canvas: body, head and hands, nearest last."""

from __future__ import annotations

import numpy as np

from mfc.corpus.synthetic.draw_body import draw_body, draw_hand
from mfc.corpus.synthetic.draw_face import draw_head
from mfc.corpus.synthetic.draw_hair import back_hair
from mfc.corpus.synthetic.head import Head, Tones, face_box
from mfc.corpus.synthetic.look import Look
from mfc.corpus.synthetic.raster import Canvas, Pen, Points
from mfc.corpus.synthetic.story import Figure


def draw_figure(
    canvas: Canvas, look: Look, figure: Figure, tones: Tones, times: int, rng: np.random.Generator
) -> None:
    """Draw ``look`` where ``figure.head`` says; of the figure, its character is the one thing not read.

    Args:
        times: canvas pixels in a final pixel.
        rng: of the page, for what varies from one appearance to the next.
    """
    pose = figure.pose
    yaw = float(np.radians(abs(pose.yaw)))
    mirror = -1 if pose.yaw < 0 else 1
    x0, y0, x1, y1 = (v * times for v in figure.head)
    left, top, right, bottom = face_box(look, min(yaw, np.pi / 2), np.radians(pose.pitch))
    scale = float(np.sqrt((x1 - x0) * (y1 - y0) / ((right - left) * (bottom - top))))
    roll = np.radians(pose.roll)
    turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    matrix = np.array([[mirror, 0.0], [0.0, 1.0]]) @ turn * scale
    middle = np.array([(left + right) / 2, (top + bottom) / 2])
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2]) - canvas.origin
    style = look.style
    weight = max(style.weight * scale**0.75 * (32 * times) ** 0.25, style.weight_floor * times)
    pen = Pen(canvas, matrix, centre - middle @ matrix, weight)
    # The body hangs straighter than the head is tilted.
    upright = np.array([[mirror, 0.0], [0.0, 1.0]]) @ _turned(roll * 0.25) * scale
    neck = np.array([-0.2 * np.sin(min(yaw, np.pi / 2)), 1.0])
    trunk = Pen(canvas, upright, pen.place(neck) - neck @ upright, weight)
    hair = hair_fill(look, scale / times, figure.shadow)
    head = Head(look, pose, pen, tones, rng, mirror, yaw, hair, scale)
    body = Head(look, pose, trunk, tones, rng, mirror, yaw, hair, scale)
    behind = yaw > 1.9
    if not behind:
        back_hair(head)
    draw_body(body)
    draw_head(head, figure.shadow)
    if behind:
        back_hair(head)
    if figure.gesture and not figure.back_view:
        draw_hand(head, figure.gesture)


def hair_fill(look: Look, size: float, shadow: int) -> str:
    """Hair in this light, at this size (half a face width, final pixels).

    Authors leave the tone off small figures, and lay one over pale hair in the dark.
    """
    fill = look.genes.fill
    if shadow >= 2:
        fill = {"white": "light", "light": "mid", "hatched": "mid", "grained": "mid", "mid": "dark"}.get(
            fill, fill
        )
    if size < look.style.tone_from and fill != "black":
        return "black" if fill == "dark" else "white"
    return fill


def _turned(angle: float) -> Points:
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
