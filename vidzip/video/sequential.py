"""Decoding a video from its start, frame by frame: slow, but exact even if a file's timestamps are not reliable."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress

import av
from av.video.frame import VideoFrame

from vidzip.errors import DecodeError
from vidzip.video.containers import CLOCK_SLIP_SECONDS, OpenVideo, no_frames_error, open_video
from vidzip.video.conversion import DecodedFrame, FrameConverter
from vidzip.video.info import ROUNDING_SECONDS
from vidzip.video.limits import TimeLimit
from vidzip.video.local_files import error_text
from vidzip.video.request import DecodeRequest

_REORDER_BUFFER = 4
"""Frames held back to sort their timestamps. Decoders return frames in display order, but the timestamps of some AVI
files are in another order: the k-th frame gets the k-th smallest timestamp within this many."""


def decode_sequentially(
    request: DecodeRequest, numbers: Sequence[int], limit: TimeLimit
) -> Generator[tuple[int, DecodedFrame], None, None]:
    """Decode everything up to the last of some timestamps. A frame that cannot be decoded repeats the one before it.

    Args:
        request: the request.
        numbers: which of its timestamps, ascending.
        limit: the file's time limit.

    Yields:
        The number of each timestamp, and the frame on screen there.

    Raises:
        EndsEarly: nothing more can be decoded before a timestamp.
        DecodeError: the clock restarts, or the file is damaged and the request is strict.
        NoFrames: no frame can be decoded.
    """
    with open_video(request.path, limit) as video:
        video.stream.thread_type = "AUTO"
        video.stream.codec_context.thread_count = request.workers
        converter = FrameConverter(request.shape, video.pixel_aspect)
        damage = DamageLog(request.path, strict=request.strict, warn=request.warn)
        pending = deque(numbers)
        shown: TimedFrame | None = None
        for following in timed_frames(video, limit, damage):
            while shown and pending and request.timestamps_seconds[pending[0]] < following.start - ROUNDING_SECONDS:
                yield pending.popleft(), shown.convert(converter)
            if not pending:
                break
            shown = following
        while shown and pending and request.timestamps_seconds[pending[0]] <= shown.end + video.frame_seconds:
            yield pending.popleft(), shown.convert(converter)
        if pending and shown:
            raise request.ends_early_error(shown.end, request.timestamps_seconds[pending[0]], damage.reason)
        if pending:
            raise no_frames_error(request.path, damage.reason)


class TimedFrame:
    """A decoded frame, with its start and end in seconds; converted at most once."""

    def __init__(self, frame: VideoFrame, start: float, duration: float) -> None:
        self._frame = frame
        self._converted: DecodedFrame | None = None
        self.start = start
        self.end = start + duration

    def convert(self, converter: FrameConverter) -> DecodedFrame:
        """Convert the frame."""
        if self._converted is None:
            self._converted = DecodedFrame(pixels=converter(self._frame), timestamp_seconds=self.start)
        return self._converted


class DamageLog:
    """Reports the first packet of a file that cannot be decoded.

    Args:
        path: the file.
        strict: raise an error for it.
        warn: called with a message for it, unless strict.
    """

    def __init__(self, path: str, *, strict: bool, warn: Callable[[str], None]) -> None:
        self._path, self._strict, self._warn = path, strict, warn
        self.reason = ""

    def report(self, error: Exception, seconds: float) -> None:
        """Report an error after a frame at so many seconds.

        Raises:
            DecodeError: the log is strict.
        """
        if self._strict:
            raise DecodeError(
                f"{self._path!r} cannot be decoded past {seconds:.3f} s ({error_text(error)})",
                hint=f"the file is damaged: use the part before (--end {seconds:.3f}), or download it again",
            ) from error
        if not self.reason:
            self.reason = error_text(error)
            self._warn(
                f"{self._path!r} is damaged from {seconds:.3f} s on ({self.reason}): frames that cannot be decoded "
                "repeat the one before"
            )


def timed_frames(video: OpenVideo, limit: TimeLimit, damage: DamageLog) -> Iterator[TimedFrame]:
    """Decode every frame, in display order, with ascending timestamps.

    Raises:
        DecodeError: the clock restarts.
    """
    frames: deque[VideoFrame] = deque()
    ticks: list[int] = []
    latest_tick = 0
    latest_start = -math.inf

    def pop() -> TimedFrame:
        nonlocal latest_start
        frame = frames.popleft()
        duration = float(frame.duration * video.time_base) if frame.duration else video.frame_seconds
        start = video.seconds(heapq.heappop(ticks))
        if start < latest_start - CLOCK_SLIP_SECONDS:
            raise DecodeError(
                f"the clock of {video.path!r} goes back from {latest_start:.3f} s to {start:.3f} s",
                hint="files were joined without new timestamps: join them again with a tool that rewrites timestamps",
            )
        latest_start = max(latest_start, start)
        return TimedFrame(frame, latest_start, duration)

    def report_damage(error: Exception) -> None:
        damage.report(error, video.seconds(latest_tick))

    for frame in _decode_packets(video, limit, report_damage):
        tick = frame.pts if frame.pts is not None else frame.dts
        latest_tick = latest_tick + (frame.duration or 1) if tick is None else tick
        frames.append(frame)
        heapq.heappush(ticks, latest_tick)
        if len(frames) > _REORDER_BUFFER:
            yield pop()
    while frames:
        yield pop()


def _decode_packets(video: OpenVideo, limit: TimeLimit, on_damage: Callable[[Exception], None]) -> Iterator[VideoFrame]:
    """Decode packet by packet. After one that cannot be decoded, skip those up to the next keyframe, which need it."""
    codec = video.stream.codec_context
    is_lost = False
    try:
        for packet in video.packets():
            limit.check()
            is_lost = is_lost and not packet.is_keyframe
            try:
                frames = [] if is_lost else packet.decode()
            except av.FFmpegError as error:
                on_damage(error)
                is_lost, frames = True, []
                codec.flush_buffers()
            for frame in frames:
                if frame.is_corrupt:
                    on_damage(ValueError("parts of a frame are missing"))
                yield frame
    except (av.FFmpegError, OSError) as error:  # no more packets; the decoder may hold more frames
        on_damage(error)
        with suppress(av.FFmpegError):
            yield from codec.decode(None)
