from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidzip import VideoInfo, sample
from vidzip.errors import BadArgument
from vidzip.video.sampling import count_frames


def steady(num_frames=100, fps=10.0, start=0.0) -> VideoInfo:
    return VideoInfo(path="v", duration_seconds=num_frames / fps, fps=fps, num_frames=num_frames, start_seconds=start)


def listed(*times: float, end: float) -> VideoInfo:
    return VideoInfo(
        path="v",
        duration_seconds=end - times[0],
        num_frames=len(times),
        start_seconds=times[0],
        frame_times_seconds=times,
    )


def frame_on_screen(info: VideoInfo, seconds: float) -> int:
    """The frame on screen, found one frame at a time."""
    times = info.frame_times_seconds or [info.start_seconds + i / info.fps for i in range(info.num_frames)]
    return max([i for i, time in enumerate(times) if time <= seconds + 1e-6], default=0)


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 17, 34, 50])
def test_middles_of_equal_parts(frames):
    expected = [(i + 0.5) * 14 / frames for i in range(frames)]
    assert sample(steady(280, 20.0), frames) == pytest.approx(expected, abs=1e-12)


def test_a_middle_at_the_edge_of_a_frame_moves_inside_if_a_neighbor_is_used():
    # The fourth of 70 middles is 0.5 s, where frame 5 of 100 starts; with other rounding of the file's clock, frame 4
    # would be on screen. Frame 6 is used, so this would matter.
    timestamps = sample(steady(), 70)
    exact = [(i + 0.5) * 10 / 70 for i in range(70)]
    assert timestamps[3] == pytest.approx(0.55)
    assert timestamps[:3] == pytest.approx(exact[:3])
    assert sample(steady(), 10)[0] == pytest.approx(0.5)  # no neighbor is used: the middle stays


def test_middles_of_a_segment_and_of_a_late_start():
    assert sample(steady(), 2, start=2, end=4) == pytest.approx([2.5, 3.5])
    assert sample(steady(start=5.0), 2) == pytest.approx([7.5, 12.5])


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 16, 99, 100])
def test_linspace_equals_numpy(frames):
    info = steady(100, 24000 / 1001)
    shown = [frame_on_screen(info, timestamp) for timestamp in sample(info, frames, policy="linspace")]
    assert shown == np.linspace(0, 99, frames, dtype=int).tolist()


def test_fewer_frames_than_requested():
    for policy in ("middle", "linspace"):
        assert sample(steady(4, 2.0), 9, policy=policy) == pytest.approx([0.25, 0.75, 1.25, 1.75])


def test_a_long_frame_is_sampled_once():
    # The last frame lasts nine seconds: the middles of all five parts are on it.
    slides = listed(0.0, 0.2, 0.4, 0.6, 0.8, 1.0, end=10.0)
    timestamps = sample(slides, 5)
    assert [frame_on_screen(slides, timestamp) for timestamp in timestamps] == [1, 2, 3, 4, 5]


infos = st.one_of(
    st.tuples(st.integers(1, 400), st.sampled_from([1.0, 7.7, 24000 / 1001, 25.0, 60.0]), st.floats(0, 5)).map(
        lambda drawn: steady(*drawn)
    ),
    st.lists(st.integers(1, 3000), min_size=1, max_size=60).map(
        lambda steps: listed(*np.cumsum([0, *steps[:-1]]) / 1000, end=sum(steps) / 1000)
    ),
)


@given(infos, st.integers(1, 450), st.sampled_from(["middle", "linspace"]))
def test_law_ascending_inside_and_never_the_same_frame_twice(info, frames, policy):
    timestamps = sample(info, frames, policy)
    assert len(timestamps) == min(frames, info.num_frames)
    assert all(earlier < later for earlier, later in pairwise(timestamps))
    assert timestamps[0] >= info.start_seconds
    assert timestamps[-1] <= info.start_seconds + info.duration_seconds
    shown = [frame_on_screen(info, timestamp) for timestamp in timestamps]
    assert len(set(shown)) == len(shown)


@given(infos, st.integers(1, 100), st.floats(0, 0.9), st.floats(0.05, 1))
def test_law_timestamps_are_in_the_segment(info, frames, begin, length):
    start = info.start_seconds + begin * info.duration_seconds
    end = start + length * info.duration_seconds
    timestamps = sample(info, frames, start=start, end=end)
    assert len(timestamps) == min(frames, count_frames(info, start, end))
    assert all(start - 1e-9 <= timestamp <= end + 1e-9 for timestamp in timestamps)
    assert len({frame_on_screen(info, timestamp) for timestamp in timestamps}) == len(timestamps)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ({"num_frames": 0}, "num_frames is 0"),
        ({"num_frames": 2.5}, "num_frames is 2.5"),
        ({"num_frames": 8, "policy": "random"}, "middle, linspace"),
        ({"num_frames": 8, "start": -1}, "start is -1 s"),
        ({"num_frames": 8, "end": math.nan}, "end is nan s"),
        ({"num_frames": 8, "start": 10}, "10 s"),
        ({"num_frames": 8, "start": 5, "end": 5}, "5 s"),
    ],
)
def test_bad_arguments(arguments, values):
    with pytest.raises(BadArgument, match=values) as caught:
        sample(steady(), **arguments)
    assert caught.value.hint


def test_unknown_durations_and_counts():
    with pytest.raises(BadArgument, match="duration of 'v'"):
        sample(VideoInfo(path="v"), 8)
    with pytest.raises(BadArgument, match="frame count of 'v'"):
        sample(VideoInfo(path="v", duration_seconds=3.0), 8)
    assert len(sample(VideoInfo(path="v", duration_seconds=3.0, fps=10.0), 40)) == 30
