"""Neck, shoulders, clothes, arms, and hands that come in the way."""

from __future__ import annotations

import numpy as np

from mfc.corpus.synthetic.head import GREYS, Head, array, paint
from mfc.corpus.synthetic.raster import BLACK, WHITE, Points


def _cloth(head: Head, points: Points, fill: str, samples: int = 40, closed_spline: bool = True) -> None:
    pen = head.pen
    shape = pen.curve(points, samples) if closed_spline else pen.place(points)
    pen.canvas.fill(shape, GREYS.get(fill, WHITE))
    if fill not in GREYS:
        pen.canvas.tone([shape], head.tones[fill])
    pen.ring(points, 1.0, samples=samples) if closed_spline else None


def draw_body(head: Head) -> None:
    """The whole body below the head; the frame cuts off what it does not show."""
    look, pen, s = head.look, head.pen, head.side
    g, style = look.genes, look.style
    back = head.yaw > 1.9
    chin = 1.2 * look.length
    root = -0.26 * s + (0.0 if not back else 0.26 * s)
    turn = 0.55 * s
    neck = style.neck * (1 + 0.2 * g.shoulders) * (0.8 if g.age < 0.2 else 1)
    wide = style.shoulders * (1 + 0.14 * g.shoulders) * (0.72 if g.age < 0.2 else 1) * (1 - 0.22 * turn)
    if head.pose.chibi:
        wide, neck = 0.85, 0.25
    top = chin + (0.28 if not head.pose.chibi else 0.05)
    tall = 2.35 * (style.heads * (0.75 if g.age < 0.2 else 1) if not head.pose.chibi else 2.4)
    drop = 0.38 if not g.female else 0.45
    hip = chin + 0.42 * (tall - chin)
    waist = wide * (0.62 if g.female else 0.72)
    fill = look.cloth
    # Legs, hands and shoes only where the canvas shows them.
    if pen.place(array((0.0, hip - 0.6)))[0, 1] < pen.canvas.size[1]:
        _legs(head, root, waist, hip, tall)
    sway = 0.12 * look.jitter[10]
    arm = 0.42 * wide
    elbow = top + 0.55 * (hip - top)
    limbs = []
    for way in (-1.0, 1.0):
        x = root + way * wide * 0.8
        wrist = x + way * arm * 0.25
        fist = array((wrist, hip)) + array(
            (-0.2, -0.1), (0.0, -0.2), (0.2, -0.1), (0.16, 0.28), (-0.16, 0.28)
        )
        paint(head, [pen.curve(fist, 14)], "white", 0.9)
        limbs.append(array((x - way * arm * 0.4, top + 0.5), (x + way * arm * 0.3, top + drop),
                           (x + way * (arm * 0.75 + sway), elbow),
                           (x + way * arm * 0.6, hip), (x - way * arm * 0.1, hip),
                           (x + way * arm * 0.05, elbow)))  # fmt: skip
    pen.polygon(
        array(
            (root - neck + 0.1 * s, 0.6 * chin),
            (root + neck + 0.1 * s, 0.6 * chin),
            (root + neck * 1.15, top + 0.25),
            (root - neck * 1.15, top + 0.25),
        ),
        WHITE,
    )
    for way in (-1.0, 1.0):
        pen.line(
            array(
                (root + way * neck + 0.1 * s, 0.7 * chin),
                (root + way * neck, top - 0.05),
                (root + way * neck * 1.25, top + 0.2),
            ),
            0.9,
            (0.3, 0.3),
            samples=8,
        )
    if not back and head.size > 18:
        pen.canvas.tone(
            [
                pen.place(
                    array(
                        (root - neck + 0.1 * s, 0.6 * chin),
                        (root + neck + 0.1 * s, 0.6 * chin),
                        (root + neck * 0.8, chin + 0.12),
                        (root - neck * 0.9, chin + 0.2),
                    )
                )
            ],
            head.tones["skin"],
        )
    torso = array((root - neck * 1.2, top + 0.02), (root, top + 0.16), (root + neck * 1.2, top + 0.02),
                  (root + wide * 0.62, top + 0.17), (root + wide * 0.93, top + drop),
                  (root + wide * 0.9, top + 0.85),
                  (root + waist, (top + hip) / 2), (root + waist, hip), (root - waist, hip),
                  (root - waist, (top + hip) / 2),
                  (root - wide * 0.9, top + 0.85), (root - wide * 0.93, top + drop),
                  (root - wide * 0.62, top + 0.17))  # fmt: skip
    paint(head, [*(pen.curve(limb, 30) for limb in limbs), pen.curve(torso, 48)], fill, 1.0)
    if not back:
        _collar(head, root + 0.15 * turn, top, neck, wide, hip, fill)
    for k in range(2):
        way = 1.0 if k else -1.0
        crease = array(
            (root + way * wide * 0.62, top + 0.75),
            (root + way * wide * 0.55, top + 1.3),
            (root + way * wide * 0.66, top + 1.8),
        )
        pen.line(crease, 0.7, (0.2, 0.05), grey=BLACK if fill != "black" else 170, samples=10)


def _legs(head: Head, root: float, waist: float, hip: float, tall: float) -> None:
    """Trousers, or bare legs under a skirt, and shoes."""
    look = head.look
    skirt = look.genes.female and look.collar in ("sailor", "blouse", "kimono", "vneck")
    legs = "white" if skirt else "black" if look.cloth != "black" else "dark"
    knee = (hip + tall) / 2
    shapes = []
    for way in (-1.0, 1.0):
        x = root + way * waist * 0.45
        shapes.append(array((x - way * waist * 0.4, hip - 0.3), (x + way * waist * 0.55, hip - 0.3),
                            (x + way * waist * 0.4, knee), (x + way * waist * 0.3, tall),
                            (x - way * waist * 0.15, tall),
                            (x - way * waist * 0.12, knee)))  # fmt: skip
        shoe = array((x, tall)) + array((-0.3, -0.1), (0.0, -0.22), (0.3, -0.1), (0.3, 0.12), (-0.3, 0.12))
        head.pen.fill(shoe, BLACK)
    paint(head, [head.pen.curve(leg, 24) for leg in shapes], legs, 1.0)
    if skirt:
        hem = hip + 0.55 * (knee - hip) * (1.7 if look.collar == "kimono" else 1.0)
        pleats = np.linspace(-1.35, 1.35, 7) * waist
        zigzag = [(root + x, hem + (0.1 if k % 2 else 0.0)) for k, x in enumerate(pleats)]
        cloth = array((root - waist, hip - 0.25), *zigzag, (root + waist, hip - 0.25))
        paint(head, [head.pen.place(cloth)], "dark" if look.cloth in ("white", "black") else look.cloth, 1.0)
        for x in pleats[1:-1]:
            head.pen.line(array((root + 0.75 * x, hip), (root + x, hem)), 0.6, (0.2, 0.8), samples=5)


def _collar(head: Head, x: float, top: float, neck: float, wide: float, level: float, fill: str) -> None:
    pen, kind = head.pen, head.look.collar
    light = WHITE if fill == "black" else BLACK
    deep = top + 0.95
    if kind in ("suit", "vneck", "kimono", "blouse"):
        pen.polygon(array((x - neck * 1.15, top), (x + neck * 1.15, top), (x, deep)), WHITE)
        for way in (-1.0, 1.0):
            if kind in ("suit", "blouse"):
                flap = array(
                    (x + way * neck * 1.15, top - 0.05),
                    (x + way * (neck + 0.42), top + 0.3),
                    (x + way * 0.42, top + 0.62),
                    (x, deep),
                )
                _cloth(head, flap, fill if kind == "suit" else "white", 8, False)
                pen.line(flap, 0.9, (0.6, 0.6), grey=light, samples=14)
            else:
                pen.line(
                    array(
                        (x + way * neck * 1.25, top - 0.05),
                        (x + way * 0.3, top + 0.45),
                        (x - way * (0.15 if kind == "kimono" else 0), deep),
                    ),
                    1.6 if kind == "kimono" else 1.0,
                    (0.7, 0.7),
                    grey=light,
                )
        if kind == "suit":
            pen.polygon(
                array(
                    (x - 0.09, top + 0.15),
                    (x + 0.09, top + 0.15),
                    (x + 0.13, deep),
                    (x, deep + 0.12),
                    (x - 0.13, deep),
                ),
                30,
            )
    elif kind == "sailor":
        for way in (-1.0, 1.0):
            flap = array(
                (x + way * neck, top - 0.03),
                (x + way * (wide * 0.75), top + 0.3),
                (x + way * 0.55, top + 0.85),
                (x, deep),
            )
            _cloth(head, flap, "white" if fill == "black" else "dark", 8, False)
            pen.line(flap, 0.9, (0.8, 0.8), samples=14)
        pen.polygon(
            array(
                (x - 0.1, deep - 0.1),
                (x + 0.1, deep - 0.1),
                (x + 0.3, deep + 0.5),
                (x, deep + 0.2),
                (x - 0.3, deep + 0.5),
            ),
            20,
        )
    elif kind == "gakuran":
        pen.polygon(
            array(
                (x - neck * 1.2, top - 0.25),
                (x + neck * 1.2, top - 0.25),
                (x + neck * 1.25, top + 0.1),
                (x - neck * 1.25, top + 0.1),
            ),
            25,
        )
        pen.line(array((x, top - 0.1), (x, level)), 0.8, (0.9, 0.9), grey=light, samples=6)
        for k in range(3):
            pen.fill(
                np.array([[x + 0.09, top + 0.35 + 0.5 * k]])
                + array((0.06, 0), (0, 0.06), (-0.06, 0), (0, -0.06)),
                WHITE if fill != "white" else BLACK,
                8,
            )
    elif kind == "hood":
        for way in (-1.0, 1.0):
            pen.line(
                array(
                    (x + way * neck, top - 0.2),
                    (x + way * (neck + 0.5), top + 0.12),
                    (x + way * 0.3, top + 0.55),
                ),
                2.2,
                (0.4, 0.3),
                grey=light if fill == "black" else BLACK,
            )
            pen.line(
                array((x + way * 0.22, top + 0.45), (x + way * 0.2, top + 1.1)),
                1.0,
                (0.9, 0.9),
                grey=light,
                samples=5,
            )
    elif kind == "turtle":
        shape = array(
            (x - neck * 1.1, top - 0.3),
            (x + neck * 1.1, top - 0.3),
            (x + neck * 1.25, top + 0.12),
            (x - neck * 1.25, top + 0.12),
        )
        _cloth(head, shape, fill, 16)
    elif kind == "armour":
        for way in (-1.0, 1.0):
            plate = array(
                (x + way * wide * 0.5, top + 0.1),
                (x + way * wide * 1.1, top + 0.15),
                (x + way * wide * 1.2, top + 0.8),
                (x + way * wide * 0.6, top + 0.7),
            )
            _cloth(head, plate, "white", 20)
        pen.line(
            array((x - wide * 0.5, top + 0.6), (x, top + 0.9), (x + wide * 0.5, top + 0.6)),
            1.2,
            (0.8, 0.8),
            grey=light,
        )
    else:
        pen.line(
            array((x - neck * 1.25, top), (x, top + 0.3), (x + neck * 1.25, top)), 1.1, (0.8, 0.8), grey=light
        )


def draw_hand(head: Head, gesture: str) -> None:
    """A fist before the mouth or at the cheek, or an open palm raised beside the head."""
    pen, look = head.pen, head.look
    side = float(look.genes.side)
    chin = 1.2 * look.length
    places = {
        "hand": (0.15 * side + 0.4 * head.side, chin - 0.2),
        "cheek": (side * 0.8 + 0.2, chin - 0.35),
        "wave": (side * 1.35, chin - 0.35),
    }
    x, y = places[gesture]
    palm = array((x, y))
    sleeve = array((-0.25 * side, 0.35), (0.25 * side, 0.35), (0.8 * side, 2.6), (0.1 * side, 2.6))
    _cloth(head, palm + sleeve, look.cloth, 24)
    shapes = [
        pen.curve(
            palm + array((-0.3, -0.1), (0.0, -0.28), (0.3, -0.12), (0.32, 0.25), (0, 0.45), (-0.3, 0.28)), 20
        )
    ]
    if gesture == "wave":
        for k in range(4):
            base = (-0.24 + 0.16 * k, -0.1)
            tip = (-0.36 + 0.24 * k, -0.62 - 0.12 * (k in (1, 2)))
            finger = array(
                (base[0] - 0.08, base[1]),
                (tip[0] - 0.08, tip[1]),
                (tip[0] + 0.08, tip[1]),
                (base[0] + 0.08, base[1]),
            )
            shapes.append(pen.curve(palm + finger, 14))
        thumb = array((-0.2 * side, 0.2), (-0.58 * side, -0.08), (-0.5 * side, -0.2), (-0.15 * side, -0.02))
        shapes.append(pen.curve(palm + thumb, 12))
    paint(head, shapes, "white", 0.9)
    if gesture != "wave":
        for k in range(3):
            at = x - 0.14 + 0.14 * k
            pen.line(array((at, y - 0.22), (at + 0.02, y + 0.05)), 0.7, (0.5, 0.1), samples=5)
