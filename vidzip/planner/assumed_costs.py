"""Costs without a calibration: a model's FLOP and bytes on a slow device of a kind.

The assumed devices are at the slow end of those that run such models: a laptop CPU with four cores, a small recent
GPU, the smallest Apple chip. Predictions compare plans and tend to be too high; ``vidzip calibrate`` measures the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vidzip.errors import BadArgument
from vidzip.planner.costs import GENERATE, STAGES, CostModel, ModelShape

DeviceKind = Literal["cpu", "cuda", "mps"]

ERROR = 1.0
"""Relative error of assumed costs: nine of ten measurements lie below twice the prediction."""

NOT_CALIBRATED = "not calibrated: vidzip calibrate measures this machine"
"""Shown with every prediction from assumed costs."""


@dataclass(frozen=True, kw_only=True)
class _Device:
    """Assumed speed of a kind of device.

    Attributes:
        dtype: its default precision.
        flop_per_second: at most half of what large matrix products reach on slow devices of the kind.
        bytes_per_second: memory bandwidth.
        run_seconds: to start a stage: launches, transfers, Python.
        frame_seconds: to preprocess one frame.
    """

    dtype: str
    flop_per_second: float
    bytes_per_second: float
    run_seconds: float
    frame_seconds: float


_DEVICES: Mapping[DeviceKind, _Device] = {
    "cpu": _Device(
        dtype="float32", flop_per_second=5e10, bytes_per_second=1e10, run_seconds=0.005, frame_seconds=0.005
    ),
    "cuda": _Device(
        dtype="float16",
        flop_per_second=1.5e13,
        bytes_per_second=2e11,
        run_seconds=0.02,
        frame_seconds=0.001,
    ),
    "mps": _Device(dtype="float16", flop_per_second=1e12, bytes_per_second=5e10, run_seconds=0.03, frame_seconds=0.004),
}

_DECODING = {
    "files": 0.05,
    "groups": 0.005,
    "other megapixels": 0.006,
    "other megabytes": 0.01,
    "taken frames": 0.002,
    "taken megapixels": 0.02,
}
"""Seconds on the CPU, whatever the device. A 1080p frame takes 12 ms to decode, and 40 ms more if it is taken."""

_COMPRESSION_FLOP = 2e8
"""Per frame: comparing all of its tokens with some of them. Methods differ, but all are cheap."""


def device_kind(device: str) -> DeviceKind:
    """Return the kind of a device such as ``"cuda:1"``.

    Raises:
        BadArgument: the device is unknown.
    """
    for kind in _DEVICES:
        if kind == device.partition(":")[0]:
            return kind
    raise BadArgument(f"unknown device {device!r}", hint="use cpu, cuda, cuda:N or mps")


def default_dtype(kind: DeviceKind) -> str:
    """Return the default precision of a kind of device."""
    return _DEVICES[kind].dtype


def default_costs(shape: ModelShape, kind: DeviceKind, dtype: str | None = None) -> CostModel:
    """Assume the rates of a slow device of a kind: FLOP divided by its speed, or bytes divided by its bandwidth.

    Args:
        shape: the model's sizes, in the precision that it runs in.
        kind: the kind of device.
        dtype: that precision; the kind's default if None.

    Raises:
        BadArgument: the kind is unknown.
    """
    device = _DEVICES[device_kind(kind)]
    start, reading = device.run_seconds, shape.language_bytes / device.bytes_per_second

    def compute(flop: float) -> float:
        return flop / device.flop_per_second

    return CostModel(
        shape=shape,
        device=kind,
        dtype=dtype or device.dtype,
        rates={
            "decode": _DECODING,
            "preprocess": {"frames": device.frame_seconds, "megapixels": 0.0},
            "encode": {"runs": start, "frames": compute(shape.frame_flop)},
            "compress": {"runs": start, "frames": compute(_COMPRESSION_FLOP), "tokens": start / 100},
            "project": {"runs": start, "tokens": compute(shape.visual_token_flop)},
            "prefill": {
                "runs": start + reading,
                "tokens": compute(shape.token_flop),
                "pairs": compute(shape.pair_flop),
            },
            GENERATE: {"runs": start + reading, "tokens": shape.token_bytes / device.bytes_per_second},
        },
        errors=dict.fromkeys((*STAGES, GENERATE), ERROR),
        total_error=ERROR,
        overlap=0.0,
        is_calibrated=False,
    )
