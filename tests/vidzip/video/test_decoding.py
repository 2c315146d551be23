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
    assert [number_of(picture) for picture in frames.pixels] == list(range(len(times)))
    first = frames.timestamps_seconds[0]
    assert [time - first for time in frames.timestamps_seconds] == pytest.approx(times, abs=1.1e-3)
    assert first == pytest.approx(info.start_seconds, abs=1e-3)
    assert info.duration_seconds > times[-1]


@pytest.mark.parametrize("name", KINDS)
def test_the_frame_on_screen_in_every_kind_of_file(kinds, name):
    path, times = kinds(name)
    start = probe(path).start_seconds
    edges = sorted({round(time + offset, 4) for time in times for offset in (-0.006, 0.006) if time + offset > 0})
    frames = decode(path, [start + edge for edge in edges])
    assert [number_of(picture) for picture in frames.pixels] == [bisect_right(times, edge) - 1 for edge in edges]


@given(milliseconds=st.lists(st.integers(0, 1999), min_size=1, max_size=8))
@settings(max_examples=25, deadline=None)
def test_law_any_moments_in_any_order(clip, milliseconds):
    moments = [at / 1000 for at in milliseconds]
    frames = decode(clip, moments)
    assert [number_of(picture) for picture in frames.pixels] == [at // 40 for at in milliseconds]
    assert all(
        time <= moment + 1e-6 < time + 0.04 + 2e-6
        for time, moment in zip(frames.timestamps_seconds, moments, strict=True)
    )


def test_pixels_are_rgb_in_planes(clip):
    frames = decode(clip, [0.0, 1.0])
    assert frames.pixels.shape == (2, 3, HEIGHT, WIDTH)
    assert frames.pixels.dtype is torch.uint8
    assert frames.pixels.is_contiguous()
    assert frames.pixels[0, :, -10:].float().mean() == pytest.approx(96, abs=3)


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_pictures_are_upright(tmp_path, clip, rotation):
    path = tmp_path / "turned.mp4"
    write_numbered(path, num_frames=3, rotation=rotation)
    turned, level = decode(path, [0.05]).pixels[0], decode(clip, [0.05]).pixels[0]
    # FFmpeg's angle is counter-clockwise, as rot90's is.
    expected = torch.rot90(level, rotation // 90, dims=(1, 2))
    assert turned.shape == expected.shape
    assert (turned.float() - expected.float()).abs().mean() < 3
    info = probe(path)
    assert info.rotation == -rotation % 360
    assert (info.height, info.width) == turned.shape[1:]


@pytest.mark.parametrize("moment", [-0.1, math.nan, math.inf])
def test_moments_are_seconds(clip, moment):
    with pytest.raises(BadArgument, match="a timestamp is"):
        decode(clip, [0.0, moment])


def test_no_moments_are_refused(clip):
    with pytest.raises(BadArgument, match="no timestamps"):
        decode(clip, [])


def test_past_the_end_is_said(clip):
    with pytest.raises(DecodeError, match=r"ends at 2\.000 s, before 2\.500 s"):
        decode(clip, [0.0, 2.5])


def test_a_change_of_picture_size_is_said(tmp_path, clip):
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
    with pytest.raises(DecodeError, match=r"picture size .* changes to 256x128"):
        decode(both, [0.0, 0.7])


def test_frames_that_are_labelled_out_of_order_come_in_the_order_shown(videos):
    # This AVI's decoder gives pictures in the order they are shown, but labels every third pair the wrong way round.
    info = probe(videos / "test.avi")
    assert "packets were counted" in info.notes[0]
    times = decode(videos / "test.avi", sample(info, 164)).timestamps_seconds
    assert times == pytest.approx([0.04 * (i + 1) for i in range(164)])


def test_a_damaged_file_is_used_up_to_the_damage_and_no_further(videos):
    path = videos / "corrupted.mp4"
    assert probe(path).num_frames == 50
    assert decode(path, [0.0, 1.0, 2.0]).pixels.shape[0] == 3
    with pytest.raises(DecodeError, match=r"cannot be decoded past 2\.\d+ s"):
        decode(path, [0.0, 4.0])


def shown_in(path) -> list[int]:
    """The numbers of the pictures that a plan of every frame shows."""
    info = probe(path)
    shown = [number_of(picture) for picture in decode(path, sample(info, 1000)).pixels]
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
def test_frames_that_an_edit_list_hides_are_none(tmp_path, clip, frames):
    path = tmp_path / "edited.mp4"
    shift_start(clip, path, frames)
    assert shown_in(path) == list(range(frames, 50))
    assert probe(path).fps == pytest.approx(25)


@pytest.mark.parametrize("lost", [5, 11])
def test_a_stream_that_begins_between_keyframes_has_the_frames_that_decode(tmp_path, lost):
    whole, cut = tmp_path / "whole.ts", tmp_path / "cut.ts"
    write_numbered(whole, num_frames=40)
    cut.write_bytes(whole.read_bytes()[188 * lost :])
    shown = shown_in(cut)
    assert shown == list(range(shown[0], 40))
    assert shown[0] > 0


def test_one_gap_in_a_long_video_moves_no_frame_number(tmp_path):
    path = tmp_path / "gap.mp4"
    write_numbered(path, times=[Fraction(i + (i >= 300), 25) for i in range(1200)], options={"preset": "ultrafast"})
    info = probe(path)
    assert info.num_frames == 1200
    for policy, wanted in (("linspace", [i * 1199 // 7 for i in range(8)]), ("middle", range(1200))):
        shown = [number_of(picture) for picture in decode(path, sample(info, len(wanted), policy)).pixels]
        assert shown == [number % 256 for number in wanted]


def test_files_joined_without_a_new_clock_are_said(tmp_path):
    one, other, joined = tmp_path / "one.ts", tmp_path / "other.ts", tmp_path / "joined.ts"
    write_numbered(one, num_frames=60)
    write_numbered(other, num_frames=70)
    joined.write_bytes(one.read_bytes() + other.read_bytes())
    with pytest.raises(DecodeError, match=r"clock of .* falls back"):
        decode(joined, [0.5, 2.7])
