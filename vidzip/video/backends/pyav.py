"""PyAV: decodes keyframe groups that hold wanted frames, several in parallel.

If a file's timestamps are not reliable, or its index turns out to be wrong, it is decoded sequentially.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial

import av

from vidzip.errors import DecodeError, EndsEarly
from vidzip.video.containers import open_video
from vidzip.video.conversion import DecodedFrame
from vidzip.video.group_reader import FrameNotFound, GroupReader
from vidzip.video.indexing import FrameIndex, index_frames
from vidzip.video.keyframe_groups import group_by_keyframe, split_last_keyframe
from vidzip.video.limits import TimeLimit
from vidzip.video.local_files import is_gif
from vidzip.video.pool import OrderedPool
from vidzip.video.request import DecodeRequest
from vidzip.video.sequential import decode_sequentially


def decode_frames(request: DecodeRequest) -> Generator[DecodedFrame, None, None]:
    """Yield the frame on screen at each timestamp, in order, while later ones are decoded.

    The last frame is decoded before the first one is yielded, so that ``EndsEarly`` is never raised after a frame.

    Raises:
        EndsEarly: the video ends, or nothing more can be decoded, before a timestamp; no frame was yielded.
        DecodeError: the file's clock restarts, or the file is damaged and the request is strict.
        VideoError: the file cannot be opened as a video, or takes too long.
    """
    limit = request.new_limit()
    shown: DecodedFrame | None = None
    for frame in _decode_in_order(request, limit):
        # An attempt may lack a later frame that the attempt before it decoded: that frame stays on screen.
        if shown is None or frame.timestamp_seconds > shown.timestamp_seconds:
            shown = frame
        with limit.paused():
            yield shown


def _decode_in_order(request: DecodeRequest, limit: TimeLimit) -> Generator[DecodedFrame, None, None]:
    """Yield the frame of each timestamp, in order, once the last one is decoded."""
    count, done = len(request.timestamps_seconds), 0
    decoded: dict[int, DecodedFrame] = {}
    latest: DecodedFrame | None = None
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
        except (EndsEarly, FrameNotFound, av.FFmpegError, OSError) as error:
            if isinstance(error, EndsEarly) and not latest:
                raise
            failure = error
        else:
            return
    message = f"{request.path!r} cannot be decoded from {request.timestamps_seconds[done]:.3f} s on"
    if request.strict or not latest:
        raise DecodeError(message, hint="the file is damaged: download it again") from failure
    request.warn(f"{message}: the frame before is repeated")
    for number in range(done, count):
        latest = decoded.get(number, latest)
        yield latest


_Attempt = Callable[[DecodeRequest, Sequence[int], TimeLimit], Generator[tuple[int, DecodedFrame], None, None]]
"""Decodes the frames at the timestamps with some numbers, in any order, or raises an error if it cannot find one."""


def _attempts(request: DecodeRequest) -> Iterator[_Attempt]:
    """Yield the methods of decoding a file, the fastest first."""
    if is_gif(request.path):
        yield decode_sequentially
        return
    index = index_frames(request.path, time_limit_seconds=request.time_limit_seconds)
    if index.has_reliable_timestamps:
        yield partial(_decode_groups, index)
    if index.from_header:
        index = index_frames(request.path, trust_header=False, time_limit_seconds=request.time_limit_seconds)
        if index.has_reliable_timestamps:
            yield partial(_decode_groups, index)
    yield decode_sequentially


def _decode_groups(
    index: FrameIndex, request: DecodeRequest, numbers: Sequence[int], limit: TimeLimit
) -> Generator[tuple[int, DecodedFrame], None, None]:
    """Decode keyframe groups in threads: the frames from the last keyframe on first, then the others in order."""
    on_screen = request.frames_on_screen(index, [request.timestamps_seconds[number] for number in numbers])
    numbers_of: defaultdict[int, list[int]] = defaultdict(list)
    seconds: dict[int, float] = {}
    for number, frame in zip(numbers, on_screen, strict=True):
        tick = int(index.ticks[frame])
        numbers_of[tick].append(number)
        seconds[tick] = float(index.seconds[frame])
    groups = group_by_keyframe(index, list(numbers_of))
    threads = min(request.workers, len(groups))

    def seek(tick: int) -> int | None:
        with open_video(request.path, limit) as video:
            return video.seek(tick)

    def make_reader(check_stopped: Callable[[], None]) -> GroupReader:
        return GroupReader(request, index, threads=max(1, request.workers // threads), limit=limit, check=check_stopped)

    *rest, last = split_last_keyframe(index, groups.pop(), seek)
    with OrderedPool(
        [last, *groups, *rest],
        make_reader,
        threads=threads,
        size_of=lambda result: result[1].nbytes,
        max_queued=request.max_queued_bytes,
    ) as pool:
        for tick, pixels in pool:
            decoded = DecodedFrame(pixels=pixels, timestamp_seconds=seconds[tick])
            for number in numbers_of[tick]:
                yield number, decoded
