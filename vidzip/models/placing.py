"""Where a model's weights go, and in which precision."""

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

FEWEST_HALF_WEIGHTS = 100_000_000
"""Models of fewer weights stay float32 on a CPU: they are fast, and what is measured is a product of a larger one's."""

Quantize = Literal["8bit", "4bit"]
DeviceMap = str | Mapping[str, int | str | torch.device]

_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""How accelerate works out a device map by itself."""

_PARTS = ("model.video_tower", "model.image_tower", "model.multi_modal_projector", "model.language_model", "lm_head")
"""What a Video-LLaVA is made of."""

_FULL_PRECISION = ("model.video_tower", "model.image_tower", "model.multi_modal_projector", "lm_head")
"""What is never quantised: it decides which tokens are kept, and takes a tenth of the memory. Whole names: what only
ends one would name that module alone, and none within it."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where weights go, and how they are kept there.

    Attributes:
        device: the device of all of them; the first one where they are spread.
        dtype: the precision of what is not quantised.
        quantize: how the language model's layers are quantised; None for not at all.
        device_map: how weights are spread over devices, as accelerate takes it; None for all on one.
        is_auto: whether nobody named the precision.
    """

    device: torch.device
    dtype: torch.dtype
    quantize: Quantize | None = None
    device_map: DeviceMap | None = None
    is_auto: bool = False

    def for_weights(
        self, stored: Iterable[Tensor], is_bfloat16_fast: Callable[[], bool] = is_bfloat16_fast
    ) -> Placement:
        """The placement of weights, as they are stored.

        On a CPU that is good at it, and where nobody named a precision, those of a large model that are all stored in
        half precision are computed with in bfloat16: float32 would bring back nothing that storing them took away.
        Weights stored in float32, and small models, among them those that ship, are float32 on every CPU.

        Args:
            stored: the weights; looked at only where it matters.
            is_bfloat16_fast: whether the CPU is; asked only where it matters.
        """
        if not self.is_auto or self.device.type != "cpu":
            return self
        count = 0
        for weight in stored:
            if weight.dtype not in (torch.float16, torch.bfloat16):
                return self
            count += weight.numel()
        is_large = count >= FEWEST_HALF_WEIGHTS
        return replace(self, dtype=torch.bfloat16) if is_large and is_bfloat16_fast() else self

    def loading_options(self) -> dict[str, Any]:
        """What ``from_pretrained`` is to be told."""
        options: dict[str, Any] = {"dtype": self.dtype, "attn_implementation": "sdpa"}
        if self.device_map is not None:
            options["device_map"] = self.device_map if isinstance(self.device_map, str) else dict(self.device_map)
        if self.quantize is not None:
            options.setdefault("device_map", {"": self.device})
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_8bit=self.quantize == "8bit",
                load_in_4bit=self.quantize == "4bit",
                llm_int8_skip_modules=list(_FULL_PRECISION),
                bnb_4bit_compute_dtype=self.dtype,
                bnb_4bit_quant_type="nf4",
            )
        return options

    def check_modules(self, model: nn.Module) -> None:
        """Hold a device map against the model it is for, which may be without weights.

        Raises:
            BadArgument: it names what is no part of the model, a part within another, or not all parts with weights.
        """
        if self.device_map is None or isinstance(self.device_map, str):
            return
        weights = [name for name, _ in model.named_parameters()]
        parts = {*weights, *(name for name, _ in model.named_modules())}
        unknown = sorted(repr(name) for name in self.device_map if name not in parts)
        if unknown:
            raise BadArgument(
                f"device_map names {', '.join(unknown)}, which the model does not have",
                hint="name modules, such as 'model.video_tower', 'model.language_model.layers.0' or '' for all",
            )
        within = [(one, other) for one in self.device_map for other in self.device_map if one != other]
        nested = sorted(f"{one!r} within {other!r}" for one, other in within if _holds(other, one))
        if nested:  # accelerate would place a part with what holds it, or fail where it is kept elsewhere
            raise BadArgument(
                f"device_map names {', '.join(nested)}", hint="name the parts of a module, or the module, not both"
            )
        left_out = [name for name in weights if not any(_holds(part, name) for part in self.device_map)]
        if left_out:
            raise BadArgument(
                f"device_map leaves out {len(left_out)} weights, {left_out[0]} among them",
                hint=f"give devices for {', '.join(_PARTS)}, or for the parts of these",
            )

    @property
    def is_spread(self) -> bool:
        """Whether loading puts weights where they belong, so that nothing is to be moved afterwards."""
        return self.device_map is not None or self.quantize is not None


def place(
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    quantize: str | None = None,
    device_map: DeviceMap | None = None,
) -> Placement:
    """Work out a placement.

    Args:
        device: ``"auto"`` takes CUDA, else MPS, else the CPU.
        dtype: ``"auto"`` takes bfloat16 on CUDA (float16 where it lacks bfloat16), float16 on MPS, and float32 on a
            CPU, where :meth:`Placement.for_weights` may take bfloat16 once it is known what is to be placed.
        quantize: ``"8bit"`` or ``"4bit"``, on CUDA, through bitsandbytes.
        device_map: ``"auto"`` or another of accelerate's words, or a device by module, which may be ``"disk"`` where
            weights are safetensors; for models larger than one device, through accelerate.

    Raises:
        DeviceUnavailable: the device is not there, or cannot do this.
        NotInstalled: what quantises or spreads is not installed.
        BadArgument: an unknown device, dtype or quantisation, or a device beside a device map.
    """
    if device_map is not None:
        if device != "auto":
            raise BadArgument(
                f"device is {str(device)!r} and device_map is {device_map!r}", hint="give one of them, not both"
            )
        _need("accelerate", "spread", "spreading a model over devices")
    where = find_device(device) if device_map is None else _first_device(device_map, quantize)
    kind = find_dtype(dtype, where)
    if quantize is not None:
        if quantize not in get_args(Quantize):
            raise BadArgument(f"unknown quantisation {quantize!r}", hint=f"use {' or '.join(get_args(Quantize))}")
        if where.type != "cuda":
            raise DeviceUnavailable(
                f"quantising to {quantize} needs CUDA, and the model would run on {where}",
                hint="leave --quantize out; --dtype float16 or bfloat16 halves the memory",
            )
        _need("bitsandbytes", "quantize", "quantising")
        _need("accelerate", "quantize", "quantising")
    return Placement(
        device=where, dtype=kind, quantize="4bit" if quantize == "4bit" else "8bit" if quantize else None,
        device_map=device_map, is_auto=dtype == "auto",
    )  # fmt: skip


def _first_device(device_map: DeviceMap, quantize: str | None) -> torch.device:
    """Find the devices of a map on this machine; returns the first.

    Raises:
        DeviceUnavailable: one of them is not there, or cannot do this.
        BadArgument: it is no device map.
    """
    if isinstance(device_map, str):
        if device_map not in _MAPS:
            raise BadArgument(
                f"unknown device_map {device_map!r}", hint=f"use {', '.join(_MAPS)}, or give a device by module"
            )
        return find_device("auto")
    if not isinstance(device_map, Mapping):
        raise BadArgument(f"device_map is {device_map!r}", hint="use 'auto', or give a device by module")
    devices = []
    for device in device_map.values():
        # What is kept on the disk runs on the CPU where there is no other device.
        where = None if device == "disk" else find_device(f"cuda:{device}" if isinstance(device, int) else device)
        if quantize is not None and (where is None or where.type != "cuda"):
            raise DeviceUnavailable(
                f"quantising to {quantize} needs CUDA, and device_map puts weights on {device}",
                hint="leave --quantize out, or give CUDA devices alone",
            )
        devices += [] if where is None else [where]
    return devices[0] if devices else torch.device("cpu")


def _holds(part: str, name: str) -> bool:
    """Whether a weight is that part of a model, or within it."""
    return part in {"", name} or name.startswith(f"{part}.")


def find_device(device: str | torch.device) -> torch.device:
    """Find a device of this machine; ``"auto"`` takes CUDA, else MPS, else the CPU.

    Raises:
        DeviceUnavailable: it is not there.
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
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if found.type not in there:
        raise BadArgument(f"vidzip does not run on {found}", hint="use auto, cpu, cuda, cuda:N or mps")
    if (found.index or 0) >= there[found.type]:
        raise DeviceUnavailable(
            f"there is no device {found} here ({there[found.type]} of its kind)", hint="use auto or cpu"
        )
    return found


def find_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """Find a precision; ``"auto"`` is as in :func:`place`.

    Raises:
        BadArgument: an unknown one.
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


def _need(package: str, extra: str, work: str) -> None:
    if find_spec(package) is None:
        raise NotInstalled(f"{work} needs {package}, which is not installed", hint=f"pip install 'vidzip[{extra}]'")
