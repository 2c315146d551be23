from __future__ import annotations

import pytest
from scenes import scene, scene_object

from eval.shapes.evidence import count_showing, first_seen, shows_motion, shows_order

EARLY = scene_object("red circle", first_frame=10)
LATE = scene_object("blue star", start=(0.75, 0.75), first_frame=40, end_frame=60)
SHOWN = scene(EARLY, LATE)


@pytest.mark.parametrize(("frames", "seen"), [([0, 10, 20], 10), ([9], None), ([50, 30], 50), ([], None)])
def test_first_seen(frames, seen):
    assert first_seen(SHOWN, EARLY, frames) == seen


def test_count_showing():
    assert count_showing(SHOWN, [EARLY, LATE], [0, 20, 40, 59, 60]) == 2
    assert count_showing(SHOWN, [EARLY], [0, 20, 40, 59, 60]) == 4


@pytest.mark.parametrize(
    ("frames", "shown"), [([0, 79], True), ([0, 15], False), ([0, 17], True), ([40], False), ([], False)]
)
def test_motion_shows_in_frames_far_enough_apart(frames, shown):
    mover = scene_object(role="mover", start=(0.2, 0.2), end=(0.2, 0.8))
    assert shows_motion(scene(mover), mover, frames) == shown


@pytest.mark.parametrize(
    ("frames", "shown"),
    [
        ([20, 50], True),
        ([5, 50], False),  # both appear at once, so their order does not show
        ([20, 30], False),
        ([20, 70], False),
        ([5, 39, 45], True),
    ],
)
def test_order_shows_if_one_is_seen_before_the_other(frames, shown):
    assert shows_order(SHOWN, EARLY, LATE, frames) == shown
    assert not shows_order(SHOWN, LATE, EARLY, frames)
