"""The index of a video: timestamps of its frames and keyframes, found by decoding a single frame."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache

import av
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream
from jaxtyping import Float64, Int64

from vidzip.errors import DecodeError
from vidzip.video.containers import CLOCK_SLIP_SECONDS, OpenVideo, no_frames_error, open_video
from vidzip.video.geometry import clockwise_rotation, display_size
from vidzip.video.limits import DEFAULT_TIME_LIMIT_SECONDS, TimeLimit
from vidzip.video.local_files import error_text

_SINGLE_FRAME_SECONDS = 1.0
"""Duration of a file's only frame if the file has none."""

_FALSE_KEYFRAMES = {"gif"}
"""Formats whose frames all depend on the first one, whatever their packets say."""

_GUESSED_TIMESTAMPS = {"avi"}
"""Formats without timestamps: those that FFmpeg guesses may be swapped if frames are reordered."""


@dataclass(frozen=True, kw_only=True)
class FirstFrame:
    """The first frame that can be decoded.

    Attributes:
        rotation: clockwise degrees from the stored to the displayed frame.
        width: displayed pixels across.
        height: displayed pixels down.
        tick: its timestamp in the stream's ticks; None if the file has none.
    """

    rotation: int
    width: int
    height: int
    tick: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameIndex:
    """The frames of a video and their timestamps; N frames, K keyframes.

    Attributes:
        first: the first frame.
        ticks: timestamps of the frames, ascending, (N,), in ticks of ``time_base`` seconds.
        keyframes: timestamps of the keyframes, at which decoding can start, ascending, (K,). The first one stands for
            the start of the file. In an index from a header, one may be some frames early: the header lists frames in
            stored order, and frames that are stored after a keyframe may be displayed before it.
        last_ticks: duration of the last frame in ticks; 0 if the file has none.
        ticks_per_frame: ticks from each frame to the next in an index from a header; None if the packets were read.
        time_base: seconds per tick.
        origin_seconds: start of the file's own clock, in the stream's seconds.
        has_reliable_timestamps: whether a decoded frame is identified by its timestamp; if not, frames are counted.
        num_bytes: stored bytes of all frames together, without audio.
        header_problem: why the header was not used; empty if it was.
        read_error: error that ended the packets before the end of the file; empty without one.
    """

    first: FirstFrame
    ticks: Int64[np.ndarray, " frames"]
    keyframes: Int64[np.ndarray, " keyframes"]
    last_ticks: int
    ticks_per_frame: int | None
    time_base: Fraction
    origin_seconds: float
    num_bytes: int
    has_reliable_timestamps: bool = True
    header_problem: str = ""
    read_error: str = ""

    @property
    def from_header(self) -> bool:
        """Whether the index was taken from the header, and no packet was read."""
        return self.ticks_per_frame is not None

    @cached_property
    def seconds(self) -> Float64[np.ndarray, " frames"]:
        """Timestamps of the frames in seconds on the file's own clock, (N,)."""
        return self.to_seconds(self.ticks)

    def to_seconds(self, ticks: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Convert ticks to seconds on the file's own clock."""
        seconds: np.ndarray = ticks * self.time_base.numerator / self.time_base.denominator - self.origin_seconds
        return seconds

    @cached_property
    def last_seconds(self) -> float:
        """Duration of the last frame: by the file, else the median duration of a frame."""
        ticks = self.last_ticks
        if not ticks and len(self.ticks) > 1:
            ticks = int(np.median(np.diff(self.ticks)))
        return float(ticks * self.time_base)

    @property
    def end_seconds(self) -> float:
        """End of the last frame."""
        return float(self.seconds[-1]) + self.last_seconds

    @property
    def frame_seconds(self) -> float:
        """Average duration of a frame."""
        return (self.end_seconds - float(self.seconds[0])) / len(self.ticks)


def index_frames(
    path: str | os.PathLike[str],
    *,
    trust_header: bool = True,
    time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS,
) -> FrameIndex:
    """Index a video's frames: from its header if that is reliable, else by reading every packet.

    The indexes of the last few files are cached until the files change.

    Args:
        path: a local video file.
        trust_header: False reads every packet in any case.
        time_limit_seconds: limit on the time it takes.

    Raises:
        VideoError: the file cannot be opened as a video, has no frame, or none of its frames can be decoded.
    """
    name = os.fspath(path)
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        status = None  # opening it raises the error
    version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) if status else ()
    return _cached_index(os.path.abspath(name) if version else name, name, version, trust_header, time_limit_seconds)


@lru_cache(maxsize=8)
def _cached_index(
    _absolute_path: str, name: str, _version: tuple[int, ...], trust_header: bool, time_limit_seconds: float
) -> FrameIndex:
    limit = TimeLimit(time_limit_seconds, name)
    with open_video(name, limit) as video:
        video.stream.codec_context.thread_count = 1  # one frame is not worth starting threads for
        packets = _PacketReader(video, limit)
        from_header = _read_header(video) if trust_header else "the header was not read"
        if isinstance(from_header, FrameIndex):
            if packets.first.tick == from_header.ticks[0]:
                return replace(from_header, first=packets.first)
            from_header = "the first frame's timestamp differs from the header's"
        return packets.index(header_problem=from_header)


def _read_header(video: OpenVideo) -> FrameIndex | str:
    """Take the index from an MP4's header, or return why it is not reliable."""
    stream = video.stream
    lacking = [] if stream.frames else ["frame count"]
    if not stream.duration or stream.duration < 0:
        lacking.append("duration")
    if lacking:
        return f"the video stream's header has no {' and no '.join(lacking)}"
    if not video.container.format.name.startswith("mov,"):
        return "the header does not list the frames"
    listed = _HeaderList(stream)
    problem = listed.problem(stream.frames, video.size_bytes)
    if problem:
        return problem
    start = int(stream.start_time or 0)
    last_ticks = int(stream.duration or 0) - listed.ticks_per_frame * (listed.count - 1)
    return FrameIndex(
        first=_UNKNOWN_FIRST,
        ticks=start + listed.ticks_per_frame * np.arange(listed.count, dtype=np.int64),
        keyframes=start + listed.ticks_per_frame * np.frombuffer(listed.keyframes, dtype=np.int64),
        last_ticks=last_ticks if last_ticks > 0 else listed.ticks_per_frame,
        ticks_per_frame=listed.ticks_per_frame,
        time_base=video.time_base,
        origin_seconds=video.origin_seconds,
        num_bytes=listed.num_bytes,
    )


class _HeaderList:
    """A summary of the frames that an MP4's header lists, and the numbers of its keyframes."""

    def __init__(self, stream: VideoStream) -> None:
        self.count = self.ticks_per_frame = self.end_byte = self.num_bytes = 0
        self.keyframes = array("q", [0])
        self.is_constant_rate, self.hides_frames = True, False
        previous: int | None = None
        for entry in stream.index_entries:
            if previous is not None:
                self.ticks_per_frame = self.ticks_per_frame or entry.timestamp - previous
                self.is_constant_rate &= entry.timestamp - previous == self.ticks_per_frame > 0
            if entry.is_keyframe and self.count:
                self.keyframes.append(self.count)
            self.hides_frames = self.hides_frames or entry.is_discard
            self.end_byte = max(self.end_byte, entry.pos + entry.size)
            self.num_bytes += entry.size
            self.count += 1
            previous = entry.timestamp

    def problem(self, num_frames: int, size_bytes: int) -> str:
        """Return why the list does not give all timestamps; empty if it does."""
        if self.count != num_frames or self.hides_frames:
            hidden = ", and hides some" * self.hides_frames
            return f"the header lists {self.count} frames, counts {num_frames}{hidden}"
        if self.end_byte > size_bytes:
            return "the file ends before the last frame that the header lists"
        if self.count == 1:
            return "the header lists a single frame"
        return "" if self.is_constant_rate else "the frame rate varies"


_UNKNOWN_FIRST = FirstFrame(rotation=0, width=0, height=0, tick=None)


class _PacketReader:
    """Reads a video's packets in order: their timestamps, and the first frame, which alone is decoded.

    Args:
        video: just opened.
        limit: the file's time limit.

    Raises:
        NoFrames: no packet decodes to a frame.
        DecodeError: there are packets, but none of them can be decoded.
    """

    def __init__(self, video: OpenVideo, limit: TimeLimit) -> None:
        self._video, self._limit = video, limit
        self._ticks, self._keyframes = array("q"), array("q")
        self._last, self._last_ticks, self._num_bytes = -(1 << 63), 0, 0
        self._has_reliable_timestamps = video.container.format.name not in _GUESSED_TIMESTAMPS
        self._latest_dts: int | None = None
        self._read_error = ""
        self._packets = self._read()
        self.first = self._decode_first()

    def _read(self) -> Iterator[Packet[VideoStream]]:
        """Yield packets, and record their timestamps."""
        slip = CLOCK_SLIP_SECONDS / self._video.time_base
        try:
            for packet in self._video.packets():
                self._limit.check()
                tick = packet.dts if packet.pts is None else packet.pts
                if tick is not None and not packet.is_discard and not packet.is_corrupt:
                    self._record(packet, tick, slip)
                yield packet
        except (av.FFmpegError, OSError) as error:
            self._read_error = error_text(error)

    def _record(self, packet: Packet[VideoStream], tick: int, slip: Fraction | float) -> None:
        self._has_reliable_timestamps &= packet.pts is not None
        if packet.dts is not None:
            self._has_reliable_timestamps &= self._latest_dts is None or packet.dts >= self._latest_dts - slip
            self._latest_dts = packet.dts
        self._ticks.append(tick)
        self._num_bytes += packet.size
        if packet.is_keyframe:
            self._keyframes.append(tick)
        if tick > self._last:
            self._last, self._last_ticks = tick, packet.duration or 0

    def _decode_first(self) -> FirstFrame:
        """Decode one frame; after damage, the first one from the next keyframe on."""
        damage: Exception | None = None
        for packet in self._packets:
            if damage and not packet.is_keyframe and packet.size:
                continue
            try:
                frame = next(iter(packet.decode()), None)
            except (av.FFmpegError, ValueError) as error:  # PyAV 19 raises ValueError for an unknown codec
                damage = damage or error
                self._video.stream.codec_context.flush_buffers()
                continue
            if frame is not None:
                rotation = clockwise_rotation(frame.rotation)
                height, width = display_size(frame.height, frame.width, rotation, self._video.pixel_aspect)
                return FirstFrame(rotation=rotation, width=width, height=height, tick=frame.pts)
        if damage is None:
            raise no_frames_error(self._video.path, self._read_error)
        raise DecodeError(
            f"no frame of {self._video.path!r} can be decoded ({error_text(damage)})", hint="download it again"
        ) from damage

    def index(self, *, header_problem: str) -> FrameIndex:
        """Read the remaining packets, and return the index.

        Packets before the first frame that decodes are left out: a file cut from a longer one may start with some.
        """
        for _ in self._packets:
            pass
        first, video, last_ticks = self.first, self._video, self._last_ticks
        ticks = _unique(self._ticks)
        has_reliable_timestamps = (
            self._has_reliable_timestamps and len(ticks) == len(self._ticks) and first.tick in ticks
        )
        if first.tick is not None:
            ticks = ticks[ticks >= first.tick]
        if not len(ticks):
            raise no_frames_error(video.path, self._read_error)
        if len(ticks) == 1 and not last_ticks:
            last_ticks = max(1, round(_SINGLE_FRAME_SECONDS / video.time_base))
        keyframes = _unique(array("q") if video.container.format.name in _FALSE_KEYFRAMES else self._keyframes)
        return FrameIndex(
            first=first,
            ticks=ticks,
            keyframes=np.append(ticks[:1], keyframes[keyframes > ticks[0]]),
            last_ticks=last_ticks,
            ticks_per_frame=None,
            time_base=video.time_base,
            origin_seconds=video.origin_seconds,
            num_bytes=self._num_bytes,
            has_reliable_timestamps=has_reliable_timestamps,
            header_problem=header_problem,
            read_error=self._read_error,
        )


def _unique(ticks: array[int]) -> Int64[np.ndarray, " unique"]:
    """Sort ticks and remove duplicates; ``numpy.unique`` would import a large part of numpy."""
    ascending = np.sort(np.array(ticks, dtype=np.int64))
    return ascending[np.flatnonzero(np.diff(ascending, prepend=ascending[:1] - 1))]
