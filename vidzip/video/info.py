"""What is known of a video file without decoding it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace

ROUNDING_SECONDS = 1e-6
"""How far two timestamps of the same moment may lie apart: a moment that misses a frame's start by it is on it."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """A video's measures. What is unknown is None, never 0.

    Times are seconds on the file's own clock, which starts with its container, as players show them.

    Attributes:
        path: the file, as it was given.
        duration_seconds: from the first frame's appearance to the end of the last one.
        fps: frames a second, on average.
        num_frames: how many frames the video holds.
        num_keyframes: at how many of them decoding can begin, the first one among them.
        num_bytes: stored bytes of all frames together, sound left out.
        width: pixels across, as shown (after rotation).
        height: pixels down, as shown (after rotation).
        rotation: degrees clockwise that the stored picture is turned to be shown: 0, 90, 180 or 270.
        codec: the codec's short name, such as ``h264``.
        pixel_format: how pictures are stored, by FFmpeg's name, such as ``yuv420p``.
        container: the container format's short name, such as ``mov,mp4,m4a,3gp,3g2,mj2``.
        start_seconds: when the first frame appears.
        frame_times_seconds: when each frame appears, ascending, (num_frames,); None where the header gave a constant
            rate and the packets were not scanned.
        identity: a fingerprint of the file's size and content (of samples of it, where it is large), by which a plan
            knows its video.
        notes: what the header lacked and how it was found instead, in words.
        warnings: what looks wrong with the file, in words.
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


def cut_short(info: VideoInfo, ends_seconds: float) -> VideoInfo:
    """Say what would be known of a video that ends earlier; one that does not is as it was."""
    duration = ends_seconds - info.start_seconds
    if info.duration_seconds is None or not 0 < duration < info.duration_seconds:
        return info
    times, share = info.frame_times_seconds, duration / info.duration_seconds
    if times is not None:
        times = times[: bisect_left(times, ends_seconds - ROUNDING_SECONDS)]
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
