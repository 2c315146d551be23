"""Find cost models: measured on this machine, or assumed of a similar one. Torch is not imported."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import vidzip
from vidzip.calibration import find_costs
from vidzip.errors import BadArgument, UnknownModel
from vidzip.planner import CostModel, default_costs, default_dtype
from vidzip.planner.assumed_costs import DeviceKind, device_kind
from vidzip.planner.model_shapes import ARCHITECTURES, FRAMES_AT_ONCE, Architecture

_CHECKPOINTS = Path(vidzip.__file__).with_name("models") / "checkpoints"
_NVIDIA = ("/proc/driver/nvidia", "/dev/nvidia0", "/dev/dxg")
"""Files that exist on Linux with an NVIDIA GPU; the last one on the Windows Subsystem for Linux."""


def find_cost_model(model: str, device: str = "auto", dtype: str = "auto") -> CostModel:
    """Find the cost model of a model on this machine.

    Args:
        model: as :func:`vidzip.load` takes it.
        device: as :func:`vidzip.load` takes it.
        dtype: as :func:`vidzip.load` takes it.

    Raises:
        UnknownModel: there is neither a calibration nor a known architecture of it.
        BadArgument: the device or the precision is unknown.
        BadCalibration: the calibration cannot be read.
    """
    return find_costs(model, device, dtype) or assumed_costs(model, device, dtype)


def assumed_costs(model: str, device: str = "auto", dtype: str = "auto") -> CostModel:
    """Assume the cost model of a model on a machine like this one.

    Raises:
        As :func:`find_cost_model`.
    """
    kind = _guess_device_kind() if device == "auto" else device_kind(device)
    precision = default_dtype(kind) if dtype == "auto" else dtype
    shape = find_architecture(model).model_shape(model, precision, FRAMES_AT_ONCE[kind])
    return default_costs(shape, kind, precision)


def find_architecture(model: str) -> Architecture:
    """Find a model's architecture: by its name, in its folder or, for a model that is built in code, by building it.

    Raises:
        UnknownModel: none of these exists.
        BadArgument: the folder's config cannot be used.
    """
    if model in ARCHITECTURES:
        return ARCHITECTURES[model]
    for folder in (_CHECKPOINTS / model, Path(model)):
        config = folder / "config.json"
        if model and config.is_file():
            try:
                return Architecture.from_config(json.loads(config.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                if isinstance(error, BadArgument):
                    raise
                raise BadArgument(f"{str(config)!r} cannot be read: {error}", hint="fetch it again") from error
    if "/" not in model and not os.path.isdir(model):
        from vidzip.models import BUILT_IN  # imports torch: a model that is built in code has no config file

        if model in BUILT_IN:
            return Architecture.from_config(vidzip.load(model, device="cpu").config.to_dict())
    raise UnknownModel(
        f"the architecture of {model!r} is unknown",
        hint=f"calibrate it with vidzip calibrate, or name its folder, tiny, or one of {', '.join(ARCHITECTURES)}",
    )


def _guess_device_kind() -> DeviceKind:
    """Guess the device that torch would choose, without importing it."""
    if any(map(os.path.exists, _NVIDIA)):
        return "cuda"
    return "mps" if sys.platform == "darwin" and platform.machine() == "arm64" else "cpu"
