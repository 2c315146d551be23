"""From decoded pictures to what a tower takes: resize, crop, scale, normalise.

transformers' own image and video processors do the same, but need torchvision.
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
"""Files of a checkpoint that may hold the settings, the video's own first; newer checkpoints nest them in the last."""

_PILLOW_FILTERS: dict[int, Filter] = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers for its filters, as checkpoints write them, and torch's names."""

_LANGUAGEBIND_ORDER = "normalise, resize, crop"
"""What settings of :class:`LanguageBindPreprocessor` say under ``order``, which no others have."""


def read_preprocessor(folder: Path) -> FramePreprocessor:
    """Read the settings of a checkpoint folder, of whichever kind they are.

    Raises:
        BadModelFolder: no settings file, or one that cannot be read or lacks a setting.
    """
    return _read_settings(folder, _from_config)


def _from_config(config: Mapping[str, Any]) -> FramePreprocessor:
    return LanguageBindPreprocessor.from_config(config) if "order" in config else Preprocessor.from_config(config)


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
    mean: Triple
    std: Triple
    resample: Filter = "bicubic"

    def __call__(
        self,
        pixels: UInt8[Tensor, "frames 3 height width"],
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "frames 3 crop_height crop_width"]:
        """Prepare frames, (F, 3, H, W) uint8 RGB, for the tower, on ``device`` (theirs by default)."""
        return self.finish(self.shape.apply(pixels), device, dtype)

    def finish(
        self,
        pixels: UInt8[Tensor, "frames 3 crop_height crop_width"],
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "frames 3 crop_height crop_width"]:
        """Scale frames that were decoded to :attr:`shape` to [0, 1] and normalise them, on ``device``."""
        return _normalise(_send(pixels, device), self.mean, self.std).to(dtype)

    @property
    def shape(self) -> Shape:
        """What pictures are resized and cropped to, for :func:`vidzip.decode` to do."""
        return Shape(size=self.shortest_edge, crop=(self.crop_height, self.crop_width), resize=self.resample)

    @classmethod
    def from_folder(cls, folder: Path) -> Preprocessor:
        """Read the settings of a checkpoint folder.

        Raises:
            BadModelFolder: no settings file, or one that cannot be read or lacks a setting.
        """
        return _read_settings(folder, cls.from_config)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessor:
        """Read the settings as transformers writes them.

        Raises:
            KeyError, TypeError, ValueError: a setting is missing or of the wrong kind.
        """
        if "order" in config:
            raise ValueError(f"order is {config['order']!r}; read_preprocessor reads these settings")
        resample = _PILLOW_FILTERS.get(config.get("resample", 3))
        if resample is None:
            raise ValueError(f"resample is {config['resample']!r}; 2 (bilinear) and 3 (bicubic) are known")
        return cls(**_common_settings(config), resample=resample)

    def to_config(self) -> dict[str, Any]:
        """The settings as transformers writes them, for :meth:`from_config`."""
        return _write_common(self) | {
            "resample": next(number for number, name in _PILLOW_FILTERS.items() if name == self.resample)
        }


@dataclass(frozen=True, kw_only=True)
class LanguageBindPreprocessor:
    """The preprocessing of the original Video-LLaVA (LanguageBind, arXiv:2310.01852); calling it applies it.

    It is published as: scale to [0, 1], normalise, resize the shorter side without antialiasing, crop the middle.
    Pictures are never rounded to whole levels in between, so decoding cannot resize them ahead. The published code
    also mirrors a random half of the videos, at inference too; this does not.

    Attributes:
        shortest_edge: pixels that the shorter side is resized to, the aspect ratio kept.
        crop_height: pixels kept down, from the middle.
        crop_width: pixels kept across, from the middle.
        mean: subtracted a channel (RGB), after scaling to [0, 1].
        std: divided by a channel (RGB).

    Raises:
        BadArgument: a crop that a resized picture may not hold.
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
                f"a crop of {self.crop_width}x{self.crop_height} from pictures whose shorter side is "
                f"{self.shortest_edge}",
                hint="crop to 1 pixel or more, and to no more than shortest_edge",
            )

    @property
    def shape(self) -> Shape:
        """Nothing for :func:`vidzip.decode` to do: pictures are needed whole."""
        return Shape()

    def __call__(
        self,
        pixels: UInt8[Tensor, "frames 3 height width"],
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "frames 3 crop_height crop_width"]:
        """Prepare frames, (F, 3, H, W) uint8 RGB, for the tower, on ``device`` (theirs by default).

        Raises:
            FrameTooLarge: a very long, thin picture would become too large.
        """
        # Normalising last gives the same, since the weights of bilinear filtering sum to 1, and only touches the crop.
        # Frames are sent and resized one at a time: as floats, full-size frames take four times the memory.
        frames = torch.split(pixels, 1)
        cropped = torch.cat([self._resize_and_crop(_send(frame, device)) for frame in frames])
        return _normalise(cropped, self.mean, self.std).to(dtype)

    finish = __call__
    """Frames are decoded at full size, so that everything is left to do."""

    def _resize_and_crop(
        self, pixels: UInt8[Tensor, "frames 3 height width"]
    ) -> Float[Tensor, "frames 3 crop_height crop_width"]:
        height, width = self._resized(pixels.shape[-2], pixels.shape[-1])
        resized = F.interpolate(pixels.to(torch.float32), size=(height, width), mode="bilinear", align_corners=False)
        # Halves go to the even number, as in the published crop.
        top, left = round((height - self.crop_height) / 2), round((width - self.crop_width) / 2)
        return resized[..., top : top + self.crop_height, left : left + self.crop_width]

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """The height and width of a resized picture; the longer side is rounded down, as a float like the original's.

        Raises:
            FrameTooLarge: there would be more pixels than any video needs.
        """
        short = self.shortest_edge
        long = math.floor(max(height, width) / min(height, width) * short)
        resized = (long, short) if width < height else (short, long)
        if math.prod(resized) > MAX_PIXELS:
            raise FrameTooLarge(
                f"a picture of {width}x{height} would become one of {resized[1]}x{resized[0]}; up to {MAX_PIXELS:,} "
                "pixels are made",
                hint="give a video whose sides differ less",
            )
        return resized

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LanguageBindPreprocessor:
        """Read the settings that :meth:`to_config` writes.

        Raises:
            KeyError, TypeError, ValueError: a setting is missing, of the wrong kind, or one that this cannot do.
        """
        wanted = {"order": _LANGUAGEBIND_ORDER, "antialias": False, "resample": 2}
        for name, value in wanted.items():
            if config[name] != value:
                raise ValueError(f"{name} is {config[name]!r}, but must be {value!r}")
        return cls(**_common_settings(config))

    def to_config(self) -> dict[str, Any]:
        """The settings as a checkpoint holds them; ``order`` tells them from transformers' own."""
        return _write_common(self) | {"resample": 2, "antialias": False, "order": _LANGUAGEBIND_ORDER}


FramePreprocessor = Preprocessor | LanguageBindPreprocessor
"""Either kind: decode to its ``shape``, ``finish`` the rest; or call it on whole frames for all of it."""


def _send(
    pixels: UInt8[Tensor, "frames 3 height width"], device: torch.device | str | None
) -> UInt8[Tensor, "frames 3 height width"]:
    """Copy frames to a device; to CUDA through pinned memory, without waiting for the copy."""
    if device is not None and torch.device(device).type == "cuda" and pixels.device.type == "cpu":
        return pixels.pin_memory().to(device, non_blocking=True)
    return pixels.to(device=device)


def _normalise(pixels: Num[Tensor, "frames 3 h w"], mean: Triple, std: Triple) -> Float[Tensor, "frames 3 h w"]:
    """Scale levels of 0 to 255 to [0, 1] and normalise them a channel."""
    centre, spread = (
        torch.tensor(values).to(pixels.device, non_blocking=True)[:, None, None] for values in (mean, std)
    )
    # In place: making room for so many numbers takes longer than computing them.
    return pixels.to(torch.float32, copy=True).div_(255).sub_(centre).div_(spread)


def _read_settings(folder: Path, parse: Callable[[Mapping[str, Any]], T]) -> T:
    for name in CONFIG_NAMES:
        file = folder / name
        if file.is_file():
            try:
                settings = json.loads(file.read_text(encoding="utf-8"))
                return parse(settings.get("video_processor", settings.get("image_processor", settings)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise BadModelFolder(
                    f"{file} is not usable: {error!r}", hint="fetch the checkpoint's preprocessor settings again"
                ) from error
    raise BadModelFolder(
        f"{folder} holds none of {', '.join(CONFIG_NAMES)}",
        hint="copy the checkpoint's preprocessor_config.json beside its weights",
    )


def _common_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read what both kinds have: sizes, means and deviations."""
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
