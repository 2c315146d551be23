"""Generation of scenes in which one question of each kind has an answer, and evidence for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from eval.shapes import evidence
from eval.shapes.random_stream import RandomStream
from eval.shapes.scene import (
    COLOURS,
    DIRECTIONS,
    PLACES,
    SHAPES,
    Role,
    Scene,
    SceneObject,
    random_stream_for,
    uniform_frames,
)

T = TypeVar("T")
_Name = tuple[str, str]

SIZES = ((320, 240), (240, 320), (288, 288), (424, 240), (352, 288), (480, 270))
"""Width and height in pixels."""

RATES = (8, 10, 12, 15, 20, 24, 25, 30)
LONG_RATES = (8, 10)
"""Frames per second."""

MIN_SECONDS, MEDIAN_SECONDS, MAX_SECONDS = 4.0, 20.0, 90.0
LONG_SECONDS = 600.0
"""Durations of videos."""

MAX_COUNTED = 4
MIN_SIGHTINGS = 2
"""Smallest number of the eight uniform frames that show the evidence of a question, except for flashes."""

FLASH_SECONDS = (0.6, 2.0)
_MIN_FLASH_FRAMES = 2
_MAX_ATTEMPTS = 20_000


@dataclass(frozen=True, kw_only=True)
class QuestionTargets:
    """The objects that the questions are about.

    Attributes:
        counted: the attribute, ``"colour"`` or ``"shape"``, and its value; the number of objects with it is asked for.
        count: that number.
        by_shape: a lasting object of a unique shape; its colour is asked for.
        by_colour: a lasting object of a unique colour; its shape is asked for.
        placed: the object whose place is asked for.
        moved: the object whose direction is asked for.
        late: two lasting objects that appear one after the other.
        flash_by_shape: the flash of a unique shape.
        flash_by_colour: the flash of a unique colour.
    """

    counted: tuple[str, str]
    count: int
    by_shape: SceneObject
    by_colour: SceneObject
    placed: SceneObject
    moved: SceneObject
    late: tuple[SceneObject, SceneObject]
    flash_by_shape: SceneObject
    flash_by_colour: SceneObject


def make_scene(split: str, seed: int, index: int) -> tuple[Scene, QuestionTargets]:
    """Make the scene of a number.

    The answers (count, place, direction) are drawn first, and kept while scenes are drawn until one fits: an answer that
    is easier to realise does not become more frequent.
    """
    rng = random_stream_for(split, seed, index)
    is_long = split == "long"
    width, height = rng.choice(SIZES)
    fps = rng.choice(LONG_RATES if is_long else RATES)
    num_frames = round(_duration(rng, is_long=is_long) * fps)
    answers = _Answers(
        attribute=rng.choice(("colour", "shape")),
        count=rng.between(1, MAX_COUNTED),
        place=rng.choice(PLACES),
        direction=rng.choice(tuple(DIRECTIONS)),
    )
    for _ in range(_MAX_ATTEMPTS):
        objects = _objects(rng, answers, fps, num_frames)
        if objects is None:
            continue
        scene = Scene(
            split=split,
            seed=seed,
            index=index,
            width=width,
            height=height,
            fps=fps,
            num_frames=num_frames,
            objects=objects,
        )
        targets = _choose_targets(rng, scene, answers)
        if targets is not None:
            return scene, targets
    raise RuntimeError(f"no scene fits {split} {seed} {index} in {_MAX_ATTEMPTS} attempts: a bug in the generator")


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """The answers of a scene: the number of objects with the attribute, a place and a direction."""

    attribute: str
    count: int
    place: str
    direction: str


def _duration(rng: RandomStream, *, is_long: bool) -> float:
    share = rng.uniform()
    if is_long:
        return LONG_SECONDS
    if share < 0.5:
        return float(MIN_SECONDS * (MEDIAN_SECONDS / MIN_SECONDS) ** (2 * share))
    return float(MEDIAN_SECONDS * (MAX_SECONDS / MEDIAN_SECONDS) ** (2 * share - 1))


def _objects(rng: RandomStream, answers: _Answers, fps: int, num_frames: int) -> tuple[SceneObject, ...] | None:
    names = _names(rng, answers)
    if names is None:
        return None
    counted, others, flash_names = names
    lasting = [*counted, *others]
    rng.shuffle(lasting)
    spans = _spans(rng, len(lasting), num_frames)
    flash_spans = _flash_spans(rng, fps, num_frames)
    if flash_spans is None:
        return None
    # One still object and one mover have the wanted answers; the others are random.
    motions: list[tuple[Role, str]] = [("still", answers.place), ("mover", answers.direction)]
    while len(motions) < len(lasting):
        is_mover = rng.uniform() < 0.35
        motions.append(("mover", rng.choice(tuple(DIRECTIONS))) if is_mover else ("still", rng.choice(PLACES)))
    rng.shuffle(motions)
    objects = [
        _object(rng, name, role, where, span) for name, (role, where), span in zip(lasting, motions, spans, strict=True)
    ]
    rng.shuffle(objects)
    for name, span in zip(flash_names, flash_spans, strict=True):
        objects.append(_object(rng, name, "flash", rng.choice(PLACES), span))
    return tuple(objects)


def _names(rng: RandomStream, answers: _Answers) -> tuple[list[_Name], list[_Name], list[_Name]] | None:
    """Draw different (colour, shape) pairs for the counted objects, the other lasting objects and two flashes."""
    colours, shapes, count = tuple(COLOURS), SHAPES, answers.count
    if answers.attribute == "colour":
        colour = rng.choice(colours)
        counted = [(colour, shape) for shape in rng.sample(shapes, count)]
    else:
        shape = rng.choice(shapes)
        counted = [(colour, shape) for colour in rng.sample(colours, count)]
    total = max(4, count + rng.between(1, 2))
    others = [(rng.choice(colours), rng.choice(shapes)) for _ in range(total - count)]
    flashes = [(rng.choice(colours), rng.choice(shapes)) for _ in range(2)]
    every = [*counted, *others, *flashes]
    return (counted, others, flashes) if len(set(every)) == len(every) else None


def _spans(rng: RandomStream, count: int, num_frames: int) -> list[tuple[int, int]]:
    """Draw the frames of lasting objects: two appear late, one after the other; one may disappear early."""
    spans = [(0, num_frames)] * count
    first = rng.uniform(0.12, 0.4)
    second = first + rng.uniform(0.2, 0.3)
    for place, share in enumerate((first, second)):
        spans[place] = (round(share * num_frames), num_frames)
    if rng.uniform() < 0.5:
        spans[2] = (0, round(rng.uniform(0.55, 0.9) * num_frames))
    rng.shuffle(spans)
    return spans


def _flash_spans(rng: RandomStream, fps: int, num_frames: int) -> list[tuple[int, int]] | None:
    """Draw the frames of two flashes: each between frames of the uniform samplings, and well apart from the other."""
    taken = sorted({frame for frames in uniform_frames(num_frames) for frame in frames} | {-1, num_frames})
    gaps = [(a + 1, b) for a, b in pairwise(taken) if b - a - 1 >= _MIN_FLASH_FRAMES]
    spans = []
    for first, end in rng.sample(gaps, 2):
        room = end - first
        longest = max(_MIN_FLASH_FRAMES, int(0.9 * room))
        length = min(max(_MIN_FLASH_FRAMES, round(rng.uniform(*FLASH_SECONDS) * fps)), longest)
        start = first + rng.below(room - length + 1)
        spans.append((start, start + length))
    if len(spans) < 2:
        return None
    (a, b), (c, d) = spans
    apart = max(c - b, a - d)
    return spans if apart >= 0.05 * num_frames else None


def _object(rng: RandomStream, name: tuple[str, str], role: Role, where: str, span: tuple[int, int]) -> SceneObject:
    radius = rng.uniform(0.085, 0.135)
    if role == "mover":
        start, end = _path(rng, where)
    else:
        start = _spot(rng, where)
        end = (start[0] + rng.uniform(-0.03, 0.03), start[1] + rng.uniform(-0.03, 0.03))
    return SceneObject(
        colour=name[0],
        shape=name[1],
        role=role,
        radius=radius,
        brightness=rng.uniform(0.88, 1.06),
        start=start,
        end=end,
        first_frame=span[0],
        end_frame=span[1],
    )


def _spot(rng: RandomStream, place: str) -> tuple[float, float]:
    down, across = place.split()
    near, far = (0.14, 0.38), (0.62, 0.86)
    return (
        rng.uniform(*(near if across == "left" else far)),
        rng.uniform(*(near if down == "top" else far)),
    )


def _path(rng: RandomStream, direction: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Draw a path of at least 0.45 along one axis, with little drift across it."""
    length = rng.uniform(0.45, 0.74)
    begin = rng.uniform(0.13, 0.87 - length)
    lane = rng.uniform(0.14, 0.86)
    drift = min(max(lane + rng.uniform(-0.06, 0.06), 0.13), 0.87)
    x, y = DIRECTIONS[direction]
    along = (begin, begin + length) if x + y > 0 else (begin + length, begin)
    if x:
        return (along[0], lane), (along[1], drift)
    return (lane, along[0]), (drift, along[1])


def _choose_targets(rng: RandomStream, scene: Scene, answers: _Answers) -> QuestionTargets | None:
    """Choose the objects that questions are about; None if a question has none, or no evidence."""
    by_colour = Counter(one.colour for one in scene.objects)
    by_shape = Counter(one.shape for one in scene.objects)
    flashing = {("colour", o.colour) for o in scene.flashes} | {("shape", o.shape) for o in scene.flashes}
    totals = by_colour if answers.attribute == "colour" else by_shape
    groups = [
        (answers.attribute, value)
        for value, total in totals.items()
        if total == answers.count and (answers.attribute, value) not in flashing
    ]
    first, second = scene.flashes
    if by_shape[first.shape] == 1 and by_colour[second.colour] == 1:
        flash_by_shape, flash_by_colour = first, second
    elif by_shape[second.shape] == 1 and by_colour[first.colour] == 1:
        flash_by_shape, flash_by_colour = second, first
    else:
        return None
    single_shapes = [one for one in scene.lasting if by_shape[one.shape] == 1]
    single_colours = [one for one in scene.lasting if by_colour[one.colour] == 1]
    if not (groups and single_shapes and single_colours):
        return None  # before the slower checks of evidence

    samplings = uniform_frames(scene.num_frames)

    def is_seen(*objects: SceneObject) -> bool:
        return all(evidence.count_showing(scene, objects, frames) >= MIN_SIGHTINGS for frames in samplings)

    counted = _pick(rng, [group for group in groups if is_seen(*scene.with_attribute(*group))])
    by_shape_asked = _pick(rng, [one for one in single_shapes if is_seen(one)])
    by_colour_asked = _pick(rng, [one for one in single_colours if is_seen(one)])
    placed = _pick(rng, [o for o in scene.lasting if o.role == "still" and o.place == answers.place and is_seen(o)])
    movers = [o for o in scene.lasting if o.role == "mover" and o.direction == answers.direction]
    moved = _pick(rng, [o for o in movers if all(evidence.shows_motion(scene, o, f) for f in samplings)])
    late = sorted((one for one in scene.lasting if one.first_frame > 0), key=lambda one: one.first_frame)
    if (
        counted is None
        or by_shape_asked is None
        or by_colour_asked is None
        or placed is None
        or moved is None
        or not all(is_seen(one) for one in late)
        or not all(evidence.shows_order(scene, late[0], late[1], frames) for frames in samplings)
        or not all(one in scene.visible(one.first_frame) for one in scene.flashes)
    ):
        return None
    return QuestionTargets(
        counted=counted,
        count=answers.count,
        by_shape=by_shape_asked,
        by_colour=by_colour_asked,
        placed=placed,
        moved=moved,
        late=(late[0], late[1]),
        flash_by_shape=flash_by_shape,
        flash_by_colour=flash_by_colour,
    )


def _pick(rng: RandomStream, items: Sequence[T]) -> T | None:
    return rng.choice(items) if items else None
