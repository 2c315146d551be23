"""When every frame of a video appears, and where decoding can begin: found without decoding more than one picture."""

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
from vidzip.video.containers import CLOCK_SLIP_SECONDS, OpenVideo, no_frame, open_video
from vidzip.video.geometry import degrees_clockwise, shown_size
from vidzip.video.limits import DEFAULT_TIME_LIMIT_SECONDS, TimeLimit
from vidzip.video.opening import reason

_ALONE_SECONDS = 1.0
"""How long the only picture of a file counts as shown where the file does not say."""

_ENTRY_POINTS_LIE = {"gif"}
"""Formats whose frames all build on the first one, whatever their packets say."""

_LABELS_LIE = {"avi"}
"""Formats that store no presentation times: where frames are reordered, the times that FFmpeg guesses may be swapped."""


@dataclass(frozen=True, kw_only=True)
class FirstPicture:
    """The first picture that decodes.

    Attributes:
        rotation: degrees clockwise that it is turned to be shown.
        width: pixels across, as shown.
        height: pixels down, as shown.
        tick: when it appears, in the stream's ticks; None where the file does not say.
    """

    rotation: int
    width: int
    height: int
    tick: int | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Index:
    """The frames of a video and their times; N frames, K keyframes.

    Attributes:
        first: the first picture.
        ticks: when each frame appears, ascending, (N,), in ticks of ``time_base`` seconds.
        keys: when each keyframe appears, ascending, (K,): decoding can begin there. The first one stands for the
            file's beginning. Where the header was believed, one may be some frames early: it lists them in the order
            stored, and frames stored after a keyframe may be shown before it.
        lasts: ticks that the last frame is on screen; 0 where the file does not say.
        step: ticks from each frame to the next, where the header was believed; None where the packets were read.
        time_base: seconds a tick.
        origin_seconds: where the file's own clock starts, in the stream's seconds.
        is_labelled: whether a decoded frame is known by its tick; else it is found by counting from the first one.
        num_bytes: stored bytes of all frames together, sound left out.
        doubt: why the header was not believed, in words; empty where it was.
        breaks: what ended the packets before the file's end, in words; empty where nothing did.
    """

    first: FirstPicture
    ticks: Int64[np.ndarray, " frames"]
    keys: Int64[np.ndarray, " keyframes"]
    lasts: int
    step: int | None
    time_base: Fraction
    origin_seconds: float
    num_bytes: int
    is_labelled: bool = True
    doubt: str = ""
    breaks: str = ""

    @cached_property
    def seconds(self) -> Float64[np.ndarray, " frames"]:
        """When each frame appears, on the file's own clock, (N,)."""
        return self.to_seconds(self.ticks)

    def to_seconds(self, ticks: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """Turn ticks into seconds on the file's own clock."""
        seconds: np.ndarray = ticks * self.time_base.numerator / self.time_base.denominator - self.origin_seconds
        return seconds

    @cached_property
    def last_seconds(self) -> float:
        """How long the last frame is on screen: what the file says, else as long as frames usually are."""
        ticks = self.lasts
        if not ticks and len(self.ticks) > 1:
            ticks = int(np.median(np.diff(self.ticks)))
        return float(ticks * self.time_base)

    @property
    def ends_seconds(self) -> float:
        """When the last frame leaves the screen."""
        return float(self.seconds[-1]) + self.last_seconds

    @property
    def frame_seconds(self) -> float:
        """How long a frame is on screen on average."""
        return (self.ends_seconds - float(self.seconds[0])) / len(self.ticks)


def index_of(
    path: str | os.PathLike[str],
    *,
    believe_header: bool = True,
    time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS,
) -> Index:
    """Find a video's frames: in its header, if that is beyond doubt, else by reading every packet.

    What was found for the last few files is remembered for as long as they do not change.

    Args:
        path: a local video file.
        believe_header: False reads every packet all the same.
        time_limit_seconds: how long that may take.

    Raises:
        VideoError: the file cannot be opened as a video, holds no frame, or not one of them can be decoded.
    """
    name = os.fspath(path)
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        status = None  # opening it says what is wrong
    version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) if status else ()
    return _remembered(os.path.abspath(name) if version else name, name, version, believe_header, time_limit_seconds)


@lru_cache(maxsize=8)
def _remembered(
    _whole_name: str, name: str, _version: tuple[int, ...], believe_header: bool, time_limit_seconds: float
) -> Index:
    limit = TimeLimit(time_limit_seconds, name)
    with open_video(name, limit) as video:
        video.stream.codec_context.thread_count = 1  # one picture is not worth a team of threads
        packets = _Packets(video, limit)
        listed = _read_header(video) if believe_header else "the header was not asked"
        if isinstance(listed, Index):
            if packets.first.tick == listed.ticks[0]:
                return replace(listed, first=packets.first)
            listed = "the first frame does not appear when the header says"
        return packets.index(doubt=listed)


def _read_header(video: OpenVideo) -> Index | str:
    """Take the index from an MP4's header, or say in words why it is in doubt."""
    stream = video.stream
    lacking = [] if stream.frames else ["frame count"]
    if not stream.duration or stream.duration < 0:
        lacking.append("duration")
    if lacking:
        return f"the video stream's header holds no {' and no '.join(lacking)}"
    if not video.container.format.name.startswith("mov,"):
        return "the header does not list the frames"
    listed = _Listed(stream)
    doubt = listed.doubt(stream.frames, video.size_bytes)
    if doubt:
        return doubt
    start, lasts = int(stream.start_time or 0), int(stream.duration or 0) - listed.step * (listed.count - 1)
    return Index(
        first=_UNSEEN,
        ticks=start + listed.step * np.arange(listed.count, dtype=np.int64),
        keys=start + listed.step * np.frombuffer(listed.keys, dtype=np.int64),
        lasts=lasts if lasts > 0 else listed.step,
        step=listed.step,
        time_base=video.time_base,
        origin_seconds=video.origin_seconds,
        num_bytes=listed.num_bytes,
    )


class _Listed:
    """What an MP4's header lists, frame by frame; nothing is kept of a frame but that it may be a keyframe."""

    def __init__(self, stream: VideoStream) -> None:
        self.count = self.step = self.ends = self.num_bytes = 0
        self.keys = array("q", [0])
        self.is_steady, self.hides = True, False
        before: int | None = None
        for entry in stream.index_entries:
            if before is not None:
                self.step = self.step or entry.timestamp - before
                self.is_steady = self.is_steady and entry.timestamp - before == self.step > 0
            if entry.is_keyframe and self.count:
                self.keys.append(self.count)
            self.hides = self.hides or entry.is_discard
            self.ends = max(self.ends, entry.pos + entry.size)
            self.num_bytes += entry.size
            self.count += 1
            before = entry.timestamp

    def doubt(self, promised: int, size_bytes: int) -> str:
        """Say why the list does not tell when every frame appears; empty where it does."""
        if self.count != promised or self.hides:
            return f"the header lists {self.count} frames, counts {promised}" + (", and hides some" * self.hides)
        if self.ends > size_bytes:
            return "the file ends before the last frame that the header lists"
        if self.count == 1:
            return "the header lists one frame only"
        return "" if self.is_steady else "the frame rate varies"


_UNSEEN = FirstPicture(rotation=0, width=0, height=0, tick=None)


class _Packets:
    """A video's packets, read in order: their times, and the first picture; nothing else is decoded.

    Args:
        video: opened just now.
        limit: the file's clock.

    Raises:
        NoFrames: there is no packet that a decoder makes a picture of.
        DecodeError: there are packets, but not one of them can be decoded.
    """

    def __init__(self, video: OpenVideo, limit: TimeLimit) -> None:
        self._video, self._limit = video, limit
        self._ticks, self._keys = array("q"), array("q")
        self._last, self._lasts, self._num_bytes = -(1 << 63), 0, 0
        self._is_labelled = video.container.format.name not in _LABELS_LIE
        self._latest: int | None = None
        self._breaks = ""
        self._packets = self._read()
        self.first = self._find_first()

    def _read(self) -> Iterator[Packet[VideoStream]]:
        """Pass packets on, once their times are noted."""
        slip = CLOCK_SLIP_SECONDS / self._video.time_base
        try:
            for packet in self._video.packets():
                self._limit.check()
                tick = packet.dts if packet.pts is None else packet.pts
                if tick is not None and not packet.is_discard and not packet.is_corrupt:
                    self._note(packet, tick, slip)
                yield packet
        except (av.FFmpegError, OSError) as error:
            self._breaks = reason(error)

    def _note(self, packet: Packet[VideoStream], tick: int, slip: Fraction | float) -> None:
        self._is_labelled = self._is_labelled and packet.pts is not None
        if packet.dts is not None:
            self._is_labelled = self._is_labelled and (self._latest is None or packet.dts >= self._latest - slip)
            self._latest = packet.dts
        self._ticks.append(tick)
        self._num_bytes += packet.size
        if packet.is_keyframe:
            self._keys.append(tick)
        if tick > self._last:
            self._last, self._lasts = tick, packet.duration or 0

    def _find_first(self) -> FirstPicture:
        """Decode one picture; after damage, the first of the next keyframe on."""
        damage: Exception | None = None
        for packet in self._packets:
            if damage and not packet.is_keyframe and packet.size:
                continue
            try:
                frame = next(iter(packet.decode()), None)
            except (av.FFmpegError, ValueError) as error:  # PyAV 19 says so of an unknown codec
                damage = damage or error
                self._video.stream.codec_context.flush_buffers()
                continue
            if frame is not None:
                turn = degrees_clockwise(frame.rotation)
                height, width = shown_size(frame.height, frame.width, turn, self._video.pixel_aspect)
                return FirstPicture(rotation=turn, width=width, height=height, tick=frame.pts)
        if damage is None:
            raise no_frame(self._video.path, self._breaks)
        raise DecodeError(
            f"not one frame of {self._video.path!r} can be decoded ({reason(damage)})", hint="fetch it again, whole"
        ) from damage

    def index(self, *, doubt: str) -> Index:
        """Read the rest of the packets.

        Those before the first picture that decodes are no frames: a file cut out of a longer one may begin with some.

        Args:
            doubt: why the header is not believed.
        """
        for _ in self._packets:
            pass
        first, video, lasts = self.first, self._video, self._lasts
        shown = _distinct(self._ticks)
        is_labelled = self._is_labelled and len(shown) == len(self._ticks) and first.tick in shown
        if first.tick is not None:
            shown = shown[shown >= first.tick]
        if not len(shown):
            raise no_frame(video.path, self._breaks)
        if len(shown) == 1 and not lasts:  # nothing tells how long a single picture is shown
            lasts = max(1, round(_ALONE_SECONDS / video.time_base))
        keys = _distinct(array("q") if video.container.format.name in _ENTRY_POINTS_LIE else self._keys)
        return Index(
            first=first,
            ticks=shown,
            keys=np.append(shown[:1], keys[keys > shown[0]]),
            lasts=lasts,
            step=None,
            time_base=video.time_base,
            origin_seconds=video.origin_seconds,
            num_bytes=self._num_bytes,
            is_labelled=is_labelled,
            doubt=doubt,
            breaks=self._breaks,
        )


def _distinct(ticks: array[int]) -> Int64[np.ndarray, " distinct"]:
    """Sort ticks, and keep each once; ``numpy.unique`` would load a large part of numpy for it."""
    ascending = np.sort(np.array(ticks, dtype=np.int64))
    return ascending[np.flatnonzero(np.diff(ascending, prepend=ascending[:1] - 1))]
