from __future__ import annotations

import math
from bisect import bisect_right
from fractions import Fraction

import pytest
import torch
from clips import HEIGHT, WIDTH, number_of, write_numbered
from hypothesis import given, settings
from hypothesis import strategies as st

from vidzip import decode, probe, sample
from vidzip.errors import BadArgument, DecodeError

UNEVEN = [0.0, 0.04, 0.08, 0.5, 0.54, 1.3, 1.301, 2.0, 2.04, 3.7]

KINDS = {
    "h264.mp4": {},
    "h264-long-groups.mp4": {"options": {"g": "250", "bf": "3", "b_strategy": "0"}},
    "h265.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "h264.mkv": {},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "h264.ts": {},
    "mpeg2.mpg": {"codec": "mpeg2video"},
    "h264.flv": {},
    "ntsc.mp4": {"times": [Fraction(1001 * i, 30000) for i in range(40)], "fps": Fraction(30000, 1001)},
    "uneven.mkv": {"times": UNEVEN},
    "uneven.mp4": {"times": UNEVEN},
    "late.mkv": {"times": [time + 7.5 for time in UNEVEN]},
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    written = {}

    def get(name):
        if name not in written:
            times = write_numbered(folder / name, **{"num_frames": 40, **KINDS[name]})
            written[name] = folder / name, [time - times[0] for time in times]
        return written[name]

    return get


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


REAL = {
    # name: frames, seconds, first and last frame's time, width, height, rotation
    "-video-with-dash-.mp4": (5, 5.0, 0.0, 4.0, 1, 1, 0),
    "av1_video.mkv": (125, 5.0, 0.0, 4.96, 640, 360, 0),
    "bikes.mp4": (250, 10.0, 0.0, 9.96, 640, 272, 0),
    "flipping_a_pancake.mkv": (310, 10.333, 0.0, 10.3, 426, 240, 0),
    "frameqa_1.gif": (20, 2.6, 0.0, 2.47, 360, 240, 0),
    "h264_10bits.mp4": (30, 1.0, 0.0, 0.967, 200, 200, 0),
    "h265_video.mp4": (10, 1.0, 0.0, 0.9, 128, 128, 0),
    "nasa_13013.mp4": (325, 13.0, 0.0, 12.96, 320, 180, 0),
    "newtonscradle.gif": (36, 0.82, 0.0, 0.8, 200, 150, 0),
    "no_duration.webm": (74, 4.938, 0.0, 4.872, 1280, 720, 0),
    "test.avi": (164, 6.56, 0.04, 6.56, 320, 240, 0),
    "video_0.mov": (3, 0.1, 0.0, 0.067, 568, 320, 0),
    "video_90.mov": (3, 0.1, 0.0, 0.067, 320, 568, 90),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(videos, name):
    frames, seconds, first, last, width, height, rotation = REAL[name]
    info = probe(videos / name)
    assert (info.num_frames, info.width, info.height, info.rotation) == (frames, width, height, rotation)
    assert info.duration_seconds == pytest.approx(seconds, abs=1e-3)
    wanted = min(frames, 136)
    shown = decode(videos / name, sample(info, wanted))
    assert len(set(shown.timestamps_seconds)) == wanted
    assert shown.pixels.shape[2:] == (height, width)
    ends = decode(videos / name, sample(info, frames, "linspace")[:: max(1, frames - 1)]).timestamps_seconds
    assert ends == pytest.approx((first, last), abs=1e-3)


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
