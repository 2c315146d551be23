"""Opening a video file, and nothing but that file.

A name can lie: a playlist or a concat script called ``clip.mp4`` would make FFmpeg read other files or reach a
network. So FFmpeg never sees a name, only an open file; it may use the container formats below alone, which hold
their pictures themselves; and what it opens beyond, if anything, may be nothing but a local file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import BinaryIO

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from vidzip.errors import NoFrames, NotAVideo, NoVideoStream
from vidzip.video.limits import MAX_PIXELS, TimeLimit, check_picture_size
from vidzip.video.opening import begins_as_gif, open_file, reason

FORMATS = ("mov", "mp4", "matroska", "webm", "avi", "gif", "mpegts", "mpeg", "flv", "asf", "ogg")
"""FFmpeg's names of the container formats that may be opened."""

CLOCK_SLIP_SECONDS = 1.0
"""How far timestamps may fall back, beyond what reordering explains, before the clock counts as restarted."""

_MICROSECOND = Fraction(1, 1_000_000)


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenVideo:
    """An open container and its first stream of pictures."""

    path: str
    size_bytes: int
    container: InputContainer
    stream: VideoStream

    def seconds(self, ticks: int) -> float:
        """Turn a timestamp of the stream into seconds on the file's own clock."""
        return ticks * self.time_base.numerator / self.time_base.denominator - self.origin_seconds

    @cached_property
    def time_base(self) -> Fraction:
        """Seconds a tick of the stream's timestamps."""
        return _fraction(self.stream.time_base) or _MICROSECOND

    @cached_property
    def average_rate(self) -> Fraction | None:
        """Frames a second on average, by the header."""
        return _fraction(self.stream.average_rate)

    @cached_property
    def origin_seconds(self) -> float:
        """Where the file's own clock starts, in the stream's seconds."""
        return float((self.container.start_time or 0) * _MICROSECOND)

    @cached_property
    def pixel_aspect(self) -> Fraction:
        """How many times as wide as high a stored pixel is shown."""
        return _fraction(self.stream.sample_aspect_ratio) or Fraction(1)

    @property
    def promised_seconds(self) -> float:
        """How long the container says that it lasts; 0 where it does not say."""
        return float((self.container.duration or 0) * _MICROSECOND)

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """Read the stream's packets; an empty one comes last, for which the decoder gives the frames that it holds."""
        with suppress(IndexError):  # PyAV's, after the last packet, where streams that the header lacks have appeared
            yield from self.container.demux(self.stream)

    def seek(self, tick: int) -> int | None:
        """Jump to the keyframe stored for a tick, and return the tick at which it appears; None if there is none."""
        with suppress(av.FFmpegError, OSError):
            self.container.seek(tick, stream=self.stream, backward=True)
            packet = next(self.packets(), None)
            if packet is not None and packet.is_keyframe:
                return packet.pts
        return None

    @property
    def frame_seconds(self) -> float:
        """How long a frame is on screen on average, by the header; 0 where it does not say."""
        return float(1 / self.average_rate) if self.average_rate else 0.0


@contextmanager
def open_video(path: str | os.PathLike[str], limit: TimeLimit | None = None) -> Iterator[OpenVideo]:
    """Open a local video file and find its pictures.

    Args:
        path: the file.
        limit: ends whatever still reads the file when it runs out.

    Raises:
        VideoNotFound: no such file, or it may not be read.
        NotAVideo: a folder, a device, an empty file, or no container of an allowed format.
        NoVideoStream: a container without pictures.
        PictureTooLarge: the header promises pictures that no memory should be taken for.
        TimeLimitExceeded: opening it took too long.
    """
    name = os.fspath(path)
    with open_file(name) as file:
        settings = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
        if begins_as_gif(file):
            settings["analyzeduration"] = "1"  # its first picture tells all; FFmpeg would read five seconds of it
        try:
            container = av.open(_Unnamed(file, limit), mode="r", container_options=settings)
        except (av.FFmpegError, OSError, UnicodeError) as error:
            raise NotAVideo(
                f"{name!r} is not a video in a known container ({reason(error)})",
                hint="give the video file itself, whole; playlists, scripts and image sequences are not opened",
            ) from error
        with container:
            stream = _pictures(container, name)
            check_picture_size(stream.codec_context.width, stream.codec_context.height, name)
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # the pictures themselves may say otherwise
            size_bytes = os.fstat(file.fileno()).st_size
            yield OpenVideo(path=name, size_bytes=size_bytes, container=container, stream=stream)


def no_frame(name: str, why: str = "") -> NoFrames:
    """Say that a file's stream of pictures holds none, or, in words, why none can be had; to be raised."""
    return NoFrames(
        f"{name!r} has a video stream, but no frame in it" + (f" ({why})" if why else ""),
        hint="give a video that has pictures",
    )


def _fraction(rate: Fraction | None) -> Fraction | None:
    """Turn a rate into a fraction; PyAV gives fractions up to 18, from 19 on a type of its own. 0/0 is unknown."""
    return Fraction(rate.numerator, rate.denominator) if rate is not None and rate.denominator else None


class _Unnamed:
    """A file without its name, which FFmpeg would otherwise guess a format from."""

    def __init__(self, file: BinaryIO, limit: TimeLimit | None) -> None:
        self._file = file
        self._limit = limit
        self.tell = file.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Jump; where a damaged header points before the file's beginning, say so as FFmpeg is told of errors."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -errno.EINVAL

    def read(self, size: int) -> bytes:
        if self._limit:
            self._limit.check()
        return self._file.read(size)


def _pictures(container: InputContainer, name: str) -> VideoStream:
    """Return the first stream of moving pictures; a cover picture of a music file is none."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if streams and streams[0].codec_context is None:
        raise NoVideoStream(f"{name!r} holds pictures of no known codec", hint="re-encode it, or fetch it again")
    if streams:
        return streams[0]
    others = sorted({stream.type for stream in container.streams})
    raise NoVideoStream(
        f"{name!r} holds no video stream" + (f", only {', '.join(others)}" if others else ""),
        hint="give a file with pictures",
    )
