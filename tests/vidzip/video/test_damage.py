from __future__ import annotations

import errno
import os
import pickle
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from clips import number_of, numbered_frame, write_numbered

from vidzip import Budget, DecodeOptions, decode, decode_chunks, plan, probe, sample
from vidzip.errors import (
    DecodeError,
    EndsEarly,
    FrameTooLarge,
    NotAVideo,
    NoVideoStream,
    TimeLimitExceeded,
    VideoError,
)
from vidzip.video import limits
from vidzip.video.backends import pyav
from vidzip.video.containers import OpenVideo, _AnonymousFile
from vidzip.video.conversion import DecodedFrame
from vidzip.video.group_reader import FrameNotFound
from vidzip.video.indexing import index_frames


def numbers(frames) -> list[int]:
    return [number_of(frame) for frame in frames.pixels]


def middles(count: int) -> list[float]:
    """The middle of each frame's time on screen, at 25 frames a second."""
    return [(number + 0.5) / 25 for number in range(count)]


# Files that are cut short


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """Write 100 frames, 4 seconds, none of them reordered, and keep the first part of the file."""
    folder = tmp_path_factory.mktemp("cut")

    def get(name, share=0.7):
        whole, kept = folder / name, folder / f"cut-{share}-{name}"
        if not whole.exists():
            write_numbered(whole, num_frames=100, options={"g": "12", "bf": "0"}, fast_start=True)
        kept.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
        return kept

    return get


def test_a_truncated_file_with_a_complete_header(cut):
    path = cut("clip.mp4", 0.8)
    info = probe(path)
    assert 0 < info.num_frames < 100
    assert info.duration_seconds < 3.9
    assert "4.0 s" in info.warnings[0]
    real = probe(path, count=True)
    assert info.num_frames - 1 <= real.num_frames <= info.num_frames
    assert numbers(decode(path, sample(real, 1000))) == list(range(real.num_frames))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.flv"])
def test_the_error_past_the_end_has_the_end(cut, name):
    path = cut(name)
    real = probe(path, count=True)
    assert 0 < real.num_frames < 100
    with pytest.raises(EndsEarly) as caught:
        decode(path, [0.1, 3.9])
    ends = caught.value.end_seconds
    assert ends == pytest.approx(real.start_seconds + real.duration_seconds, abs=0.13)
    shown = decode(path, [0.1, min(ends, real.start_seconds + real.duration_seconds) - 0.02])
    assert numbers(shown) == [2, real.num_frames - 1]
    assert str(path) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["clip.mkv", "clip.ts", "clip.flv"])
def test_every_remaining_frame_is_found(cut, name):
    path = cut(name)
    info, real = probe(path), probe(path, count=True)
    assert info.num_frames - 1 <= real.num_frames <= info.num_frames  # the last one may be incomplete
    assert numbers(decode(path, sample(real, 1000))) == list(range(real.num_frames))


def test_ends_early_can_be_pickled():
    error = EndsEarly("ends at 2 s", hint="stop before", end_seconds=2.0)
    loaded = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(loaded) is EndsEarly
    assert (str(loaded), loaded.hint, loaded.end_seconds) == (str(error), "stop before", 2.0)


# A damaged part


def damage(source, target, number: int, *, keep: float = 0.0) -> None:
    """Overwrite a frame's bytes with zeros, or the last part of them."""
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = {round(packet.pts * packet.time_base * 25): packet for packet in container.demux() if packet.size}
        packet = packets[number]
        begins = content.index(bytes(packet), packet.pos)
        kept = int(keep * packet.size)
        content[begins + kept : begins + packet.size] = bytes(packet.size - kept)
    target.write_bytes(content)


@pytest.fixture(scope="module", params=["mp4", "mkv"])
def damaged(request, tmp_path_factory):
    """100 frames in groups of 12: keyframe 48 cannot be decoded, nor can 46 and 47, which depend on it."""
    folder = tmp_path_factory.mktemp("damaged")
    whole, path = folder / f"whole.{request.param}", folder / f"damaged.{request.param}"
    write_numbered(whole, num_frames=100)
    damage(whole, path, 48)
    return path


WITH_A_GAP = [*range(46), *[45] * 14, *range(60, 100)]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_frame_before_a_damaged_group_is_repeated(damaged, workers):
    frames = decode(damaged, middles(100), workers=workers)
    assert numbers(frames) == WITH_A_GAP
    assert len(frames.warnings) == 1
    assert "1.800 s" in frames.warnings[0]


def test_no_warning_for_other_frames(damaged):
    frames = decode(damaged, [0.5, 1.0, 3.0])
    assert numbers(frames) == [12, 25, 75]
    assert frames.warnings == ()


def test_damage_is_an_error_if_strict(damaged):
    assert numbers(decode(damaged, [0.5, 3.0], strict=True)) == [12, 75]
    with pytest.raises(DecodeError) as caught:
        decode(damaged, [0.5, 2.1], strict=True)
    assert not isinstance(caught.value, EndsEarly)


def test_chunks_have_the_warning(damaged):
    chunks = list(decode_chunks(damaged, middles(100), 16))
    assert [number for chunk in chunks for number in numbers(chunk)] == WITH_A_GAP
    warnings = [warning for chunk in chunks for warning in chunk.warnings]
    assert len(warnings) == 1
    assert "1.800 s" in warnings[0]
    with pytest.raises(DecodeError):
        list(decode_chunks(damaged, middles(100), 16, strict=True))


def test_probe_counts_decoded_frames(damaged):
    assert probe(damaged).num_frames == 100
    info = probe(damaged, count=True)
    assert info.num_frames == 86
    assert len(info.frame_times_seconds) == 86
    assert any("100" in warning and "86" in warning for warning in info.warnings)
    # No frame of the damaged group is sampled.
    assert numbers(decode(damaged, sample(info, 86))) == [*range(46), *range(60, 100)]


@pytest.mark.parametrize("number", [48, 51])
def test_an_incomplete_frame_has_a_warning(tmp_path, number):
    whole, path = tmp_path / "whole.mp4", tmp_path / "damaged.mp4"
    write_numbered(whole, num_frames=100)
    damage(whole, path, number, keep=0.5)
    frames = decode(path, middles(100))
    shown = numbers(frames)
    assert shown[:46] == list(range(46))
    assert shown[60:] == list(range(60, 100))
    assert frames.warnings
    assert decode(path, [0.5, 3.0]).warnings == ()
    # A frame that depends on the incomplete one.
    assert decode(path, [2.3]).warnings
    with pytest.raises(DecodeError):
        decode(path, [2.3], strict=True)


# Plans over files that end early


def test_a_plan_is_resampled_from_the_readable_part(cut, small):
    path = cut("clip.mp4", 0.8)
    promised = replace(probe(path), duration_seconds=4.0, num_frames=100, frame_times_seconds=None)
    planned = plan(promised, Budget(total_tokens=64, num_frames=16))
    packed = small.pack(promised, planned)
    real = probe(path, count=True)
    assert packed.num_tokens == 64
    assert packed.plan.num_frames == 16
    assert packed.plan.timestamps_seconds[-1] < real.start_seconds + real.duration_seconds + 0.04
    assert any("4.000 s" in warning and "16 frames" in warning for warning in packed.plan.warnings)
    with pytest.raises(EndsEarly):
        small.pack(promised, planned, decoding=DecodeOptions(strict=True))


def test_a_plan_of_a_real_damaged_file_is_resampled(videos, small):
    path = videos / "corrupted.mp4"
    packed = small.pack(path, plan(path, Budget(total_tokens=64, num_frames=16)))
    assert packed.num_tokens == 64
    real = probe(path, count=True)
    assert packed.plan.timestamps_seconds[-1] < real.start_seconds + real.duration_seconds + 0.1
    assert any("16 frames were re-sampled" in warning for warning in packed.plan.warnings)


def test_a_plan_made_by_hand_is_not_changed(cut, small):
    path = cut("clip.mp4", 0.8)
    planned = replace(plan(path, Budget(num_frames=2)), timestamps_seconds=(0.5, 3.9), policy=None)
    with pytest.raises(EndsEarly):
        small.pack(path, planned)


def test_damage_is_among_a_plan_s_warnings(damaged, small):
    packed = small.pack(damaged, plan(damaged, Budget(total_tokens=34, num_frames=34)))
    assert any("damaged from 1.800 s on" in warning for warning in packed.plan.warnings)


# Time


class Clock:
    """A clock that advances by ``step`` seconds each time it is read."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def monotonic(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(0.0)
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_the_time_limit_while_a_file_is_opened_and_indexed(tmp_path, clock, name):
    path = tmp_path / name
    write_numbered(path, num_frames=50)
    clock.step = 1000
    for use in (probe, lambda path: decode(path, [0.5]), lambda path: probe(path, count=True)):
        with pytest.raises(TimeLimitExceeded, match="600 s") as caught:
            use(path)
        assert caught.value.hint


def test_the_time_limit_while_packets_are_read(tmp_path, clock):
    path = tmp_path / "a.mkv"
    write_numbered(path, num_frames=50)
    clock.step = 0.2
    with pytest.raises(TimeLimitExceeded, match="5 s"):
        index_frames(path, time_limit_seconds=5)
    # An incomplete index is not cached.
    clock.step = 0
    assert len(index_frames(path, time_limit_seconds=5).ticks) == 50


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_the_time_limit_while_frames_are_decoded(tmp_path, clock, name):
    path = tmp_path / name
    write_numbered(path, num_frames=200, codec="libx264" if name == "a.mp4" else "mpeg4", options={"bf": "2"})
    index_frames(path, time_limit_seconds=5)
    clock.step = 0.1
    with pytest.raises(TimeLimitExceeded, match="5 s"):
        decode(path, [7.5], workers=1, time_limit_seconds=5)


def test_a_very_short_time_limit(clip):
    with pytest.raises(TimeLimitExceeded):
        decode(clip, [0.5], time_limit_seconds=1e-9)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_the_time_between_chunks_does_not_count(tmp_path, clock, name):
    path = tmp_path / name
    write_numbered(path, num_frames=100, codec="libx264" if name == "a.mp4" else "mpeg4", options={"bf": "2"})
    shown = []
    for chunk in decode_chunks(path, sample(probe(path), 40), 4, workers=1, time_limit_seconds=5):
        shown += chunk.timestamps_seconds
        clock.now += 100
    assert len(shown) == 40


# Sizes


LARGEST_GROWTH = 200 << 20

MEASURE = """
import resource, sys
import vidzip, vidzip.video.decoding

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

vidzip.decode(sys.argv[1], [0.5], size=32)
for path in sys.argv[2:]:
    before = peak()
    for use in (vidzip.probe, lambda path: vidzip.decode(path, [0.0], size=32)):
        try:
            use(path)
            outcome = "frames"
        except vidzip.VidzipError as error:
            outcome = type(error).__name__
        print(outcome, peak() - before)
"""


def gif_bytes(width: int, height: int) -> bytes:
    """Two small frames on a canvas of any size."""
    frame = b"\x21\xf9\x04\x00\x0a\x00\x00\x00\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00"
    palette = b"\x00\x00\x00\xff\xff\xff"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + palette + frame + frame + b"\x3b"


def huge_files(folder) -> dict[str, bytes]:
    """Small files with huge frame sizes in their headers."""
    for name, codec in (("raw.avi", "rawvideo"), ("lossless.mkv", "ffv1"), ("plain.mp4", "libx264")):
        write_numbered(folder / name, num_frames=3, codec=codec, options={})
    contents = {"a.gif": gif_bytes(65_535, 65_535), "b.gif": gif_bytes(16_000, 16_000)}
    raw = bytearray((folder / "raw.avi").read_bytes())
    struct.pack_into("<II", raw, raw.index(b"strf") + 12, 100_000, 100_000)
    contents["a.avi"] = bytes(raw)
    for name, side in (("a.mkv", 100_000), ("b.mkv", 16_000)):
        element = bytearray((folder / "lossless.mkv").read_bytes())
        begins = element.index(b"\xe0\x8a\xb0\x81") + 2  # 10 bytes of sides and more make room for two longer sides
        element[begins : begins + 10] = b"\xb0\x83" + side.to_bytes(3, "big") + b"\xba\x83" + side.to_bytes(3, "big")
        contents[name] = bytes(element)
    for name, codec in (("a.mp4", b"raw "), ("b.mp4", b"png ")):
        boxes = bytearray((folder / "plain.mp4").read_bytes())
        begins = boxes.index(b"avc1" + bytes(6))
        boxes[begins : begins + 4] = codec
        struct.pack_into(">HH", boxes, begins + 28, 65_535, 65_535)
        contents[name] = bytes(boxes)
    return contents


def test_huge_sizes_are_refused_before_memory_is_allocated(tmp_path, clip):
    contents = huge_files(tmp_path)
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name in contents]
    command = [sys.executable, "-c", MEASURE, str(clip), *paths]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for path, line in zip((path for path in paths for _ in range(2)), said, strict=True):
        outcome, grown = line.split()
        assert outcome != "frames", path
        assert int(grown) < LARGEST_GROWTH, path
    for name in ("b.gif", "b.mkv"):
        with pytest.raises(FrameTooLarge, match="16000x16000"):
            probe(tmp_path / name)


def test_the_size_of_a_frame_replaces_a_huge_one_in_the_header(tmp_path, clip):
    path = tmp_path / "a.mp4"
    content = bytearray(clip.read_bytes())
    struct.pack_into(">HH", content, content.index(b"avc1" + bytes(6)) + 28, 65_535, 65_535)
    struct.pack_into(">HHHH", content, content.index(b"tkhd") + 80, 65_535, 0, 65_535, 0)
    path.write_bytes(content)
    assert (probe(path).width, probe(path).height) == (128, 64)
    assert numbers(decode(path, middles(50))) == list(range(50))


def test_a_long_thin_frame_is_not_enlarged(tmp_path):
    path = tmp_path / "thin.gif"
    path.write_bytes(gif_bytes(60_000, 1))
    assert decode(path, [0.0]).pixels.shape == (1, 3, 1, 60_000)
    assert decode(path, [0.0], size=(32, 32)).pixels.shape == (1, 3, 32, 32)
    with pytest.raises(FrameTooLarge, match="20160000x336"):
        decode(path, [0.0], size=336)


# Files that reference others


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.ts\n#EXT-X-ENDLIST\n"),
        ("list.ts", "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.ts\n#EXT-X-ENDLIST\n"),
        ("script.mkv", "ffconcat version 1.0\nfile secret.ts\nduration 2\n"),
        ("script.ffconcat", "ffconcat version 1.0\nfile secret.ts\n"),
        ("script.txt", "file 'secret.ts'\n"),
        ("manifest.mpd.mp4", "<?xml version='1.0'?><MPD><Period><BaseURL>secret.ts</BaseURL></Period></MPD>"),
    ],
)
def test_files_that_reference_others_are_refused(tmp_path, monkeypatch, name, content):
    write_numbered(tmp_path / "secret.ts", num_frames=50)
    (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    for path in (name, tmp_path / name):
        for use in (probe, lambda path: decode(path, [0.0])):
            with pytest.raises(NotAVideo):
                use(path)


def with_external_frames(source, elsewhere) -> bytes:
    """A MOV whose data reference names another file; its own frames are zeros."""
    content = bytearray(source.read_bytes())
    name = str(elsewhere).encode()
    padded = name + bytes(len(name) % 2)
    record = struct.pack(">HH", 2, len(name)) + padded + struct.pack(">HH", 0xFFFF, 0)
    alias = bytes(10 + 28 + 12 + 64 + 16) + struct.pack(">hh", 1, 1) + bytes(16) + record
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    box = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    begins = content.index(b"dref") - 4
    (size,) = struct.unpack_from(">I", content, begins)
    at = 0
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        at = content.index(kind, at)
        (outer,) = struct.unpack_from(">I", content, at - 4)
        struct.pack_into(">I", content, at - 4, outer + len(box) - size)
    content[begins : begins + size] = box
    data = content.index(b"mdat")
    (length,) = struct.unpack_from(">I", content, data - 4)
    content[data + 4 : data - 4 + length] = bytes(length - 8)
    return bytes(content)


def test_frames_in_another_file_are_not_read(tmp_path):
    secret, path = tmp_path / "secret.mov", tmp_path / "clip.mov"
    write_numbered(secret, num_frames=20)
    path.write_bytes(with_external_frames(secret, secret))
    # FFmpeg reads them if it is allowed to.
    with av.open(str(path), options={"enable_drefs": "1", "use_absolute_path": "1"}) as container:
        assert next(container.decode(video=0)).width == 128
    for use in (probe, lambda path: decode(path, [0.0])):
        with pytest.raises(VideoError):
            use(path)


NAMES = [
    "file:x.mp4",
    "concat:a.mp4|b.mp4",
    "pipe:0",
    "new\nline.mp4",
    "フィルム.mp4",
    "%d%s{}.mp4",
    " .mp4",
    "*?[a].mp4",
]


def test_names_are_never_interpreted(tmp_path, clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [*NAMES, os.fsdecode(b"not-utf8-\xff\xfe.mp4")]:
        shutil.copy(clip, name)
        for path in (name, os.path.join(os.curdir, name)):
            assert numbers(decode(path, [0.5, 1.5])) == [12, 37]
        assert probe(name).num_frames == 50
        with pytest.raises(EndsEarly) as caught:
            decode(name, [5.0])
        assert repr(name) in str(caught.value)  # on one line, and printable


# Cases found by fuzzing


def test_an_unknown_codec_is_an_error(tmp_path, clip):
    path = tmp_path / "unknown.mp4"
    content = bytearray(clip.read_bytes())
    begins = content.index(b"avc1" + bytes(6))
    content[begins : begins + 4] = b"zzzz"
    path.write_bytes(content)
    with pytest.raises(NoVideoStream):
        probe(path)


@pytest.mark.parametrize("offset", [-1, -(1 << 40), 1 << 70])
def test_a_seek_before_the_start_returns_an_error_code(clip, offset):
    # FFmpeg expects negative numbers; an exception would be raised elsewhere.
    with open(clip, "rb") as file:
        assert _AnonymousFile(file, None).seek(offset) < 0
        assert _AnonymousFile(file, None).seek(100) == 100


def test_streams_that_appear_later_are_no_error():
    def demux(stream):
        yield from ("a packet", "the last")
        raise IndexError("list index out of range")  # as PyAV does for some streams that the header lacks

    video = OpenVideo(path="a.ts", size_bytes=1, container=SimpleNamespace(demux=demux), stream=None)
    assert list(video.packets()) == ["a packet", "the last"]


def test_a_read_error_is_reported(tmp_path, monkeypatch):
    path = tmp_path / "long.mkv"
    write_numbered(path, num_frames=250, codec="mjpeg", options={"strict": "-1"})
    assert path.stat().st_size > 150_000  # more than the read-ahead
    timestamps = sample(probe(path), 250)
    read = _AnonymousFile.read

    def fail(self, size):
        if self.tell() > 80_000:
            raise OSError(errno.EIO, "Input/output error")
        return read(self, size)

    monkeypatch.setattr(_AnonymousFile, "read", fail)
    with pytest.raises(EndsEarly, match="Input/output error") as caught:
        decode(path, timestamps)
    assert 1 < caught.value.end_seconds < 9
    with pytest.raises(DecodeError, match="Input/output error"):
        decode(path, timestamps, strict=True)


def test_a_second_attempt_never_goes_back_in_time(clip, monkeypatch):
    def frame(seconds):
        return DecodedFrame(pixels=torch.zeros(3, 2, 2, dtype=torch.uint8), timestamp_seconds=seconds)

    def first(request, numbers, limit):
        yield from ((2, frame(0.6)), (0, frame(0.4)))
        raise FrameNotFound

    def second(request, numbers, limit):
        assert numbers == [1]
        yield 1, frame(0.2)

    monkeypatch.setattr(pyav, "_attempts", lambda request: [first, second])
    assert decode(clip, [0.5, 0.55, 0.6]).timestamps_seconds == (0.4, 0.4, 0.6)


def test_transparent_pixels_of_a_large_frame_are_black(tmp_path):
    from PIL import Image

    path = tmp_path / "holes.gif"
    seen = numbered_frame(0b1010_0101, height=200)
    images = [Image.fromarray(np.dstack([seen, np.where(seen[..., :1] == 255, 0, 255).astype(np.uint8)])) for _ in "ab"]
    images[0].save(path, save_all=True, append_images=images[1:], disposal=2, duration=100)
    shown = decode(path, [0.0]).pixels[0]
    assert shown[:, :100].max() == 0  # the white blocks are transparent, the others black
    assert shown[:, 110:].float().mean() == pytest.approx(96, abs=3)
