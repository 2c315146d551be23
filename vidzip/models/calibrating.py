"""Calibrate the cost model to a model on this machine: ``vidzip calibrate``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from vidzip.calibration import Calibration, Machine, device_name
from vidzip.models.encoding import Progress
from vidzip.models.fitting import Measurement, fit
from vidzip.models.measuring import QUESTION, measure
from vidzip.models.model import VideoModel
from vidzip.planner.costs import CostModel, ModelShape
from vidzip.planner.model_shapes import Architecture


def model_shape(model: VideoModel) -> ModelShape:
    """Return the sizes of a loaded model that determine its costs.

    Raises:
        BadArgument: the config is not of a Video-LLaVA.
    """
    shape = Architecture.from_config(model.config.to_dict()).model_shape(model.name, _dtype(model), model.batch_frames)
    return replace(
        shape,
        prompt_tokens=model.family.prompt(QUESTION).num_tokens,
        weight_bytes=sum(weight.nbytes for weight in model.network.parameters()),
        frame_bytes=model.activation_bytes_per_frame,
    )


def calibrate(
    model: VideoModel,
    *,
    asked_device: str = "auto",
    asked_dtype: str = "auto",
    quick: bool = False,
    on_progress: Progress | None = None,
) -> Calibration:
    """Measure a model on this machine and fit rates; takes about a minute, or more for a slow model.

    Args:
        model: the model; nothing else may use it meanwhile.
        asked_device: the device given when the model was loaded, by which the calibration is found.
        asked_dtype: the dtype likewise.
        quick: measure H.264 only and everything once, with larger errors.
        on_progress: called before each measurement.

    Raises:
        OutOfMemory: the device cannot hold even the smallest tasks.
        WriteError: the clips for decoding cannot be written.
    """
    began = time.monotonic()
    costs = fit_costs(model, measure(model, quick=quick, on_progress=on_progress))
    return Calibration(
        costs=costs,
        machine=machine_of(model),
        asked_device=asked_device,
        asked_dtype=asked_dtype,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        took_seconds=time.monotonic() - began,
    )


def fit_costs(model: VideoModel, runs: Sequence[Measurement]) -> CostModel:
    """Fit rates to a model's measurements."""
    machine = machine_of(model)
    return fit(runs, model_shape(model), machine.description, machine.dtype)


def machine_of(model: VideoModel) -> Machine:
    """Return the machine and model that a calibration is valid for."""
    return Machine.current(model.device.type, device_name(str(model.device)) or "", _dtype(model))


def _dtype(model: VideoModel) -> str:
    return str(model.dtype).removeprefix("torch.")
