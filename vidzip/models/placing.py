"""Where a model's weights go, and in which precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from transformers import BitsAndBytesConfig

from vidzip.errors import BadArgument, DeviceUnavailable, NotInstalled

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

Quantize = Literal["8bit", "4bit"]
DeviceMap = str | Mapping[str, int | str | torch.device]

_FULL_PRECISION = ("video_tower", "image_tower", "multi_modal_projector", "lm_head")
"""What is never quantised: it decides which tokens are kept, and takes a twentieth of the memory."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where weights go, and how they are kept there.

    Attributes:
        device: the device of all of them; the first one where they are spread.
        dtype: the precision of what is not quantised.
        quantize: how the language model's layers are quantised; None for not at all.
        device_map: how weights are spread over devices, as accelerate takes it; None for all on one.
    """

    device: torch.device
    dtype: torch.dtype
    quantize: Quantize | None = None
    device_map: DeviceMap | None = None

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
        dtype: ``"auto"`` takes bfloat16 on CUDA (float16 where it lacks bfloat16), float16 on MPS, float32 on a CPU.
        quantize: ``"8bit"`` or ``"4bit"``, on CUDA, through bitsandbytes.
        device_map: ``"auto"``, or a device by module, through accelerate; for models larger than one device.

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
    where = find_device(device)
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
        device_map=device_map,
    )  # fmt: skip


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
