"""Making scenes: from a seed to a scene in which one question of each kind has an answer, and evidence for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from eval.shapes import evidence
from eval.shapes.randomness import Draws
from eval.shapes.scene import COLOURS, DIRECTIONS, PLACES, SHAPES, Role, Scene, Thing, draws_for, uniform_frames

T = TypeVar("T")
_Name = tuple[str, str]

SIZES = ((320, 240), (240, 320), (288, 288), (424, 240), (352, 288), (480, 270))
"""Width and height in pixels."""

RATES = (8, 10, 12, 15, 20, 24, 25, 30)
LONG_RATES = (8, 10)
"""Frames a second."""

SHORTEST, MEDIAN, LONGEST = 4.0, 20.0, 90.0
LONG = 600.0
"""Seconds."""

MOST_COUNTED = 4
MIN_SIGHTINGS = 2
"""Uniform frames, of eight, that must show the evidence of a question that is no flash."""

FLASH_SECONDS = (0.6, 2.0)
_MIN_FLASH_FRAMES = 2
_MAX_TRIES = 20_000


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Which things the eight questions are about; what asks for an answer was drawn before the scene was.

    Attributes:
        counted: the attribute, ``"colour"`` or ``"shape"``, and its value; how many have it is the answer.
        count: that number.
        by_shape: the lasting thing whose shape no other thing has: its colour is asked for.
        by_colour: the lasting thing whose colour no other thing has: its shape is asked for.
        placed: the thing whose place is asked for.
        moved: the thing whose direction is asked for.
        late: two lasting things that appear one after the other.
        flash_by_shape: the flash whose shape no other thing has.
        flash_by_colour: the flash whose colour no other thing has.
    """

    counted: tuple[str, str]
    count: int
    by_shape: Thing
    by_colour: Thing
    placed: Thing
    moved: Thing
    late: tuple[Thing, Thing]
    flash_by_shape: Thing
    flash_by_colour: Thing


def make_scene(split: str, seed: int, index: int) -> tuple[Scene, Roles]:
    """Make the scene of a number.

    What questions ask for (the count, the place, the direction) is drawn first and kept while scenes are drawn until
    one serves: no answer becomes more frequent because it is easier to stage.
    """
    draws = draws_for(split, seed, index)
    is_long = split == "long"
    width, height = draws.choice(SIZES)
    fps = draws.choice(LONG_RATES if is_long else RATES)
    num_frames = round(_duration(draws, is_long=is_long) * fps)
    want = _Wanted(
        attribute=draws.choice(("colour", "shape")),
        count=draws.between(1, MOST_COUNTED),
        place=draws.choice(PLACES),
        direction=draws.choice(tuple(DIRECTIONS)),
    )
    for _ in range(_MAX_TRIES):
        things = _things(draws, want, fps, num_frames)
        if things is None:
            continue
        scene = Scene(
            split=split,
            seed=seed,
            index=index,
            width=width,
            height=height,
            fps=fps,
            num_frames=num_frames,
            things=things,
        )
        roles = _cast(draws, scene, want)
        if roles is not None:
            return scene, roles
    raise RuntimeError(f"no scene serves for {split} {seed} {index} in {_MAX_TRIES} tries: a fault of the generator")


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What the scene must answer: how many things have the attribute, and a place and a direction that occur."""

    attribute: str
    count: int
    place: str
    direction: str


def _duration(draws: Draws, *, is_long: bool) -> float:
    share = draws.uniform()
    if is_long:
        return LONG
    if share < 0.5:
        return float(SHORTEST * (MEDIAN / SHORTEST) ** (2 * share))
    return float(MEDIAN * (LONGEST / MEDIAN) ** (2 * share - 1))


def _things(draws: Draws, want: _Wanted, fps: int, num_frames: int) -> tuple[Thing, ...] | None:
    names = _names(draws, want)
    if names is None:
        return None
    counted, others, flash_names = names
    lasting = [*counted, *others]
    draws.shuffle(lasting)
    spans = _spans(draws, len(lasting), num_frames)
    flash_spans = _flash_spans(draws, fps, num_frames)
    if flash_spans is None:
        return None
    # One still thing and one mover have what was wanted; the others are as they come.
    ways: list[tuple[Role, str]] = [("still", want.place), ("mover", want.direction)]
    while len(ways) < len(lasting):
        is_mover = draws.uniform() < 0.35
        ways.append(("mover", draws.choice(tuple(DIRECTIONS))) if is_mover else ("still", draws.choice(PLACES)))
    draws.shuffle(ways)
    things = [
        _thing(draws, name, role, way, span) for name, (role, way), span in zip(lasting, ways, spans, strict=True)
    ]
    draws.shuffle(things)
    for name, span in zip(flash_names, flash_spans, strict=True):
        things.append(_thing(draws, name, "flash", draws.choice(PLACES), span))
    return tuple(things)


def _names(draws: Draws, want: _Wanted) -> tuple[list[_Name], list[_Name], list[_Name]] | None:
    """Draw the (colour, shape) of the counted things, of the other lasting things and of two flashes; all differ."""
    colours, shapes, count = tuple(COLOURS), SHAPES, want.count
    if want.attribute == "colour":
        colour = draws.choice(colours)
        counted = [(colour, shape) for shape in draws.sample(shapes, count)]
    else:
        shape = draws.choice(shapes)
        counted = [(colour, shape) for colour in draws.sample(colours, count)]
    total = max(4, count + draws.between(1, 2))
    others = [(draws.choice(colours), draws.choice(shapes)) for _ in range(total - count)]
    flashes = [(draws.choice(colours), draws.choice(shapes)) for _ in range(2)]
    every = [*counted, *others, *flashes]
    return (counted, others, flashes) if len(set(every)) == len(every) else None


def _spans(draws: Draws, count: int, num_frames: int) -> list[tuple[int, int]]:
    """Draw when lasting things are there: two come late, one after the other; one may leave early."""
    spans = [(0, num_frames)] * count
    first = draws.uniform(0.12, 0.4)
    second = first + draws.uniform(0.2, 0.3)
    for place, share in enumerate((first, second)):
        spans[place] = (round(share * num_frames), num_frames)
    if draws.uniform() < 0.5:
        spans[2] = (0, round(draws.uniform(0.55, 0.9) * num_frames))
    draws.shuffle(spans)
    return spans


def _flash_spans(draws: Draws, fps: int, num_frames: int) -> list[tuple[int, int]] | None:
    """Draw when two things flash: each between two frames of the uniform samplings, and well apart from each other."""
    taken = sorted({frame for frames in uniform_frames(num_frames) for frame in frames} | {-1, num_frames})
    gaps = [(a + 1, b) for a, b in pairwise(taken) if b - a - 1 >= _MIN_FLASH_FRAMES]
    spans = []
    for first, end in draws.sample(gaps, 2):
        room = end - first
        longest = max(_MIN_FLASH_FRAMES, int(0.9 * room))
        length = min(max(_MIN_FLASH_FRAMES, round(draws.uniform(*FLASH_SECONDS) * fps)), longest)
        start = first + draws.below(room - length + 1)
        spans.append((start, start + length))
    if len(spans) < 2:
        return None
    (a, b), (c, d) = spans
    apart = max(c - b, a - d)
    return spans if apart >= 0.05 * num_frames else None


def _thing(draws: Draws, name: tuple[str, str], role: Role, way: str, span: tuple[int, int]) -> Thing:
    radius = draws.uniform(0.085, 0.135)
    if role == "mover":
        start, end = _path(draws, way)
    else:
        start = _spot(draws, way)
        end = (start[0] + draws.uniform(-0.03, 0.03), start[1] + draws.uniform(-0.03, 0.03))
    return Thing(
        colour=name[0],
        shape=name[1],
        role=role,
        radius=radius,
        brightness=draws.uniform(0.88, 1.06),
        start=start,
        end=end,
        first_frame=span[0],
        end_frame=span[1],
    )


def _spot(draws: Draws, place: str) -> tuple[float, float]:
    down, across = place.split()
    near, far = (0.14, 0.38), (0.62, 0.86)
    return (
        draws.uniform(*(near if across == "left" else far)),
        draws.uniform(*(near if down == "top" else far)),
    )


def _path(draws: Draws, direction: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Draw a way of at least 0.45 along one axis, with hardly any drift across it."""
    length = draws.uniform(0.45, 0.74)
    begin = draws.uniform(0.13, 0.87 - length)
    lane = draws.uniform(0.14, 0.86)
    drift = min(max(lane + draws.uniform(-0.06, 0.06), 0.13), 0.87)
    x, y = DIRECTIONS[direction]
    along = (begin, begin + length) if x + y > 0 else (begin + length, begin)
    if x:
        return (along[0], lane), (along[1], drift)
    return (lane, along[0]), (drift, along[1])


def _cast(draws: Draws, scene: Scene, want: _Wanted) -> Roles | None:
    """Find who plays which part; None if a part cannot be played, or the evidence for it cannot be seen."""
    by_colour = Counter(thing.colour for thing in scene.things)
    by_shape = Counter(thing.shape for thing in scene.things)
    flashing = {("colour", t.colour) for t in scene.flashes} | {("shape", t.shape) for t in scene.flashes}
    totals = by_colour if want.attribute == "colour" else by_shape
    groups = [
        (want.attribute, value)
        for value, total in totals.items()
        if total == want.count and (want.attribute, value) not in flashing
    ]
    first, second = scene.flashes
    if by_shape[first.shape] == 1 and by_colour[second.colour] == 1:
        flash_by_shape, flash_by_colour = first, second
    elif by_shape[second.shape] == 1 and by_colour[first.colour] == 1:
        flash_by_shape, flash_by_colour = second, first
    else:
        return None
    single_shapes = [thing for thing in scene.lasting if by_shape[thing.shape] == 1]
    single_colours = [thing for thing in scene.lasting if by_colour[thing.colour] == 1]
    if not (groups and single_shapes and single_colours):
        return None  # before anything is drawn, which takes time

    samplings = uniform_frames(scene.num_frames)

    def is_seen(*things: Thing) -> bool:
        return all(evidence.together(scene, things, frames) >= MIN_SIGHTINGS for frames in samplings)

    counted = _pick(draws, [group for group in groups if is_seen(*scene.having(*group))])
    by_shape_asked = _pick(draws, [thing for thing in single_shapes if is_seen(thing)])
    by_colour_asked = _pick(draws, [thing for thing in single_colours if is_seen(thing)])
    placed = _pick(draws, [t for t in scene.lasting if t.role == "still" and t.place == want.place and is_seen(t)])
    movers = [t for t in scene.lasting if t.role == "mover" and t.direction == want.direction]
    moved = _pick(draws, [t for t in movers if all(evidence.shows_motion(scene, t, f) for f in samplings)])
    late = sorted((thing for thing in scene.lasting if thing.first_frame > 0), key=lambda thing: thing.first_frame)
    if (
        counted is None
        or by_shape_asked is None
        or by_colour_asked is None
        or placed is None
        or moved is None
        or not all(is_seen(thing) for thing in late)
        or not all(evidence.shows_order(scene, late[0], late[1], frames) for frames in samplings)
        or not all(thing in scene.visible(thing.first_frame) for thing in scene.flashes)
    ):
        return None
    return Roles(
        counted=counted,
        count=want.count,
        by_shape=by_shape_asked,
        by_colour=by_colour_asked,
        placed=placed,
        moved=moved,
        late=(late[0], late[1]),
        flash_by_shape=flash_by_shape,
        flash_by_colour=flash_by_colour,
    )


def _pick(draws: Draws, items: Sequence[T]) -> T | None:
    return draws.choice(items) if items else None
