from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import scene, scene_object

from eval.shapes import uniform_frames
from eval.shapes.scene import SHAPES, covers


@pytest.mark.parametrize(
    ("shape", "inside", "outside"),
    [
        ("circle", [(0, 0), (0.99, 0), (-0.7, 0.7)], [(1.01, 0), (0.8, 0.8)]),
        ("ring", [(0.8, 0), (0, -1.07), (0.61, 0)], [(0, 0), (0.59, 0), (1.08, 0)]),
        ("square", [(0, 0), (0.84, 0.84), (-0.84, 0.84)], [(0.86, 0), (0, -0.86)]),
        # Its base lies at 0.8; half as wide as 0.58 times the distance from the tip at -1.05.
        ("triangle", [(0, -1.0), (1.05, 0.8), (-0.6, 0)], [(0, -1.06), (0, 0.81), (0.62, 0), (1.1, 0.8)]),
        ("cross", [(0, 0), (0.3, 1.0), (-1.0, 0.3)], [(0.5, 0.5), (0, 1.1), (0.35, 0.35)]),
        # Tips at 1.25, a fifth of a turn apart; the notches between them at 0.4775.
        ("star", [(0, -1.24), (1.17, -0.38), (-0.72, 1.0), (0, 0.47)], [(0, -1.26), (0, 0.49), (0, 1.0), (1, 0.5)]),
    ],
)
def test_shapes_cover_what_they_should(shape, inside, outside):
    x, y = np.array(inside + outside, dtype=float).T
    assert covers(shape, x, y).tolist() == [True] * len(inside) + [False] * len(outside)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_symmetric_and_of_similar_size(shape):
    points = (np.arange(300) + 0.5) / 100 - 1.5
    mask = covers(shape, points[None, :], points[:, None])
    assert (mask == mask[:, ::-1]).all()
    assert 1.5 < mask.sum() / 100**2 < 3.2
    assert not mask[:20].any()
    assert not mask[-20:].any()


def test_an_unknown_shape_is_refused():
    with pytest.raises(ValueError, match="'blob'"):
        covers("blob", np.zeros(1), np.zeros(1))


@pytest.mark.parametrize(
    ("start", "end", "place", "direction"),
    [
        ((0.2, 0.3), (0.8, 0.35), "top left", "right"),
        ((0.8, 0.3), (0.2, 0.35), "top right", "left"),
        ((0.2, 0.9), (0.25, 0.2), "bottom left", "up"),
        ((0.8, 0.6), (0.75, 0.9), "bottom right", "down"),
    ],
)
def test_places_and_directions(start, end, place, direction):
    assert (scene_object(start=start, end=end).place, scene_object(start=start, end=end).direction) == (
        place,
        direction,
    )


def test_an_object_moves_evenly_from_its_first_frame_to_its_last():
    mover = scene_object(role="mover", start=(0.2, 0.5), end=(0.8, 0.5), first_frame=10, end_frame=21)
    assert [mover.is_present(frame) for frame in (9, 10, 20, 21)] == [False, True, True, False]
    assert mover.centre(10) == (0.2, 0.5)
    assert mover.centre(15) == pytest.approx((0.5, 0.5))
    assert mover.centre(20) == pytest.approx((0.8, 0.5))


def test_later_objects_cover_earlier_ones():
    below = scene_object("red square")
    above = scene_object("blue square", start=(0.3, 0.25), first_frame=40)
    aside = scene_object("green star", start=(0.75, 0.75), end_frame=60)
    shown = scene(below, above, aside)
    assert shown.visible(39) == {below, aside}
    assert shown.visible(40) == {above, aside}  # 0.12 of the red square's width of 0.17 are covered
    assert shown.visible(60) == {above}
    assert scene(above, below).visible(40) == {below}


def test_a_half_covered_object_is_visible():
    below, above = scene_object("red square", radius=0.2), scene_object("blue square", radius=0.1)
    assert scene(below, above).visible(0) == {below, above}


@pytest.mark.parametrize(("seconds", "frame"), [(0, 0), (0.05, 0), (0.1, 1), (0.3, 3), (7.99, 79), (99, 79), (-1, 0)])
def test_the_frame_on_screen_at_a_time(seconds, frame):
    assert scene().frame_at(seconds) == frame


def test_uniform_frames_by_hand():
    assert uniform_frames(80) == ((5, 15, 25, 35, 45, 55, 65, 75), (0, 11, 22, 33, 45, 56, 67, 79))
    assert uniform_frames(10, 2) == ((2, 7), (0, 9))


@given(num_frames=st.integers(8, 20_000))
def test_one_of_the_two_samplings_is_video_llavas(num_frames):
    _, ends = uniform_frames(num_frames)
    assert ends == tuple(np.linspace(0, num_frames - 1, 8, dtype=int).tolist())


@given(num_frames=st.integers(8, 5000), count=st.integers(2, 64))
def test_uniform_frames_are_spread_and_within_the_video(num_frames, count):
    middles, ends = uniform_frames(num_frames, count)
    assert (ends[0], ends[-1]) == (0, num_frames - 1)
    for frames in (middles, ends):
        assert len(frames) == count
        assert all(0 <= frame < num_frames for frame in frames)
        assert list(frames) == sorted(frames)
        steps = np.diff(frames)
        assert steps.max() - steps.min() <= 1
