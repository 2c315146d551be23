from __future__ import annotations

import pytest
from scenes import scene, thing

from eval.shapes.evidence import first_seen, shows_motion, shows_order, together

EARLY = thing("red circle", first_frame=10)
LATE = thing("blue star", start=(0.75, 0.75), first_frame=40, end_frame=60)
SHOWN = scene(EARLY, LATE)


@pytest.mark.parametrize(("frames", "seen"), [([0, 10, 20], 10), ([9], None), ([50, 30], 50), ([], None)])
def test_first_seen(frames, seen):
    assert first_seen(SHOWN, EARLY, frames) == seen


def test_together():
    assert together(SHOWN, [EARLY, LATE], [0, 20, 40, 59, 60]) == 2
    assert together(SHOWN, [EARLY], [0, 20, 40, 59, 60]) == 4


@pytest.mark.parametrize(
    ("frames", "shown"), [([0, 79], True), ([0, 15], False), ([0, 17], True), ([40], False), ([], False)]
)
def test_motion_shows_in_frames_far_enough_apart(frames, shown):
    mover = thing(role="mover", start=(0.2, 0.2), end=(0.2, 0.8))
    assert shows_motion(scene(mover), mover, frames) == shown


@pytest.mark.parametrize(
    ("frames", "shown"),
    [
        ([20, 50], True),
        ([5, 50], False),  # both are there at once: which one came first does not show
        ([20, 30], False),
        ([20, 70], False),
        ([5, 39, 45], True),
    ],
)
def test_order_shows_where_one_is_seen_before_the_other(frames, shown):
    assert shows_order(SHOWN, EARLY, LATE, frames) == shown
    assert not shows_order(SHOWN, LATE, EARLY, frames)
