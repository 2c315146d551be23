"""Real files: the number of frames, their timestamps, and their pixels."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from vidzip import decode, probe, sample
from vidzip.errors import EndsEarly, NoFrames, NotAVideo, NoVideoStream

REAL = {
    # name: frames, seconds, first and last frame's time, width, height, rotation
    "-video-with-dash-.mp4": (5, 5.0, 0.0, 4.0, 1, 1, 0),
    "av1_video.mkv": (125, 5.0, 0.0, 4.96, 640, 360, 0),
    "bikes.mp4": (250, 10.0, 0.0, 9.96, 640, 272, 0),
    "cockatoo.mp4": (280, 14.0, 0.0, 13.95, 1280, 720, 0),
    "flipping_a_pancake.mkv": (310, 10.333, 0.0, 10.3, 426, 240, 0),
    "frameqa_1.gif": (20, 2.6, 0.0, 2.47, 360, 240, 0),
    "h264_10bits.mp4": (30, 1.0, 0.0, 0.967, 200, 200, 0),
    "h265_video.mp4": (10, 1.0, 0.0, 0.9, 128, 128, 0),
    "nasa_13013.mp4": (325, 13.0, 0.0, 12.96, 320, 180, 0),
    "newtonscradle.gif": (36, 0.82, 0.0, 0.8, 200, 150, 0),
    "no_duration.webm": (74, 4.938, 0.0, 4.872, 1280, 720, 0),
    "sample_demo_1.mp4": (243, 9.72, 0.0, 9.68, 640, 360, 0),
    "sample_demo_3.mp4": (146, 6.089, 0.0, 6.048, 640, 360, 0),
    "scene_cuts.mp4": (250, 10.0, 0.0, 9.96, 1280, 272, 0),
    "test.avi": (164, 6.56, 0.04, 6.56, 320, 240, 0),
    "video_0.mov": (3, 0.1, 0.0, 0.067, 568, 320, 0),
    "video_90.mov": (3, 0.1, 0.0, 0.067, 320, 568, 90),
}

DAMAGED = "corrupted.mp4"
"""Lists 50 frames at 10 per second, of which 28 can be decoded."""

REFUSED = {
    "gif.gif": NoFrames,
    "mp4-with-audio.mp4": NoVideoStream,
    "result.webm": NotAVideo,
}


def test_all_files_are_tested(videos):
    assert sorted([*REAL, DAMAGED, *REFUSED]) == sorted(path.name for path in videos.iterdir())


@pytest.mark.parametrize("name", REAL)
def test_real_files(videos, name):
    frames, seconds, first, last, width, height, rotation = REAL[name]
    info = probe(videos / name)
    assert (info.num_frames, info.width, info.height, info.rotation) == (frames, width, height, rotation)
    assert info.duration_seconds == pytest.approx(seconds, abs=1e-3)
    assert info.start_seconds == pytest.approx(first, abs=1e-3)
    assert info.warnings == ()
    wanted = min(frames, 136)
    shown = decode(videos / name, sample(info, wanted), size=(height // 2 or 1, width // 2 or 1))
    assert len(set(shown.timestamps_seconds)) == wanted
    assert shown.warnings == ()
    ends = decode(videos / name, sample(info, frames, "linspace")[:: max(1, frames - 1)])
    assert ends.timestamps_seconds == pytest.approx((first, last), abs=1e-3)
    assert ends.pixels.shape == (2, 3, height, width)


def decode_from_start(path, numbers) -> np.ndarray:
    """Decode a file from its start and return the frames with these numbers, in display order."""
    kept = []
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in numbers:
                kept.append(np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)))
    return np.stack(kept).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("name", REAL)
def test_frames_equal_those_of_decoding_from_the_start(videos, name):
    frames = REAL[name][0]
    timestamps = sample(probe(videos / name), min(frames, 9), "linspace")
    numbers = [i * (frames - 1) // max(1, len(timestamps) - 1) for i in range(len(timestamps))]
    expected = decode_from_start(videos / name, set(numbers))
    assert (decode(videos / name, timestamps).pixels.numpy() == expected).all()


@pytest.mark.parametrize("name", ["h264_10bits.mp4", "flipping_a_pancake.mkv", "test.avi", "newtonscradle.gif"])
def test_decoded_frames_are_as_many_as_packets(videos, name):
    info, counted = probe(videos / name), probe(videos / name, count=True)
    assert counted.num_frames == info.num_frames
    assert counted.duration_seconds == pytest.approx(info.duration_seconds, abs=0.05)
    assert counted.warnings == ()
    assert str(info.num_frames) in counted.notes[-1]


def test_a_damaged_file(videos):
    info, counted = probe(videos / DAMAGED), probe(videos / DAMAGED, count=True)
    assert (info.num_frames, info.duration_seconds, info.width, info.height) == (50, 5.0, 1280, 720)
    assert (counted.num_frames, counted.duration_seconds) == (28, pytest.approx(2.8))
    assert counted.frame_times_seconds == pytest.approx([i / 10 for i in range(28)])
    assert any("50" in warning and "28" in warning for warning in counted.warnings)
    frames = decode(videos / DAMAGED, sample(counted, 28), size=16)
    assert frames.timestamps_seconds == pytest.approx([i / 10 for i in range(28)])
    with pytest.raises(EndsEarly, match=r"2\.800 s"):
        decode(videos / DAMAGED, sample(info, 50))


@pytest.mark.parametrize("name", REFUSED)
def test_files_without_frames_are_refused(videos, name):
    for use in (probe, lambda path: decode(path, [0.0])):
        with pytest.raises(REFUSED[name]) as caught:
            use(videos / name)
        assert caught.value.hint


def test_a_fractional_frame_rate(videos):
    assert probe(videos / "sample_demo_3.mp4").fps == pytest.approx(float(Fraction(24000, 1001)))
