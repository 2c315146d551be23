"""Metadata of a video file, found by decoding a single frame."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from vidzip.video.info import VideoInfo
from vidzip.video.limits import DEFAULT_TIME_LIMIT_SECONDS, TimeLimit
from vidzip.video.local_files import open_file

if TYPE_CHECKING:
    from vidzip.video.containers import OpenVideo
    from vidzip.video.indexing import FrameIndex

_SAMPLE_BYTES, _SAMPLES = 1 << 20, 16
"""Size and number of the samples, evenly spaced, that a file's identity is computed from: all of up to 16 MiB."""

_MAX_EXCESS = 1.1
"""A container's duration beyond this factor of its frames', plus a second, means that the file is truncated."""


def probe(path: str | os.PathLike[str], *, count: bool = False) -> VideoInfo:
    """Read the metadata of a video file.

    An MP4's header is used if it lists all frames at a constant rate. Otherwise every packet is read (but not decoded)
    and ``frame_times_seconds`` is set; ``notes`` says so.

    Args:
        path: a local video file.
        count: decode every frame, so that ``num_frames`` and ``duration_seconds`` cover the frames that can be decoded.

    Raises:
        VideoError: there is no such file, it is not a video, it has no frames, or none of them can be decoded.
    """
    from vidzip.video.containers import open_video  # loads a decoder
    from vidzip.video.indexing import index_frames

    name = os.fspath(path)
    index = index_frames(name)
    start, end = float(index.seconds[0]), index.end_seconds
    with open_video(name) as video:
        info = VideoInfo(
            path=name,
            duration_seconds=end - start,
            fps=_average_rate(video, len(index.ticks), end - start),
            num_frames=len(index.ticks),
            num_keyframes=len(index.keyframes),
            num_bytes=index.num_bytes,
            width=index.first.width,
            height=index.first.height,
            rotation=index.first.rotation,
            codec=video.stream.codec_context.codec.canonical_name,
            pixel_format=video.stream.codec_context.pix_fmt,
            container=video.container.format.name,
            start_seconds=start,
            frame_times_seconds=None if index.from_header else tuple(index.seconds.tolist()),
            identity=identify(name),
            notes=(f"{index.header_problem}: {len(index.ticks)} packets were counted",) if index.header_problem else (),
            warnings=tuple(_warnings(video, index)),
        )
    return _count_decoded(info) if count else info


def identify(path: str | os.PathLike[str]) -> str:
    """Compute a fingerprint of a file's size and content; it is the same for a copy with another name.

    Up to 16 MiB are read: all of a small file, evenly spaced samples of a larger one.

    Raises:
        VideoError: there is no such file, or it cannot be read.
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


def _warnings(video: OpenVideo, index: FrameIndex) -> Iterator[str]:
    """Warn of a container that is longer than its frames; audio may be a little longer."""
    header, end = video.header_seconds, index.end_seconds
    if index.read_error:
        yield f"the file cannot be read past {end:.1f} s ({index.read_error})"
    elif header > end * _MAX_EXCESS + 1:
        yield f"the header says {header:.1f} s, but the frames end at {end:.1f} s: the file may be truncated"


def _count_decoded(info: VideoInfo) -> VideoInfo:
    """Decode every frame, and update the metadata with those that can be decoded."""
    from vidzip.video.containers import open_video
    from vidzip.video.sequential import DamageLog, timed_frames  # loads torch

    limit = TimeLimit(DEFAULT_TIME_LIMIT_SECONDS, info.path)
    starts: list[float] = []
    warnings = list(info.warnings)
    end = 0.0
    with open_video(info.path, limit) as video:
        video.stream.thread_type = "AUTO"
        damage = DamageLog(info.path, strict=False, warn=warnings.append)
        for frame in timed_frames(video, limit, damage):
            starts.append(frame.start)
            end = frame.end
    if len(starts) != info.num_frames:
        warnings.append(f"{info.num_frames} frames are listed, {len(starts)} can be decoded")
    return replace(
        info,
        num_frames=len(starts),
        start_seconds=starts[0],
        duration_seconds=end - starts[0],
        frame_times_seconds=tuple(starts),
        notes=(*info.notes, f"{len(starts)} frames were decoded and counted"),
        warnings=tuple(warnings),
    )


def _average_rate(video: OpenVideo, count: int, duration: float) -> float | None:
    """Return frames per second: the header's exact fraction if it agrees with the count."""
    header = video.average_rate
    if duration <= 0:
        return float(header) if header else None
    measured = count / duration
    return float(header) if header and abs(header - measured) <= 0.01 * measured else measured
