"""Placement of a model's weights: devices, precision and quantization."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig

from vidzip.errors import BadArgument, DeviceUnavailable, NotInstalled
from vidzip.models.bfloat16 import is_bfloat16_fast

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

MIN_WEIGHTS_FOR_BFLOAT16 = 100_000_000
"""Smaller models stay float32 on a CPU: they are fast, and the speed of bfloat16 is measured on larger products."""

Quantize = Literal["8bit", "4bit"]
DeviceMap = str | Mapping[str, int | str | torch.device]

_DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""Strategies by which accelerate makes a device map."""

_PARTS = ("model.video_tower", "model.image_tower", "model.multi_modal_projector", "model.language_model", "lm_head")
"""Top-level modules of a Video-LLaVA."""

_NOT_QUANTIZED = ("model.video_tower", "model.image_tower", "model.multi_modal_projector", "lm_head")
"""Modules that decide which tokens are kept, or hold little of the memory. Full names: transformers matches a shorter
name only with the module itself, not with those inside it."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Devices and precision of a model's weights.

    Attributes:
        device: the device of all weights; with a device map, the first of its devices.
        dtype: the precision of weights that are not quantized.
        quantize: how the language model's layers are quantized; None if they are not.
        device_map: devices by module, as accelerate takes it; None if all weights are on one device.
        is_auto_dtype: whether the precision was chosen automatically.
    """

    device: torch.device
    dtype: torch.dtype
    quantize: Quantize | None = None
    device_map: DeviceMap | None = None
    is_auto_dtype: bool = False

    def for_weights(
        self, stored: Iterable[Tensor], is_bfloat16_fast: Callable[[], bool] = is_bfloat16_fast
    ) -> Placement:
        """Choose bfloat16 on a CPU for a large model that is stored in half precision, if the CPU is fast with it.

        Only an automatic precision changes. Models with fewer than :data:`MIN_WEIGHTS_FOR_BFLOAT16` weights, or with a
        weight stored in float32, stay float32.

        Args:
            stored: the weights as they are stored; read only if they decide.
            is_bfloat16_fast: whether the CPU is fast with bfloat16; called only if it decides.
        """
        if not self.is_auto_dtype or self.device.type != "cpu":
            return self
        count = 0
        for weight in stored:
            if weight.dtype not in (torch.float16, torch.bfloat16):
                return self
            count += weight.numel()
        is_large = count >= MIN_WEIGHTS_FOR_BFLOAT16
        return replace(self, dtype=torch.bfloat16) if is_large and is_bfloat16_fast() else self

    def loading_options(self) -> dict[str, Any]:
        """Return the arguments of ``from_pretrained``."""
        options: dict[str, Any] = {"dtype": self.dtype, "attn_implementation": "sdpa"}
        if self.device_map is not None:
            options["device_map"] = self.device_map if isinstance(self.device_map, str) else dict(self.device_map)
        if self.quantize is not None:
            options.setdefault("device_map", {"": self.device})
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_8bit=self.quantize == "8bit",
                load_in_4bit=self.quantize == "4bit",
                llm_int8_skip_modules=list(_NOT_QUANTIZED),
                bnb_4bit_compute_dtype=self.dtype,
                bnb_4bit_quant_type="nf4",
            )
        return options

    def check_device_map(self, model: nn.Module) -> None:
        """Check a device map against its model, which may be on the meta device.

        Raises:
            BadArgument: the map names a module that the model lacks, or a module and one inside it, or leaves out
                weights.
        """
        if self.device_map is None or isinstance(self.device_map, str):
            return
        weights = [name for name, _ in model.named_parameters()]
        modules = {*weights, *(name for name, _ in model.named_modules())}
        unknown = sorted(repr(name) for name in self.device_map if name not in modules)
        if unknown:
            raise BadArgument(
                f"device_map names {', '.join(unknown)}, which the model does not have",
                hint="name modules, such as 'model.video_tower', 'model.language_model.layers.0' or '' for all",
            )
        pairs = [(inner, outer) for inner in self.device_map for outer in self.device_map if inner != outer]
        nested = sorted(f"{inner!r} inside {outer!r}" for inner, outer in pairs if _contains(outer, inner))
        if nested:  # accelerate would ignore the inner one, or fail
            raise BadArgument(
                f"device_map names {', '.join(nested)}", hint="name the module, or the modules inside it, not both"
            )
        missing = [name for name in weights if not any(_contains(module, name) for module in self.device_map)]
        if missing:
            raise BadArgument(
                f"device_map leaves out {len(missing)} weights, such as {missing[0]}",
                hint=f"give devices for {', '.join(_PARTS)}, or for the modules inside them",
            )

    @property
    def is_placed_on_load(self) -> bool:
        """Whether ``from_pretrained`` puts weights on their devices, so that the model is not moved afterwards."""
        return self.device_map is not None or self.quantize is not None


def choose_placement(
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    quantize: str | None = None,
    device_map: DeviceMap | None = None,
) -> Placement:
    """Choose devices and precision.

    Args:
        device: ``"auto"`` is CUDA, else MPS, else the CPU.
        dtype: ``"auto"`` is bfloat16 on CUDA (float16 without bfloat16 support), float16 on MPS, and float32 on a CPU,
            where :meth:`Placement.for_weights` may choose bfloat16 once the weights are known.
        quantize: ``"8bit"`` or ``"4bit"``, on CUDA, through bitsandbytes.
        device_map: ``"auto"`` or another strategy of accelerate, or a device per module, which may be ``"disk"`` if
            weights are stored as safetensors.

    Raises:
        DeviceUnavailable: the device does not exist here, or cannot quantize.
        NotInstalled: bitsandbytes or accelerate is needed and missing.
        BadArgument: an unknown device, dtype or quantization, or both a device and a device map.
    """
    if device_map is not None:
        if device != "auto":
            raise BadArgument(
                f"device is {str(device)!r} and device_map is {device_map!r}", hint="give one of them, not both"
            )
        _require("accelerate", "spread", "a device map")
    first = find_device(device) if device_map is None else _first_device(device_map, quantize)
    precision = find_dtype(dtype, first)
    if quantize is not None:
        if quantize not in get_args(Quantize):
            raise BadArgument(f"unknown quantization {quantize!r}", hint=f"use {' or '.join(get_args(Quantize))}")
        if first.type != "cuda":
            raise DeviceUnavailable(
                f"quantization to {quantize} needs CUDA, but the device is {first}",
                hint="leave --quantize out; --dtype float16 or bfloat16 halves the memory",
            )
        _require("bitsandbytes", "quantize", "quantization")
        _require("accelerate", "quantize", "quantization")
    return Placement(
        device=first,
        dtype=precision,
        quantize="4bit" if quantize == "4bit" else "8bit" if quantize else None,
        device_map=device_map,
        is_auto_dtype=dtype == "auto",
    )


def _first_device(device_map: DeviceMap, quantize: str | None) -> torch.device:
    """Check that the devices of a map exist here; returns the first."""
    if isinstance(device_map, str):
        if device_map not in _DEVICE_MAPS:
            raise BadArgument(
                f"unknown device_map {device_map!r}", hint=f"use {', '.join(_DEVICE_MAPS)}, or give a device per module"
            )
        return find_device("auto")
    if not isinstance(device_map, Mapping):
        raise BadArgument(f"device_map is {device_map!r}", hint="use 'auto', or give a device per module")
    devices = []
    for device in device_map.values():
        found = None if device == "disk" else find_device(f"cuda:{device}" if isinstance(device, int) else device)
        if quantize is not None and (found is None or found.type != "cuda"):
            raise DeviceUnavailable(
                f"quantization to {quantize} needs CUDA, but device_map puts weights on {device}",
                hint="leave --quantize out, or give CUDA devices only",
            )
        devices += [] if found is None else [found]
    return devices[0] if devices else torch.device("cpu")


def _contains(module: str, name: str) -> bool:
    """Whether a name is that of a module, or of something inside it."""
    return module in {"", name} or name.startswith(f"{module}.")


def find_device(device: str | torch.device) -> torch.device:
    """Find a device of this machine; ``"auto"`` is CUDA, else MPS, else the CPU.

    Raises:
        DeviceUnavailable: it does not exist here.
        BadArgument: an unknown device.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise BadArgument(f"unknown device {device!r}", hint="use auto, cpu, cuda, cuda:N or mps") from error
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if found.type not in counts:
        raise BadArgument(f"vidzip does not run on {found}", hint="use auto, cpu, cuda, cuda:N or mps")
    if (found.index or 0) >= counts[found.type]:
        raise DeviceUnavailable(
            f"there is no device {found} here, only {counts[found.type]} of that type", hint="use auto or cpu"
        )
    return found


def find_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Find a precision; ``"auto"`` is as in :func:`choose_placement`.

    Raises:
        BadArgument: an unknown dtype.
    """
    if isinstance(dtype, torch.dtype):
        if dtype not in DTYPES.values():
            raise BadArgument(f"unknown dtype {dtype}", hint=f"use auto or {', '.join(DTYPES)}")
        return dtype
    if dtype == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.float16 if device.type == "mps" else torch.float32
    if dtype not in DTYPES:
        raise BadArgument(f"unknown dtype {dtype!r}", hint=f"use auto or {', '.join(DTYPES)}")
    return DTYPES[dtype]


def _require(package: str, extra: str, purpose: str) -> None:
    if find_spec(package) is None:
        raise NotInstalled(f"{purpose} needs {package}, which is not installed", hint=f"pip install 'vidzip[{extra}]'")
