from __future__ import annotations

import errno

import pytest
import torch
from clips import HEIGHT, WIDTH, number_of, numbered_frame, write_numbered
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from threads import decoding_threads, settled, wait_until

from vidzip import decode, probe, sample
from vidzip.errors import BadArgument, DecodeError, EndsEarly
from vidzip.video import decoding
from vidzip.video.containers import _AnonymousFile
from vidzip.video.conversion import FrameConverter
from vidzip.video.decoding import decode_chunks
from vidzip.video.group_reader import GroupReader
from vidzip.video.indexing import index_frames

FRAME_BYTES = 3 * HEIGHT * WIDTH


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """Four seconds with B-frames and a keyframe every twelve frames."""
    path = tmp_path_factory.mktemp("chunks") / "grouped.mp4"
    params = "keyint=12:min-keyint=12:scenecut=0:b-adapt=0:open-gop=1"
    write_numbered(path, num_frames=100, options={"bf": "3", "x264-params": params})
    return path


@pytest.fixture(scope="module")
def one_group(tmp_path_factory):
    """Four seconds with a single keyframe."""
    path = tmp_path_factory.mktemp("chunks") / "one.mp4"
    write_numbered(path, num_frames=100, options={"g": "250", "bf": "2"})
    return path


@pytest.fixture
def converted(monkeypatch) -> list[int]:
    """The numbers of the frames that were converted, in order."""
    seen: list[int] = []
    convert = FrameConverter.__call__

    def note(self, frame):
        pixels = convert(self, frame)
        seen.append(number_of(pixels))
        return pixels

    monkeypatch.setattr(FrameConverter, "__call__", note)
    return seen


TIMESTAMPS = [0.0, 0.02, 0.5, 0.9, 0.9, 1.1, 2.4, 2.44, 3.1, 3.98]
"""Two of them are on the same frame, two are equal."""


@pytest.mark.parametrize("chunk_frames", [*range(1, len(TIMESTAMPS) + 1), 99])
def test_chunks_equal_decode(grouped, chunk_frames):
    expected = decode(grouped, TIMESTAMPS, size=48, crop=(40, 44))
    chunks = list(decode_chunks(grouped, TIMESTAMPS, chunk_frames, size=48, crop=(40, 44)))
    full, left = divmod(len(TIMESTAMPS), chunk_frames)
    assert [len(chunk.timestamps_seconds) for chunk in chunks] == [chunk_frames] * full + [left] * (left > 0)
    assert all(chunk.pixels.shape[0] == len(chunk.timestamps_seconds) for chunk in chunks)
    assert torch.cat([chunk.pixels for chunk in chunks]).equal(expected.pixels)
    assert sum((chunk.timestamps_seconds for chunk in chunks), ()) == expected.timestamps_seconds
    assert all(chunk.warnings == () for chunk in chunks)


@given(
    milliseconds=st.lists(st.integers(0, 3999), min_size=1, max_size=12),
    workers=st.sampled_from([1, 2, 3, 8]),
    chunk_frames=st.integers(1, 5),
)
def test_law_frames_do_not_depend_on_workers_or_chunks(grouped, milliseconds, workers, chunk_frames):
    numbers = [at // 40 for at in milliseconds]
    frames = decode(grouped, [at / 1000 for at in milliseconds], workers=workers)
    assert [number_of(frame) for frame in frames.pixels] == numbers
    assert frames.timestamps_seconds == pytest.approx([number / 25 for number in numbers])
    ascending = [at / 1000 for at in sorted(milliseconds)]
    chunks = list(decode_chunks(grouped, ascending, chunk_frames, workers=workers))
    assert [number_of(frame) for chunk in chunks for frame in chunk.pixels] == sorted(numbers)


def test_pixels_do_not_depend_on_the_number_of_workers(grouped):
    timestamps = [(i + 0.5) / 25 for i in range(100)]
    one, *others = (decode(grouped, timestamps, workers=workers) for workers in (1, 2, 3, 8))
    assert [number_of(frame) for frame in one.pixels] == list(range(100))
    for other in others:
        assert other.pixels.equal(one.pixels)
        assert other.timestamps_seconds == one.timestamps_seconds


@pytest.mark.parametrize(
    ("timestamps", "options", "values"),
    [
        ([1.0, 0.5], {}, None),
        ([], {}, None),
        ([0.0, -1.0], {}, "-1.0 s"),
        ([0.0], {"chunk_frames": 0}, "chunk_frames is 0"),
        ([0.0], {"chunk_frames": 1.5}, "chunk_frames is 1.5"),
        ([0.0], {"workers": 0}, "workers is 0"),
        ([0.0], {"size": 0}, "size is 0"),
        ([0.0], {"resize": "nearest"}, "nearest"),
        ([0.0], {"backend": "none"}, "none"),
    ],
)
def test_bad_arguments_are_errors_before_the_first_chunk(grouped, timestamps, options, values):
    with pytest.raises(BadArgument, match=values):
        decode_chunks(grouped, timestamps, **options)


def test_a_timestamp_past_the_end_is_an_error(grouped):
    chunks = decode_chunks(grouped, [0.0, 1.0, 2.0, 9.0], 1, workers=2)
    with pytest.raises(EndsEarly, match=r"4\.000 s"):
        list(chunks)
    assert decoding_threads() == []


def test_closing_the_generator_stops_the_threads(grouped):
    chunks = decode_chunks(grouped, [(i + 0.5) / 25 for i in range(100)], 4, workers=3)
    first = next(chunks)
    assert [number_of(frame) for frame in first.pixels] == [0, 1, 2, 3]
    chunks.close()
    assert decoding_threads() == []


def test_an_error_between_chunks_stops_the_threads(grouped):
    def use():
        for _ in decode_chunks(grouped, [(i + 0.5) / 25 for i in range(100)], 4, workers=3):
            raise LookupError

    with pytest.raises(LookupError):
        use()
    assert decoding_threads() == []


def test_no_file_is_opened_before_the_first_chunk(grouped, monkeypatch):
    monkeypatch.setattr("av.open", None)
    decode_chunks(grouped, [0.0]).close()


@pytest.mark.parametrize("workers", [1, 3])
def test_later_frames_are_decoded_while_a_chunk_is_used(grouped, converted, workers):
    chunks = decode_chunks(grouped, [(i + 0.5) / 25 for i in range(100)], 2, workers=workers)
    first = next(chunks)
    wait_until(lambda: len(converted) == 100)
    assert [number_of(frame) for frame in first.pixels] == [0, 1]
    assert [number_of(frame) for chunk in chunks for frame in chunk.pixels] == list(range(2, 100))


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_memory_of_waiting_frames_is_bounded(grouped, monkeypatch, converted, workers):
    monkeypatch.setattr(decoding, "_MAX_QUEUED_BYTES", 5 * FRAME_BYTES)
    timestamps = [(i + 0.5) / 25 for i in range(100)]
    received = []
    for chunk in decode_chunks(grouped, timestamps, 2, workers=workers):
        received += [number_of(frame) for frame in chunk.pixels]
        if len(received) in {2, 40}:
            # Five are queued, beside the next one and four from the last keyframe on; each thread holds another.
            assert settled(lambda: len(converted)) - len(received) <= 5 + 1 + 4 + workers
    assert received == list(range(100))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kind", ["grouped", "one_group"])
def test_frames_from_the_last_keyframe_on_are_decoded_first_and_once(request, converted, decoded, kind, workers):
    first = 96 if kind == "grouped" else 0
    chunks = decode_chunks(request.getfixturevalue(kind), [(i + 0.5) / 25 for i in range(100)], 2, workers=workers)
    assert [number_of(frame) for frame in next(chunks).pixels] == [0, 1]
    assert set(range(first, 100)) <= set(converted)
    assert workers > 1 or converted[: 100 - first] == list(range(first, 100))
    assert [number_of(frame) for chunk in chunks for frame in chunk.pixels] == list(range(2, 100))
    assert sorted(converted) == list(range(100))
    assert len(decoded) <= 101  # frames displayed before the last keyframe may need it too


@pytest.fixture
def decoded(monkeypatch) -> list[int | None]:
    """Timestamps of the frames that leave a decoder."""
    seen: list[int | None] = []
    decode_packets = GroupReader._decode

    def note(self, *given, **options):
        for frame in decode_packets(self, *given, **options):
            seen.append(frame.pts)
            yield frame

    monkeypatch.setattr(GroupReader, "_decode", note)
    return seen


# Videos that end early


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("num_frames", [2, 8, 44, 50])
def test_a_real_damaged_file_ends_early_before_the_first_chunk(videos, num_frames, workers):
    path = videos / "corrupted.mp4"
    with pytest.raises(EndsEarly) as caught:
        next(decode_chunks(path, sample(probe(path), num_frames), 1, workers=workers))
    assert caught.value.end_seconds == pytest.approx(2.8)
    assert decoding_threads() == []


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("kind", ["grouped", "one_group"])
def test_a_file_with_zeros_at_its_end_ends_early_before_the_first_chunk(request, tmp_path, kind, workers):
    path = tmp_path / "zeros.mp4"
    path.write_bytes(with_zeros(request.getfixturevalue(kind).read_bytes(), 0.5, 1.0))
    chunks = decode_chunks(path, [(i + 0.5) / 25 for i in range(100)], 1, workers=workers)
    with pytest.raises(EndsEarly) as caught:
        next(chunks)
    assert 1 < caught.value.end_seconds < 3


def test_a_gif_that_is_cut_ends_early_before_the_first_chunk(tmp_path):
    path = tmp_path / "cut.gif"
    images = [Image.fromarray(numbered_frame(number)) for number in range(20)]
    images[0].save(path, save_all=True, append_images=images[1:], duration=100)
    assert [len(chunk.pixels) for chunk in decode_chunks(path, [i / 10 for i in range(20)], 8)] == [8, 8, 4]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(EndsEarly) as caught:
        next(decode_chunks(path, [i / 10 for i in range(20)], 1))
    assert 0 < caught.value.end_seconds < 1.9


@given(
    damage=st.tuples(st.floats(0, 1), st.floats(0, 0.3)),
    step=st.sampled_from([1, 5, 14]),
    workers=st.sampled_from([1, 2, 4]),
)
@settings(max_examples=40)
def test_law_no_video_ends_early_after_a_chunk(grouped, tmp_path_factory, damage, step, workers):
    path = tmp_path_factory.mktemp("law") / "damaged.mp4"
    path.write_bytes(with_zeros(grouped.read_bytes(), damage[0], sum(damage)))
    numbers = range(0, 100, step)
    chunks = []
    try:
        for chunk in decode_chunks(path, [(number + 0.5) / 25 for number in numbers], 4, workers=workers):
            chunks += [chunk]
    except EndsEarly:
        assert chunks == []
        return
    shown = [seconds for chunk in chunks for seconds in chunk.timestamps_seconds]
    assert len(shown) == len(numbers)
    assert shown == sorted(shown)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_a_gap_that_no_attempt_can_read_repeats_the_frame_before_it(tmp_path, monkeypatch, workers):
    path = tmp_path / "gap.mov"
    write_numbered(path, num_frames=250, codec="mjpeg", options={"strict": "-1"})
    read = _AnonymousFile.read

    def fail(self, size):
        if 60_000 <= self.tell() < 90_000:
            raise OSError(errno.EIO, "Input/output error")
        return read(self, min(size, 60_000 - self.tell()) if self.tell() < 60_000 else size)

    index_frames(path)
    monkeypatch.setattr(_AnonymousFile, "read", fail)
    numbers = range(0, 250, 5)
    timestamps = [(number + 0.5) / 25 for number in numbers]
    chunks = list(decode_chunks(path, timestamps, 4, workers=workers))
    shown = [number_of(frame) for chunk in chunks for frame in chunk.pixels]
    gap = [i for i, (number, seen) in enumerate(zip(numbers, shown, strict=True)) if seen != number]
    assert gap[0] > 1
    assert gap[-1] < len(numbers) - 1
    assert gap == list(range(gap[0], gap[-1] + 1))
    assert {shown[i] for i in gap} == {shown[gap[0] - 1]}
    assert any(chunk.warnings for chunk in chunks)
    with pytest.raises(DecodeError) as caught:
        list(decode_chunks(path, timestamps, 4, workers=workers, strict=True))
    assert not isinstance(caught.value, EndsEarly)


def with_zeros(content: bytes, begin: float, end: float) -> bytes:
    """Overwrite a part of an MP4's payload, given as shares of it."""
    data = content.index(b"mdat") + 4
    size = int.from_bytes(content[data - 8 : data - 4]) - 8
    first, last = (data + round(min(share, 1) * size) for share in (begin, end))
    return content[:first] + bytes(last - first) + content[last:]


def test_decode_has_no_limit_on_queued_frames(grouped, monkeypatch):
    monkeypatch.setattr(decoding, "_MAX_QUEUED_BYTES", 1)
    frames = decode(grouped, [(i + 0.5) / 25 for i in range(100)], workers=3)
    assert [number_of(frame) for frame in frames.pixels] == list(range(100))
