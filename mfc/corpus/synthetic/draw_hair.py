"""Hair: what hangs behind the head, the cap on top of it, fringe, side locks, tufts, lines and shine."""

from __future__ import annotations

import numpy as np

from mfc.corpus.synthetic.head import Head, array, on_skull, paint, skull, spline
from mfc.corpus.synthetic.raster import BLACK, WHITE, Points, curve, ellipse

_HAIRLINE_AT = np.radians([-180, -125, -104, -92, -80, -66, -50, 0, 50, 66, 80, 92, 104, 125, 180])


_HAIRLINE = {
    "full": (0.72, 0.66, 0.42, 0.08, 0.28, -0.12, -0.55, -0.7),
    "shaved": (0.5, 0.4, 0.1, -0.1, 0.05, -0.3, -0.6, -0.72),
    "ring": (0.7, 0.62, 0.4, 0.05, 0.2, -0.05, -0.2, -0.3),
}


def _cap(head: Head, swell: float, kind: str) -> Points:
    """The hair on top of the head, from the hairline to its outer edge, as a polygon."""
    cx, cy, rx, ry = skull(head, swell)
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


def back_hair(head: Head) -> None:
    """Everything of the hair that hangs behind the head."""
    look, s = head.look, head.side
    g, swell = look.genes, look.volume
    cx, cy, rx, ry = skull(head, swell)
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
        ends = np.linspace(left - flare + lean, right + flare + lean * 0.6, n)
        comb = [
            (x, bottom + 0.1 * j[i] - (0.16 if i % 2 and look.style.lock_sharp > 0.3 else 0.0))
            for i, x in enumerate(ends)
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
        shapes.append(spline(head, array((left, cy), *side_a, *comb, *side_b, (right, cy)), 44))
    elif back == "afro":
        angle = np.linspace(0, 2 * np.pi, 26, endpoint=False)
        bumps = 1.28 + 0.3 * swell + 0.06 * np.cos(9 * angle + j[0])
        shapes.append(
            spline(
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
        roots = on_skull(head, np.array([-1.75, 1.75]), np.array([-0.45, -0.45]))
        for way, (x, y) in zip((-1.0, 1.0), roots, strict=True):
            swing = 0.6 * way * abs(np.cos(head.yaw)) - 0.45 * s
            shapes.append(_tail(head, (x, y), (x + swing, 1.7 * reach), way if s < 0.7 else -1.0))
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
        spots = on_skull(head, spikes[:, 0], spikes[:, 1], 0.8)
        tips = on_skull(head, spikes[:, 3], spikes[:, 4], spikes[:, 5])
        locks = _lock(spots, tips, np.full(len(spots), 0.24), 0.1 * np.sign(tips[:, 0] - cx), 1.0)
        shapes += [spline(head, lock, 16) for lock in locks]
    if shapes:
        paint(head, shapes, head.hair)


def _tail(head: Head, root: tuple[float, float], tip: tuple[float, float], way: float) -> Points:
    (x0, y0), (x1, y1) = root, tip
    wide = 0.3 + 0.15 * head.look.genes.lock_width * 0.5
    return spline(
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
            tip = root + array((0.06 * way, 0.6 + 0.75 * g.side_locks))
            lock = _lock(root, tip, np.array([0.17]), np.array([-0.06 * way]), style.lock_sharp)
            shapes.append(spline(head, lock[0], 18))
            strands.append((root[0], tip[0]))
    if kind == "full" and look.back in _TUFTED:
        shapes += _tufts(head)
    for k in range(g.antenna):
        cx, cy, _, ry = skull(head, look.volume)
        x = cx + 0.12 * (k - 1)
        tip = np.array([[x + (0.5 - 0.4 * k) * g.side * head.mirror, cy - ry - 0.45]])
        lock = _lock(np.array([[x, cy - ry + 0.1]]), tip, np.array([0.07]), np.array([0.25]), 1.0)
        shapes.append(spline(head, lock[0], 14))
    paint(head, shapes, head.hair)
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
    style = look.style
    dark = head.hair in ("black", "dark")
    cx, cy, rx, ry = skull(head, look.volume)
    if style.shine and head.hair in ("black", "dark", "mid"):
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
    grey = 215 if head.hair == "black" else WHITE if dark else BLACK
    for root, tip in strands[: 3 + 2 * style.hair_lines]:
        bend = (tip - root)[::-1] * (-0.08, 0.08)
        pen.line(
            np.array([root * 0.75 + tip * 0.25 + 0.4 * bend, (root + tip) / 2 + bend, tip]),
            0.6,
            (0.05, 0.3),
            grey,
            8,
        )
    for k in range(style.hair_lines):
        a = -0.9 + 1.8 * (k + 0.5 + 0.3 * look.jitter[k]) / style.hair_lines
        start = np.array([cx + 0.95 * rx * np.sin(a), cy - 0.93 * ry * np.cos(a)])
        pen.line(
            np.array([start, start * 0.88, start * 0.74 + (0.02, 0.06)]),
            0.55,
            (0.9, 0.05),
            grey,
            8,
        )
