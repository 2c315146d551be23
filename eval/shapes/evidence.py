"""What frames of a scene show: whether things are seen, seen together, seen to move, seen in order."""

from __future__ import annotations

from collections.abc import Sequence

from eval.shapes.scene import Scene, Thing

MIN_TRAVEL = 0.12
"""A thing is seen to move where it is seen so far apart, in sides of the central square, along its axis."""


def first_seen(scene: Scene, thing: Thing, frames: Sequence[int]) -> int | None:
    """The first of the frames that shows a thing; None if none does."""
    return next((frame for frame in frames if thing in scene.visible(frame)), None)


def together(scene: Scene, things: Sequence[Thing], frames: Sequence[int]) -> int:
    """How many of the frames show all the things at once."""
    return sum(scene.visible(frame).issuperset(things) for frame in frames)


def shows_motion(scene: Scene, thing: Thing, frames: Sequence[int]) -> bool:
    """Whether two of the frames show a thing so far apart that its direction can be told."""
    places = [thing.centre(frame) for frame in frames if thing in scene.visible(frame)]
    if len(places) < 2:
        return False
    (x0, y0), (x1, y1) = places[0], places[-1]
    return max(abs(x1 - x0), abs(y1 - y0)) >= MIN_TRAVEL


def shows_order(scene: Scene, earlier: Thing, later: Thing, frames: Sequence[int]) -> bool:
    """Whether one of the frames shows a thing before another is seen for the first time, and the other is seen."""
    first, second = first_seen(scene, earlier, frames), first_seen(scene, later, frames)
    return first is not None and second is not None and first < second
