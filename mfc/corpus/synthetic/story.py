"""A title's story as a plan of pages: who appears where, how large, in which pose; every box is settled here.

The plan never looks at genes: shuffling the cast changes what is drawn and no annotation. Scenes of
neighbouring pages share a cast, speakers take turns, and a few characters carry most of the story.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mfc.corpus.synthetic.genes import OUTFITS, Genes, draw_cast
from mfc.corpus.synthetic.layout import Box, Frame, draw_frames, quantile
from mfc.corpus.synthetic.presets import Preset
from mfc.corpus.synthetic.style import Style, draw_style
from mfc.corpus.synthetic.titles import OTHERS, SOUNDS, draw_line, draw_names

EXPRESSIONS = (
    "calm", "smile", "laugh", "talk", "shout", "angry", "sad", "surprised", "closed", "smirk",
    "worried", "wink",
)  # fmt: skip
EXPRESSION_CHANCES = (0.26, 0.13, 0.07, 0.16, 0.07, 0.08, 0.05, 0.06, 0.04, 0.03, 0.04, 0.01)
PLACES = ("blank", "tone", "gradient", "room", "street", "trees", "sky", "night")
_FRINGE_SHARES = (-0.04, 0.0, 0.0, 0.04, 0.08, 0.13, 0.18, 0.24, 0.32)
EFFECTS = ("", "focus", "speed", "flash", "sparkle", "gloom")


@dataclass(frozen=True)
class Pose:
    """How a head is held; angles in degrees, yaw > 0 looks to the right of the page."""

    yaw: float
    pitch: float
    roll: float
    expression: str
    chibi: bool
    gaze: tuple[float, float]


@dataclass(frozen=True)
class Figure:
    """One appearance of somebody. Boxes in final page pixels; ``face`` is None when no face is to be seen."""

    character: int
    """Index into the title's cast; the "Other" of a title is the last one."""
    stranger: int
    """For the "Other": which of the passers-by; -1 for everybody else."""
    frame: int
    """Index into the page's frames; -1 when drawn across the gutter."""
    head: Box
    """The whole face, also what a frame or page edge hides."""
    face: tuple[int, int, int, int] | None
    body: tuple[int, int, int, int] | None
    pose: Pose
    back_view: bool
    costume: int
    hair_down: bool
    shadow: int
    """Light of the scene: 0 plain, 1 half shadow, 2 in the dark, 3 against the light."""
    gesture: str


@dataclass(frozen=True)
class Text:
    box: tuple[int, int, int, int]
    kind: str
    """balloon, shout, thought, caption, or sound."""
    text: str
    frame: int


@dataclass(frozen=True)
class Scenery:
    place: str
    effect: str
    seed: int


@dataclass(frozen=True)
class Page:
    """A double page: ``index`` is its number and the name of its image."""

    index: int
    frames: tuple[Frame, ...]
    scenery: tuple[Scenery, ...]
    figures: tuple[Figure, ...]
    texts: tuple[Text, ...]
    colour: bool
    time: float
    """0 at the start of the story, 1 at its end."""
    seed: int
    framed: bool = True
    """Whether the frames are annotated: a splash without a border is none."""


@dataclass(frozen=True)
class Story:
    """Everything about a title but its pixels."""

    title: str
    style: Style
    style_later: Style
    """Another hand that the author's drifts towards."""
    cast: tuple[Genes, ...]
    strangers: tuple[Genes, ...]
    """Passers-by that are annotated as one character, "Other"."""
    names: tuple[str, ...]
    other: int | None
    """Index of the "Other" in ``names``, if there is one."""
    pages: tuple[Page, ...]


@dataclass
class _Scene:
    """What holds while a scene lasts."""

    cast: list[int]
    chances: np.ndarray
    place: str
    shadow: int
    frames_left: int
    costume: dict[int, int] = field(default_factory=dict)
    hair_down: dict[int, bool] = field(default_factory=dict)
    speaker: int = 0
    partner: int = 0


def write_story(title: str, preset: Preset, seed: int, number: int) -> Story:
    """The plan of title ``number`` of a corpus; the same arguments give the same plan."""
    rng = np.random.default_rng([seed, number, 1])
    looks = np.random.default_rng([seed, number, 2])
    style, later = draw_style(looks), draw_style(looks)
    count = max(2, round(quantile(preset.cast, _stratum(preset, seed, number, 9))))
    other = count if rng.random() < 0.96 else None
    names = draw_names(rng, count)
    if other is not None:
        names.append(str(rng.choice(OTHERS, p=[0.6, 0.2, 0.05, 0.1, 0.05])))
    cast = draw_cast(looks, count)
    strangers = draw_cast(looks, 12)
    # Fame is shuffled, so that the order of declaration tells nothing.
    fame = preset.decay ** rng.permutation(count) + 0.004
    teller = _Teller(rng, preset, style, fame / fame.sum(), other, max(1, len(strangers)))
    pages = teller.pages(max(3, round(quantile(preset.pages, _stratum(preset, seed, number, 10)))))
    return Story(title, style, later, tuple(cast), tuple(strangers), tuple(names), other, tuple(pages))


def _distinct_bodies(figures: list[Figure]) -> list[Figure]:
    """No two bodies with one box: of two people that both fill a frame only the first is outlined."""
    seen: set[tuple[int, int, int, int]] = set()
    result = []
    for figure in figures:
        result.append(replace(figure, body=None) if figure.body in seen else figure)
        if figure.body is not None:
            seen.add(figure.body)
    return result


def _stratum(preset: Preset, seed: int, number: int, stream: int) -> float:
    """Where a title lies in a distribution over titles: spread evenly, so that every corpus has its share."""
    rng = np.random.default_rng([seed, stream])
    return float((rng.permutation(preset.titles)[number % preset.titles] + rng.random()) / preset.titles)


class _Teller:
    """Tells one story page by page; holds the generator and what carries over from frame to frame."""

    def __init__(
        self,
        rng: np.random.Generator,
        preset: Preset,
        style: Style,
        fame: np.ndarray,
        other: int | None,
        strangers: int,
    ) -> None:
        self.rng, self.preset, self.style, self.fame = rng, preset, style, fame
        self.other, self.strangers = other, strangers
        # A minor character belongs to one stretch of the story.
        self.span_centre = rng.random(len(fame))
        self.span_width = np.clip(fame * 12, 0.06, 2.0)
        self.change_at = rng.uniform(0.25, 0.75, len(fame))
        self.cut_at = rng.uniform(0.2, 0.9, len(fame))
        self.time = 0.0
        self.scene = self._new_scene()

    def pages(self, count: int) -> list[Page]:
        pages = []
        first = int(self.rng.integers(0, 4))
        for number in range(count):
            self.time = number / max(1, count - 1)
            pages.append(self._page(first + number, number, count))
        return pages

    def _new_scene(self) -> _Scene:
        rng = self.rng
        near = np.exp(-(((self.time - self.span_centre) / self.span_width) ** 2))
        chances = self.fame * (near + 1e-4)
        size = int(min(len(chances), rng.choice([1, 2, 3, 4, 5, 6], p=[0.06, 0.34, 0.32, 0.17, 0.08, 0.03])))
        cast = rng.choice(len(chances), size=size, replace=False, p=chances / chances.sum())
        share = self.fame[cast] ** 0.5 * rng.uniform(0.5, 1.5, size)
        length = 3 + rng.exponential(self.preset.scene_frames - 3)
        scene = _Scene(
            cast=[int(c) for c in cast],
            chances=share / share.sum(),
            place=str(rng.choice(PLACES, p=[0.22, 0.14, 0.12, 0.2, 0.12, 0.08, 0.06, 0.06])),
            shadow=int(rng.choice([0, 1, 2, 3], p=[0.76, 0.11, 0.09, 0.04])),
            frames_left=round(length),
        )
        for person in scene.cast:
            # Most people change their clothes for good at some point, and wear something else now and then.
            late = self.time > self.change_at[person]
            scene.costume[person] = int(late) if rng.random() < 0.6 else int(rng.integers(OUTFITS))
            scene.hair_down[person] = bool((self.time > self.cut_at[person]) != (rng.random() < 0.1))
        scene.speaker = self._somebody(scene, ())
        scene.partner = self._somebody(scene, (scene.speaker,))
        return scene

    def _somebody(self, scene: _Scene, but: tuple[int, ...]) -> int:
        chances = np.array([0.0 if c in but else p for c, p in zip(scene.cast, scene.chances, strict=True)])
        if not chances.sum():
            return scene.speaker
        return scene.cast[int(self.rng.choice(len(scene.cast), p=chances / chances.sum()))]

    def _speakers(self, count: int) -> list[int]:
        """Who is in the next frame: talk goes back and forth, others cut in."""
        scene, rng = self.scene, self.rng
        turn = rng.random()
        if turn < 0.5:
            scene.speaker, scene.partner = scene.partner, scene.speaker
        elif turn < 0.72:
            scene.partner = scene.speaker
            scene.speaker = self._somebody(scene, (scene.speaker,))
        people = [scene.speaker] if count else []
        while len(people) < count:
            if len(people) < len(scene.cast):
                wanted = scene.partner if len(people) == 1 and scene.partner not in people else None
                people.append(wanted if wanted is not None else self._somebody(scene, tuple(people)))
            elif self.other is not None:
                people.append(self.other)
            else:
                break
        if count and self.other is not None and rng.random() < 0.02:
            people[-1] = self.other
        return people

    def _page(self, index: int, number: int, count: int) -> Page:
        rng, preset = self.rng, self.preset
        seed = int(rng.integers(1 << 31))
        empty = (number in (0, count - 1) and rng.random() < 0.5) or rng.random() < 0.012
        colour = bool(rng.random() < (0.5 if number == 1 else 0.015))
        if empty:
            return Page(index, (), (), (), (), colour, self.time, seed)
        frames = draw_frames(rng, preset, self.style)
        scenery: list[Scenery] = []
        figures: list[Figure] = []
        texts: list[Text] = []
        for place, frame in enumerate(frames):
            self.scene.frames_left -= 1
            if self.scene.frames_left < 0:
                self.scene = self._new_scene()
            figures += self._figures(place, frame, figures)
            scenery.append(self._scenery())
        # Balloons come last, over everything, so they must mind the faces of all frames.
        for place, frame in enumerate(frames):
            near = _swell(frame.box, 1.3)
            around = [f for f in figures if _overlap(f.head, near)]
            texts += self._texts(place, frame, around, [t for t in texts if _overlap(t.box, near)])
        figures = _distinct_bodies(figures)
        # Title pages and splashes without a border are not annotated as frames.
        frameless = len(frames) == 1 and not frames[0].bordered
        if frameless:
            figures = [replace(figure, frame=-1) for figure in figures]
        return Page(
            index,
            tuple(frames),
            tuple(scenery),
            tuple(figures),
            tuple(texts),
            colour,
            self.time,
            seed,
            not frameless,
        )

    def _scenery(self) -> Scenery:
        rng = self.rng
        place = self.scene.place if rng.random() < 0.6 else "blank"
        effect = str(rng.choice(EFFECTS[1:])) if rng.random() < self.style.effects * 0.6 else ""
        return Scenery(place, effect, int(rng.integers(1 << 31)))

    def _face_width(self, frame: Box, rivals: int) -> float:
        """A face width from the calibrated distribution, larger in larger frames."""
        rng, preset = self.rng, self.preset
        x0, y0, x1, y1 = frame
        page = preset.width * preset.height
        room = np.log(
            np.sqrt((x1 - x0) * (y1 - y0) / page)
            * preset.frames[2 if len(preset.frames) > 3 else 1][1] ** 0.5
        )
        score = 0.62 * np.clip(room / 0.4, -2, 2) - 0.25 * (rivals - 1) + 0.78 * rng.normal() + 0.04
        score += np.log(self.style.zoom) / 0.6
        u = float(np.clip(0.5 * (1 + np.tanh(score * 0.8)), 0.001, 0.999))
        width = quantile(preset.face_width, u)
        limit = min((x1 - x0) / (0.62 + 0.38 * rivals), 1.05 * (y1 - y0))
        return min(width, limit)

    def _pose(self, facing: float, width: float) -> Pose:
        rng = self.rng
        kind = rng.random()
        if kind < 0.3:
            yaw = rng.normal(0, 9)
        elif kind < 0.74:
            yaw = rng.uniform(18, 55) * facing
        elif kind < 0.96:
            yaw = rng.uniform(55, 90) * facing
        else:
            yaw = rng.uniform(92, 112) * facing
        return Pose(
            yaw=float(np.clip(yaw * self.style.turn, -115, 115)),
            pitch=float(np.clip(rng.normal(2, 11), -30, 32)),
            roll=float(np.clip(rng.normal(0, 8), -32, 32)),
            expression=str(rng.choice(EXPRESSIONS, p=EXPRESSION_CHANCES)),
            chibi=bool(rng.random() < self.style.chibi_rate and width < 0.09 * self.preset.height * 1.5),
            gaze=(float(rng.normal(0, 0.25)), float(rng.normal(0, 0.15))),
        )

    def _figures(self, place: int, frame: Frame, before: list[Figure]) -> list[Figure]:
        rng, preset = self.rng, self.preset
        x0, y0, x1, y1 = frame.box
        wide = (x1 - x0) / (y1 - y0)
        shares = np.array(preset.faces_in_frame)
        if wide < 0.6:
            shares = shares * (1, 1.2, 0.5, 0.3, 0.1)
        elif wide > 1.3:
            shares = shares * (1, 0.85, 1.3, 1.6, 1.8)
        faces = int(rng.choice(len(shares), p=shares / shares.sum()))
        alone = int(rng.poisson(preset.bodies_alone * (1.9 if faces == 0 else 0.6)))
        # Who stands across the gutter may hide faces of other frames, down to the page's end.
        near = _swell(frame.box, 1.1)
        everywhere = [f.head for f in before]
        taken = [f.head for f in before if f.frame < 0 or _overlap(f.head, near)]
        result: list[Figure] = []
        people = self._speakers(faces)
        slots = rng.permutation(len(people))
        for person, slot in zip(people, slots, strict=True):
            out = bool(rng.random() < 0.03)
            heads = everywhere if out else taken
            figure = self._face(place, out, frame, person, int(slot), len(people), heads)
            if figure is not None:
                everywhere.append(figure.head)
                taken.append(figure.head)
                result.append(figure)
        for _ in range(alone):
            person = (
                self._somebody(self.scene, ()) if rng.random() < 0.8 or self.other is None else self.other
            )
            figure = self._no_face(place, frame, person, taken)
            if figure is not None:
                taken.append(figure.head)
                result.append(figure)
        return result

    def _face(
        self, place: int, out: bool, frame: Frame, person: int, slot: int, people: int, taken: list[Box]
    ) -> Figure | None:
        rng, preset = self.rng, self.preset
        x0, y0, x1, y1 = frame.box
        for attempt in range(12):
            width = self._face_width(frame.box, people) * 0.93**attempt
            centre = (slot + 0.5) / people
            facing = np.sign(0.5 - centre + rng.normal(0, 0.35)) or 1.0
            pose = self._pose(float(facing), width)
            height = width / _aspect(pose) * float(np.exp(rng.normal(0, 0.06)))
            spread = (x1 - x0) / people
            cx = x0 + (x1 - x0) * centre + rng.uniform(-0.5, 0.5) * max(0.0, spread - 0.9 * width)
            # Close-ups may run over the frame's edge; smaller faces keep inside, with room for the body.
            low = y0 + 0.62 * height if rng.random() < 0.85 else y0 + 0.3 * height
            high = y1 - 0.5 * height if rng.random() < 0.85 else y1 - 0.3 * height
            cy = rng.uniform(low, max(low + 1, min(high, low + 0.45 * (y1 - y0))))
            head = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
            page = (0.0, 0.0, float(preset.width), float(preset.height))
            # Annotators begin a face below the fringe, wherever they see that.
            skin = (head[0], head[1] + height * float(rng.choice(_FRINGE_SHARES)), head[2], head[3])
            face = _cut(skin, page if out else frame.box)
            if face is None or _share(face, head) < 0.4 or any(_hides(head, t) for t in taken):
                continue
            return self._figure(place, out, frame, person, head, face, pose, people)
        return None

    def _no_face(self, place: int, frame: Frame, person: int, taken: list[Box]) -> Figure | None:
        rng = self.rng
        x0, y0, x1, y1 = frame.box
        for attempt in range(6):
            width = min(self._face_width(frame.box, 2), 0.3 * (y1 - y0)) * 0.8 * 0.9**attempt
            head_x = rng.uniform(x0 + 0.6 * width, max(x0 + 0.6 * width + 1, x1 - 0.6 * width))
            head_y = rng.uniform(y0 + 0.7 * width, max(y0 + 0.7 * width + 1, y0 + 0.5 * (y1 - y0)))
            head = (head_x - width / 2, head_y - width / 2, head_x + width / 2, head_y + width / 2)
            if any(_hides(head, t) for t in taken):
                continue
            pose = Pose(
                float(rng.choice([-1, 1]) * rng.uniform(130, 180)), 0, rng.normal(0, 6), "calm", False, (0, 0)
            )
            return self._figure(place, False, frame, person, head, None, pose, 2)
        return None

    def _figure(
        self,
        place: int,
        out: bool,
        frame: Frame,
        person: int,
        head: Box,
        face: tuple[int, int, int, int] | None,
        pose: Pose,
        people: int,
    ) -> Figure:
        rng, preset, scene = self.rng, self.preset, self.scene
        x0, y0, x1, y1 = head
        width, height = x1 - x0, y1 - y0
        reach = rng.uniform(4.8, 6.6) * height * (0.32 if pose.chibi else 1)
        half = width * rng.uniform(0.85, 1.35)
        middle = (x0 + x1) / 2
        wanted = (middle - half, y0 - 0.45 * height, middle + half, y1 + reach)
        limits = (0.0, 0.0, float(preset.width), float(preset.height)) if out else frame.box
        body = _cut(wanted, limits)
        if body is None or (face is not None and rng.random() < 0.02):
            body = None
        return Figure(
            character=person,
            stranger=int(rng.integers(self.strangers)) if person == self.other else -1,
            frame=-1 if out else place,
            head=head,
            face=face,
            body=body,
            pose=pose,
            back_view=face is None,
            costume=scene.costume.get(person, 0),
            hair_down=scene.hair_down.get(person, False),
            shadow=scene.shadow,
            gesture=str(rng.choice(["", "hand", "wave", "cheek"], p=[0.88, 0.04, 0.05, 0.03])),
        )

    def _texts(self, place: int, frame: Frame, figures: list[Figure], before: list[Text]) -> list[Text]:
        rng, preset = self.rng, self.preset
        x0, y0, x1, y1 = frame.box
        area = np.sqrt((x1 - x0) * (y1 - y0) / (preset.width * preset.height))
        count = int(rng.poisson(preset.texts * np.clip(area * 3.4, 0.6, 2.2)))
        heads = [f.head for f in figures if f.face is not None]
        unit = preset.height / 1170 * 19 * (1.25 if preset.height < 900 else 1.0)
        result: list[Text] = []
        for _ in range(count):
            kind = str(
                rng.choice(
                    ["balloon", "shout", "thought", "caption", "sound"], p=[0.66, 0.08, 0.08, 0.1, 0.08]
                )
            )
            length = int(np.clip(rng.gamma(2.2, 5), 2, 34))
            columns = max(1, min(5, round(np.sqrt(length / 2.2) + rng.normal(0, 0.4))))
            rows = -(-length // columns)
            width, height = columns * unit * 1.15, rows * unit
            width, height = min(width, 0.6 * (x1 - x0)), min(height, 0.75 * (y1 - y0))
            taken = [_swell(t.box, 1.5) for t in before + result]
            best: tuple[float, Box] | None = None
            for _ in range(5):
                at = (rng.beta(1.2, 5), rng.beta(5, 1.2))[int(rng.integers(2))]
                cx = at * (x1 - x0 - width) + x0 + width / 2
                cy = rng.beta(1.1, 2.2) * (y1 - y0 - height) + y0 + height / 2
                box = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
                swollen = _swell(box, 1.5)
                # A balloon may cover a corner of a face, not its middle, and no other balloon.
                cost = sum(_overlap(swollen, h) for h in heads)
                cost += 4 * sum(_overlap(swollen, t) for t in taken)
                if best is None or cost < best[0]:
                    best = (cost, box)
            if best is None or best[0] > 0.25:
                continue
            cut = _cut(best[1], (0.0, 0.0, float(preset.width), float(preset.height)))
            if cut is None:
                continue
            text = str(rng.choice(SOUNDS)) if kind == "sound" else draw_line(rng, length)
            result.append(Text(cut, kind, text, place))
        return result


def _aspect(pose: Pose) -> float:
    """Width to height of a face in this pose: a profile is narrow, a tilted head grows both ways."""
    turn = min(abs(pose.yaw), 90) / 90
    width, height = 1.94 - 0.62 * turn, 1.92 * (1 - 0.12 * abs(np.sin(np.radians(pose.pitch))))
    if pose.chibi:
        width *= 1.2
    roll = abs(np.radians(pose.roll))
    return float(
        (width * np.cos(roll) + 0.55 * height * np.sin(roll))
        / (height * np.cos(roll) + 0.55 * width * np.sin(roll))
    )


def _cut(box: Box, limits: Box) -> tuple[int, int, int, int] | None:
    """The whole-pixel part of ``box`` within ``limits``; None when less than 6 pixels either way remain."""
    x0, y0 = (round(max(a, b)) for a, b in zip(box[:2], limits[:2], strict=True))
    x1, y1 = (round(min(a, b)) for a, b in zip(box[2:], limits[2:], strict=True))
    return (x0, y0, x1, y1) if x1 - x0 >= 6 and y1 - y0 >= 6 else None


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _overlap(a: Box, b: Box) -> float:
    """Share of the smaller box that both cover."""
    # Most boxes are far apart, which is quickest seen so.
    if a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]:
        return 0.0
    return _area(_both(a, b)) / max(1e-9, min(_area(a), _area(b)))


def _share(part: Box, whole: Box) -> float:
    return _area(part) / max(1e-9, _area(whole))


def _swell(box: Box, times: float) -> Box:
    dx, dy = (box[2] - box[0]) * (times - 1) / 2, (box[3] - box[1]) * (times - 1) / 2
    return box[0] - dx, box[1] - dy, box[2] + dx, box[3] + dy


def _hides(a: Box, b: Box) -> bool:
    """Whether one of two heads, with the shoulders under it, hides much of the other face.

    Larger heads are nearer. Faces may touch and overlap a little, as in a crowd.
    """
    near, far = (a, b) if _area(a) > _area(b) else (b, a)
    width, height = near[2] - near[0], near[3] - near[1]
    hair = (near[0] - 0.3 * width, near[1] - 0.4 * height, near[2] + 0.3 * width, near[3] + 0.1 * height)
    trunk = (near[0] - 0.4 * width, near[3] + 0.1 * height, near[2] + 0.4 * width, near[3] + 5 * height)
    covered = _share(_both(hair, far), far) + _share(_both(trunk, far), far)
    return covered > 0.3 or _overlap(a, b) > 0.2


def _both(a: Box, b: Box) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
