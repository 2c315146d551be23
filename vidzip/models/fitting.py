"""From what workloads took to rates, and to how far off they predict: arithmetic alone, nothing is measured here."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from vidzip.errors import BadArgument
from vidzip.planner.costs import AFTER, STAGES, CostModel, ModelShape, Workload

LEAST_ERROR = 0.02
"""No clock and no machine repeats a measurement more closely."""

REAL_FILES_ERROR = 0.5
"""Files of one codec, size and bytes a frame differ so in what decoding takes: by how their encoder searched, how many
frames no other builds on, how colours are stored. Nine of ten lie within it, of the real files that
``benchmarks/predictions.py`` was tried on; files that are drawn for a calibration differ less."""

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
"""What a megapixel and a stored megabyte of a codec take, by what they take of H.264, for codecs that are not measured.

Measured once, in seconds of one core of an Intel Xeon with AVX-512, with the decoders of FFmpeg 8.1 (dav1d for AV1): 48
frames of 320x240 and of 640x360 pixels with three strengths of grain, for each codec, and non-negative least squares."""

_OTHER = (1.5, 1.5)
"""As much of any other codec: those of the last years take more than H.264."""

_ROUNDS = 20
_OUTLIER = 2.0
"""Relative residuals past so many times their usual size count less, the more so the larger they are (Huber 1964)."""

_USUAL = 1.4826
"""Standard deviations in a median absolute deviation of normal residuals."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one workload took.

    Attributes:
        work: the workload.
        stage_seconds: of each stage that was measured by itself; of ``generate``, for one token.
        total_seconds: from the file to the first token; None where that was not measured.
    """

    work: Workload
    stage_seconds: Mapping[str, float]
    total_seconds: float | None = None


def fit(runs: Sequence[Run], shape: ModelShape, device: str, dtype: str) -> CostModel:
    """Fit rates to runs, and tell from runs that each fit did not see how far off they are.

    Args:
        runs: of every stage some, and some with their totals; H.264 among the videos.
        shape: the model's.
        device: what it ran on, in words.
        dtype: its precision.

    Returns:
        Costs with every rate 0 or more. Errors are such that nine of ten further runs are expected within them: of the
        runs left out one by one, the ``ceil(0.9 (n + 1))``-th smallest of n, as in the jackknife (Barber et al. 2021,
        "Predictive inference with the jackknife+"), at least :data:`LEAST_ERROR`; and that of decoding at least
        :data:`REAL_FILES_ERROR`.

    Raises:
        BadArgument: a stage was not measured often enough, or no video of H.264 was decoded.
    """
    for stage in (*STAGES, AFTER):
        count = sum(stage in run.stage_seconds for run in runs)
        if count < 2:
            raise BadArgument(f"{stage!r} was measured {count} times", hint="measure every stage twice or more")
    if sum(run.total_seconds is not None for run in runs) < 2:
        raise BadArgument("the whole way was not measured twice", hint="measure it twice or more")
    unsure = CostModel(
        shape=shape,
        device=device,
        dtype=dtype,
        rates={},
        errors=dict.fromkeys((*STAGES, AFTER), 0.0),
        total_error=0.0,
        overlap=0.0,
        is_calibrated=True,
    )
    misses: dict[str, list[float]] = {}
    for place, run in enumerate(runs):
        others = _fit(unsure, [*runs[:place], *runs[place + 1 :]])
        for what, miss in _misses(others, run):
            misses.setdefault(what, []).append(miss)
    errors = {stage: _nine_of_ten(misses[stage]) for stage in (*STAGES, AFTER)}
    errors["decode"] = max(errors["decode"], REAL_FILES_ERROR)
    return replace(_fit(unsure, runs), errors=errors, total_error=_nine_of_ten(misses[_TOTAL]))


_TOTAL = "total"


def _fit(unsure: CostModel, runs: Sequence[Run]) -> CostModel:
    """Fit rates and the overlap."""
    rates = {}
    for stage in (*STAGES, AFTER):
        rows = [(run.work.amounts()[stage], run.stage_seconds[stage]) for run in runs if stage in run.stage_seconds]
        rates[stage] = fit_rates([amounts for amounts, _ in rows], [seconds for _, seconds in rows])
    rates["decode"] = _with_other_codecs(rates["decode"])
    apart = replace(unsure, rates=rates)
    return replace(apart, overlap=_overlap(apart, runs))


def _misses(costs: CostModel, run: Run) -> Iterator[tuple[str, float]]:
    """How far off each prediction is, as a share of what was measured."""
    predicted = costs.predict(run.work)
    seconds = {stage: cost.seconds for stage, cost in predicted.stages.items()}
    seconds[AFTER] = predicted.seconds_per_new_token.seconds
    for stage, measured in run.stage_seconds.items():
        yield stage, abs(seconds[stage] / measured - 1)
    if run.total_seconds is not None:
        yield _TOTAL, abs(predicted.seconds / run.total_seconds - 1)


def fit_rates(amounts: Sequence[Mapping[str, float]], seconds: Sequence[float]) -> dict[str, float]:
    """Find seconds for a unit of each kind of work, none negative, so that predictions are off by least shares.

    It minimises the squares of ``predicted / measured - 1``, where what is far off counts less: now and then another
    process takes the machine, and a measurement is many times too long.

    Args:
        amounts: of each kind, a measurement.
        seconds: that it took.
    """
    kinds = sorted({kind for row in amounts for kind, amount in row.items() if amount})
    took = np.array(seconds)
    shares = np.array([[row.get(kind, 0.0) for kind in kinds] for row in amounts]) / took[:, None]
    weights = np.ones(len(took))
    rates = np.zeros(len(kinds))
    for _ in range(_ROUNDS):
        before, rates = rates, nonnegative_least_squares(shares * weights[:, None], weights)
        residuals = np.abs(shares @ rates - 1)
        limit = _OUTLIER * _USUAL * float(np.median(residuals))
        weights = np.sqrt(np.minimum(1, limit / np.maximum(residuals, limit or 1)))
        if not limit or np.allclose(rates, before, rtol=1e-6, atol=0):
            break
    return dict(zip(kinds, rates.tolist(), strict=True))


def nonnegative_least_squares(
    matrix: Float64[np.ndarray, "rows columns"], target: Float64[np.ndarray, " rows"]
) -> Float64[np.ndarray, " columns"]:
    """Minimise ``|matrix x - target|`` over x of no negative number.

    The active-set method of Lawson and Hanson, "Solving Least Squares Problems" (1974), chapter 23, on columns that
    are scaled to one length.
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
            falls = is_free & (trial <= 0)
            if not falls.any():
                break
            # Go towards it as far as nothing gets negative, and hold what has come down to zero.
            step = (solution[falls] / (solution[falls] - trial[falls])).min()
            solution = solution + step * (trial - solution)
            is_free &= solution > tolerance
        solution = trial
    unscaled: np.ndarray = solution / np.where(lengths, lengths, 1)
    return unscaled


def _with_other_codecs(rates: Mapping[str, float]) -> dict[str, float]:
    """Fill in codecs that were not measured, by how they compare with H.264.

    Raises:
        BadArgument: that was not measured either.
    """
    if "h264 megapixels" not in rates or "h264 megabytes" not in rates:
        raise BadArgument("decoding was not measured on H.264", hint="measure it on a video of that codec")
    filled = dict(rates)
    for codec, ratios in {**_AS_H264, "other": _OTHER}.items():
        if f"{codec} megapixels" not in rates:
            for unit, ratio in zip(("megapixels", "megabytes"), ratios, strict=True):
                filled[f"{codec} {unit}"] = ratio * rates[f"h264 {unit}"]
    return filled


def _overlap(apart: CostModel, runs: Sequence[Run]) -> float:
    """How much of the shorter of decoding and what runs beside it was hidden, by least squares of shares of the total."""
    hidden, possible = [], []
    for run in runs:
        if run.total_seconds is not None:
            stages = {stage: cost.seconds for stage, cost in apart.predict(run.work).stages.items()}
            stages |= {stage: seconds for stage, seconds in run.stage_seconds.items() if stage != AFTER}
            hidden.append((sum(stages.values()) - run.total_seconds) / run.total_seconds)
            possible.append(min(stages["decode"], stages["preprocess"] + stages["encode"]) / run.total_seconds)
    share = float(np.dot(hidden, possible)) / max(float(np.dot(possible, possible)), 1e-12)
    return min(1.0, max(0.0, share))


def _nine_of_ten(misses: Sequence[float]) -> float:
    place = math.ceil(0.9 * (len(misses) + 1))
    return max(LEAST_ERROR, sorted(misses)[min(place, len(misses)) - 1])
