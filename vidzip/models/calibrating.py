"""From a model on this machine to rates that predict what workloads cost: ``vidzip calibrate``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from vidzip.calibration import Calibration, Machine, device_name
from vidzip.models.encoding import Progress
from vidzip.models.fitting import Run, fit
from vidzip.models.measuring import QUESTION, measure
from vidzip.models.model import VideoModel
from vidzip.planner.costs import CostModel, ModelShape
from vidzip.planner.model_shapes import Architecture


def model_shape(model: VideoModel) -> ModelShape:
    """The numbers of a loaded model that its costs follow from; weights as they are in memory.

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
    """Measure a model on this machine and fit rates to it, which takes about a minute; more, where the model is slow.

    Args:
        model: it shall not be used by others meanwhile.
        asked_device: what was asked for when it was loaded, by which the calibration is found again.
        asked_dtype: likewise.
        quick: measure less, with wider errors: no codec but H.264, and everything once.
        on_progress: called as it goes on.

    Raises:
        OutOfMemory: the device cannot hold even little.
        WriteError: the videos that decoding is measured on cannot be written.
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


def fit_costs(model: VideoModel, runs: Sequence[Run]) -> CostModel:
    """Fit rates to what was measured of a model here."""
    machine = machine_of(model)
    return fit(runs, model_shape(model), machine.description, machine.dtype)


def machine_of(model: VideoModel) -> Machine:
    """What a calibration of a loaded model holds for."""
    return Machine.current(model.device.type, device_name(str(model.device)) or "", _dtype(model))


def _dtype(model: VideoModel) -> str:
    return str(model.dtype).removeprefix("torch.")
