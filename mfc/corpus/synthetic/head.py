"""A head held in a pose, and how its parts are placed: outline, face and skull.

Figure units: half a face width is 1, y runs down, the origin lies between the eyes. A head is drawn turned to
the right; for the other direction the pen mirrors it, and what is one-sided changes its side beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mfc.corpus.synthetic.look import Look
from mfc.corpus.synthetic.raster import BLACK, WHITE, Pen, Points, Screen, curve
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
    hair: str
    """How the hair is filled, in this light and at this size."""
    size: float
    """Half a face width on the canvas, pixels: little is drawn on a small head."""

    @cached_property
    def turning(self) -> tuple[float, float, float]:
        """How much the near and the far half of the face are foreshortened, and how far it nods."""
        turn = min(self.yaw, np.pi / 2) / (np.pi / 2)
        near = np.interp(turn, [0, 0.5, 1], [1, 0.93, 0.66])
        far = np.interp(turn, [0, 0.5, 0.75, 1], [1, 0.62, 0.3, 0.0])
        return float(near), float(far), float(np.sin(np.radians(self.pose.pitch)))

    @cached_property
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
    return turned(head, points[:, 0], points[:, 1])


def turned(head: Head, u: Points, v: Points) -> Points:
    """`feature` of points given by their two coordinates, (n,) each."""
    near, far, nod = head.turning
    moved = np.empty((len(u), 2))
    # The middle of the face recedes towards chin and forehead.
    middle = 1 - 0.12 * np.maximum(v - 0.5, 0) - 0.06 * np.maximum(-v, 0)
    moved[:, 0] = 0.86 * head.side * middle + near * np.minimum(u, 0) + far * np.maximum(u, 0)
    moved[:, 1] = v + nod * (0.255 - 0.105 * u * u)
    return moved


def skull(head: Head, swell: float) -> tuple[float, float, float, float]:
    """Centre and radii of the hair's ellipse."""
    s = head.side if head.yaw <= np.pi / 2 else 1.0
    return -0.24 * s, -0.15, (1.0 + 0.12 * s) * (1 + swell), 0.97 * (1 + 1.1 * swell)


def on_skull(head: Head, azimuth: Points, height: Points, reach: Points | float = 1.0) -> Points:
    """Places on the skull, figure units.

    Args:
        azimuth: radians; 0 is the middle of the face, negative the near side.
        height: downwards from the origin.
        reach: 1 is the skull's surface.
    """
    cx, cy, rx, ry = skull(head, 0.04)
    level = np.sqrt(np.maximum(1 - ((height - cy) / (ry * 1.35)) ** 2, 0.05))
    around = azimuth + head.yaw
    places = np.empty((len(azimuth), 2))
    places[:, 0] = cx + rx * level * np.sin(around) * reach
    places[:, 1] = cy + (height - cy) * reach + head.turning[2] * 0.25 * np.cos(around)
    return places


def paint(head: Head, shapes: list[Points], fill: str, contour: float = 1.0) -> None:
    """Fill the union of ``shapes`` (canvas points) as hair or cloth, with a contour around the union."""
    canvas = head.pen.canvas
    edge = head.pen.weight * contour
    if fill != "black" and edge > 0:
        for points in shapes:
            closed = np.concatenate([points, points[:1]])
            canvas.draw.line(closed.ravel().tolist(), fill=BLACK, width=max(1, round(edge)), joint=None)
    grey = BLACK if fill == "black" else WHITE
    for points in shapes:
        canvas.fill(points, grey)
    if fill not in GREYS:
        canvas.tone(shapes, head.tones[fill])


def spline(head: Head, points: Points, samples: int = 18) -> Points:
    return curve(head.pen.place(points), samples, True)
