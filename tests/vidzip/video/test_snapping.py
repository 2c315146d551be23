from __future__ import annotations

import json
from itertools import pairwise

import pytest
from clips import number_of, write_numbered
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cli import main
from vidzip import Budget, decode, plan, probe, sample
from vidzip.video.snapping import snap_to_keyframes

FPS = 8
"""A frame lasts an eighth of a second, which is exact in binary."""


@pytest.fixture(scope="module")
def seconds_apart(tmp_path_factory):
    """Ten seconds with a keyframe at each full second."""
    path = tmp_path_factory.mktemp("snapping") / "clip.mp4"
    options = {"bf": "2", "x264-params": "keyint=8:min-keyint=8:scenecut=0:open-gop=0"}
    write_numbered(path, num_frames=80, fps=FPS, options=options)
    return path


@pytest.mark.parametrize(
    ("timestamps", "moved", "shift"),
    [
        # Keyframes are on screen from n to n + 1/8 s: their middles are n + 1/16 s.
        ([0.0625, 3.0625, 7.0625], [0.0625, 3.0625, 7.0625], 0.0),
        ([1.25, 4.5, 7.75], [1.0625, 4.0625, 8.0625], 0.4375),
        ([1.25, 2.125, 9.9], [1.0625, 2.0625, 9.0625], 0.8375),
        # The gap is half a second, so a timestamp may move by up to a quarter of a second.
        ([2.8125, 3.3125, 3.8125], [3.0625, 3.3125, 4.0625], 0.25),
        ([2.75, 3.25, 3.75], [2.75, 3.0625, 3.75], 0.1875),
        # The gaps differ: 2.5 may move by -0.1, 5.5 by +0.25.
        ([2.3, 2.5, 5.5, 6.0], [2.3, 2.5, 5.0625, 6.0625], 0.4375),
        # Two are near the same keyframe: the first one moves to it.
        ([3.0, 3.125], [3.0625, 3.125], 0.0625),
        # A single timestamp may move by up to the duration.
        ([5.4], [5.0625], 0.3375),
        ([9.99], [9.0625], 0.9275),
    ],
)
def test_timestamps_move_to_keyframes_within_half_the_gap(seconds_apart, timestamps, moved, shift):
    snapped, largest = snap_to_keyframes(seconds_apart, timestamps)
    assert snapped == pytest.approx(moved)
    assert largest == pytest.approx(shift)


@given(sixteenths=st.lists(st.integers(0, 159), min_size=2, max_size=20, unique=True).map(sorted))
def test_law_of_snapping(seconds_apart, sixteenths):
    timestamps = [sixteenth / 16 for sixteenth in sixteenths]
    snapped, largest = snap_to_keyframes(seconds_apart, timestamps)
    assert list(snapped) == sorted(snapped)
    assert largest == max(abs(new - old) for new, old in zip(snapped, timestamps, strict=True))
    gaps = [later - earlier for earlier, later in pairwise(timestamps)]
    before, after = [gaps[0], *gaps], [*gaps, gaps[-1]]
    taken = []
    for old, new, back, on in zip(timestamps, snapped, before, after, strict=True):
        nearest = min((n + 1 / 16 for n in range(10)), key=lambda middle: abs(middle - old))
        if -back / 2 <= nearest - old <= on / 2 and nearest not in taken:
            assert new == nearest
            taken.append(nearest)
        else:
            assert new == old


@pytest.mark.parametrize("groups", ["bframes=0", "bframes=3:open-gop=0", "bframes=3:open-gop=1"])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_the_decoded_frames_are_keyframes(tmp_path, groups, container):
    # The keyframe of an open group is stored before frames that are displayed before it.
    path = tmp_path / f"groups.{container}"
    params = f"keyint=24:min-keyint=24:scenecut=0:b-adapt=0:{groups}"
    write_numbered(path, num_frames=200, options={"x264-params": params})
    # Moments 8/7 s apart, from 4/7 s on; keyframes 0.96 s apart, in the middles 0.02, 0.98, 1.94, 2.9, 3.86, 4.82, ….
    timestamps, _ = snap_to_keyframes(path, sample(probe(path), 7))
    frames = decode(path, timestamps)
    keyframes = [24, 48, 72, 96, 120, 168, 192]
    assert [number_of(frame) for frame in frames.pixels] == keyframes
    assert frames.timestamps_seconds == pytest.approx([number / 25 for number in keyframes])


def test_a_single_keyframe(tmp_path):
    path = tmp_path / "one.mp4"
    write_numbered(path, num_frames=32, fps=FPS, options={"g": "250", "sc_threshold": "0"})
    assert snap_to_keyframes(path, [0.5, 1.5, 2.5]) == ((0.0625, 1.5, 2.5), 0.4375)
    assert snap_to_keyframes(path, [1.0, 1.5, 2.0]) == ((1.0, 1.5, 2.0), 0.0)
    assert snap_to_keyframes(path, [3.0]) == ((0.0625,), 2.9375)


def test_timestamps_of_a_file_without_reliable_timestamps_do_not_move(tmp_path):
    path = tmp_path / "clip.avi"
    write_numbered(path, num_frames=60, codec="mpeg4", options={"bf": "2", "g": "12"})
    timestamps = sample(probe(path), 5)
    assert snap_to_keyframes(path, timestamps) == (timestamps, 0.0)


def test_a_plan_warns_of_moved_timestamps(seconds_apart):
    budget = Budget(num_frames=4)
    plain, snapped = plan(seconds_apart, budget), plan(seconds_apart, budget, snap=True)
    assert plain.timestamps_seconds == pytest.approx((1.25, 3.75, 6.25, 8.75))
    assert (plain.snap, plain.warnings) == (False, ())
    assert snapped.timestamps_seconds == pytest.approx((1.0625, 4.0625, 6.0625, 9.0625))
    assert snapped.snap
    (warning,) = snapped.warnings
    assert "0.31 s" in warning
    assert snapped.tokens_per_frame == plain.tokens_per_frame
    frames = decode(seconds_apart, snapped.timestamps_seconds)
    assert frames.timestamps_seconds == (1.0, 4.0, 6.0, 9.0)
    assert [number_of(frame) for frame in frames.pixels] == [8, 32, 48, 72]


def test_the_command_line_snaps_where_it_is_told_to(seconds_apart, capsys):
    made = []
    for options in ([], ["--snap-to-keyframes"]):
        assert main(["plan", str(seconds_apart), "--frames", "4", "--json", *options]) == 0
        made.append(json.loads(capsys.readouterr().out))
    plain, snapped = made
    assert plain["timestamps_seconds"] == pytest.approx([1.25, 3.75, 6.25, 8.75])
    assert plain["warnings"] == []
    assert snapped["timestamps_seconds"] == pytest.approx([1.0625, 4.0625, 6.0625, 9.0625])
    (warning,) = snapped["warnings"]
    assert "0.31 s" in warning
