"""Resizing frames as Pillow does, and the shape that a vision tower needs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from vidzip.errors import BadArgument, FrameTooLarge
from vidzip.video.limits import MAX_PIXELS

Filter = Literal["bilinear", "bicubic"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The size of frames: resized, then cropped.

    Attributes:
        size: pixels of the shorter side, with the aspect ratio kept; or (height, width); None for no resizing.
        crop: (height, width) of the center to keep, or a square's side; padded with black if a side is shorter; None
            for no cropping.
        resize: the filter; antialiased, like Pillow's.

    Raises:
        BadArgument: a size is below 1, or the filter is unknown.
    """

    size: int | tuple[int, int] | None = None
    crop: int | tuple[int, int] | None = None
    resize: Filter = "bicubic"

    def __post_init__(self) -> None:
        for name, value in (("size", self.size), ("crop", self.crop)):
            if value is not None and min(_sides(value)) < 1:
                raise BadArgument(f"{name} is {value!r}", hint="give pixels, 1 or more: one number or (height, width)")
        if self.resize not in get_args(Filter):
            raise BadArgument(f"unknown filter {self.resize!r}", hint=f"use one of {', '.join(get_args(Filter))}")

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width that a frame of this height and width is resized to, before cropping."""
        if self.size is None:
            return height, width
        if isinstance(self.size, tuple):
            return self.size
        short = min(height, width)
        return self.size * height // short, self.size * width // short

    def apply(
        self, pixels: UInt8[Tensor, "frames 3 height width"], displayed: tuple[int, int] | None = None
    ) -> UInt8[Tensor, "frames 3 new_height new_width"]:
        """Resize and crop frames.

        Args:
            pixels: (F, 3, H, W).
            displayed: displayed height and width, if pixels are not square; H and W when None.

        Raises:
            FrameTooLarge: a very long, thin frame would exceed the size limit.
        """
        height, width = displayed or (pixels.shape[-2], pixels.shape[-1])
        target = self.target(height, width)
        if math.prod(target) > MAX_PIXELS:
            raise FrameTooLarge(
                f"a frame of {width}x{height} would be resized to {target[1]}x{target[0]}; the limit is "
                f"{MAX_PIXELS:,} pixels",
                hint="give a smaller size, or both of its sides (size=(height, width))",
            )
        resized = resize(pixels, target, self.resize)
        return resized if self.crop is None else crop_center(resized, _sides(self.crop))


def _sides(value: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (value, value) if isinstance(value, int) else value
    return height, width


def resize(
    pixels: UInt8[Tensor, "frames 3 h w"], size: tuple[int, int], mode: Filter = "bicubic"
) -> UInt8[Tensor, "frames 3 a b"]:
    """Resize frames to (height, width). Levels differ from Pillow's by at most 1 of 255, rarely at a pixel by 2.

    As in Pillow, horizontally first, then vertically, with rounding to whole levels after each. (Pillow 13 and later
    start vertically if the height shrinks much more than the width, which differs for extreme neighbors, as in noise.)
    """
    height, width = size
    shrinks = height <= pixels.shape[-2] and width <= pixels.shape[-1]
    if pixels.device.type == "cpu" and shrinks and size != (1, 1):
        return pixels if pixels.shape[-2:] == size else F.interpolate(pixels, size=size, mode=mode, antialias=True)
    # GPUs resize floats only; the weights of the fast path above are too coarse for enlarging; and it fails at 1x1.
    for step in ((pixels.shape[-2], width), (height, width)):
        if pixels.shape[-2:] != step:
            resized = F.interpolate(pixels.float(), size=step, mode=mode, antialias=True)
            pixels = resized.add_(0.5).clamp_(0, 255).byte()  # halves round up, as in Pillow
    return pixels


def crop_center(pixels: UInt8[Tensor, "frames 3 h w"], size: tuple[int, int]) -> UInt8[Tensor, "frames 3 a b"]:
    """Crop the center of frames to (height, width); pad with black if a side is shorter."""
    height, width = size
    pad_height, pad_width = max(0, height - pixels.shape[-2]), max(0, width - pixels.shape[-1])
    if pad_height or pad_width:
        pixels = F.pad(pixels, (pad_width // 2, (pad_width + 1) // 2, pad_height // 2, (pad_height + 1) // 2))
    top, left = (pixels.shape[-2] - height) // 2, (pixels.shape[-1] - width) // 2
    return pixels[..., top : top + height, left : left + width]
