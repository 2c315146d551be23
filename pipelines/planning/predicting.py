"""What predicts costs: what was measured on this machine, or else what is assumed of one like it. Loads no torch."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import vidzip
from vidzip.calibration import find_costs
from vidzip.errors import BadArgument, UnknownModel
from vidzip.planner import CostModel, default_costs, usual_dtype
from vidzip.planner.assumed import Kind, kind_of
from vidzip.planner.shapes import ARCHITECTURES, FRAMES_AT_ONCE, Architecture

_CHECKPOINTS = Path(vidzip.__file__).with_name("models") / "checkpoints"
_NVIDIA = ("/proc/driver/nvidia", "/dev/nvidia0", "/dev/dxg")
"""What Linux has where there is a graphics card that CUDA runs on; the last is that of Windows' subsystem."""


def costs_of(model: str, device: str = "auto", dtype: str = "auto") -> CostModel:
    """Find what a model costs on this machine.

    Args:
        model: as :func:`vidzip.load` takes it.
        device, dtype: likewise, in words.

    Raises:
        UnknownModel: the machine was not calibrated for it, and its shape is not known either.
        BadArgument: an unknown device or precision.
        BadCalibration: what was measured cannot be read.
    """
    return find_costs(model, device, dtype) or assumed_costs(model, device, dtype)


def assumed_costs(model: str, device: str = "auto", dtype: str = "auto") -> CostModel:
    """Assume what a model costs on a machine like this one.

    Raises:
        As :func:`costs_of`.
    """
    kind = _likely_kind() if device == "auto" else kind_of(device)
    precision = usual_dtype(kind) if dtype == "auto" else dtype
    shape = architecture_of(model).shape(model, precision, FRAMES_AT_ONCE[kind])
    return default_costs(shape, kind, precision)


def architecture_of(model: str) -> Architecture:
    """Find a model's numbers: by its name, in its folder, or, of one that is built in code, by building it.

    Raises:
        UnknownModel: it is none of these.
        BadArgument: the folder's config tells no shape.
    """
    if model in ARCHITECTURES:
        return ARCHITECTURES[model]
    for folder in (_CHECKPOINTS / model, Path(model)):
        config = folder / "config.json"
        if model and config.is_file():
            try:
                return Architecture.of(json.loads(config.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                if isinstance(error, BadArgument):
                    raise
                raise BadArgument(f"{str(config)!r} cannot be read: {error}", hint="fetch it again") from error
    if "/" not in model and not os.path.isdir(model):
        from vidzip.models import BUILT_IN  # which loads torch: a model that is built in code has no config to read

        if model in BUILT_IN:
            return Architecture.of(vidzip.load(model, device="cpu").config.to_dict())
    raise UnknownModel(
        f"nothing is known of what {model!r} costs",
        hint=f"calibrate it with vidzip calibrate, or name its folder, tiny, or one of {', '.join(ARCHITECTURES)}",
    )


def _likely_kind() -> Kind:
    """What torch would most likely find, without the seconds that loading it takes."""
    if any(map(os.path.exists, _NVIDIA)):
        return "cuda"
    return "mps" if sys.platform == "darwin" and platform.machine() == "arm64" else "cpu"
