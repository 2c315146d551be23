from __future__ import annotations

import math
from bisect import bisect_right
from fractions import Fraction

import pytest
import torch
from clips import HEIGHT, KINDS, WIDTH, number_of, write_numbered
from hypothesis import given, settings
from hypothesis import strategies as st

from vidzip import decode, probe, sample
from vidzip.errors import BadArgument, DecodeError


@pytest.mark.parametrize("name", KINDS)
def test_every_frame_is_found_in_every_kind_of_file(kinds, name):
    path, times = kinds(name)
    info = probe(path)
    assert info.num_frames == len(times)
    frames = decode(path, sample(info, 1000))
    assert [number_of(frame) for frame in frames.pixels] == list(range(len(times)))
    first = frames.timestamps_seconds[0]
    assert [time - first for time in frames.timestamps_seconds] == pytest.approx(times, abs=1.1e-3)
    assert first == pytest.approx(info.start_seconds, abs=1e-3)
    assert info.duration_seconds > times[-1]


@pytest.mark.parametrize("name", KINDS)
def test_timestamps_near_edges_in_every_kind_of_file(kinds, name):
    path, times = kinds(name)
    start = probe(path).start_seconds
    edges = sorted({round(time + offset, 4) for time in times for offset in (-0.006, 0.006) if time + offset > 0})
    frames = decode(path, [start + edge for edge in edges])
    assert [number_of(frame) for frame in frames.pixels] == [bisect_right(times, edge) - 1 for edge in edges]


@given(milliseconds=st.lists(st.integers(0, 1999), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_law_any_timestamps_in_any_order(clip, milliseconds):
    timestamps = [at / 1000 for at in milliseconds]
    frames = decode(clip, timestamps)
    assert [number_of(frame) for frame in frames.pixels] == [at // 40 for at in milliseconds]
    assert all(
        time <= timestamp + 1e-6 < time + 0.04 + 2e-6
        for time, timestamp in zip(frames.timestamps_seconds, timestamps, strict=True)
    )


def test_pixels_are_rgb_channels_first(clip):
    frames = decode(clip, [0.0, 1.0])
    assert frames.pixels.shape == (2, 3, HEIGHT, WIDTH)
    assert frames.pixels.dtype is torch.uint8
    assert frames.pixels.is_contiguous()
    assert frames.pixels[0, :, -10:].float().mean() == pytest.approx(96, abs=3)


@pytest.mark.parametrize("timestamp", [-0.1, math.nan, math.inf])
def test_timestamps_must_be_finite_and_not_negative(clip, timestamp):
    with pytest.raises(BadArgument, match=str(timestamp)):
        decode(clip, [0.0, timestamp])


def test_no_timestamps_are_an_error(clip):
    with pytest.raises(BadArgument):
        decode(clip, [])


def test_a_change_of_frame_size_is_an_error(tmp_path, clip):
    import av

    small, large, both = tmp_path / "small.ts", tmp_path / "large.ts", tmp_path / "both.ts"
    write_numbered(small, num_frames=10)
    with av.open(str(large), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 2 * WIDTH, 2 * HEIGHT, "yuv420p"
        for i in range(10):
            frame = av.VideoFrame(2 * WIDTH, 2 * HEIGHT, "yuv420p")
            frame.pts, frame.time_base = i + 10, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    both.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(DecodeError, match="256x128"):
        decode(both, [0.0, 0.7])


def test_frames_with_timestamps_out_of_order_are_returned_in_display_order(videos):
    # This AVI's decoder returns frames in display order, but with every third pair of timestamps swapped.
    info = probe(videos / "test.avi")
    assert info.notes
    times = decode(videos / "test.avi", sample(info, 164)).timestamps_seconds
    assert times == pytest.approx([0.04 * (i + 1) for i in range(164)])


def shown_in(path) -> list[int]:
    """The numbers of all frames."""
    info = probe(path)
    shown = [number_of(frame) for frame in decode(path, sample(info, 1000)).pixels]
    assert len(shown) == info.num_frames
    return shown


def shift_start(source, target, frames: int) -> None:
    """Write the same packets with an edit list that skips the first frames."""
    import av

    with av.open(str(source)) as whole, av.open(str(target), "w") as output:
        stream = output.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(whole.streams.video[0]):
            if packet.dts is not None and packet.pts is not None:
                earlier = round(Fraction(frames, 25) / packet.time_base)
                packet.stream, packet.pts, packet.dts = stream, packet.pts - earlier, packet.dts - earlier
                output.mux(packet)


@pytest.mark.parametrize("frames", [1, 2, 13])
def test_frames_hidden_by_an_edit_list_are_not_counted(tmp_path, clip, frames):
    path = tmp_path / "edited.mp4"
    shift_start(clip, path, frames)
    assert shown_in(path) == list(range(frames, 50))
    assert probe(path).fps == pytest.approx(25)


@pytest.mark.parametrize("lost", [5, 11])
def test_a_stream_that_starts_between_keyframes(tmp_path, lost):
    whole, cut = tmp_path / "whole.ts", tmp_path / "cut.ts"
    write_numbered(whole, num_frames=40)
    cut.write_bytes(whole.read_bytes()[188 * lost :])
    shown = shown_in(cut)
    assert shown == list(range(shown[0], 40))
    assert shown[0] > 0


def test_a_gap_in_a_long_video(tmp_path):
    path = tmp_path / "gap.mp4"
    write_numbered(path, times=[Fraction(i + (i >= 300), 25) for i in range(1200)], options={"preset": "ultrafast"})
    info = probe(path)
    assert info.num_frames == 1200
    for policy, wanted in (("linspace", [i * 1199 // 7 for i in range(8)]), ("middle", range(1200))):
        shown = [number_of(frame) for frame in decode(path, sample(info, len(wanted), policy)).pixels]
        assert shown == [number % 256 for number in wanted]


def test_a_clock_that_restarts_is_an_error(tmp_path):
    one, other, joined = tmp_path / "one.ts", tmp_path / "other.ts", tmp_path / "joined.ts"
    write_numbered(one, num_frames=60)
    write_numbered(other, num_frames=70)
    joined.write_bytes(one.read_bytes() + other.read_bytes())
    with pytest.raises(DecodeError, match="clock"):
        decode(joined, [0.5, 2.7])
