"""From a decoded frame to displayed pixels: RGB, upright, with square pixels, of the requested size."""

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

from vidzip.video.geometry import clockwise_rotation, display_size
from vidzip.video.resizing import Shape

_LIMITED_TO_FULL = np.clip(np.round((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)
"""Each level of limited range, 16 to 235, in full range."""

_ALPHA_LAST = {"bgra", "rgba"}
"""Formats of four bytes per pixel, the last of which is the alpha."""

_ROWS_PER_BLEND = 64
"""Rows blended at a time: the 16-bit values of a whole frame of the largest size would take too much memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedFrame:
    """A decoded frame: RGB pixels, (3, H, W) uint8, and its timestamp."""

    pixels: UInt8[Tensor, "3 height width"]
    timestamp_seconds: float


class FrameConverter:
    """Converts decoded frames to RGB pixels; not thread-safe.

    Colors are converted at full size, by the matrix and range of the frame (BT.601 and limited range if it has none),
    and then resized. Transparent pixels are black.

    Args:
        shape: the requested size.
        pixel_aspect: displayed width of a stored pixel divided by its height.
    """

    def __init__(self, shape: Shape, pixel_aspect: Fraction) -> None:
        self._shape = shape
        self._pixel_aspect = pixel_aspect
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> UInt8[Tensor, "3 height width"]:
        """Convert one frame."""
        rgb = self._reformat(frame, "rgb24") if _is_opaque(frame) else self._blend_with_black(frame)
        if frame.format.name.startswith("gray") and frame.color_range == ColorRange.MPEG:
            rgb = _LIMITED_TO_FULL[rgb]  # FFmpeg treats every gray frame as full range
        rotation = clockwise_rotation(frame.rotation)
        size = display_size(frame.height, frame.width, rotation, self._pixel_aspect)
        upright = np.ascontiguousarray(np.rot90(rgb, -rotation // 90))
        pixels = torch.from_numpy(upright).permute(2, 0, 1)[None]
        return self._shape.apply(pixels, size)[0]

    def _reformat(self, frame: VideoFrame, pixel_format: str) -> UInt8[np.ndarray, "height width channels"]:
        array: np.ndarray = self._reformatter.reformat(frame, format=pixel_format, threads=1).to_ndarray()
        return array

    def _blend_with_black(self, frame: VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
        rgba = self._reformat(frame, "rgba")
        rgb = np.empty((*rgba.shape[:2], 3), dtype=np.uint8)
        for top in range(0, len(rgba), _ROWS_PER_BLEND):
            rows = rgba[top : top + _ROWS_PER_BLEND]
            rgb[top : top + _ROWS_PER_BLEND] = (rows[..., :3].astype(np.uint16) * rows[..., 3:] + 127) // 255
        return rgb


def has_alpha(pixel_format: VideoFormat) -> bool:
    """Whether frames of a format may be transparent."""
    return pixel_format.has_palette or any(component.is_alpha for component in pixel_format.components)


def _is_opaque(frame: VideoFrame) -> bool:
    """Whether a frame is opaque: by its format, or by its alpha values if those are quick to read."""
    if not has_alpha(frame.format):
        return True
    if frame.format.name not in _ALPHA_LAST:
        return False
    plane = frame.planes[0]
    alpha = np.frombuffer(memoryview(plane), dtype=np.uint8).reshape(-1, plane.line_size)[:, 3 : 4 * frame.width : 4]
    return bool(alpha.min() == np.iinfo(np.uint8).max)
