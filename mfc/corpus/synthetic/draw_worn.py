"""What lies on the skin (scars, wrinkles, beards) and what is worn (glasses, hats, ribbons)."""

from __future__ import annotations

import numpy as np

from mfc.corpus.synthetic.head import Head, array, feature, on_skull, outline, paint, skull, spline
from mfc.corpus.synthetic.raster import BLACK, ellipse


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
    fill = head.hair
    if head.yaw > 1.72:
        return
    if g.beard in ("moustache", "full"):
        y = (look.nose_y + m) / 2 + 0.04
        shape = array((0, y - 0.04), (w * 0.9, y), (w * 1.5, y + 0.12), (w * 0.6, y + 0.08), (0, y + 0.06),
                      (-w * 0.6, y + 0.08), (-w * 1.5, y + 0.12), (-w * 0.9, y))  # fmt: skip
        paint(head, [spline(head, feature(head, shape), 26)], fill, 0.7)
    edge = outline(look, head.yaw, np.radians(head.pose.pitch))
    if g.beard == "full":
        rim = edge[4:13] * 1.03
        inner = feature(
            head, array((-0.7, m - 0.25), (-0.35, m + 0.08), (0, m + 0.16), (0.35, m + 0.08), (0.7, m - 0.25))
        )
        paint(head, [spline(head, np.concatenate([rim, inner]), 40)], fill, 0.8)
    elif g.beard == "goatee":
        chin = look.length * 1.2
        shape = feature(
            head,
            array(
                (-0.2, m + 0.16), (0.2, m + 0.16), (0.16, chin + 0.05), (0, chin + 0.25), (-0.16, chin + 0.05)
            ),
        )
        paint(head, [spline(head, shape, 20)], fill, 0.8)
    elif g.beard == "stubble" and head.size > 24:
        angle = np.arange(40) * 2.4
        dots = np.stack([0.8 * np.sin(angle), m + 0.06 + 0.36 * np.abs(np.cos(0.7 * angle))], axis=1)
        dots = feature(head, dots[(np.abs(dots[:, 0]) > w) | (dots[:, 1] > m + 0.14)])
        far, near = edge[4:10], edge[9:14][::-1]
        right, left = (np.interp(dots[:, 1], side[:, 1], side[:, 0]) for side in (far, near))
        for dot in dots[(dots[:, 0] < right - 0.08) & (dots[:, 0] > left + 0.1)]:
            pen.line(dot + array((0.0, 0.0), (0.01, 0.05)), 0.4, (0.8, 0.3), samples=4)


def worn(head: Head) -> None:
    """Glasses, hats, ribbons: over the hair."""
    look, pen, g = head.look, head.pen, head.look.genes
    if g.glasses and head.yaw < 1.72:
        _glasses(head)
    cx, cy, rx, ry = skull(head, look.volume + 0.02)
    side = float(g.side * head.mirror)
    ahead = 0.5 * head.side
    if look.hat == "hood":
        angle = np.linspace(-0.32 * np.pi, 1.32 * np.pi, 22)
        outer = np.stack([cx + 1.14 * rx * np.cos(angle), cy + 0.08 - 1.14 * ry * np.sin(angle)], axis=1)
        shift, wide = 0.42 * head.side, 1 - 0.3 * head.side
        inner = np.stack(
            [cx + shift + 0.93 * wide * rx * np.cos(angle), cy + 0.12 - 0.86 * ry * np.sin(angle)], axis=1
        )
        paint(head, [pen.place(np.concatenate([outer, inner[::-1]]))], look.cloth)
    elif look.hat in ("cap", "beanie", "helmet"):
        brim = -0.35 if look.hat == "helmet" else -0.5
        angle = np.linspace(np.pi * 1.02, -np.pi * 0.02, 14)
        dome = np.stack(
            [cx + 1.04 * rx * np.cos(angle), cy + brim + 0.35 - 0.97 * ry * np.sin(angle)], axis=1
        )
        rim = array((cx + rx, cy + brim + 0.5), (cx, cy + brim + 0.42), (cx - rx, cy + brim + 0.5))
        paint(head, [spline(head, np.concatenate([dome, rim]), 40)], look.cloth)
        if look.hat == "cap":
            visor = array((cx - 0.8 + ahead, cy + brim + 0.4), (cx + 0.4 + ahead, cy + brim + 0.3),
                          (cx + 1.1 + 1.2 * ahead, cy + brim + 0.5),
                          (cx + 0.6 + 1.4 * ahead, cy + brim + 0.62),
                          (cx - 0.6 + ahead, cy + brim + 0.62))  # fmt: skip
            paint(head, [spline(head, visor, 26)], "black" if look.cloth != "black" else "white")
        elif look.hat == "beanie":
            pen.line(
                array((cx - rx, cy + brim + 0.42), (cx, cy + brim + 0.3), (cx + rx, cy + brim + 0.42)),
                2.4,
                (0.9, 0.9),
            )
    elif look.hat == "wide":
        disc = ellipse(cx + 0.3 * ahead, cy - 0.5, 1.75, 0.34, 16)
        dome = ellipse(cx, cy - 0.75, 0.85 * rx, 0.55, 16)
        paint(head, [spline(head, dome, 28), spline(head, disc, 32)], look.cloth)
        pen.line(array((cx - 0.8, cy - 0.62), (cx, cy - 0.5), (cx + 0.8, cy - 0.62)), 2.0, (0.8, 0.8))
    elif look.hat == "band":
        y = -0.52
        shape = np.concatenate([
            on_skull(head, np.linspace(-1.5, 1.5, 9) - head.yaw, np.full(9, y - 0.12), 1.08),
            on_skull(head, np.linspace(1.5, -1.5, 9) - head.yaw, np.full(9, y + 0.1), 1.08),
        ])  # fmt: skip
        paint(head, [pen.place(shape)], "white" if head.hair == "black" else "black")
    elif look.hat == "crown":
        along = np.linspace(-0.6, 0.6, 7)
        top = np.where(np.arange(7) % 2, -0.35, -0.05)
        shape = np.concatenate(
            [
                np.stack([cx + along, cy - ry + top], 1),
                array((cx + 0.55, cy - ry + 0.2), (cx - 0.55, cy - ry + 0.2)),
            ]
        )
        paint(head, [pen.place(shape)], "white")
    if look.ribbon:
        spots = [side] if look.ribbon != "two" else [-1.0, 1.0]
        for way in spots:
            x, y = cx + way * rx * 0.72, cy - ry * 0.62
            if way > 0 and head.yaw > 1.2:
                continue
            fill = "black" if head.hair in ("white", "light", "hatched") else "white"
            if look.ribbon == "flower":
                petals = [
                    pen.place(ellipse(x + 0.15 * np.cos(a), y + 0.15 * np.sin(a), 0.13, 0.13, 10))
                    for a in np.linspace(0, 5, 5)
                ]
                paint(head, petals, "white")
                pen.fill(ellipse(x, y, 0.07, 0.07, 6), BLACK, 8)
            elif look.ribbon == "clip":
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
                    spline(
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
