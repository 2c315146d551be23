"""Resizing pictures as Pillow does, and the shape that a tower wants them in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from vidzip.errors import BadArgument, PictureTooLarge
from vidzip.video.limits import MAX_PIXELS

Filter = Literal["bilinear", "bicubic"]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The size that pictures are brought to: resized, then cropped.

    Attributes:
        size: pixels of the shorter side, the aspect ratio kept; or (height, width); None leaves it.
        crop: (height, width), or a square's side, kept from the middle; padded with black where a side is shorter;
            None keeps all.
        resize: the filter; always antialiased, as Pillow's is.

    Raises:
        BadArgument: a size below 1, or an unknown filter.
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
        """The height and width that a picture of this height and width is resized to, before it is cropped."""
        if self.size is None:
            return height, width
        if isinstance(self.size, tuple):
            return self.size
        short = min(height, width)
        return self.size * height // short, self.size * width // short

    def apply(
        self, pixels: UInt8[Tensor, "frames 3 height width"], shown: tuple[int, int] | None = None
    ) -> UInt8[Tensor, "frames 3 new_height new_width"]:
        """Resize and crop pictures.

        Args:
            pixels: (F, 3, H, W).
            shown: height and width that they are shown at, where their pixels are not square; H and W when left out.

        Raises:
            PictureTooLarge: a very long, thin picture would become too large.
        """
        height, width = shown or (pixels.shape[-2], pixels.shape[-1])
        target = self.target(height, width)
        if math.prod(target) > MAX_PIXELS:
            raise PictureTooLarge(
                f"a picture of {width}x{height} would become one of {target[1]}x{target[0]}; up to {MAX_PIXELS:,} "
                "pixels are made",
                hint="give a smaller size, or both of its sides (size=(height, width))",
            )
        resized = resize(pixels, target, self.resize)
        return resized if self.crop is None else crop_middle(resized, _sides(self.crop))


def _sides(value: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (value, value) if isinstance(value, int) else value
    return height, width


def resize(
    pixels: UInt8[Tensor, "frames 3 h w"], size: tuple[int, int], mode: Filter = "bicubic"
) -> UInt8[Tensor, "frames 3 a b"]:
    """Resize pictures to (height, width), within 1 of 255 of what Pillow makes of them; rarely, at a pixel, within 2.

    Like Pillow, it resizes across and then down, and rounds to whole levels after each. (From Pillow 13 on, where the
    height shrinks much more than the width, it resizes down first: between extreme neighbours, as in noise, that makes
    a difference.)
    """
    height, width = size
    shrinks = height <= pixels.shape[-2] and width <= pixels.shape[-1]
    if pixels.device.type == "cpu" and shrinks and size != (1, 1):
        return pixels if pixels.shape[-2:] == size else F.interpolate(pixels, size=size, mode=mode, antialias=True)
    # GPUs resize floats only; the weights of the fast way above are too coarse to enlarge with; and it fails at 1x1.
    for step in ((pixels.shape[-2], width), (height, width)):
        if pixels.shape[-2:] != step:
            smooth = F.interpolate(pixels.float(), size=step, mode=mode, antialias=True)
            pixels = smooth.add_(0.5).clamp_(0, 255).byte()  # halves go up, as Pillow's do
    return pixels


def crop_middle(pixels: UInt8[Tensor, "frames 3 h w"], size: tuple[int, int]) -> UInt8[Tensor, "frames 3 a b"]:
    """Crop the middle, (height, width), of pictures; pad with black where a side is shorter."""
    height, width = size
    pad_height, pad_width = max(0, height - pixels.shape[-2]), max(0, width - pixels.shape[-1])
    if pad_height or pad_width:
        pixels = F.pad(pixels, (pad_width // 2, (pad_width + 1) // 2, pad_height // 2, (pad_height + 1) // 2))
    top, left = (pixels.shape[-2] - height) // 2, (pixels.shape[-1] - width) // 2
    return pixels[..., top : top + height, left : left + width]
