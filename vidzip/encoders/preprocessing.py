"""From decoded pictures to what a tower takes: resize, crop, scale, normalise.

transformers' own image and video processors do the same, but need torchvision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vidzip.errors import BadModelFolder
from vidzip.video.resizing import Filter, Shape

CONFIG_NAMES = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
"""Files of a checkpoint that may hold the settings, the video's own first; newer checkpoints nest them in the last."""

_PILLOW_FILTERS: dict[int, Filter] = {2: "bilinear", 3: "bicubic"}
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
    resample: Filter = "bicubic"

    def __call__(
        self,
        pixels: UInt8[Tensor, "frames 3 height width"],
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "frames 3 crop_height crop_width"]:
        """Prepare frames, (F, 3, H, W) uint8 RGB, for the tower, on ``device`` (theirs when left out)."""
        return self.normalise(self.resize_and_crop(pixels), device, dtype)

    @property
    def shape(self) -> Shape:
        """What pictures are resized and cropped to, for :func:`vidzip.decode` to do."""
        return Shape(size=self.shortest_edge, crop=(self.crop_height, self.crop_width), resize=self.resample)

    def resize_and_crop(
        self, pixels: UInt8[Tensor, "frames 3 height width"]
    ) -> UInt8[Tensor, "frames 3 crop_height crop_width"]:
        """Resize the shorter side and crop the middle; pad with black where a side is shorter than its crop."""
        return self.shape.apply(pixels).contiguous()

    def normalise(
        self,
        pixels: UInt8[Tensor, "frames 3 crop_height crop_width"],
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "frames 3 crop_height crop_width"]:
        """Scale cropped frames to [0, 1] and normalise them, on ``device`` (theirs when left out)."""
        pixels = pixels.to(device=device)
        mean = torch.tensor(self.mean, device=pixels.device)[:, None, None]
        std = torch.tensor(self.std, device=pixels.device)[:, None, None]
        return ((pixels.to(torch.float32) / 255 - mean) / std).to(dtype)

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
