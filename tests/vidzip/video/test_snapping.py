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
"""Frames last an eighth of a second, which floats hold exactly."""


@pytest.fixture(scope="module")
def seconds_apart(tmp_path_factory):
    """Ten seconds with a keyframe at each full second."""
    path = tmp_path_factory.mktemp("snapping") / "clip.mp4"
    options = {"bf": "2", "x264-params": "keyint=8:min-keyint=8:scenecut=0:open-gop=0"}
    write_numbered(path, num_frames=80, fps=FPS, options=options)
    return path


@pytest.mark.parametrize(
    ("moments", "moved", "shift"),
    [
        # Keyframes are on screen from n to n + 1/8 s: their middles are n + 1/16 s.
        ([0.0625, 3.0625, 7.0625], [0.0625, 3.0625, 7.0625], 0.0),
        ([1.25, 4.5, 7.75], [1.0625, 4.0625, 8.0625], 0.4375),
        ([1.25, 2.125, 9.9], [1.0625, 2.0625, 9.0625], 0.8375),
        # The gap is half a second, so a moment may move by a quarter: up to it, and no further.
        ([2.8125, 3.3125, 3.8125], [3.0625, 3.3125, 4.0625], 0.25),
        ([2.75, 3.25, 3.75], [2.75, 3.0625, 3.75], 0.1875),
        # Each side has its own gap: 2.5 may move back by 0.1, 5.5 on by 0.25.
        ([2.3, 2.5, 5.5, 6.0], [2.3, 2.5, 5.0625, 6.0625], 0.4375),
        # Two may reach the same keyframe: the first one takes it.
        ([3.0, 3.125], [3.0625, 3.125], 0.0625),
        # A moment alone may move as far as the video is long.
        ([5.4], [5.0625], 0.3375),
        ([9.99], [9.0625], 0.9275),
    ],
)
def test_moments_move_to_keyframes_within_half_the_gap(seconds_apart, moments, moved, shift):
    snapped, largest = snap_to_keyframes(seconds_apart, moments)
    assert snapped == pytest.approx(moved)
    assert largest == pytest.approx(shift)


@given(sixteenths=st.lists(st.integers(0, 159), min_size=2, max_size=20, unique=True).map(sorted))
def test_law_of_snapping(seconds_apart, sixteenths):
    moments = [sixteenth / 16 for sixteenth in sixteenths]
    snapped, largest = snap_to_keyframes(seconds_apart, moments)
    assert list(snapped) == sorted(snapped)
    assert largest == max(abs(new - old) for new, old in zip(snapped, moments, strict=True))
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    before, after = [gaps[0], *gaps], [*gaps, gaps[-1]]
    taken = []
    for old, new, back, on in zip(moments, snapped, before, after, strict=True):
        nearest = min((n + 1 / 16 for n in range(10)), key=lambda middle: abs(middle - old))
        if -back / 2 <= nearest - old <= on / 2 and nearest not in taken:
            assert new == nearest
            taken.append(nearest)
        else:
            assert new == old


@pytest.mark.parametrize("groups", ["bframes=0", "bframes=3:open-gop=0", "bframes=3:open-gop=1"])
@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_what_is_decoded_are_exactly_the_keyframes(tmp_path, groups, container):
    # Of an open group, the keyframe is stored before frames that are shown before it.
    path = tmp_path / f"groups.{container}"
    params = f"keyint=24:min-keyint=24:scenecut=0:b-adapt=0:{groups}"
    write_numbered(path, num_frames=200, options={"x264-params": params})
    # Moments 8/7 s apart, from 4/7 s on; keyframes 0.96 s apart, in the middles 0.02, 0.98, 1.94, 2.9, 3.86, 4.82, ….
    moments, _ = snap_to_keyframes(path, sample(probe(path), 7))
    frames = decode(path, moments)
    keyframes = [24, 48, 72, 96, 120, 168, 192]
    assert [number_of(picture) for picture in frames.pixels] == keyframes
    assert frames.timestamps_seconds == pytest.approx([number / 25 for number in keyframes])


def test_a_file_of_one_keyframe(tmp_path):
    path = tmp_path / "one.mp4"
    write_numbered(path, num_frames=32, fps=FPS, options={"g": "250", "sc_threshold": "0"})
    assert snap_to_keyframes(path, [0.5, 1.5, 2.5]) == ((0.0625, 1.5, 2.5), 0.4375)
    assert snap_to_keyframes(path, [1.0, 1.5, 2.0]) == ((1.0, 1.5, 2.0), 0.0)
    assert snap_to_keyframes(path, [3.0]) == ((0.0625,), 2.9375)


def test_a_file_without_labels_is_left_as_it_is(tmp_path):
    path = tmp_path / "unlabelled.avi"
    write_numbered(path, num_frames=60, codec="mpeg4", options={"bf": "2", "g": "12"})
    moments = sample(probe(path), 5)
    assert snap_to_keyframes(path, moments) == (moments, 0.0)


def test_a_plan_tells_that_moments_were_moved(seconds_apart):
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
    assert [number_of(picture) for picture in frames.pixels] == [8, 32, 48, 72]


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
