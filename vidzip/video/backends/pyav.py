"""PyAV, planned: each stretch between keyframes that holds a wanted frame is decoded by itself, several at once.

Where a file does not say which frame is which, or breaks its promises, one pass from its start finds them all.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

import av
from jaxtyping import UInt8
from torch import Tensor

from vidzip.video.crew import Crew
from vidzip.video.grouping import Group, group
from vidzip.video.indexing import Index, index_of
from vidzip.video.limits import TimeLimit
from vidzip.video.one_pass import in_one_pass
from vidzip.video.opening import is_gif
from vidzip.video.pictures import Converter, Picture
from vidzip.video.reading import NotThereError, Reader
from vidzip.video.request import Request


def pictures(request: Request) -> Generator[Picture, None, None]:
    """Yield the picture on screen at each moment, in order, while later ones are decoded.

    Raises:
        EndsEarly: the video ends, or nothing more can be decoded, before a moment.
        DecodeError: its clock restarts; or, where the request is strict, it is damaged.
        VideoError: the file cannot be opened as a video, or takes too long.
    """
    limit = request.new_limit()
    done = 0
    shown: Picture | None = None
    for way in _ways(request):
        try:
            for picture in way(request, request.moments[done:], limit):
                done += 1
                if shown is None or picture.timestamp_seconds > shown.timestamp_seconds:
                    shown = picture  # else the way before this one could decode a later frame: that one stays
                with limit.paused():
                    yield shown
        except (NotThereError, av.FFmpegError, OSError):
            continue
        return


_Way = Callable[[Request, tuple[float, ...], TimeLimit], Iterator[Picture]]


def _ways(request: Request) -> Iterator[_Way]:
    """Ways to the pictures, the fastest first; each is right, or says that it cannot be."""
    if is_gif(request.path):
        yield in_one_pass
        return
    index = index_of(request.path, time_limit_seconds=request.time_limit_seconds)
    if index.is_labelled:
        yield _Planned(index)
    if index.step is not None:
        read = index_of(request.path, believe_header=False, time_limit_seconds=request.time_limit_seconds)
        if read.is_labelled:
            yield _Planned(read)
    yield in_one_pass


class _Planned:
    """Decoding by groups, in threads."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def __call__(self, request: Request, moments: tuple[float, ...], limit: TimeLimit) -> Iterator[Picture]:
        index = self._index
        frames = request.frames_on_screen(index, moments)
        groups = group(index, index.ticks[list(dict.fromkeys(frames.tolist()))].tolist())
        threads = min(request.workers, len(groups))

        def hire(check: Callable[[], None]) -> _Worker:
            def check_both() -> None:
                check()
                limit.check()

            reader = Reader(
                request.path, index, threads=max(1, request.workers // threads), limit=limit, check=check_both
            )
            return _Worker(reader, Converter(request.shape, reader.video.pixel_aspect))

        with Crew(
            groups, hire, threads=threads, size_of=lambda made: made[1].nbytes, max_waiting=request.max_waiting_bytes
        ) as crew:
            made = iter(crew)
            tick: int | None = None
            picture: Picture | None = None
            for frame in frames:
                if index.ticks[frame] != tick or picture is None:
                    tick, pixels = next(made)
                    picture = Picture(pixels=pixels, timestamp_seconds=float(index.seconds[frame]))
                yield picture


class _Worker:
    """One thread's reader and converter."""

    def __init__(self, reader: Reader, convert: Converter) -> None:
        self._reader, self._convert = reader, convert

    def work(self, task: Group) -> Iterator[tuple[int, UInt8[Tensor, "3 height width"]]]:
        for tick, frame in zip(task.wanted, self._reader.frames(task), strict=True):
            yield tick, self._convert(frame)

    def close(self) -> None:
        self._reader.close()
