"""A head in any pose from front to back-turned: outline, features, hair, and what is worn on it.

Figure units: half a face width is 1, y runs down, the origin lies between the eyes. A head is drawn turned to
the right; for the other direction the pen mirrors it, and what is one-sided changes its side beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mfc.corpus.synthetic.look import Look
from mfc.corpus.synthetic.raster import BLACK, WHITE, Pen, Points, Screen, curve, ellipse
from mfc.corpus.synthetic.story import Pose

Tones = Mapping[str, Screen]
GREYS = {"white": WHITE, "black": BLACK}


@dataclass(frozen=True)
class Head:
    """A head about to be drawn: all that depends on the pose, none of it on the page."""

    look: Look
    pose: Pose
    pen: Pen
    tones: Tones
    rng: np.random.Generator
    mirror: int
    yaw: float
    """Turn, radians, 0 to 2."""
    size: float
    """Half a face width on the canvas, pixels: little is drawn on a small head."""

    @property
    def side(self) -> float:
        return float(np.sin(min(self.yaw, np.pi / 2)))


def array(*points: tuple[float, float]) -> Points:
    return np.array(points, dtype=float)


def outline(look: Look, yaw: float, pitch: float) -> Points:
    """The head's outline (16, 2) at this turn (radians, 0 to pi / 2)."""
    turn = min(yaw, np.pi / 2) / (np.pi / 4)
    keys = look.outline
    if turn < 1:
        points = keys[0] + (keys[1] - keys[0]) * turn
    else:
        points = keys[1] + (keys[2] - keys[1]) * (turn - 1) ** 1.4
    nod = np.sin(pitch)
    lower = np.clip(points[:, 1:], 0, None)
    return points + np.concatenate([np.zeros_like(lower), nod * 0.14 * lower], axis=1)


def face_box(look: Look, yaw: float, pitch: float) -> tuple[float, float, float, float]:
    """Extent of the face itself (hairline to chin, ear to nose) in figure units."""
    points = outline(look, yaw, pitch)
    face = points[2:13] if yaw < 1.9 else points[2:12]
    left = min(face[:, 0].min(), -0.97 + 0.7 * min(1.0, yaw / (np.pi / 2)))
    return left, -0.72, float(face[:, 0].max()), float(face[:, 1].max())


def feature(head: Head, points: Points) -> Points:
    """Points of the face seen from the front, moved to where the turned and nodding head shows them."""
    turn = min(head.yaw, np.pi / 2) / (np.pi / 2)
    u, v = points[:, 0], points[:, 1]
    centre = 0.86 * head.side * (1 - 0.12 * np.clip(v - 0.5, 0, None) - 0.06 * np.clip(-v, 0, None))
    near = np.interp(turn, [0, 0.5, 1], [1, 0.93, 0.66])
    far = np.interp(turn, [0, 0.5, 0.75, 1], [1, 0.62, 0.3, 0.0])
    x = centre + u * np.where(u < 0, near, far)
    depth = 0.85 - 0.35 * u * u
    y = v + np.sin(np.radians(head.pose.pitch)) * 0.3 * depth
    return np.stack([x, y], axis=1)


# -- skull and hair ------------------------------------------------------------------------------------------


def _skull(head: Head, swell: float) -> tuple[float, float, float, float]:
    """Centre and radii of the hair's ellipse."""
    s = head.side if head.yaw <= np.pi / 2 else 1.0
    return -0.24 * s, -0.15, (1.0 + 0.12 * s) * (1 + swell), 0.97 * (1 + 1.1 * swell)


def on_skull(head: Head, azimuth: Points, height: Points, reach: Points | float = 1.0) -> Points:
    """Places on the skull: azimuth (radians, 0 is the face's middle, negative the near side), height in figure units."""
    cx, cy, rx, ry = _skull(head, 0.04)
    level = np.sqrt(np.clip(1 - ((height - cy) / (ry * 1.35)) ** 2, 0.05, 1))
    turned = np.asarray(azimuth) + head.yaw
    nod = np.sin(np.radians(head.pose.pitch)) * 0.25 * np.cos(turned)
    x = cx + rx * level * np.sin(turned) * reach
    return np.stack([x, cy + (height - cy) * reach + nod], axis=-1)


_HAIRLINE_AT = np.radians([-180, -125, -104, -92, -80, -66, -50, 0, 50, 66, 80, 92, 104, 125, 180])
_HAIRLINE = {
    "full": (0.72, 0.66, 0.42, 0.08, 0.28, -0.12, -0.55, -0.7),
    "shaved": (0.5, 0.4, 0.1, -0.1, 0.05, -0.3, -0.6, -0.72),
    "ring": (0.7, 0.62, 0.4, 0.05, 0.2, -0.05, -0.2, -0.3),
}


def _cap(head: Head, swell: float, kind: str) -> Points:
    """The hair on top of the head, from the hairline to its outer edge, as a polygon."""
    cx, cy, rx, ry = _skull(head, swell)
    low, high = -np.pi / 2 - head.yaw, np.pi / 2 - head.yaw
    azimuth = np.linspace(low, high, 22)
    half = _HAIRLINE[kind]
    heights = np.interp(
        (azimuth + np.pi) % (2 * np.pi) - np.pi, _HAIRLINE_AT, np.concatenate([half, half[-2::-1]])
    )
    line = on_skull(head, azimuth, heights)
    start, end = (np.arcsin(np.clip((cy - line[i, 1]) / ry, -0.98, 0.98)) for i in (-1, 0))
    angle = np.linspace(start, np.pi - end, 24)
    arc = np.stack([cx + rx * np.cos(angle), cy - ry * np.sin(angle)], axis=1)
    return np.concatenate([line, arc])


def _lock(root: Points, tip: Points, width: Points, bend: Points, sharp: float) -> Points:
    """Outlines (n, 9, 2) of tapering locks from ``root`` to ``tip`` (n, 2)."""
    along = tip - root
    length = np.maximum(np.sqrt((along**2).sum(axis=1, keepdims=True)), 1e-6)
    across = along[:, ::-1] * (-1.0, 1.0) / length
    shapes = []
    blunt = 0.55 - 0.4 * sharp
    for t, w in ((0, 0.9), (0.35, 1.0), (0.7, 0.5 + 0.5 * blunt), (0.9, blunt), (1, 0.0)):
        middle = root + along * t + across * (bend[:, None] * np.sin(np.pi * t) * length)
        shapes.append((middle, across * width[:, None] * w))
    left = [m + a for m, a in shapes]
    right = [m - a for m, a in shapes[-2::-1]]
    return np.stack(left + right, axis=1)


def paint(head: Head, shapes: list[Points], fill: str, contour: float = 1.0) -> None:
    """Fill the union of ``shapes`` (canvas points) as hair or cloth, with a contour around the union."""
    canvas = head.pen.canvas
    edge = head.pen.weight * contour
    if fill != "black" and edge > 0:
        for points in shapes:
            closed = np.concatenate([points, points[:1]])
            canvas.draw.line(
                closed.astype(np.float32).ravel().tolist(), fill=BLACK, width=max(1, round(edge)), joint=None
            )
    grey = BLACK if fill == "black" else WHITE
    for points in shapes:
        canvas.fill(points, grey)
    if fill not in GREYS:
        canvas.tone(shapes, head.tones[fill])


def _spline(head: Head, points: Points, samples: int = 18) -> Points:
    return curve(head.pen.place(points), samples, True)


def back_hair(head: Head) -> None:
    """Everything of the hair that hangs behind the head."""
    look, s = head.look, head.side
    g, swell = look.genes, look.volume
    cx, cy, rx, ry = _skull(head, swell)
    shapes: list[Points] = []
    back = look.back
    reach = 1 + 0.3 * g.hair_length
    if back not in ("bald", "ring", "shaved"):
        shapes.append(head.pen.place(ellipse(cx, cy, rx, ry, 28)))
    j = look.jitter
    length = {
        "bob": 0.95,
        "long": 2.6,
        "wavy": 2.2,
        "flip": 0.9,
        "short": 0.7,
        "spiky": 0.6,
        "afro": 0.8,
    }.get(back, 0.75)
    if back in ("long", "wavy", "bob", "flip"):
        bottom = cy + length * (reach if back != "flip" else 1)
        flare = {"bob": 0.06, "long": 0.1, "wavy": 0.3, "flip": 0.32}[back]
        lean = -0.25 * s
        left, right = cx - rx, cx + rx * (1 - 0.35 * s)
        n = 7
        tips = np.linspace(left - flare + lean, right + flare + lean * 0.6, n)
        comb = [
            (x, bottom + 0.1 * j[i] - (0.16 if i % 2 and look.style.lock_sharp > 0.3 else 0.0))
            for i, x in enumerate(tips)
        ]
        wave = 0.1 if back == "wavy" else 0.0
        side_a = [
            (left - wave, cy + 0.3 * length),
            (left + wave - flare * 0.4 + lean * 0.5, cy + 0.65 * length),
        ]
        side_b = [
            (right + flare * 0.4 - wave + lean * 0.3, cy + 0.65 * length),
            (right + wave, cy + 0.3 * length),
        ]
        shapes.append(_spline(head, array((left, cy), *side_a, *comb, *side_b, (right, cy)), 44))
    elif back == "afro":
        angle = np.linspace(0, 2 * np.pi, 26, endpoint=False)
        bumps = 1.28 + 0.3 * swell + 0.06 * np.cos(9 * angle + j[0])
        shapes.append(
            _spline(
                head,
                np.stack([cx + rx * bumps * np.cos(angle), cy - 0.1 + ry * bumps * np.sin(angle)], 1),
                52,
            )
        )
    elif back == "pony":
        way = -1.0 if s > 0.15 else g.side * head.mirror
        shapes.append(
            _tail(head, (cx + way * (0.3 + 0.75 * s), -0.85), (cx + way * (1.35 + 0.3 * s), 1.5 * reach), way)
        )
    elif back == "twin":
        for way in (-1.0, 1.0):
            root = cx + way * rx * (0.98 - 0.5 * s * (way > 0))
            shapes.append(_tail(head, (root, -0.45), (root + way * 0.6 - 0.2 * s, 1.7 * reach), way))
    elif back == "bun":
        size = 0.42 * reach
        shapes.append(head.pen.place(ellipse(cx - 0.75 * s, -1.15 + 0.35 * s, size, size * 0.9, 20)))
    elif back == "braid":
        way = -1.0 if s > 0.15 else g.side * head.mirror
        for k in range(6):
            at = (cx + way * (0.85 - 0.05 * k), 0.55 + 0.32 * k * reach)
            shapes.append(head.pen.place(ellipse(*at, 0.24 - 0.015 * k, 0.22, 14)))
    spikes = look.back_locks
    if len(spikes):
        root = on_skull(head, spikes[:, 0], spikes[:, 1], 0.8)
        tip = on_skull(head, spikes[:, 3], spikes[:, 4], spikes[:, 5])
        locks = _lock(root, tip, np.full(len(root), 0.24), 0.1 * np.sign(tip[:, 0] - cx), 1.0)
        shapes += [_spline(head, lock, 16) for lock in locks]
    if shapes:
        paint(head, shapes, g.fill)


def _tail(head: Head, root: tuple[float, float], tip: tuple[float, float], way: float) -> Points:
    (x0, y0), (x1, y1) = root, tip
    wide = 0.3 + 0.15 * head.look.genes.lock_width * 0.5
    return _spline(
        head,
        array(
            (x0, y0 - 0.12), (x0 + way * 0.5, y0 + 0.05), (x1 + way * 0.1, y0 + 0.45 * (y1 - y0)), (x1, y1),
            (x1 - way * wide, y0 + 0.6 * (y1 - y0)), (x0 + way * 0.2, y0 + 0.4), (x0 - way * 0.1, y0 + 0.15),
        ),
        30,
    )  # fmt: skip


def front_hair(head: Head) -> None:
    """The cap of hair, fringe and side locks, with their inner lines and shine."""
    look = head.look
    g, style = look.genes, look.style
    if look.back == "bald":
        return
    kind = look.back if look.back in ("ring", "shaved") else "full"
    swell = look.volume * (0.25 if kind != "full" else 1.0)
    shapes = [head.pen.place(_cap(head, swell, kind))]
    rows = look.fringe_locks
    strands: list[tuple[Points, Points]] = []
    if len(rows) and kind != "ring":
        azimuths = rows[:, :2] * (1.0, 1.0)
        if head.mirror < 0:
            azimuths = -azimuths
        visible = np.abs(azimuths[:, 0] + head.yaw) < 1.75
        if visible.any():
            azimuths, part = azimuths[visible], rows[visible]
            turned = np.clip(azimuths + head.yaw, -1.6, 1.52) - head.yaw
            root = on_skull(head, turned[:, 0], part[:, 2])
            tip = on_skull(head, turned[:, 1], part[:, 3], 1.06)
            narrow = part[:, 4] * (0.45 + 0.55 * np.cos(turned.mean(axis=1) + head.yaw).clip(0, 1))
            locks = _lock(root, tip, narrow, 0.12 * np.sign(tip[:, 0] - root[:, 0]), style.lock_sharp)
            placed = locks @ head.pen.matrix + head.pen.shift
            shapes += [curve(lock, 18, True) for lock in placed]
            strands = list(zip(root, tip, strict=True))
    if g.side_locks > 0.3 and kind == "full":
        for way in (-1.0, 1.0):
            azimuth = way * 1.2
            if abs(azimuth + head.yaw) > 1.7:
                continue
            at = np.array([azimuth])
            root = on_skull(head, at, np.array([-0.45]), 1.0)
            tip = root + (0.06 * way, 0.6 + 0.75 * g.side_locks)
            lock = _lock(root, tip, np.array([0.17]), np.array([-0.06 * way]), style.lock_sharp)
            shapes.append(_spline(head, lock[0], 18))
            strands.append((root[0], tip[0]))
    if kind == "full" and look.back in _TUFTED:
        shapes += _tufts(head)
    for k in range(g.antenna):
        cx, cy, _, ry = _skull(head, look.volume)
        x = cx + 0.12 * (k - 1)
        tip = np.array([[x + (0.5 - 0.4 * k) * g.side * head.mirror, cy - ry - 0.45]])
        lock = _lock(np.array([[x, cy - ry + 0.1]]), tip, np.array([0.07]), np.array([0.25]), 1.0)
        shapes.append(_spline(head, lock[0], 14))
    paint(head, shapes, g.fill)
    if head.size > 26:
        _hair_lines(head, strands)


_TUFTED = ("short", "spiky", "bob", "flip", "afro", "pony", "bun")


def _tufts(head: Head) -> list[Points]:
    """Locks that break the edge of the hair beside the ears and at the nape."""
    look = head.look
    j = look.jitter[20:36]
    side = np.radians([64, 73, 112, 126, 140, 154, 168, 180])
    azimuth = np.concatenate([-side, side[:-1]]) + 0.05 * j[:15]
    level = np.concatenate([(-0.1, 0.12, 0.3, 0.5, 0.6, 0.64, 0.66, 0.66)] * 2)[:15]
    turned = (azimuth + head.yaw + np.pi) % (2 * np.pi) - np.pi
    seen = np.abs(turned) < 1.5
    if not seen.any():
        return []
    azimuth, level, j = azimuth[seen], level[seen], j[:15][seen]
    root = on_skull(head, azimuth, level - 0.28)
    drop = 0.16 + 0.1 * np.abs(j) + 0.12 * look.style.lock_sharp
    tip = on_skull(head, azimuth, level + drop, 1.0) + np.stack([0.1 * j, np.zeros_like(j)], axis=1)
    width = np.full(len(j), 0.13 * look.style.lock_width)
    placed = (
        _lock(root, tip, width, 0.1 * np.sign(j), look.style.lock_sharp) @ head.pen.matrix + head.pen.shift
    )
    return [curve(lock, 16, True) for lock in placed]


def _hair_lines(head: Head, strands: list[tuple[Points, Points]]) -> None:
    """Lines along the strands, and the shine of dark hair."""
    look, pen = head.look, head.pen
    g, style = look.genes, look.style
    dark = g.fill in ("black", "dark")
    cx, cy, rx, ry = _skull(head, look.volume)
    if style.shine and g.fill in ("black", "dark", "mid"):
        angle = np.linspace(-0.9, 0.9, 9) + 0.25 * head.side
        zig = (np.arange(9) % 2) * (0.1 if style.shine == 3 else 0.02)
        ring = np.stack(
            [cx + 0.82 * rx * np.sin(angle), cy - (0.72 - zig) * ry * np.cos(angle * 0.9)], axis=1
        )
        if style.shine == 2:
            for k in range(1, 8, 2):
                pen.line(np.stack([ring[k] - (0, 0.12), ring[k] + (0.02, 0.16)]), 1.6, (0.1, 0.1), WHITE, 6)
        else:
            pen.line(ring, 2.4, (0.1, 0.1), WHITE, 22)
    grey = 215 if g.fill == "black" else WHITE if dark else BLACK
    for k, (root, tip) in enumerate(strands[: 3 + 2 * style.hair_lines]):
        bend = (tip - root)[::-1] * (-0.08, 0.08)
        pen.line(
            np.stack([root * 0.75 + tip * 0.25 + 0.4 * bend, (root + tip) / 2 + bend, tip]),
            0.6,
            (0.05, 0.3),
            grey,
            8,
        )
    for k in range(style.hair_lines):
        a = -0.9 + 1.8 * (k + 0.5 + 0.3 * look.jitter[k]) / style.hair_lines
        start = np.array([cx + 0.95 * rx * np.sin(a), cy - 0.93 * ry * np.cos(a)])
        pen.line(
            np.stack([start, start * 0.88 + (0, 0.0), start * 0.74 + (0.02, 0.06)]),
            0.55,
            (0.9, 0.05),
            grey,
            8,
        )


# -- features ------------------------------------------------------------------------------------------------

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
        return feature(
            head,
            np.stack([way * (look.eye_space + a * cos + b * sin * 0.3), look.eye_y - a * sin + b * cos], 1),
        )

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
    if style.lid == "flicked" or g.female and style.lashes:
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


def _iris(head: Head, place, disc: Points, cx: float, gy: float, rx: float, ry: float) -> None:  # type: ignore[no-untyped-def]
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
        hole = at((-wide, y + top), (0, y + top * 1.4 + (0.03 if shape == "laugh" else -0.01)), (wide, y + top),
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


# -- worn and grown ------------------------------------------------------------------------------------------


def marks(head: Head) -> None:
    """Scars, moles, freckles, wrinkles, beards, blush: what lies on the skin."""
    look, pen, g = head.look, head.pen, head.look.genes
    side = float(g.side * head.mirror)
    m = look.mouth_y
    if g.beard:
        _beard(head)
    if head.size < 18 or head.yaw > 1.72:
        return

    def shown(x: float) -> bool:
        return head.yaw < 0.9 or x < 0

    if g.wrinkles > 0.2:
        for way in (-1.0, 1.0):
            if shown(way):
                line = array(
                    (way * 0.26, look.nose_y), (way * 0.4, look.nose_y + 0.14), (way * 0.42, m + 0.04)
                )
                pen.line(feature(head, line), 0.7 * g.wrinkles + 0.2, (0.2, 0.1), samples=8)
        if g.wrinkles > 0.6 and head.size > 30:
            for k in range(2):
                pen.line(
                    feature(head, array((-0.4, -0.5 + 0.1 * k), (0, -0.52 + 0.1 * k), (0.4, -0.5 + 0.1 * k))),
                    0.45,
                    (0.1, 0.1),
                )
    if g.scar == "cheek" and shown(side):
        pen.line(feature(head, array((side * 0.35, 0.38), (side * 0.75, 0.62))), 1.3, (0.1, 0.1), samples=6)
    elif g.scar == "eye" and shown(side):
        x = side * look.eye_space
        pen.line(
            feature(
                head, array((x - 0.05, look.eye_y - 0.5), (x, look.eye_y), (x + 0.06, look.eye_y + 0.55))
            ),
            1.3,
            (0.1, 0.1),
        )
    elif g.scar == "cross" and shown(side):
        for dx in (-0.14, 0.14):
            pen.line(
                feature(head, array((side * 0.6 - dx, 0.42), (side * 0.6 + dx, 0.66))),
                1.1,
                (0.1, 0.1),
                samples=6,
            )
    elif g.scar == "nose" and head.yaw < 1.2:
        pen.line(
            feature(
                head, array((-0.4, look.nose_y - 0.2), (0, look.nose_y - 0.25), (0.4, look.nose_y - 0.2))
            ),
            1.1,
            (0.1, 0.1),
        )
    if g.mole:
        x, y = ((0.3, m - 0.02), (0.55, look.eye_y + 0.36), (-0.25, m + 0.16))[g.mole - 1]
        if shown(side * x):
            pen.fill(feature(head, ellipse(side * x, y, 0.04, 0.04, 6)), BLACK, 8)
    if g.freckles and head.size > 24:
        for k in range(8):
            x = (-1 if k % 2 else 1) * (0.3 + 0.09 * (k // 2))
            if shown(x):
                pen.fill(feature(head, ellipse(x, 0.46 + 0.05 * look.jitter[k], 0.018, 0.018, 5)), BLACK, 6)
    if (
        look.style.blush > 0.35
        and head.size > 24
        and head.pose.expression in ("smile", "laugh", "worried", "closed")
    ):
        for way in (-1.0, 1.0):
            if shown(way):
                for k in range(3):
                    x = way * (0.5 + 0.09 * k)
                    pen.line(feature(head, array((x, 0.44), (x - 0.05, 0.56))), 0.45, (0.3, 0.1), samples=4)


def _beard(head: Head) -> None:
    look, pen, g = head.look, head.pen, head.look.genes
    m, w = look.mouth_y, look.mouth_width
    fill = g.fill
    if head.yaw > 1.72:
        return
    if g.beard in ("moustache", "full"):
        y = (look.nose_y + m) / 2 + 0.04
        shape = array((0, y - 0.04), (w * 0.9, y), (w * 1.5, y + 0.12), (w * 0.6, y + 0.08), (0, y + 0.06),
                      (-w * 0.6, y + 0.08), (-w * 1.5, y + 0.12), (-w * 0.9, y))  # fmt: skip
        paint(head, [_spline(head, feature(head, shape), 26)], fill, 0.7)
    edge = outline(look, head.yaw, np.radians(head.pose.pitch))
    if g.beard == "full":
        rim = edge[4:13] * 1.03
        inner = feature(
            head, array((-0.7, m - 0.25), (-0.35, m + 0.08), (0, m + 0.16), (0.35, m + 0.08), (0.7, m - 0.25))
        )
        paint(head, [_spline(head, np.concatenate([rim, inner]), 40)], fill, 0.8)
    elif g.beard == "goatee":
        chin = look.length * 1.2
        shape = feature(
            head,
            array(
                (-0.2, m + 0.16), (0.2, m + 0.16), (0.16, chin + 0.05), (0, chin + 0.25), (-0.16, chin + 0.05)
            ),
        )
        paint(head, [_spline(head, shape, 20)], fill, 0.8)
    elif g.beard == "stubble" and head.size > 24:
        for k in range(26):
            x, y = 0.75 * np.sin(2.4 * k), m + 0.05 + 0.3 * abs(np.cos(1.7 * k))
            if abs(x) < w and abs(y - m) < 0.1 or (x > 0 and head.yaw > 0.9):
                continue
            pen.line(feature(head, array((x, y), (x + 0.01, y + 0.05))), 0.4, (0.8, 0.3), samples=4)


def worn(head: Head) -> None:
    """Glasses, hats, ribbons: over the hair."""
    look, pen, g = head.look, head.pen, head.look.genes
    if g.glasses and head.yaw < 1.72:
        _glasses(head)
    cx, cy, rx, ry = _skull(head, look.volume + 0.02)
    side = float(g.side * head.mirror)
    ahead = 0.5 * head.side
    if g.hat == "hood":
        angle = np.linspace(-0.32 * np.pi, 1.32 * np.pi, 22)
        outer = np.stack([cx + 1.14 * rx * np.cos(angle), cy + 0.08 - 1.14 * ry * np.sin(angle)], axis=1)
        shift, wide = 0.42 * head.side, 1 - 0.3 * head.side
        inner = np.stack(
            [cx + shift + 0.93 * wide * rx * np.cos(angle), cy + 0.12 - 0.86 * ry * np.sin(angle)], axis=1
        )
        paint(head, [pen.place(np.concatenate([outer, inner[::-1]]))], g.cloth)
    elif g.hat in ("cap", "beanie", "helmet"):
        brim = -0.35 if g.hat == "helmet" else -0.5
        angle = np.linspace(np.pi * 1.02, -np.pi * 0.02, 14)
        dome = np.stack(
            [cx + 1.04 * rx * np.cos(angle), cy + brim + 0.35 - 0.97 * ry * np.sin(angle)], axis=1
        )
        rim = array((cx + rx, cy + brim + 0.5), (cx, cy + brim + 0.42), (cx - rx, cy + brim + 0.5))
        paint(head, [_spline(head, np.concatenate([dome, rim]), 40)], g.cloth)
        if g.hat == "cap":
            visor = array((cx - 0.8 + ahead, cy + brim + 0.4), (cx + 0.4 + ahead, cy + brim + 0.3), (cx + 1.1 + 1.2 * ahead, cy + brim + 0.5),
                          (cx + 0.6 + 1.4 * ahead, cy + brim + 0.62), (cx - 0.6 + ahead, cy + brim + 0.62))  # fmt: skip
            paint(head, [_spline(head, visor, 26)], "black" if g.cloth != "black" else "white")
        elif g.hat == "beanie":
            pen.line(
                array((cx - rx, cy + brim + 0.42), (cx, cy + brim + 0.3), (cx + rx, cy + brim + 0.42)),
                2.4,
                (0.9, 0.9),
            )
    elif g.hat == "wide":
        disc = ellipse(cx + 0.3 * ahead, cy - 0.5, 1.75, 0.34, 16)
        dome = ellipse(cx, cy - 0.75, 0.85 * rx, 0.55, 16)
        paint(head, [_spline(head, dome, 28), _spline(head, disc, 32)], g.cloth)
        pen.line(array((cx - 0.8, cy - 0.62), (cx, cy - 0.5), (cx + 0.8, cy - 0.62)), 2.0, (0.8, 0.8))
    elif g.hat == "band":
        y = -0.52
        shape = np.concatenate([
            on_skull(head, np.linspace(-1.5, 1.5, 9) - head.yaw, np.full(9, y - 0.12), 1.08),
            on_skull(head, np.linspace(1.5, -1.5, 9) - head.yaw, np.full(9, y + 0.1), 1.08),
        ])  # fmt: skip
        paint(head, [pen.place(shape)], "white" if g.fill == "black" else "black")
    elif g.hat == "crown":
        x = np.linspace(-0.6, 0.6, 7)
        top = np.where(np.arange(7) % 2, -0.35, -0.05)
        shape = np.concatenate(
            [
                np.stack([cx + x, cy - ry + top], 1),
                array((cx + 0.55, cy - ry + 0.2), (cx - 0.55, cy - ry + 0.2)),
            ]
        )
        paint(head, [pen.place(shape)], "white")
    if g.ribbon:
        spots = [side] if g.ribbon != "two" else [-1.0, 1.0]
        for way in spots:
            x, y = cx + way * rx * 0.72, cy - ry * 0.62
            if way > 0 and head.yaw > 1.2:
                continue
            fill = "black" if g.fill in ("white", "light", "hatched") else "white"
            if g.ribbon == "flower":
                petals = [
                    pen.place(ellipse(x + 0.15 * np.cos(a), y + 0.15 * np.sin(a), 0.13, 0.13, 10))
                    for a in np.linspace(0, 5, 5)
                ]
                paint(head, petals, "white")
                pen.fill(ellipse(x, y, 0.07, 0.07, 6), BLACK, 8)
            elif g.ribbon == "clip":
                paint(
                    head,
                    [
                        pen.place(
                            array(
                                (x - 0.2, y - 0.05),
                                (x + 0.2, y - 0.12),
                                (x + 0.22, y + 0.02),
                                (x - 0.18, y + 0.08),
                            )
                        )
                    ],
                    fill,
                )
            else:
                wings = [
                    _spline(
                        head,
                        array(
                            (x, y), (x + d * 0.4, y - 0.3), (x + d * 0.48, y + 0.05), (x + d * 0.36, y + 0.22)
                        ),
                        16,
                    )
                    for d in (-1.0, 1.0)
                ]
                paint(head, wings, fill)
                paint(head, [pen.place(ellipse(x, y, 0.09, 0.09, 8))], fill)


def _glasses(head: Head) -> None:
    look, pen, g = head.look, head.pen, head.look.genes
    y, space = look.eye_y + 0.03, look.eye_space
    w, h = look.eye_width * 1.35, max(look.eye_height * 1.25, 0.2)
    if g.glasses == "patch":
        way = float(g.side * head.mirror)
        if way < 0 or head.yaw < 0.9:
            pen.fill(feature(head, ellipse(way * space, y, w * 0.95, h, 10)), BLACK, 20)
        pen.line(
            feature(head, array((-0.95, y + 0.25 * way), (0, y - 0.35 * 0.5), (0.95, y - 0.25 * way))),
            0.9,
            (0.8, 0.8),
        )
        return
    rim = 1.3 if g.glasses == "square" else 0.9
    for way in (-1.0, 1.0):
        if way > 0 and head.yaw > 1.0:
            continue
        if g.glasses in ("square", "dark"):
            lens = array(
                (way * (space - w), y - h * 0.8),
                (way * (space + w), y - h * 0.85),
                (way * (space + w * 0.92), y + h * 0.75),
                (way * (space - w * 0.8), y + h * 0.8),
            )
        elif g.glasses == "half":
            lens = ellipse(way * space, y + 0.1, w, h * 0.7, 12)[0:7]
        else:
            lens = ellipse(way * space, y, w, h * 1.05, 12)
        lens = feature(head, lens)
        if g.glasses == "dark":
            pen.fill(lens, BLACK, 24)
        elif g.glasses == "half":
            pen.line(lens, rim, (0.9, 0.9))
        else:
            pen.ring(lens, rim)
            if head.size > 26:
                pen.line(
                    lens[[0]] * 0.4
                    + array(
                        (lens[:, 0].mean() * 0.6, lens[:, 1].mean() * 0.6),
                        (lens[:, 0].mean() * 0.6 + 0.06, lens[:, 1].mean() * 0.6 + 0.1),
                    ),
                    0.4,
                    (0.2, 0.2),
                )
    if head.yaw < 1.0:
        pen.line(
            feature(head, array((-space + w, y - 0.05), (0, y - 0.1), (space - w, y - 0.05))),
            rim,
            (0.9, 0.9),
            samples=8,
        )
    arm = np.stack(
        [
            feature(head, array((-space - w, y - 0.06)))[0],
            on_skull(head, np.array([-1.5]), np.array([0.02]))[0],
        ]
    )
    pen.line(arm, 0.8, (0.9, 0.6), samples=5)


# -- the whole head ------------------------------------------------------------------------------------------


def draw_skin(head: Head, shadow: int) -> None:
    """Face, ears and features; hair over it is drawn by `front_hair`."""
    look, pen = head.look, head.pen
    points = outline(look, head.yaw, np.radians(head.pose.pitch))
    pen.fill(points, WHITE, 48)
    covered = look.back in ("bob", "long", "wavy") or look.genes.side_locks > 0.75
    if not covered:
        ear(head, 1.0)
    if shadow or look.style.shade != "none" and head.rng.random() < look.style.shade_rate:
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
