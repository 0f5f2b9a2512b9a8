"""Eyes, brows, nose, mouth and ears, with their expressions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mfc.corpus.synthetic.head import Head, array, feature, on_skull, outline, turned
from mfc.corpus.synthetic.raster import BLACK, WHITE, Points, ellipse

_OPEN = {
    "calm": 1.0, "smile": 0.9, "laugh": 0.0, "talk": 1.0, "shout": 1.1, "angry": 0.78, "sad": 0.72,
    "surprised": 1.28, "closed": 0.0, "smirk": 0.7, "worried": 0.95, "wink": 1.0,
}  # fmt: skip


_BROW = {
    "angry": (0.3, 0.05), "shout": (0.22, -0.02), "sad": (-0.28, 0.0), "worried": (-0.22, -0.03),
    "surprised": (-0.05, -0.1), "laugh": (-0.05, -0.05), "smirk": (0.1, 0.0),
}  # fmt: skip


def eyes(head: Head) -> None:
    expression = head.pose.expression
    for way in (-1.0, 1.0):
        if way > 0 and head.yaw > 1.02:
            continue
        if way < 0 and head.yaw > 1.72:
            continue
        opening = _OPEN[expression]
        if expression == "wink" and way * head.mirror == head.look.genes.side:
            opening = 0.0
        _eye(head, way, opening)


def _eye(head: Head, way: float, opening: float) -> None:
    look, pen = head.look, head.pen
    g, style = look.genes, look.style
    w, h = look.eye_width, look.eye_height * max(opening, 0.3)
    cos, sin = np.cos(look.eye_tilt), np.sin(look.eye_tilt)

    def place(points: Points) -> Points:
        """From the eye (inner corner -1, outer 1) to the turned face."""
        a, b = points[:, 0] * w, points[:, 1] * h
        return turned(head, way * (look.eye_space + a * cos + b * sin * 0.3), look.eye_y - a * sin + b * cos)

    lid = style.lid_weight and look.lid_weight
    if opening == 0.0:
        bow = 0.45 if head.pose.expression == "laugh" else -0.4
        h = look.eye_height
        pen.line(
            place(array((-1, 0.25 * np.sign(bow)), (0, -bow), (1, 0.25 * np.sign(bow)))),
            lid * 1.1,
            (0.3, 0.4),
        )
        return
    r = look.eye_round
    if look.iris == "dot":
        pen.fill(place(ellipse(0, 0, 0.5, 0.8, 8)), BLACK, 16)
        if style.highlights and head.size > 22:
            pen.fill(place(ellipse(-0.15, -0.3, 0.17, 0.25, 6)), WHITE, 8)
        return
    upper = array(
        (-1, 0.3 - 0.1 * r), (-0.62, -0.5 - 0.25 * r), (0.0, -1), (0.62, -0.68 - 0.1 * r), (1, 0.05)
    )
    lower = array((0.8, 0.6 + 0.2 * r), (0.1, 1.0), (-0.65, 0.8))
    ball = np.concatenate([upper, lower])
    pen.fill(place(ball), WHITE, 24)
    # The iris is cut off by the upper lid.
    gx, gy = head.pose.gaze
    turn = 0.3 * min(head.yaw, 1.2) * (-way if way < 0 else way)
    cx = np.clip((gx * head.mirror) * way + 0.25 * turn * (1 if way > 0 else -1), -0.4, 0.4)
    iris_r = look.iris_size * (0.6 if head.pose.expression in ("surprised", "shout") else 0.9)
    ratio = min(1.0, 1.15 * look.eye_height / w) / max(opening, 0.75) * min(opening, 1.0)
    rx, ry = iris_r * max(0.34, min(0.75, ratio * 0.8)), iris_r * (1.02 if opening > 0.75 else 1.2)
    disc = ellipse(cx, 0.06 + gy, rx, ry, 18)
    lid_y = np.interp(disc[:, 0], upper[:, 0], upper[:, 1]) + 0.05
    floor = np.interp(disc[:, 0], [-1, -0.65, 0.1, 0.8, 1], [0.3, 0.8, 1.0, 0.7, 0.05])
    disc[:, 1] = np.clip(disc[:, 1], lid_y, floor)
    _iris(head, place, disc, cx, gy, rx, ry)
    pen.line(place(upper), lid, (0.35, 0.75) if style.lid != "thin" else (0.2, 0.3))
    if style.lid == "double" and head.size > 30:
        pen.line(place(array((-0.6, -0.95), (0, -1.35), (0.75, -0.95))), 0.5, (0.1, 0.1))
    if style.lid == "flicked" or (g.female and style.lashes):
        pen.line(place(array((0.7, -0.5), (1.0, -0.12), (1.28, -0.3))), lid * 0.8, (0.6, 0.05), samples=8)
    if style.lower_lid > 0.3 and head.size > 20:
        pen.line(place(lower), 0.55 + 0.5 * style.lower_lid, (0.3, 0.1), samples=10)
    if head.size > 30:
        for k in range(look.lashes):
            x = 0.95 - 0.3 * k
            y = float(np.interp(x, upper[:, 0], upper[:, 1]))
            pen.line(place(array((x, y), (x + 0.2, y - 0.3 - 0.08 * k))), 0.7, (0.9, 0.05), samples=5)
        if g.wrinkles > 0.3:
            pen.line(place(array((-0.8, 1.3), (0, 1.65), (0.7, 1.35))), 0.5, (0.1, 0.1), samples=8)
            pen.line(place(array((1.2, 0.2), (1.55, 0.5))), 0.45, (0.4, 0.1), samples=5)


def _iris(
    head: Head, place: Callable[[Points], Points], disc: Points, cx: float, gy: float, rx: float, ry: float
) -> None:
    look, pen = head.look, head.pen
    kind, tone = look.iris, look.genes.iris_tone
    if kind == "black" or head.size < 16:
        pen.polygon(place(disc), BLACK)
    elif kind == "hollow":
        pen.polygon(place(disc), WHITE)
        pen.ring(place(disc), 0.9)
        pen.fill(place(ellipse(cx, 0.06 + gy, rx * 0.3, ry * 0.35, 8)), BLACK, 10)
    elif kind == "pie":
        pen.polygon(place(disc), BLACK)
        pen.polygon(place(array((cx, gy), (cx + rx, gy - 0.6 * ry), (cx + rx * 1.1, gy))), WHITE)
    else:
        grey = int(40 + 150 * tone)
        pen.polygon(place(disc), BLACK)
        inner = disc * (0.84, 0.88) + (cx * 0.16, 0.02)
        pen.polygon(place(inner), grey if kind != "bright" else min(235, grey + 60))
        if kind == "gradient":
            top = inner.copy()
            top[:, 1] = np.minimum(top[:, 1], gy + 0.1)
            pen.polygon(place(top), grey // 3)
        pen.fill(place(ellipse(cx, 0.06 + gy, rx * 0.42, ry * 0.45, 8)), BLACK, 12)
    if head.size > 20:
        spots = ((-0.35, -0.4, 0.34), (0.38, 0.4, 0.2), (0.3, -0.35, 0.13))
        for dx, dy, r in spots[: look.style.highlights]:
            pen.fill(place(ellipse(cx + dx * rx * head.mirror, gy + dy * ry, r * rx, r * ry, 8)), WHITE, 10)


def brows(head: Head) -> None:
    look, pen = head.look, head.pen
    g = look.genes
    tilt, drop = _BROW.get(head.pose.expression, (0.0, 0.0))
    y = look.eye_y - look.eye_height - look.brow_gap + drop
    reach = look.eye_width * 1.12 * look.brow_length
    slope = 0.4 * (tilt + look.brow_tilt)
    for way in (-1.0, 1.0):
        if (way > 0 and head.yaw > 1.12) or (way < 0 and head.yaw > 1.72):
            continue
        x = look.eye_space * 1.02
        arch = 0.07 + 0.05 * g.brow_arch
        points = array(
            (x - reach, y + slope * 0.5), (x + 0.1 * reach, y - arch), (x + reach, y - slope * 0.5 + 0.03)
        )
        points[:, 0] *= way
        pen.line(feature(head, points), look.brow_weight * 1.25, (0.8, 0.15), samples=12)


def nose(head: Head) -> None:
    look, pen = head.look, head.pen
    if head.yaw > 1.2:
        return
    size, y, kind = look.nose_size, look.nose_y, look.style.nose
    lean = 0.4 * size * (1 if head.yaw > 0.12 else -head.look.genes.side * head.mirror * 0.6)

    def at(*points: tuple[float, float]) -> Points:
        moved = feature(head, array(*points))
        # The tip stands out from the face, so it moves further than the features around it.
        moved[:, 0] += 0.16 * head.side * (1 + size)
        return moved

    if kind == "none" and head.yaw < 0.7:
        return
    if kind == "dot":
        pen.line(at((0, y - 0.02), (0.02 + 0.1 * size, y + 0.04)), 1.0, (0.8, 0.5), samples=6)
    elif kind == "tick" or kind == "none":
        pen.line(
            at((lean, y - size * 0.6), (lean * 1.5, y), (lean * 0.1, y + 0.1 * size)),
            0.8,
            (0.1, 0.6),
            samples=8,
        )
    elif kind == "corner":
        pen.line(
            at((lean * 0.5, y - size * 1.3), (lean * 1.7, y - 0.02), (-lean * 0.3, y + 0.05)), 0.9, (0.1, 0.7)
        )
    elif kind == "wedge":
        pen.polygon(
            at((0, y - size), (lean * 1.8, y + 0.02), (-lean * 0.2, y + 0.06)), BLACK if size > 0.2 else 90
        )
    else:
        pen.line(
            at((lean * 0.2, y - size * 2.2), (lean * 0.7, y - size), (lean * 1.6, y), (0, y + 0.07)),
            0.9,
            (0.1, 0.7),
        )
        pen.line(
            at((-size * 0.5, y - 0.03), (-size * 0.62, y + 0.04), (-size * 0.35, y + 0.07)),
            0.8,
            (0.3, 0.3),
            samples=8,
        )


def mouth(head: Head) -> None:
    look, pen, style = head.look, head.pen, head.look.style
    w, y = look.mouth_width, look.mouth_y
    shape = head.pose.expression
    if head.yaw > 1.45:
        return

    edge = outline(look, head.yaw, np.radians(head.pose.pitch))[3:10]

    def at(*points: tuple[float, float]) -> Points:
        moved = feature(head, array(*points))
        # In near profile the far corner of the mouth ends at the outline.
        limit = np.interp(moved[:, 1], edge[:, 1], edge[:, 0]) - 0.03
        moved[:, 0] = np.minimum(moved[:, 0] + 0.05 * head.side, limit)
        return moved

    if shape in ("laugh", "talk", "shout", "surprised"):
        open_ = {"laugh": 0.26, "talk": 0.12, "shout": 0.36, "surprised": 0.16}[shape] * (0.8 + 0.9 * w)
        wide = w * {"laugh": 1.35, "talk": 0.75, "shout": 1.2, "surprised": 0.5}[shape]
        top = -0.02 if shape != "surprised" else -0.09
        hole = at((-wide, y + top), (0, y + top * 1.4 + (0.03 if shape == "laugh" else -0.01)),
                  (wide, y + top),
                  (wide * 0.6, y + open_ * 0.8), (0, y + open_), (-wide * 0.6, y + open_ * 0.8))  # fmt: skip
        pen.fill(hole, BLACK if style.detail < 0.5 else 50, 20)
        if head.size > 24 and shape in ("laugh", "shout"):
            pen.fill(
                at(
                    (-wide * 0.8, y + top),
                    (0, y + top + 0.01),
                    (wide * 0.8, y + top),
                    (0, y + top + open_ * 0.25),
                ),
                WHITE,
                12,
            )
        pen.ring(hole, 0.8, samples=20)
        return
    bow = {"smile": 0.09, "smirk": 0.05, "angry": -0.06, "sad": -0.07, "worried": -0.04}.get(shape, 0.015)
    skew = 0.06 * head.look.genes.side * head.mirror if shape == "smirk" else 0.0
    if style.mouth == "broken" and head.size > 20:
        pen.line(
            at((-w, y - bow * 0.6), (-w * 0.5, y + bow * 0.4), (-w * 0.12, y + bow)),
            0.9,
            (0.5, 0.1),
            samples=8,
        )
        pen.line(
            at((w * 0.2, y + bow), (w * 0.6, y + bow * 0.4), (w, y - bow * 0.6 - skew)),
            0.9,
            (0.1, 0.5),
            samples=8,
        )
    else:
        pen.line(
            at((-w, y - bow * 0.6), (0, y + bow), (w, y - bow * 0.6 - skew)), 1.0, (0.4, 0.3), samples=12
        )
    if head.size > 24:
        lip = max(look.genes.lip * 1.2, style.lip)
        if style.mouth == "lip" or lip > 0.5:
            pen.line(
                at((-w * 0.4, y + 0.12), (0, y + 0.145), (w * 0.4, y + 0.12)),
                0.6 + lip,
                (0.1, 0.1),
                samples=8,
            )
        if lip > 0.75:
            pen.fill(
                at((-w * 0.8, y), (-0.2 * w, y - 0.055), (0.2 * w, y - 0.055), (w * 0.8, y), (0, y + 0.1)),
                70,
                14,
            )


def ear(head: Head, way: float) -> None:
    """The ear on the near (-1) or far (1) side."""
    look = head.look
    turned = way * np.pi / 2 + head.yaw
    if abs(turned) > np.pi * 0.56:
        return
    at = on_skull(head, np.array([way * 1.5]), np.array([0.18]), 0.98)[0]
    size = look.ear_size
    wide = size * (0.55 + 0.5 * np.cos(min(abs(turned), np.pi / 2)))
    shape = ellipse(at[0] + way * 0.3 * wide * np.cos(head.yaw), at[1] + 0.06, wide, size * 1.25, 12)
    head.pen.fill(shape, WHITE)
    head.pen.ring(shape, 0.85, samples=20)
    if head.size > 26:
        inner = ellipse(shape[:, 0].mean(), shape[:, 1].mean(), wide * 0.5, size * 0.75, 12)[3:10]
        head.pen.line(inner, 0.6, (0.2, 0.1))
    if look.genes.earrings:
        head.pen.fill(ellipse(at[0] + way * 0.1, at[1] + 0.06 + size * 1.5, 0.07, 0.12, 8), BLACK, 10)
