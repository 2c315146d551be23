"""What is in a video file, found without decoding more than its first picture."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from vidzip.video.info import VideoInfo
from vidzip.video.limits import DEFAULT_TIME_LIMIT_SECONDS, TimeLimit
from vidzip.video.opening import open_file

if TYPE_CHECKING:
    from vidzip.video.containers import OpenVideo
    from vidzip.video.indexing import Index

_SAMPLE_BYTES, _SAMPLES = 1 << 20, 16
"""A file's identity is taken from so many samples of so many bytes, evenly spread: all of a file of up to 16 MiB."""

_OUTLASTS = 1.1
"""How far a container's duration may pass its frames', beyond a second, before the file counts as cut off."""


def probe(path: str | os.PathLike[str], *, count: bool = False) -> VideoInfo:
    """Measure a video file.

    An MP4's header is believed where the list of frames in it is whole and at a constant rate. Elsewhere every packet
    is read (none is decoded) and the frames' times are listed; ``notes`` says so.

    Args:
        path: a local video file.
        count: decode every frame, so that ``num_frames`` and ``duration_seconds`` are those of the frames that can be.

    Raises:
        VideoError: no such file, not a video, no pictures in it, or not one of them can be decoded.
    """
    from vidzip.video.containers import open_video  # which loads a decoder, as identifying a file does not
    from vidzip.video.indexing import index_of

    name = os.fspath(path)
    index = index_of(name)
    start, ends = float(index.seconds[0]), index.ends_seconds
    with open_video(name) as video:
        info = VideoInfo(
            path=name,
            duration_seconds=ends - start,
            fps=_average_rate(video, len(index.ticks), ends - start),
            num_frames=len(index.ticks),
            num_keyframes=len(index.keys),
            num_bytes=index.num_bytes,
            width=index.first.width,
            height=index.first.height,
            rotation=index.first.rotation,
            codec=video.stream.codec_context.codec.canonical_name,
            pixel_format=video.stream.codec_context.pix_fmt,
            container=video.container.format.name,
            start_seconds=start,
            frame_times_seconds=None if index.step else tuple(index.seconds.tolist()),
            identity=identify(name),
            notes=(f"{index.doubt}: {len(index.ticks)} packets were counted",) if index.doubt else (),
            warnings=tuple(_warnings(video, index)),
        )
    return _counted(info) if count else info


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


def _warnings(video: OpenVideo, index: Index) -> Iterator[str]:
    """Say where a container promises a longer video than its frames last; sound may outlast them a little."""
    promised, ends = video.promised_seconds, index.ends_seconds
    if index.breaks:
        yield f"the file breaks after {ends:.1f} s ({index.breaks})"
    elif promised > ends * _OUTLASTS + 1:
        yield f"the container promises {promised:.1f} s, but its frames end at {ends:.1f} s: it may be cut off"


def _counted(info: VideoInfo) -> VideoInfo:
    """Decode every frame, and count those that can be."""
    from vidzip.video.containers import open_video
    from vidzip.video.one_pass import Damage, frames_in_order  # which loads torch, as no other probe does

    limit = TimeLimit(DEFAULT_TIME_LIMIT_SECONDS, info.path)
    times: list[float] = []
    warnings = list(info.warnings)
    ends = 0.0
    with open_video(info.path, limit) as video:
        video.stream.thread_type = "AUTO"
        damage = Damage(info.path, strict=False, warn=warnings.append)
        for shown in frames_in_order(video, limit, damage):
            times.append(shown.appears)
            ends = shown.ends
    if len(times) != info.num_frames:
        warnings.append(f"{info.num_frames} frames are listed, {len(times)} can be decoded")
    return replace(
        info,
        num_frames=len(times),
        start_seconds=times[0],
        duration_seconds=ends - times[0],
        frame_times_seconds=tuple(times),
        notes=(*info.notes, f"{len(times)} frames were decoded and counted"),
        warnings=tuple(warnings),
    )


def _average_rate(video: OpenVideo, count: int, duration: float) -> float | None:
    """Frames a second: the header's exact fraction where it fits what was counted."""
    stated = video.average_rate
    if duration <= 0:
        return float(stated) if stated else None
    measured = count / duration
    return float(stated) if stated and abs(stated - measured) <= 0.01 * measured else measured
