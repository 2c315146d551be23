"""Preprocessing of frames for a vision tower: resize, crop, scale, normalize.

Equal to transformers' image and video processors, which need torchvision.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Num, UInt8
from torch import Tensor

from vidzip.errors import BadArgument, BadModelFolder, FrameTooLarge
from vidzip.video.limits import MAX_PIXELS
from vidzip.video.resizing import Filter, Shape

T = TypeVar("T")
Triple = tuple[float, float, float]

CONFIG_NAMES = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
"""Files of a checkpoint with the settings, those for video first; newer checkpoints nest them in the last one."""

_PILLOW_FILTERS: dict[int, Filter] = {2: "bilinear", 3: "bicubic"}
"""Names of filters by Pillow's numbers, which checkpoints store."""

_LANGUAGEBIND_ORDER = "normalise, resize, crop"
"""The setting ``order`` of :class:`LanguageBindPreprocessor`; other settings have none."""


def read_preprocessor(folder: Path) -> FramePreprocessor:
    """Read the settings of a checkpoint folder, of either kind.

    Raises:
        BadModelFolder: there is no settings file, or it cannot be read or lacks a setting.
    """
    return _read_settings(folder, _from_config)


def _from_config(config: Mapping[str, Any]) -> FramePreprocessor:
    return LanguageBindPreprocessor.from_config(config) if "order" in config else Preprocessor.from_config(config)


@dataclass(frozen=True, kw_only=True)
class Preprocessor:
    """CLIP's preprocessing: resize, crop the center, scale to [0, 1], normalize. Call it to apply all of it.

    Attributes:
        shortest_edge: length of the shorter side after resizing, in pixels; the aspect ratio is kept.
        crop_height: height of the center crop, in pixels.
        crop_width: width of the center crop, in pixels.
        mean: mean of each channel (RGB), subtracted.
        std: standard deviation of each channel (RGB), divided by.
        resample: filter for resizing, with antialiasing as in Pillow.
    """

    shortest_edge: int
    crop_height: int
    crop_width: int
    mean: Triple
    std: Triple
    resample: Filter = "bicubic"

    def __call__(
        self,
        pixels: UInt8[Tensor, "frames 3 height width"],
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "frames 3 crop_height crop_width"]:
        """Prepare frames of any size, (F, 3, H, W) uint8 RGB, on ``device`` (the frames' by default)."""
        return self.prepare(self.shape.apply(pixels), device, dtype)

    def prepare(
        self,
        pixels: UInt8[Tensor, "frames 3 crop_height crop_width"],
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "frames 3 crop_height crop_width"]:
        """Prepare frames that were decoded to :attr:`shape`: scale to [0, 1] and normalize, on ``device``."""
        return _normalize(_to_device(pixels, device), self.mean, self.std).to(dtype)

    @property
    def shape(self) -> Shape:
        """Resizing and cropping, which decoding can do."""
        return Shape(size=self.shortest_edge, crop=(self.crop_height, self.crop_width), resize=self.resample)

    @classmethod
    def from_folder(cls, folder: Path) -> Preprocessor:
        """Read the settings of a checkpoint folder.

        Raises:
            BadModelFolder: there is no settings file, or it cannot be read or lacks a setting.
        """
        return _read_settings(folder, cls.from_config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessor:
        """Read settings in transformers' format.

        Raises:
            KeyError, TypeError, ValueError: a setting is missing or invalid.
        """
        if "order" in config:
            raise ValueError(f"order is {config['order']!r}; read_preprocessor reads these settings")
        resample = _PILLOW_FILTERS.get(config.get("resample", 3))
        if resample is None:
            raise ValueError(f"resample is {config['resample']!r}; 2 (bilinear) and 3 (bicubic) are supported")
        return cls(**_common_settings(config), resample=resample)

    def to_config(self) -> dict[str, Any]:
        """Return the settings in transformers' format, see :meth:`from_config`."""
        return _write_common(self) | {
            "resample": next(number for number, name in _PILLOW_FILTERS.items() if name == self.resample)
        }


@dataclass(frozen=True, kw_only=True)
class LanguageBindPreprocessor:
    """The preprocessing of the original Video-LLaVA (LanguageBind, arXiv:2310.01852). Call it to apply it.

    As published: scale to [0, 1], normalize, resize the shorter side without antialiasing, crop the center. Values are
    not rounded in between, so decoding cannot resize the frames. The published code also flips a random half of the
    videos, even at inference; this does not.

    Attributes:
        shortest_edge: length of the shorter side after resizing, in pixels; the aspect ratio is kept.
        crop_height: height of the center crop, in pixels.
        crop_width: width of the center crop, in pixels.
        mean: mean of each channel (RGB), subtracted.
        std: standard deviation of each channel (RGB), divided by.

    Raises:
        BadArgument: the crop is empty, or larger than ``shortest_edge``.
    """

    shortest_edge: int = 224
    crop_height: int = 224
    crop_width: int = 224
    mean: Triple = (0.48145466, 0.4578275, 0.40821073)
    std: Triple = (0.26862954, 0.26130258, 0.27577711)

    def __post_init__(self) -> None:
        sides = (self.crop_height, self.crop_width)
        if min(sides) < 1 or max(sides) > self.shortest_edge:
            raise BadArgument(
                f"a crop of {self.crop_width}x{self.crop_height} does not fit frames with a shorter side of "
                f"{self.shortest_edge}",
                hint="crop to at least 1 and at most shortest_edge pixels",
            )

    @property
    def shape(self) -> Shape:
        """Full size: decoding does not resize or crop."""
        return Shape()

    def __call__(
        self,
        pixels: UInt8[Tensor, "frames 3 height width"],
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "frames 3 crop_height crop_width"]:
        """Prepare frames of any size, (F, 3, H, W) uint8 RGB, on ``device`` (the frames' by default).

        Raises:
            FrameTooLarge: a very long, thin frame would become too large.
        """
        # Normalizing last gives the same, since the weights of bilinear filtering sum to 1, and only touches the crop.
        # Frames are copied and resized one at a time: as floats, full-size frames take four times the memory.
        frames = torch.split(pixels, 1)
        cropped = torch.cat([self._resize_and_crop(_to_device(frame, device)) for frame in frames])
        return _normalize(cropped, self.mean, self.std).to(dtype)

    prepare = __call__

    def _resize_and_crop(
        self, pixels: UInt8[Tensor, "frames 3 height width"]
    ) -> Float[Tensor, "frames 3 crop_height crop_width"]:
        height, width = self._resized_size(pixels.shape[-2], pixels.shape[-1])
        resized = F.interpolate(pixels.to(torch.float32), size=(height, width), mode="bilinear", align_corners=False)
        # Python's rounding, half to even, as in the published crop.
        top, left = round((height - self.crop_height) / 2), round((width - self.crop_width) / 2)
        return resized[..., top : top + self.crop_height, left : left + self.crop_width]

    def _resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width after resizing; the longer side is rounded down from a float, as published."""
        short = self.shortest_edge
        long = math.floor(max(height, width) / min(height, width) * short)
        resized = (long, short) if width < height else (short, long)
        if math.prod(resized) > MAX_PIXELS:
            raise FrameTooLarge(
                f"a frame of {width}x{height} would be resized to {resized[1]}x{resized[0]}, which exceeds the limit "
                f"of {MAX_PIXELS:,} pixels",
                hint="give a video with a smaller aspect ratio",
            )
        return resized

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LanguageBindPreprocessor:
        """Read the settings that :meth:`to_config` returns.

        Raises:
            KeyError, TypeError, ValueError: a setting is missing, invalid or unsupported.
        """
        required = {"order": _LANGUAGEBIND_ORDER, "antialias": False, "resample": 2}
        for name, value in required.items():
            if config[name] != value:
                raise ValueError(f"{name} is {config[name]!r}, but must be {value!r}")
        return cls(**_common_settings(config))

    def to_config(self) -> dict[str, Any]:
        """Return the settings for a checkpoint; ``order`` distinguishes them from transformers' own."""
        return _write_common(self) | {"resample": 2, "antialias": False, "order": _LANGUAGEBIND_ORDER}


FramePreprocessor = Preprocessor | LanguageBindPreprocessor
"""Either kind. Decode to its ``shape`` and ``prepare`` the frames; or call it on frames of any size."""


def _to_device(
    pixels: UInt8[Tensor, "frames 3 height width"], device: torch.device | str | None
) -> UInt8[Tensor, "frames 3 height width"]:
    """Copy frames to a device; to CUDA through pinned memory, without waiting for the copy."""
    if device is not None and torch.device(device).type == "cuda" and pixels.device.type == "cpu":
        return pixels.pin_memory().to(device, non_blocking=True)
    return pixels.to(device=device)


def _normalize(pixels: Num[Tensor, "frames 3 h w"], mean: Triple, std: Triple) -> Float[Tensor, "frames 3 h w"]:
    """Scale values of 0 to 255 to [0, 1] and normalize each channel."""
    means, stds = (torch.tensor(values).to(pixels.device, non_blocking=True)[:, None, None] for values in (mean, std))
    # In place: allocating the results would take longer than computing them.
    return pixels.to(torch.float32, copy=True).div_(255).sub_(means).div_(stds)


def _read_settings(folder: Path, parse: Callable[[Mapping[str, Any]], T]) -> T:
    for name in CONFIG_NAMES:
        file = folder / name
        if file.is_file():
            try:
                settings = json.loads(file.read_text(encoding="utf-8"))
                return parse(settings.get("video_processor", settings.get("image_processor", settings)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise BadModelFolder(
                    f"{file} is not usable: {error!r}", hint="download the checkpoint's preprocessor settings again"
                ) from error
    raise BadModelFolder(
        f"{folder} has none of {', '.join(CONFIG_NAMES)}",
        hint="copy the checkpoint's preprocessor_config.json into it",
    )


def _common_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the settings of both kinds."""
    size, crop = config["size"], config["crop_size"]
    mean_red, mean_green, mean_blue = (float(value) for value in config["image_mean"])
    std_red, std_green, std_blue = (float(value) for value in config["image_std"])
    return {
        "shortest_edge": int(size["shortest_edge"] if isinstance(size, Mapping) else size),
        "crop_height": int(crop["height"] if isinstance(crop, Mapping) else crop),
        "crop_width": int(crop["width"] if isinstance(crop, Mapping) else crop),
        "mean": (mean_red, mean_green, mean_blue),
        "std": (std_red, std_green, std_blue),
    }


def _write_common(preprocessor: FramePreprocessor) -> dict[str, Any]:
    return {
        "size": {"shortest_edge": preprocessor.shortest_edge},
        "crop_size": {"height": preprocessor.crop_height, "width": preprocessor.crop_width},
        "image_mean": list(preprocessor.mean),
        "image_std": list(preprocessor.std),
    }
