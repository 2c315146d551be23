"""What is in a video file, found without decoding more than its first picture."""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from itertools import pairwise

import av

from vidzip.errors import DecodeError, NoFrames
from vidzip.video.containers import ROUNDING_SECONDS, OpenVideo, open_file, open_video, reason
from vidzip.video.info import VideoInfo

_SAMPLE_BYTES, _SAMPLES = 1 << 20, 16
"""A file's identity is taken from so many samples of so many bytes, evenly spread: all of a file of up to 16 MiB."""

_OUTLASTS = 1.1
"""How far a container's duration may pass its frames', beyond a second, before the file counts as cut off."""

_SLACK_FRAMES = 0.5
"""Frames by which a header's count may differ from its duration times its nominal rate and still be believed."""


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Measure a video file.

    The header is believed where it gives a frame count, a duration and a constant rate that agree with each other.
    Where it does not, every packet is read (none is decoded) and the frames' times are listed; ``notes`` says so.

    Raises:
        VideoError: no such file, not a video, no pictures in it, or not even the first can be decoded.
    """
    name = os.fspath(path)
    with open_video(name) as video:
        first = _first_picture(video)
    with open_video(name) as video:
        doubt = _doubt(video, first)
        timing = _scan(video, first) if doubt else _believe(video)
        return VideoInfo(
            path=name,
            duration_seconds=timing.duration,
            fps=_average_rate(video, timing),
            num_frames=timing.count,
            width=first.width,
            height=first.height,
            rotation=first.rotation,
            codec=video.stream.codec_context.codec.canonical_name,
            container=video.container.format.name,
            start_seconds=timing.start,
            frame_times_seconds=timing.times,
            identity=identify(name),
            notes=(f"{doubt}: {timing.count} packets were counted",) if doubt else (),
            warnings=_warnings(video, timing),
        )


def identify(path: str | os.PathLike[str]) -> str:
    """Fingerprint a file by its size and content: the same for a copy under another name.

    Up to 16 MiB are read: all of a small file, evenly spread samples of a larger one.

    Raises:
        VideoError: no such file, or it cannot be read.
    """
    with open_file(os.fspath(path)) as file:
        size = file.seek(0, os.SEEK_END)
        digest = hashlib.blake2b(str(size).encode(), digest_size=16)
        if size <= _SAMPLE_BYTES * _SAMPLES:
            positions = list(range(0, size, _SAMPLE_BYTES))
        else:
            positions = [(size - _SAMPLE_BYTES) * i // (_SAMPLES - 1) for i in range(_SAMPLES)]
        for position in positions:
            file.seek(position)
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class _Timing:
    """Frames and their times, in seconds on the file's own clock."""

    count: int
    start: float
    duration: float
    times: tuple[float, ...] | None


def _warnings(video: OpenVideo, timing: _Timing) -> tuple[str, ...]:
    """Say where a container promises a longer video than its frames last; sound may outlast them a little."""
    promised = (video.container.duration or 0) / av.time_base
    ends = timing.start + timing.duration
    if promised > ends * _OUTLASTS + 1:
        return (f"the container promises {promised:.1f} s, but its frames end at {ends:.1f} s: it may be cut off",)
    return ()


@dataclass(frozen=True, kw_only=True)
class _FirstPicture:
    """The first picture: degrees clockwise it is turned to be shown, its size once turned, its time in seconds."""

    rotation: int
    width: int
    height: int
    appears: float | None


def _doubt(video: OpenVideo, first: _FirstPicture) -> str:
    """Say what the header lacks or gets wrong, in words; empty where it can be believed."""
    stream = video.stream
    lacking = [] if stream.frames else ["frame count"]
    if not stream.duration or stream.duration < 0:
        lacking.append("duration")
    if lacking:
        return f"the video stream's header holds no {' and no '.join(lacking)}"
    believed = _believe(video)
    if not video.nominal_rate or abs(believed.count - believed.duration * video.nominal_rate) > _SLACK_FRAMES:
        return "the frame rate varies, or the header's count or duration is off"
    if first.appears is None or abs(first.appears - believed.start) > video.frame_seconds / 2:
        return "the first frame does not appear when the header says"
    return ""


def _average_rate(video: OpenVideo, timing: _Timing) -> float:
    """Frames a second: the header's exact fraction where it fits what was counted."""
    measured = timing.count / timing.duration
    stated = video.average_rate
    return float(stated) if stated and abs(stated - measured) <= 0.01 * measured else measured


def _believe(video: OpenVideo) -> _Timing:
    """Take the header's word."""
    stream = video.stream
    return _Timing(
        count=stream.frames,
        start=video.seconds(stream.start_time or 0),
        duration=float((stream.duration or 0) * video.time_base),
        times=None,
    )


def _scan(video: OpenVideo, first: _FirstPicture) -> _Timing:
    """Read every packet's times, without decoding.

    Packets before the first picture that decodes are no frames: a file cut out of a longer one may begin with some.
    """
    earliest = -math.inf if first.appears is None else first.appears - ROUNDING_SECONDS
    on_screen: dict[float, float] = {}
    try:
        for packet in video.container.demux(video.stream):
            ticks = packet.dts if packet.pts is None else packet.pts
            if ticks is None or packet.is_discard:
                continue
            appears = video.seconds(ticks)
            if appears >= earliest:
                on_screen[appears] = float((packet.duration or 0) * video.time_base)
    except av.FFmpegError as error:
        raise DecodeError(
            f"{video.path!r} breaks while its packets are read ({reason(error)})", hint="fetch it again, whole"
        ) from error
    if not on_screen:
        raise NoFrames(f"{video.path!r} has a video stream, but no frame in it", hint="give a video that has pictures")
    times = tuple(sorted(on_screen))
    steps = sorted(after - before for before, after in pairwise(times))
    usual = steps[len(steps) // 2] if steps else video.frame_seconds or 1.0
    duration = times[-1] + (on_screen[times[-1]] or usual) - times[0]
    return _Timing(count=len(times), start=times[0], duration=duration, times=times)


def _first_picture(video: OpenVideo) -> _FirstPicture:
    """Decode one picture."""
    try:
        frame = next(video.container.decode(video.stream), None)
    except av.FFmpegError as error:
        raise DecodeError(
            f"not even the first frame of {video.path!r} can be decoded ({reason(error)})",
            hint="fetch it again, whole",
        ) from error
    if frame is None:
        raise NoFrames(f"{video.path!r} has a video stream, but no frame in it", hint="give a video that has pictures")
    turn = degrees_clockwise(frame.rotation)
    width, height = (frame.width, frame.height) if turn % 180 == 0 else (frame.height, frame.width)
    appears = None if frame.pts is None else video.seconds(frame.pts)
    return _FirstPicture(rotation=turn, width=width, height=height, appears=appears)


def degrees_clockwise(rotation: float) -> int:
    """Turn FFmpeg's counter-clockwise angle, -180 to 180, into quarter turns clockwise: 0, 90, 180 or 270."""
    return round(-rotation / 90) * 90 % 360
