"""Descriptions of videos without files, for planning."""

from __future__ import annotations

from typing import Any

from vidzip import VideoInfo


def video(num_frames: int = 300, fps: float = 25.0, **fields: Any) -> VideoInfo:
    """Describe a 720p video with a keyframe every 50 frames."""
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
