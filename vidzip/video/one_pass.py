"""Decoding a video from its start, frame by frame: slow, and right also where a file labels its frames badly."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress

import av
from av.video.frame import VideoFrame

from vidzip.errors import DecodeError
from vidzip.video.containers import CLOCK_SLIP_SECONDS, OpenVideo, no_frame, open_video
from vidzip.video.info import ROUNDING_SECONDS
from vidzip.video.limits import TimeLimit
from vidzip.video.opening import reason
from vidzip.video.pictures import Converter, Picture
from vidzip.video.request import Request

_REORDERED = 4
"""Frames held back to put their timestamps in order. Decoders give pictures in the order they are shown, but some
AVI files label them in another; the k-th picture gets the k-th smallest label within this many."""


def in_one_pass(
    request: Request, numbers: Sequence[int], limit: TimeLimit
) -> Generator[tuple[int, Picture], None, None]:
    """Decode everything up to the last of some moments; where a frame cannot be, the one before it stays on screen.

    Args:
        request: what is wanted.
        numbers: the moments wanted by this call, by their numbers, ascending.
        limit: the file's clock.

    Yields:
        The number of each moment, and the frame on screen there.

    Raises:
        EndsEarly: nothing more can be decoded before a moment.
        DecodeError: the clock restarts; or, where the request is strict, the file is damaged.
        NoFrames: nothing at all can be decoded.
    """
    with open_video(request.path, limit) as video:
        video.stream.thread_type = "AUTO"
        video.stream.codec_context.thread_count = request.workers
        convert = Converter(request.shape, video.pixel_aspect)
        damage = Damage(request.path, strict=request.strict, warn=request.warn)
        waiting = deque(numbers)
        shown: Shown | None = None
        for following in frames_in_order(video, limit, damage):
            while shown and waiting and request.moments[waiting[0]] < following.appears - ROUNDING_SECONDS:
                yield waiting.popleft(), shown.picture(convert)
            if not waiting:
                break
            shown = following
        while shown and waiting and request.moments[waiting[0]] <= shown.ends + video.frame_seconds:
            yield waiting.popleft(), shown.picture(convert)
        if waiting and shown:
            raise request.ends_early(shown.ends, request.moments[waiting[0]], damage.reason)
        if waiting:
            raise no_frame(request.path, damage.reason)


class Shown:
    """A decoded frame with its time on screen; converted once, and only if it is wanted."""

    def __init__(self, frame: VideoFrame, appears: float, lasts: float) -> None:
        self._frame = frame
        self._picture: Picture | None = None
        self.appears = appears
        self.ends = appears + lasts

    def picture(self, convert: Converter) -> Picture:
        """Convert the frame."""
        if self._picture is None:
            self._picture = Picture(pixels=convert(self._frame), timestamp_seconds=self.appears)
        return self._picture


class Damage:
    """Tells of the first packet that cannot be decoded.

    Args:
        path: the file.
        strict: whether the first one is an error.
        warn: told of the first one, where it is none.
    """

    def __init__(self, path: str, *, strict: bool, warn: Callable[[str], None]) -> None:
        self._path, self._strict, self._warn = path, strict, warn
        self.reason = ""

    def note(self, error: Exception, seconds: float) -> None:
        """Note one that comes after a frame at so many seconds.

        Raises:
            DecodeError: damage is an error.
        """
        if self._strict:
            raise DecodeError(
                f"{self._path!r} cannot be decoded past {seconds:.3f} s ({reason(error)})",
                hint=f"the file is damaged: stay before that moment (--end {seconds:.3f}), or fetch it again",
            ) from error
        if not self.reason:
            self.reason = reason(error)
            self._warn(
                f"{self._path!r} is damaged from {seconds:.3f} s on ({self.reason}): where a frame cannot be decoded, "
                "the one before it stays on screen"
            )


def frames_in_order(video: OpenVideo, limit: TimeLimit, damage: Damage) -> Iterator[Shown]:
    """Decode every frame, in the order shown, with ascending times.

    Raises:
        DecodeError: the clock restarts.
    """
    frames: deque[VideoFrame] = deque()
    ticks: list[int] = []
    latest = 0
    released = -math.inf

    def release() -> Shown:
        nonlocal released
        frame = frames.popleft()
        lasts = float(frame.duration * video.time_base) if frame.duration else video.frame_seconds
        appears = video.seconds(heapq.heappop(ticks))
        if appears < released - CLOCK_SLIP_SECONDS:
            raise DecodeError(
                f"the clock of {video.path!r} falls back from {released:.3f} s to {appears:.3f} s",
                hint="files were joined without a new clock: join them again with a tool that rewrites timestamps",
            )
        released = max(released, appears)
        return Shown(frame, released, lasts)

    def damaged(error: Exception) -> None:
        damage.note(error, video.seconds(latest))

    for frame in _frames_as_decoded(video, limit, damaged):
        tick = frame.pts if frame.pts is not None else frame.dts
        latest = latest + (frame.duration or 1) if tick is None else tick
        frames.append(frame)
        heapq.heappush(ticks, latest)
        if len(frames) > _REORDERED:
            yield release()
    while frames:
        yield release()


def _frames_as_decoded(
    video: OpenVideo, limit: TimeLimit, on_damage: Callable[[Exception], None]
) -> Iterator[VideoFrame]:
    """Decode packet by packet. What follows one that cannot be decoded builds on it, up to the next keyframe."""
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
                    on_damage(ValueError("parts of a picture are missing"))
                yield frame
    except (av.FFmpegError, OSError) as error:  # the packets end here; the decoder may hold some frames yet
        on_damage(error)
        with suppress(av.FFmpegError):
            yield from codec.decode(None)
