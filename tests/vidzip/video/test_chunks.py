from __future__ import annotations

import pytest
import torch
from clips import HEIGHT, WIDTH, number_of, write_numbered
from hypothesis import given
from hypothesis import strategies as st
from threads import decoding_threads, settled, wait_until

from vidzip import decode
from vidzip.errors import BadArgument, EndsEarly
from vidzip.video import decoding
from vidzip.video.decoding import decode_chunks
from vidzip.video.pictures import Converter

PICTURE_BYTES = 3 * HEIGHT * WIDTH


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """Four seconds with B-frames and a keyframe every twelve frames."""
    path = tmp_path_factory.mktemp("chunks") / "grouped.mp4"
    params = "keyint=12:min-keyint=12:scenecut=0:b-adapt=0:open-gop=1"
    write_numbered(path, num_frames=100, options={"bf": "3", "x264-params": params})
    return path


@pytest.fixture(scope="module")
def one_group(tmp_path_factory):
    """Four seconds that all build on the first frame."""
    path = tmp_path_factory.mktemp("chunks") / "one.mp4"
    write_numbered(path, num_frames=100, options={"g": "250", "bf": "2"})
    return path


@pytest.fixture
def converted(monkeypatch) -> list[int]:
    """The frames that were converted, as they are."""
    seen: list[int] = []
    convert = Converter.__call__

    def note(self, frame):
        pixels = convert(self, frame)
        seen.append(number_of(pixels))
        return pixels

    monkeypatch.setattr(Converter, "__call__", note)
    return seen


MOMENTS = [0.0, 0.02, 0.5, 0.9, 0.9, 1.1, 2.4, 2.44, 3.1, 3.98]
"""Two of them on the same frame, two the same."""


@pytest.mark.parametrize("chunk_frames", [*range(1, len(MOMENTS) + 1), 99])
def test_chunks_are_what_decode_gives(grouped, chunk_frames):
    whole = decode(grouped, MOMENTS, size=48, crop=(40, 44))
    chunks = list(decode_chunks(grouped, MOMENTS, chunk_frames, size=48, crop=(40, 44)))
    full, left = divmod(len(MOMENTS), chunk_frames)
    assert [len(chunk.timestamps_seconds) for chunk in chunks] == [chunk_frames] * full + [left] * (left > 0)
    assert all(chunk.pixels.shape[0] == len(chunk.timestamps_seconds) for chunk in chunks)
    assert torch.cat([chunk.pixels for chunk in chunks]).equal(whole.pixels)
    assert sum((chunk.timestamps_seconds for chunk in chunks), ()) == whole.timestamps_seconds
    assert all(chunk.warnings == () for chunk in chunks)


@given(
    milliseconds=st.lists(st.integers(0, 3999), min_size=1, max_size=12),
    workers=st.sampled_from([1, 2, 3, 8]),
    chunk_frames=st.integers(1, 5),
)
def test_law_frames_do_not_depend_on_workers_nor_chunks(grouped, milliseconds, workers, chunk_frames):
    numbers = [at // 40 for at in milliseconds]
    frames = decode(grouped, [at / 1000 for at in milliseconds], workers=workers)
    assert [number_of(picture) for picture in frames.pixels] == numbers
    assert frames.timestamps_seconds == pytest.approx([number / 25 for number in numbers])
    ascending = [at / 1000 for at in sorted(milliseconds)]
    chunks = list(decode_chunks(grouped, ascending, chunk_frames, workers=workers))
    assert [number_of(picture) for chunk in chunks for picture in chunk.pixels] == sorted(numbers)


def test_every_worker_makes_the_same_pixels(grouped):
    moments = [(i + 0.5) / 25 for i in range(100)]
    one, *others = (decode(grouped, moments, workers=workers) for workers in (1, 2, 3, 8))
    assert [number_of(picture) for picture in one.pixels] == list(range(100))
    for other in others:
        assert other.pixels.equal(one.pixels)
        assert other.timestamps_seconds == one.timestamps_seconds


@pytest.mark.parametrize(
    ("moments", "options", "says"),
    [
        ([1.0, 0.5], {}, "not ascending"),
        ([], {}, "no timestamps"),
        ([0.0, -1.0], {}, "a timestamp is"),
        ([0.0], {"chunk_frames": 0}, "chunk_frames is 0"),
        ([0.0], {"chunk_frames": 1.5}, "chunk_frames is 1.5"),
        ([0.0], {"workers": 0}, "workers is 0"),
        ([0.0], {"size": 0}, "size is 0"),
        ([0.0], {"resize": "nearest"}, "unknown filter"),
        ([0.0], {"backend": "none"}, "unknown decoder"),
    ],
)
def test_what_cannot_be_done_is_said_before_the_first_chunk_is_taken(grouped, moments, options, says):
    with pytest.raises(BadArgument, match=says):
        decode_chunks(grouped, moments, **options)


def test_a_moment_past_the_end_is_said(grouped):
    chunks = decode_chunks(grouped, [0.0, 1.0, 2.0, 9.0], 1, workers=2)
    with pytest.raises(EndsEarly, match=r"ends at 4\.000 s"):
        list(chunks)
    assert decoding_threads() == []


def test_leaving_early_frees_the_threads(grouped):
    chunks = decode_chunks(grouped, [(i + 0.5) / 25 for i in range(100)], 4, workers=3)
    first = next(chunks)
    assert [number_of(picture) for picture in first.pixels] == [0, 1, 2, 3]
    chunks.close()
    assert decoding_threads() == []


def test_an_error_between_chunks_frees_the_threads(grouped):
    def use():
        for _ in decode_chunks(grouped, [(i + 0.5) / 25 for i in range(100)], 4, workers=3):
            raise LookupError

    with pytest.raises(LookupError):
        use()
    assert decoding_threads() == []


def test_chunks_that_are_never_taken_open_nothing(grouped, monkeypatch):
    monkeypatch.setattr("av.open", None)
    decode_chunks(grouped, [0.0]).close()


@pytest.mark.parametrize("workers", [1, 3])
def test_later_frames_are_decoded_while_a_chunk_is_held(grouped, converted, workers):
    chunks = decode_chunks(grouped, [(i + 0.5) / 25 for i in range(100)], 2, workers=workers)
    first = next(chunks)
    wait_until(lambda: len(converted) == 100)
    assert [number_of(picture) for picture in first.pixels] == [0, 1]
    assert [number_of(picture) for chunk in chunks for picture in chunk.pixels] == list(range(2, 100))


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("kind", ["grouped", "one_group"])
def test_what_waits_is_bounded(request, monkeypatch, converted, kind, workers):
    monkeypatch.setattr(decoding, "_WAITING_BYTES", 5 * PICTURE_BYTES)
    moments = [(i + 0.5) / 25 for i in range(100)]
    taken = []
    for chunk in decode_chunks(request.getfixturevalue(kind), moments, 2, workers=workers):
        taken += [number_of(picture) for picture in chunk.pixels]
        if len(taken) in {2, 40}:
            # Five wait, and the one that is next; each thread holds another.
            assert settled(lambda: len(converted)) - len(taken) <= 5 + 1 + workers
    assert taken == list(range(100))


def test_nothing_is_bounded_where_all_is_wanted_at_once(grouped, monkeypatch):
    monkeypatch.setattr(decoding, "_WAITING_BYTES", 1)
    frames = decode(grouped, [(i + 0.5) / 25 for i in range(100)], workers=3)
    assert [number_of(picture) for picture in frames.pixels] == list(range(100))
