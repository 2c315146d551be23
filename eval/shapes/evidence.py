"""Whether frames of a scene show the evidence for a question: objects, their motion, their order."""

from __future__ import annotations

from collections.abc import Sequence

from eval.shapes.scene import Scene, SceneObject

MIN_TRAVEL = 0.12
"""Shortest distance along an object's axis that shows its motion, in sides of the central square."""


def first_seen(scene: Scene, target: SceneObject, frames: Sequence[int]) -> int | None:
    """Find the first of the frames that shows an object; None if none does."""
    return next((frame for frame in frames if target in scene.visible(frame)), None)


def count_showing(scene: Scene, targets: Sequence[SceneObject], frames: Sequence[int]) -> int:
    """Count the frames that show all of the objects."""
    return sum(scene.visible(frame).issuperset(targets) for frame in frames)


def shows_motion(scene: Scene, target: SceneObject, frames: Sequence[int]) -> bool:
    """Whether two of the frames show an object far enough apart to show its direction."""
    places = [target.centre(frame) for frame in frames if target in scene.visible(frame)]
    if len(places) < 2:
        return False
    (x0, y0), (x1, y1) = places[0], places[-1]
    return max(abs(x1 - x0), abs(y1 - y0)) >= MIN_TRAVEL


def shows_order(scene: Scene, earlier: SceneObject, later: SceneObject, frames: Sequence[int]) -> bool:
    """Whether the first frame that shows an object comes before the first one that shows another."""
    first, second = first_seen(scene, earlier, frames), first_seen(scene, later, frames)
    return first is not None and second is not None and first < second
