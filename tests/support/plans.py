"""Videos that were never filmed, for what only plans them."""

from __future__ import annotations

from typing import Any

from vidzip import VideoInfo


def video(num_frames: int = 300, fps: float = 25.0, **fields: Any) -> VideoInfo:
    """What a probe would say of a 720p video with a keyframe a second or two."""
    known = {
        "duration_seconds": num_frames / fps,
        "fps": fps,
        "num_frames": num_frames,
        "num_keyframes": max(1, num_frames // 50),
        "num_bytes": 2000 * num_frames,
        "width": 1280,
        "height": 720,
        "codec": "h264",
    }
    return VideoInfo(path="some.mp4", identity="abc", **{**known, **fields})
