"""Synthetic clips, drawn and encoded here, for measuring a machine's decoding speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.codec import Codec
from jaxtyping import UInt8

from vidzip.errors import BadArgument
from vidzip.video.writing import encode_mp4

_ENCODERS: Mapping[str, str] = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "mpeg4": "mpeg4"}
"""FFmpeg's encoders by codec."""

_FPS = 25
_BLOCK = 16
"""Pixels across a block of one color."""

_NUM_GRAINS = 4
"""Number of grain images, used in turn."""


@dataclass(frozen=True, kw_only=True)
class SyntheticClip:
    """A clip of a camera that moves over colored blocks, with grain, at 25 frames per second.

    Attributes:
        codec: a name that :func:`can_encode` knows.
        width: pixels across, even.
        height: pixels down, even.
        num_frames: number of frames.
        keyframe_interval: largest number of frames from one keyframe to the next.
        grain: standard deviation of the grain, in levels of 0 to 255; more grain gives more bytes per frame.
        preset: x264's and x265's preset; ignored for other codecs.
        seed: random seed of colors and grain.
    """

    codec: str
    width: int
    height: int
    num_frames: int
    keyframe_interval: int
    grain: float
    preset: str = "veryfast"
    seed: int = 0

    @property
    def name(self) -> str:
        """A file name, different for different clips."""
        sizes = f"{self.width}x{self.height}-{self.num_frames}-{self.keyframe_interval}"
        return f"{self.codec}-{sizes}-{self.grain:g}-{self.preset}-{self.seed}.mp4"

    def frames(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """Draw the frames."""
        random = np.random.default_rng(self.seed)
        scene_height, scene_width = (side + 20 * _BLOCK for side in (self.height, self.width))
        blocks = random.integers(0, 256, (-(-scene_height // _BLOCK), -(-scene_width // _BLOCK), 3), dtype=np.uint8)
        scene = blocks.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1).astype(np.int16)
        grains = [
            np.round(random.normal(0, self.grain, (self.height, self.width, 1))).astype(np.int16)
            for _ in range(_NUM_GRAINS)
        ]
        for number in range(self.num_frames):
            top, left = (round(9.5 * _BLOCK * (1 + np.sin(number / period))) for period in (17, 23))
            view = scene[top : top + self.height, left : left + self.width] + grains[number % _NUM_GRAINS]
            yield np.clip(view, 0, 255).astype(np.uint8)


def can_encode(codec: str) -> bool:
    """Whether this FFmpeg has an encoder for a codec."""
    if codec not in _ENCODERS:
        return False
    try:
        Codec(_ENCODERS[codec], "w")
    except ValueError:
        return False
    return True


def write_synthetic_clip(clip: SyntheticClip, path: str) -> None:
    """Write a clip as MP4; the file appears once it is complete.

    Raises:
        BadArgument: there is no encoder for its codec, it has no frames, or its sides are odd.
        WriteError: it cannot be written; ``DiskFull`` if there is no space.
    """
    if not can_encode(clip.codec):
        raise BadArgument(f"{clip.codec!r} cannot be encoded here", hint=f"use one of {', '.join(_ENCODERS)}")
    encode_mp4(path, clip.frames(), Fraction(_FPS), _ENCODERS[clip.codec], _encoder_options(clip))


def _encoder_options(clip: SyntheticClip) -> dict[str, str]:
    interval = str(clip.keyframe_interval)
    if clip.codec == "h264":
        return {"preset": clip.preset, "g": interval}
    if clip.codec == "hevc":
        return {"preset": clip.preset, "x265-params": f"log-level=none:keyint={interval}"}
    # The others need a bit rate: enough bits per pixel to keep the grain.
    rate = round(clip.width * clip.height * _FPS * (0.05 + clip.grain / 20))
    speed = {"deadline": "realtime", "cpu-used": "8"} if clip.codec == "vp9" else {}
    return {"g": interval, "b": str(rate), **speed}
