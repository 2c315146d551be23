"""Clips whose frames show their own numbers, so that a test can identify them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

BITS = 8
BLOCK = 16
WIDTH = BITS * BLOCK
HEIGHT = 64

_UNEVEN = [0.0, 0.04, 0.08, 0.5, 0.54, 1.3, 1.301, 2.0, 2.04, 3.7]

KINDS: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "h264-long-groups.mp4": {"options": {"g": "250", "bf": "3", "b_strategy": "0"}},
    "h265.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "h264.mkv": {},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "h264.ts": {},
    "mpeg2.mpg": {"codec": "mpeg2video"},
    "h264.flv": {},
    "ntsc.mp4": {"times": [Fraction(1001 * i, 30000) for i in range(40)], "fps": Fraction(30000, 1001)},
    "uneven.mkv": {"times": _UNEVEN},
    "uneven.mp4": {"times": _UNEVEN},
    "late.mkv": {"times": [time + 7.5 for time in _UNEVEN]},
}
"""Options of writing files of all kinds: 40 frames each, or one per time."""


def numbered_frame(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Draw a number in black and white blocks, one per bit, in the top half: (height, width, 3) uint8."""
    picture = np.full((height, width, 3), 96, dtype=np.uint8)
    for bit in range(BITS):
        picture[: height // 2, bit * BLOCK : (bit + 1) * BLOCK] = 255 if number >> bit & 1 else 0
    return picture


def number_of(pixels: torch.Tensor) -> int:
    """Read the number of a decoded frame, (3, H, W)."""
    green = pixels[1].float()
    centres = [green[4 : HEIGHT // 2 - 4, bit * BLOCK + 4 : (bit + 1) * BLOCK - 4].mean() for bit in range(BITS)]
    return sum(1 << bit for bit, level in enumerate(centres) if level > 128)


def write_numbered(
    path: Path,
    *,
    num_frames: int = 0,
    fps: int | Fraction = 25,
    times: Sequence[Fraction | float] | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    rotation: int = 0,
    fast_start: bool = False,
) -> list[float]:
    """Write frames 0, 1, 2, … at a constant rate, or at the given times in seconds; return their times."""
    times = [Fraction(i, fps) for i in range(num_frames)] if times is None else times
    time_base = Fraction(1, 1000) if times and isinstance(times[0], float) else Fraction(1, fps)
    settings = {"g": "12", "bf": "2"} if options is None else options
    muxing = {"movflags": "faststart"} if fast_start else {}
    with av.open(str(path), "w", options=muxing) as output:
        stream = output.add_stream(codec, rate=fps, options=settings)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base = stream.codec_context.time_base = time_base
        if rotation:
            stream.set_display_rotation(rotation)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
            frame.pts, frame.time_base = round(time / time_base), time_base
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return [float(time) for time in times]


def write_sound(path: Path) -> Path:
    """Write a file with audio only."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 44100, 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path
