"""From a decoded frame to a picture: RGB, upright, with square pixels, of the size that is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from av.video.format import VideoFormat
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from jaxtyping import UInt8
from torch import Tensor

from vidzip.video.geometry import degrees_clockwise, shown_size
from vidzip.video.resizing import Shape

_AT_FULL_RANGE = np.clip(np.round((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)
"""What each level of limited range, 16 to 235, is at full range."""

_ALPHA_LAST = {"bgra", "rgba"}
"""Formats of four bytes a pixel, the last of which says how opaque it is."""

_ROWS = 64
"""Rows that are made opaque at a time: the wider numbers of all rows of a huge picture would fill the memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """One decoded picture, upright: RGB (3, H, W) uint8, and when it appears on screen, in seconds."""

    pixels: UInt8[Tensor, "3 height width"]
    timestamp_seconds: float


class Converter:
    """Turns decoded frames into pictures; for one thread at a time.

    Colours are converted at full size, by the matrix and range that the frame names (BT.601 and limited range where
    it names none), and resized at once. What is transparent shows black.

    Args:
        shape: the size that is wanted.
        pixel_aspect: how many times as wide as high a stored pixel is shown.
    """

    def __init__(self, shape: Shape, pixel_aspect: Fraction) -> None:
        self._shape = shape
        self._pixel_aspect = pixel_aspect
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> UInt8[Tensor, "3 height width"]:
        """Convert one frame."""
        rgb = self._as(frame, "rgb24") if _is_opaque(frame) else self._over_black(frame)
        if frame.format.name.startswith("gray") and frame.color_range == ColorRange.MPEG:
            rgb = _AT_FULL_RANGE[rgb]  # FFmpeg takes every grey picture for full range
        turn = degrees_clockwise(frame.rotation)
        shown = shown_size(frame.height, frame.width, turn, self._pixel_aspect)
        upright = np.ascontiguousarray(np.rot90(rgb, -turn // 90))
        pixels = torch.from_numpy(upright).permute(2, 0, 1)[None]
        return self._shape.apply(pixels, shown)[0]

    def _as(self, frame: VideoFrame, pixel_format: str) -> UInt8[np.ndarray, "height width channels"]:
        array: np.ndarray = self._reformatter.reformat(frame, format=pixel_format, threads=1).to_ndarray()
        return array

    def _over_black(self, frame: VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
        rgba = self._as(frame, "rgba")
        over_black = np.empty((*rgba.shape[:2], 3), dtype=np.uint8)
        for top in range(0, len(rgba), _ROWS):
            some = rgba[top : top + _ROWS]
            over_black[top : top + _ROWS] = (some[..., :3].astype(np.uint16) * some[..., 3:] + 127) // 255
        return over_black


def has_alpha(pixel_format: VideoFormat) -> bool:
    """Whether pictures of a format may be transparent."""
    return pixel_format.has_palette or any(component.is_alpha for component in pixel_format.components)


def _is_opaque(frame: VideoFrame) -> bool:
    """Whether nothing shines through a picture: by its format, or, where that is quickly seen, by its content."""
    if not has_alpha(frame.format):
        return True
    if frame.format.name not in _ALPHA_LAST:
        return False
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(-1, plane.line_size)[:, 3 : 4 * frame.width : 4]
    return bool(rows.min() == np.iinfo(np.uint8).max)
