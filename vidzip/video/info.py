"""Metadata of a video file."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace

ROUNDING_SECONDS = 1e-6
"""Tolerance between timestamps: one that is earlier than a frame's start by this much is on that frame."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Metadata of a video. Unknown values are None, never 0.

    Times are seconds on the file's own clock, which starts with its container, as in a player.

    Attributes:
        path: the file, as given.
        duration_seconds: from the start of the first frame to the end of the last one.
        fps: frames per second, on average.
        num_frames: number of frames.
        num_keyframes: number of frames at which decoding can start.
        num_bytes: stored bytes of all frames together, without audio.
        width: displayed pixels across, after rotation.
        height: displayed pixels down, after rotation.
        rotation: clockwise degrees from the stored to the displayed frame: 0, 90, 180 or 270.
        codec: the codec's short name, such as ``h264``.
        pixel_format: FFmpeg's name of the pixel format, such as ``yuv420p``.
        container: the container format's short name, such as ``mov,mp4,m4a,3gp,3g2,mj2``.
        start_seconds: timestamp of the first frame.
        frame_times_seconds: timestamp of each frame, ascending, (num_frames,); None if the header has a constant rate
            and the packets were not read.
        identity: fingerprint of the file's size and content (samples of it for a large file), which ties a plan to its
            video.
        notes: values that the header lacks, and how they were found.
        warnings: problems of the file.
    """

    path: str
    duration_seconds: float | None = None
    fps: float | None = None
    num_frames: int | None = None
    num_keyframes: int | None = None
    num_bytes: int | None = None
    width: int | None = None
    height: int | None = None
    rotation: int | None = None
    codec: str | None = None
    pixel_format: str | None = None
    container: str | None = None
    start_seconds: float = 0.0
    frame_times_seconds: tuple[float, ...] | None = field(default=None, repr=False)
    identity: str | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def truncate_info(info: VideoInfo, end_seconds: float) -> VideoInfo:
    """Return the metadata of a video that ends earlier; unchanged if it does not."""
    duration = end_seconds - info.start_seconds
    if info.duration_seconds is None or not 0 < duration < info.duration_seconds:
        return info
    times, share = info.frame_times_seconds, duration / info.duration_seconds
    if times is not None:
        times = times[: bisect_left(times, end_seconds - ROUNDING_SECONDS)]
        count: int | None = len(times)
    else:
        count = info.num_frames and max(1, round(info.num_frames * share))
    return replace(
        info,
        duration_seconds=duration,
        num_frames=count,
        num_keyframes=info.num_keyframes and max(1, round(info.num_keyframes * share)),
        num_bytes=info.num_bytes and round(info.num_bytes * share),
        frame_times_seconds=times,
    )
