"""Opening a container without letting FFmpeg open any other file.

A file's name can mislead: a playlist or a concat script named ``clip.mp4`` would make FFmpeg read other files or use
the network. So FFmpeg gets an open file without a name, may use only the container formats below, which hold their
frames themselves, and may open only local files beyond that.
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
from vidzip.video.limits import MAX_PIXELS, TimeLimit, check_frame_size
from vidzip.video.local_files import error_text, has_gif_signature, open_file

FORMATS = ("mov", "mp4", "matroska", "webm", "avi", "gif", "mpegts", "mpeg", "flv", "asf", "ogg")
"""FFmpeg's names of the allowed container formats."""

CLOCK_SLIP_SECONDS = 1.0
"""Timestamps that decrease by more than this, beyond reordering, mean that the clock restarts."""

_MICROSECOND = Fraction(1, 1_000_000)


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenVideo:
    """An open container and its first video stream."""

    path: str
    size_bytes: int
    container: InputContainer
    stream: VideoStream

    def seconds(self, ticks: int) -> float:
        """Convert a timestamp of the stream to seconds on the file's own clock."""
        return ticks * self.time_base.numerator / self.time_base.denominator - self.origin_seconds

    @cached_property
    def time_base(self) -> Fraction:
        """Seconds per tick of the stream's timestamps."""
        return _fraction(self.stream.time_base) or _MICROSECOND

    @cached_property
    def average_rate(self) -> Fraction | None:
        """Frames per second on average, by the header."""
        return _fraction(self.stream.average_rate)

    @cached_property
    def origin_seconds(self) -> float:
        """Start of the file's own clock, in the stream's seconds."""
        return float((self.container.start_time or 0) * _MICROSECOND)

    @cached_property
    def pixel_aspect(self) -> Fraction:
        """Displayed width of a stored pixel divided by its height."""
        return _fraction(self.stream.sample_aspect_ratio) or Fraction(1)

    @property
    def header_seconds(self) -> float:
        """Duration by the container's header; 0 if it has none."""
        return float((self.container.duration or 0) * _MICROSECOND)

    @property
    def frame_seconds(self) -> float:
        """Average duration of a frame, by the header; 0 if it has none."""
        return float(1 / self.average_rate) if self.average_rate else 0.0

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """Read the stream's packets. The last one is empty: decoding it returns the frames that the decoder holds."""
        with suppress(IndexError):  # raised by PyAV after the last packet if streams appear that the header lacks
            yield from self.container.demux(self.stream)

    def seek(self, tick: int) -> int | None:
        """Jump to the keyframe stored for a tick, and return the tick of its timestamp; None without one."""
        with suppress(av.FFmpegError, OSError):
            self.container.seek(tick, stream=self.stream, backward=True)
            packet = next(self.packets(), None)
            if packet is not None and packet.is_keyframe:
                return packet.pts
        return None


@contextmanager
def open_video(path: str | os.PathLike[str], limit: TimeLimit | None = None) -> Iterator[OpenVideo]:
    """Open a local video file and find its video stream.

    Args:
        path: the file.
        limit: stops reading the file when it is exceeded.

    Raises:
        VideoNotFound: there is no such file, or it cannot be read.
        NotAVideo: it is a folder, a device, an empty file, or no container of an allowed format.
        NoVideoStream: the container has no video stream.
        FrameTooLarge: the header claims frames above the size limit.
        TimeLimitExceeded: opening it took too long.
    """
    name = os.fspath(path)
    with open_file(name) as file:
        options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
        if has_gif_signature(file):
            options["analyzeduration"] = "1"  # the first frame is enough; FFmpeg would read five seconds
        try:
            container = av.open(_AnonymousFile(file, limit), mode="r", container_options=options)
        except (av.FFmpegError, OSError, UnicodeError) as error:
            raise NotAVideo(
                f"{name!r} is not a video in a known container ({error_text(error)})",
                hint="give the complete video file; playlists, scripts and image sequences are not opened",
            ) from error
        with container:
            stream = _video_stream(container, name)
            check_frame_size(stream.codec_context.width, stream.codec_context.height, name)
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # frames may differ from the header
            size_bytes = os.fstat(file.fileno()).st_size
            yield OpenVideo(path=name, size_bytes=size_bytes, container=container, stream=stream)


def no_frames_error(name: str, reason: str = "") -> NoFrames:
    """Return the error to raise for a video stream without frames."""
    return NoFrames(
        f"{name!r} has a video stream, but no frame in it" + (f" ({reason})" if reason else ""),
        hint="give a video that has frames",
    )


def _fraction(rate: Fraction | None) -> Fraction | None:
    """Convert a rate to a fraction; None for 0/0. PyAV returns a type of its own from version 19 on."""
    return Fraction(rate.numerator, rate.denominator) if rate is not None and rate.denominator else None


class _AnonymousFile:
    """An open file without its name, from which FFmpeg would guess a format."""

    def __init__(self, file: BinaryIO, limit: TimeLimit | None) -> None:
        self._file = file
        self._limit = limit
        self.tell = file.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek; for a position before the file's start, as in a damaged header, return FFmpeg's error code."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -errno.EINVAL

    def read(self, size: int) -> bytes:
        if self._limit:
            self._limit.check()
        return self._file.read(size)


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    """Return the first video stream that is not the cover picture of a music file."""
    streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if streams and streams[0].codec_context is None:
        raise NoVideoStream(f"{name!r} has a video stream of an unknown codec", hint="re-encode or download it again")
    if streams:
        return streams[0]
    others = sorted({stream.type for stream in container.streams})
    raise NoVideoStream(
        f"{name!r} has no video stream" + (f", only {', '.join(others)}" if others else ""), hint="give a video"
    )
