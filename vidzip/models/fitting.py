"""Fit a cost model's rates and errors to measurements; nothing is measured here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from vidzip.errors import BadArgument
from vidzip.planner.costs import GENERATE, STAGES, CostModel, ModelShape, Workload

MIN_ERROR = 0.02
"""Smallest relative error that is reported: measurements do not repeat more closely."""

MIN_DECODE_ERROR = 0.5
"""Smallest relative error of decoding. Files with the same codec, size and bytes per frame differ by their encoder's motion
search, share of non-reference frames and colour format; synthetic calibration clips vary less. 90 % of the real files of
``benchmarks.predictions`` are within it."""

_AS_H264: Mapping[str, tuple[float, float]] = {
    "av1": (1.4, 2.0),
    "gif": (12.0, 0.0),
    "hevc": (0.4, 2.1),
    "mjpeg": (0.6, 0.25),
    "mpeg1video": (0.4, 0.25),
    "mpeg2video": (0.4, 0.25),
    "mpeg4": (0.5, 0.25),
    "prores": (0.0, 0.25),
    "vp8": (2.0, 1.15),
    "vp9": (2.1, 1.7),
}
"""Decoding time per megapixel and per stored megabyte relative to H.264, for codecs that are not measured.

Measured once on one core of an Intel Xeon with AVX-512, with the decoders of FFmpeg 8.1 (dav1d for AV1): 48 frames of
320x240 and 640x360 pixels at three grain strengths per codec, fitted by non-negative least squares."""

_OTHER = (1.5, 1.5)
"""The same for any other codec: recent ones take more than H.264."""

_ROUNDS = 20
_OUTLIER = 2.0
"""Relative residuals above this many standard deviations are down-weighted (Huber 1964)."""

_MAD_TO_STD = 1.4826
"""Standard deviation over median absolute deviation, for normal residuals."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Measured times of a workload.

    Attributes:
        workload: the workload.
        stage_seconds: seconds of each stage measured on its own; for ``generate``, of one token.
        total_seconds: seconds from the file to the first token; None if not measured.
    """

    workload: Workload
    stage_seconds: Mapping[str, float]
    total_seconds: float | None = None


def fit(runs: Sequence[Measurement], shape: ModelShape, device: str, dtype: str) -> CostModel:
    """Fit rates to runs, and estimate their errors by leaving out one run at a time.

    Args:
        runs: at least two of every stage and two with a total; some videos must be H.264.
        shape: the model's shape.
        device: name of the device.
        dtype: the model's precision.

    Returns:
        Costs with non-negative rates. Errors are 90 % prediction bounds: the ``ceil(0.9 (n + 1))``-th smallest of n
        leave-one-out errors, as in the jackknife (Barber et al. 2021, "Predictive inference with the jackknife+"), at
        least :data:`MIN_ERROR`, and for decoding at least :data:`MIN_DECODE_ERROR`.

    Raises:
        BadArgument: a stage was measured less than twice, or no H.264 video was decoded.
    """
    for stage in (*STAGES, GENERATE):
        count = sum(stage in run.stage_seconds for run in runs)
        if count < 2:
            raise BadArgument(f"{stage!r} was measured {count} times", hint="measure every stage at least twice")
    if sum(run.total_seconds is not None for run in runs) < 2:
        raise BadArgument("fewer than 2 runs have a total", hint="measure the total at least twice")
    blank = CostModel(
        shape=shape,
        device=device,
        dtype=dtype,
        rates={},
        errors=dict.fromkeys((*STAGES, GENERATE), 0.0),
        total_error=0.0,
        overlap=0.0,
        is_calibrated=True,
    )
    left_out: dict[str, list[float]] = {}
    for place, run in enumerate(runs):
        others = _fit(blank, [*runs[:place], *runs[place + 1 :]])
        for name, error in _relative_errors(others, run):
            left_out.setdefault(name, []).append(error)
    errors = {stage: _error_bound(left_out[stage]) for stage in (*STAGES, GENERATE)}
    errors["decode"] = max(errors["decode"], MIN_DECODE_ERROR)
    return replace(_fit(blank, runs), errors=errors, total_error=_error_bound(left_out[_TOTAL]))


_TOTAL = "total"


def _fit(blank: CostModel, runs: Sequence[Measurement]) -> CostModel:
    """Fit rates and the overlap."""
    rates = {}
    for stage in (*STAGES, GENERATE):
        rows = [(run.workload.amounts()[stage], run.stage_seconds[stage]) for run in runs if stage in run.stage_seconds]
        rates[stage] = fit_rates([amounts for amounts, _ in rows], [seconds for _, seconds in rows])
    rates["decode"] = _with_other_codecs(rates["decode"])
    unoverlapped = replace(blank, rates=rates)
    return replace(unoverlapped, overlap=_fit_overlap(unoverlapped, runs))


def _relative_errors(costs: CostModel, run: Measurement) -> Iterator[tuple[str, float]]:
    """Yield the relative error of each stage and of the total."""
    predicted = costs.predict(run.workload)
    seconds = {stage: cost.seconds for stage, cost in predicted.stages.items()}
    seconds[GENERATE] = predicted.seconds_per_new_token.seconds
    for stage, measured in run.stage_seconds.items():
        yield stage, abs(seconds[stage] / measured - 1)
    if run.total_seconds is not None:
        yield _TOTAL, abs(predicted.seconds / run.total_seconds - 1)


def fit_rates(amounts: Sequence[Mapping[str, float]], seconds: Sequence[float]) -> dict[str, float]:
    """Fit non-negative seconds per unit of each kind of work, by robust least squares of relative errors.

    Outliers of ``predicted / measured - 1`` are down-weighted: now and then another process slows a measurement down.

    Args:
        amounts: units of each kind of work, one mapping per measurement.
        seconds: the measured times.
    """
    kinds = sorted({kind for row in amounts for kind, amount in row.items() if amount})
    measured = np.array(seconds)
    shares = np.array([[row.get(kind, 0.0) for kind in kinds] for row in amounts]) / measured[:, None]
    weights = np.ones(len(measured))
    rates = np.zeros(len(kinds))
    for _ in range(_ROUNDS):
        before, rates = rates, nonnegative_least_squares(shares * weights[:, None], weights)
        residuals = np.abs(shares @ rates - 1)
        limit = _OUTLIER * _MAD_TO_STD * float(np.median(residuals))
        weights = np.sqrt(np.minimum(1, limit / np.maximum(residuals, limit or 1)))
        if not limit or np.allclose(rates, before, rtol=1e-6, atol=0):
            break
    return dict(zip(kinds, rates.tolist(), strict=True))


def nonnegative_least_squares(
    matrix: Float64[np.ndarray, "rows columns"], target: Float64[np.ndarray, " rows"]
) -> Float64[np.ndarray, " columns"]:
    """Minimise ``|matrix x - target|`` over non-negative x.

    The active-set method of Lawson and Hanson, "Solving Least Squares Problems" (1974), chapter 23, with columns scaled
    to unit length.
    """
    lengths = np.linalg.norm(matrix, axis=0)
    scaled = matrix / np.where(lengths, lengths, 1)
    columns = scaled.shape[1]
    solution, is_free = np.zeros(columns), np.zeros(columns, dtype=bool)
    tolerance = 1e-12 * max(1.0, float(np.linalg.norm(target)))
    for _ in range(3 * columns):
        gradient = np.where(is_free | (lengths == 0), -np.inf, scaled.T @ (target - scaled @ solution))
        if gradient.max(initial=-np.inf) <= tolerance:
            break
        is_free[gradient.argmax()] = True
        while True:
            trial = np.zeros(columns)
            trial[is_free] = np.linalg.lstsq(scaled[:, is_free], target, rcond=None)[0]
            is_negative = is_free & (trial <= 0)
            if not is_negative.any():
                break
            # Step towards it until the first entry reaches zero, and fix that entry.
            step = (solution[is_negative] / (solution[is_negative] - trial[is_negative])).min()
            solution = solution + step * (trial - solution)
            is_free &= solution > tolerance
        solution = trial
    unscaled: np.ndarray = solution / np.where(lengths, lengths, 1)
    return unscaled


def _with_other_codecs(rates: Mapping[str, float]) -> dict[str, float]:
    """Add rates for codecs that were not measured, relative to H.264.

    Raises:
        BadArgument: H.264 was not measured.
    """
    if "h264 megapixels" not in rates or "h264 megabytes" not in rates:
        raise BadArgument("decoding was not measured on H.264", hint="measure an H.264 video")
    filled = dict(rates)
    for codec, ratios in {**_AS_H264, "other": _OTHER}.items():
        if f"{codec} megapixels" not in rates:
            for unit, ratio in zip(("megapixels", "megabytes"), ratios, strict=True):
                filled[f"{codec} {unit}"] = ratio * rates[f"h264 {unit}"]
    return filled


def _fit_overlap(costs: CostModel, runs: Sequence[Measurement]) -> float:
    """Fit the share of the shorter of decoding and encoding that overlaps the other, by least squares."""
    hidden, possible = [], []
    for run in runs:
        if run.total_seconds is not None:
            stages = {stage: cost.seconds for stage, cost in costs.predict(run.workload).stages.items()}
            stages |= {stage: seconds for stage, seconds in run.stage_seconds.items() if stage != GENERATE}
            hidden.append((sum(stages.values()) - run.total_seconds) / run.total_seconds)
            possible.append(min(stages["decode"], stages["preprocess"] + stages["encode"]) / run.total_seconds)
    share = float(np.dot(hidden, possible)) / max(float(np.dot(possible, possible)), 1e-12)
    return min(1.0, max(0.0, share))


def _error_bound(errors: Sequence[float]) -> float:
    rank = math.ceil(0.9 * (len(errors) + 1))
    return max(MIN_ERROR, sorted(errors)[min(rank, len(errors)) - 1])
