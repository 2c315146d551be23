"""From decoded pictures to what a tower takes: resize, crop, scale, normalise.

transformers' own image and video processors do the same, but need torchvision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from vidzip.errors import BadModelFolder

CONFIG_NAMES = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
"""Files of a checkpoint that may hold the settings, the video's own first; newer checkpoints nest them in the last."""

_PILLOW_FILTERS: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers for its filters, as checkpoints write them, and torch's names."""


@dataclass(frozen=True, kw_only=True)
class Preprocessor:
    """Settings of one checkpoint's preprocessing; calling it applies them.

    Attributes:
        shortest_edge: pixels that the shorter side is resized to, the aspect ratio kept.
        crop_height: pixels kept down, from the middle.
        crop_width: pixels kept across, from the middle.
        mean: subtracted a channel (RGB), after scaling to [0, 1].
        std: divided by a channel (RGB).
        resample: the filter; always antialiased, as Pillow's is.
    """

    shortest_edge: int
    crop_height: int
    crop_width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resample: Literal["bilinear", "bicubic"] = "bicubic"

    def __call__(
        self,
        pixels: UInt8[Tensor, "frames 3 height width"],
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "frames 3 crop_height crop_width"]:
        """Prepare frames, (F, 3, H, W) uint8 RGB, for the tower, on ``device`` (theirs when left out)."""
        cropped = self.resize_and_crop(pixels).to(device=device)
        mean = torch.tensor(self.mean, device=cropped.device)[:, None, None]
        std = torch.tensor(self.std, device=cropped.device)[:, None, None]
        return ((cropped.to(torch.float32) / 255 - mean) / std).to(dtype)

    def resize_and_crop(
        self, pixels: UInt8[Tensor, "frames 3 height width"]
    ) -> UInt8[Tensor, "frames 3 crop_height crop_width"]:
        """Resize the shorter side and crop the middle; pad with black where a side is shorter than its crop.

        Like Pillow, it resizes across and then down, and rounds to whole levels after each.
        """
        height, width = pixels.shape[-2:]
        short = min(height, width)
        new_height, new_width = (self.shortest_edge * side // short for side in (height, width))
        pixels = self._resize(self._resize(pixels, height, new_width), new_height, new_width)
        pad_height = max(0, self.crop_height - new_height)
        pad_width = max(0, self.crop_width - new_width)
        if pad_height or pad_width:
            pixels = F.pad(pixels, (pad_width // 2, (pad_width + 1) // 2, pad_height // 2, (pad_height + 1) // 2))
        top = (pixels.shape[-2] - self.crop_height) // 2
        left = (pixels.shape[-1] - self.crop_width) // 2
        return pixels[..., top : top + self.crop_height, left : left + self.crop_width].contiguous()

    def _resize(self, pixels: UInt8[Tensor, "frames 3 h w"], height: int, width: int) -> UInt8[Tensor, "frames 3 a b"]:
        if pixels.shape[-2:] == (height, width):
            return pixels
        smooth = F.interpolate(pixels.to(torch.float32), size=(height, width), mode=self.resample, antialias=True)
        return smooth.round_().clamp_(0, 255).to(torch.uint8)

    @classmethod
    def from_folder(cls, folder: Path) -> Preprocessor:
        """Read the settings of a checkpoint folder.

        Raises:
            BadModelFolder: no settings file, or one that cannot be read or lacks a setting.
        """
        for name in CONFIG_NAMES:
            file = folder / name
            if file.is_file():
                try:
                    settings = json.loads(file.read_text(encoding="utf-8"))
                    return cls.from_config(settings.get("video_processor", settings.get("image_processor", settings)))
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    raise BadModelFolder(
                        f"{file} is not usable: {error!r}", hint="fetch the checkpoint's preprocessor settings again"
                    ) from error
        raise BadModelFolder(
            f"{folder} holds none of {', '.join(CONFIG_NAMES)}",
            hint="copy the checkpoint's preprocessor_config.json beside its weights",
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessor:
        """Read the settings as transformers writes them.

        Raises:
            KeyError, TypeError, ValueError: a setting is missing or of the wrong kind.
        """
        size, crop = config["size"], config["crop_size"]
        resample = _PILLOW_FILTERS.get(config.get("resample", 3))
        if resample is None:
            raise ValueError(f"resample is {config['resample']!r}; 2 (bilinear) and 3 (bicubic) are known")
        mean_red, mean_green, mean_blue = (float(value) for value in config["image_mean"])
        std_red, std_green, std_blue = (float(value) for value in config["image_std"])
        return cls(
            shortest_edge=int(size["shortest_edge"] if isinstance(size, Mapping) else size),
            crop_height=int(crop["height"] if isinstance(crop, Mapping) else crop),
            crop_width=int(crop["width"] if isinstance(crop, Mapping) else crop),
            mean=(mean_red, mean_green, mean_blue),
            std=(std_red, std_green, std_blue),
            resample=resample,
        )

    def to_config(self) -> dict[str, Any]:
        """The settings as transformers writes them, for :meth:`from_config`."""
        return {
            "size": {"shortest_edge": self.shortest_edge},
            "crop_size": {"height": self.crop_height, "width": self.crop_width},
            "image_mean": list(self.mean),
            "image_std": list(self.std),
            "resample": next(number for number, name in _PILLOW_FILTERS.items() if name == self.resample),
        }
