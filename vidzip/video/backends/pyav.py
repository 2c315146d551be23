"""PyAV: each stretch between keyframes that holds a wanted frame is decoded by itself, several at once.

If a file does not label its frames, or its index turns out to be wrong, one pass from its start finds them all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing

import av
from jaxtyping import UInt8
from torch import Tensor

from vidzip.errors import DecodeError, EndsEarly
from vidzip.video.containers import open_video
from vidzip.video.crew import Crew
from vidzip.video.grouping import Group, group, split_last_keyframe
from vidzip.video.indexing import Index, index_of
from vidzip.video.limits import TimeLimit
from vidzip.video.one_pass import in_one_pass
from vidzip.video.opening import is_gif
from vidzip.video.pictures import Converter, Picture
from vidzip.video.reading import NotThereError, Reader
from vidzip.video.request import Request


def pictures(request: Request) -> Generator[Picture, None, None]:
    """Yield the frame on screen at each moment, in order, while later ones are decoded.

    The last frame is decoded before the first one is yielded, so that ``EndsEarly`` is never raised after a frame.

    Raises:
        EndsEarly: the video ends, or nothing more can be decoded, before a moment; no frame was yielded.
        DecodeError: the file's clock restarts, or the file is damaged and the request is strict.
        VideoError: the file cannot be opened as a video, or takes too long.
    """
    limit = request.new_limit()
    shown: Picture | None = None
    for picture in _in_order(request, limit):
        # An attempt may lack a later frame that the attempt before it could decode: that frame stays on screen.
        if shown is None or picture.timestamp_seconds > shown.timestamp_seconds:
            shown = picture
        with limit.paused():
            yield shown


def _in_order(request: Request, limit: TimeLimit) -> Generator[Picture, None, None]:
    """Yield the frame at each moment, in order, from when the last one is decoded."""
    count, done = len(request.moments), 0
    decoded: dict[int, Picture] = {}
    latest: Picture | None = None
    failure: Exception | None = None
    for attempt in _attempts(request):
        missing = [number for number in range(done, count) if number not in decoded]
        try:
            with closing(attempt(request, missing, limit)) as frames:
                for number, frame in frames:
                    decoded[number] = frame
                    while done in decoded and (latest or count - 1 in decoded):
                        latest = decoded.pop(done)
                        done += 1
                        yield latest
        except (EndsEarly, NotThereError, av.FFmpegError, OSError) as error:
            if isinstance(error, EndsEarly) and not latest:
                raise
            failure = error
        else:
            return
    why = f"{request.path!r} cannot be decoded from {request.moments[done]:.3f} s on"
    if request.strict or not latest:
        raise DecodeError(why, hint="the file is damaged: fetch it again") from failure
    request.warn(f"{why}: the frame before stays on screen")
    for number in range(done, count):
        latest = decoded.get(number, latest)
        yield latest


_Attempt = Callable[[Request, Sequence[int], TimeLimit], Generator[tuple[int, Picture], None, None]]
"""Decodes the frames at the moments of some numbers, in any order; raises an error if it does not find one of them."""


def _attempts(request: Request) -> Iterator[_Attempt]:
    """Yield the ways to decode a file, the fastest first."""
    if is_gif(request.path):
        yield in_one_pass
        return
    index = index_of(request.path, time_limit_seconds=request.time_limit_seconds)
    if index.is_labelled:
        yield _Grouped(index)
    if index.step is not None:
        read = index_of(request.path, believe_header=False, time_limit_seconds=request.time_limit_seconds)
        if read.is_labelled:
            yield _Grouped(read)
    yield in_one_pass


class _Grouped:
    """Decoding by keyframe groups, in threads: the frames after the last keyframe first, the others in order."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def __call__(
        self, request: Request, numbers: Sequence[int], limit: TimeLimit
    ) -> Generator[tuple[int, Picture], None, None]:
        index = self._index
        on_screen = request.frames_on_screen(index, [request.moments[number] for number in numbers])
        numbers_of: defaultdict[int, list[int]] = defaultdict(list)
        seconds: dict[int, float] = {}
        for number, frame in zip(numbers, on_screen, strict=True):
            tick = int(index.ticks[frame])
            numbers_of[tick].append(number)
            seconds[tick] = float(index.seconds[frame])
        groups = group(index, list(numbers_of))
        threads = min(request.workers, len(groups))

        def seek(tick: int) -> int | None:
            with open_video(request.path, limit) as video:
                return video.seek(tick)

        *head, tail = split_last_keyframe(index, groups.pop(), seek)

        def hire(check: Callable[[], None]) -> _Worker:
            def check_both() -> None:
                check()
                limit.check()

            reader = Reader(
                request.path, index, threads=max(1, request.workers // threads), limit=limit, check=check_both
            )
            return _Worker(reader, Converter(request.shape, reader.video.pixel_aspect))

        with Crew(
            [tail, *groups, *head],
            hire,
            threads=threads,
            size_of=lambda made: made[1].nbytes,
            max_waiting=request.max_waiting_bytes,
        ) as crew:
            for tick, pixels in crew:
                picture = Picture(pixels=pixels, timestamp_seconds=seconds[tick])
                for number in numbers_of[tick]:
                    yield number, picture


class _Worker:
    """One thread's reader and converter."""

    def __init__(self, reader: Reader, convert: Converter) -> None:
        self._reader, self._convert = reader, convert

    def work(self, task: Group) -> Iterator[tuple[int, UInt8[Tensor, "3 height width"]]]:
        for tick, frame in zip(task.wanted, self._reader.frames(task), strict=True):
            yield tick, self._convert(frame)

    def close(self) -> None:
        self._reader.close()
