"""Costs where nothing was measured: what a slow machine of a kind needs for a model's products and bytes.

Nobody's machine is meant, and none that runs such a model at all should be much slower: a laptop's processor of four
cores, a small graphics card of the last years, the smallest of Apple's chips. Predictions from these are good for
telling what costs more than what, and err on the side of caution; ``vidzip calibrate`` measures the machine itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from vidzip.errors import BadArgument
from vidzip.planner.costs import AFTER, STAGES, CostModel, ModelShape

Kind = Literal["cpu", "cuda", "mps"]

ERROR = 1.0
"""Nine of ten measurements shall lie within it: anything up to twice of what is predicted."""

NOT_CALIBRATED = "not calibrated: vidzip calibrate measures this machine"
"""What is said beside every prediction from these."""


@dataclass(frozen=True, kw_only=True)
class _Machine:
    """What a kind of device is taken to do.

    Attributes:
        dtype: the precision it computes in, where nothing else is said.
        flop_per_second: about half, or less, of what large products reach on slow ones of the kind.
        bytes_per_second: that it reads of its memory.
        run_seconds: to get a stage going: launches, transfers, what Python does.
        frame_seconds: of one frame that is brought to what the tower takes.
        megapixel_seconds: of what frames are resized from, where that is left to the device.
    """

    dtype: str
    flop_per_second: float
    bytes_per_second: float
    run_seconds: float
    frame_seconds: float
    megapixel_seconds: float = 0.0


_MACHINES: Mapping[Kind, _Machine] = {
    "cpu": _Machine(
        dtype="float32", flop_per_second=5e10, bytes_per_second=1e10, run_seconds=0.005, frame_seconds=0.005
    ),
    "cuda": _Machine(
        dtype="float16",
        flop_per_second=1.5e13,
        bytes_per_second=2e11,
        run_seconds=0.02,
        frame_seconds=0.001,
        megapixel_seconds=0.001,
    ),
    "mps": _Machine(
        dtype="float16", flop_per_second=1e12, bytes_per_second=5e10, run_seconds=0.03, frame_seconds=0.004
    ),
}

_DECODING = {
    "files": 0.05,
    "groups": 0.005,
    "other megapixels": 0.006,
    "other megabytes": 0.01,
    "taken frames": 0.002,
    "taken megapixels": 0.02,
}
"""Seconds; decoding is the processor's work on every kind. A picture of 1080p takes 12 ms to go through, 40 to take."""

_COMPRESSING_FLOP = 2e8
"""Of one frame: what it takes to compare all of its tokens with some of them. Methods differ; all are small."""


def kind_of(device: str) -> Kind:
    """The kind of a device, such as ``"cuda:1"``.

    Raises:
        BadArgument: an unknown one.
    """
    for kind in _MACHINES:
        if kind == device.partition(":")[0]:
            return kind
    raise BadArgument(f"unknown device {device!r}", hint="use cpu, cuda, cuda:N or mps")


def usual_dtype(kind: Kind) -> str:
    """The precision that a kind of device computes in, where nothing else is said."""
    return _MACHINES[kind].dtype


def default_costs(shape: ModelShape, kind: Kind, dtype: str | None = None) -> CostModel:
    """Assume what a slow machine of a kind needs: flops over its speed, or bytes over its memory's.

    Args:
        shape: the model's, in the precision that it is to run in.
        kind: of device.
        dtype: what that precision is; the usual one of the kind when left out.

    Raises:
        BadArgument: an unknown kind.
    """
    machine = _MACHINES[kind_of(kind)]

    def computing(flop: float) -> float:
        return flop / machine.flop_per_second

    start, reading = machine.run_seconds, shape.language_bytes / machine.bytes_per_second
    return CostModel(
        shape=shape,
        device=kind,
        dtype=dtype or usual_dtype(kind),
        rates={
            "decode": _DECODING,
            "preprocess": {"frames": machine.frame_seconds, "megapixels": 0.0},
            "encode": {"runs": start, "frames": computing(shape.frame_flop)},
            "compress": {"runs": start, "frames": computing(_COMPRESSING_FLOP), "tokens": start / 100},
            "project": {"runs": start, "tokens": computing(shape.visual_token_flop)},
            "prefill": {
                "runs": start + reading,
                "tokens": computing(shape.token_flop),
                "pairs": computing(shape.pair_flop),
            },
            AFTER: {"runs": start + reading, "tokens": shape.token_bytes / machine.bytes_per_second},
        },
        errors=dict.fromkeys((*STAGES, AFTER), ERROR),
        total_error=ERROR,
        overlap=0.0,
        is_calibrated=False,
    )
