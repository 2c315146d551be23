"""Videos to try decoding on: drawn and encoded here, so that a machine can be measured without anybody's files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.codec import Codec
from jaxtyping import UInt8

from vidzip.errors import BadArgument
from vidzip.files import atomic_path, write_error
from vidzip.video.writing import encode

_ENCODERS: Mapping[str, str] = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "mpeg4": "mpeg4"}
"""Codecs by their short names, and FFmpeg's encoders for them that are quick and quiet."""

_BLOCK = 16
"""Pixels across a block of one colour."""

_GRAINS = 4
"""Pictures of grain that take turns."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A video of coloured blocks that the camera wanders over, with grain.

    Attributes:
        codec: a name that :func:`can_write` knows.
        width: pixels across, even.
        height: pixels down, even.
        num_frames: how many there are, at 25 a second.
        keyframe_interval: frames from one keyframe to the next, at most.
        grain: standard deviation of the grain, in levels of 0 to 255: the more, the more bytes a frame.
        preset: how hard the encoder tries, by x264's and x265's names; of no meaning to other codecs.
        seed: of colours and grain.
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
        """A name for its file."""
        measures = f"{self.width}x{self.height}-{self.num_frames}-{self.keyframe_interval}"
        return f"{self.codec}-{measures}-{self.grain:g}-{self.preset}-{self.seed}.mp4"

    def pictures(self) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """Draw its frames."""
        random = np.random.default_rng(self.seed)
        tall, wide = (side + 20 * _BLOCK for side in (self.height, self.width))
        blocks = random.integers(0, 256, (-(-tall // _BLOCK), -(-wide // _BLOCK), 3), dtype=np.uint8)
        scene = blocks.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1).astype(np.int16)
        grains = [
            np.round(random.normal(0, self.grain, (self.height, self.width, 1))).astype(np.int16)
            for _ in range(_GRAINS)
        ]
        for number in range(self.num_frames):
            top, left = (round(9.5 * _BLOCK * (1 + np.sin(number / slow))) for slow in (17, 23))
            seen = scene[top : top + self.height, left : left + self.width] + grains[number % _GRAINS]
            yield np.clip(seen, 0, 255).astype(np.uint8)


def can_write(codec: str) -> bool:
    """Whether there is an encoder for a codec here."""
    if codec not in _ENCODERS:
        return False
    try:
        Codec(_ENCODERS[codec], "w")
    except ValueError:
        return False
    return True


def write_trial(trial: Trial, path: str) -> None:
    """Write it as MP4; the file appears once it is whole.

    Raises:
        BadArgument: there is no encoder for its codec, or it has no frames or odd sides.
        WriteError: it cannot be written; ``DiskFull`` where there is no room.
    """
    if not can_write(trial.codec):
        raise BadArgument(f"{trial.codec!r} cannot be encoded here", hint=f"use one of {', '.join(_ENCODERS)}")
    with atomic_path(path) as partial:
        try:
            encode(partial, trial.pictures(), Fraction(25), _ENCODERS[trial.codec], _options(trial))
        except av.FFmpegError as error:
            raise write_error(path, error) from error


def _options(trial: Trial) -> dict[str, str]:
    interval = str(trial.keyframe_interval)
    if trial.codec == "h264":
        return {"preset": trial.preset, "g": interval}
    if trial.codec == "hevc":
        return {"preset": trial.preset, "x265-params": f"log-level=none:keyint={interval}"}
    # The others aim at a rate, in bits a second: so many a pixel that the grain is kept.
    rate = round(trial.width * trial.height * 25 * (0.05 + trial.grain / 20))
    speed = {"deadline": "realtime", "cpu-used": "8"} if trial.codec == "vp9" else {}
    return {"g": interval, "b": str(rate), **speed}
