"""Compare predictions of the planner's cost model with measurements."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipelines.bench.measuring import FROM_FILE, CaseResult
from pipelines.bench.settings import FILE, VIDZIP, Case
from pipelines.bench.variants import MeasuredModel
from vidzip import VideoModel, probe
from vidzip.calibration import find_costs
from vidzip.planner import Architecture, CostModel, default_costs
from vidzip.planner.assumed_costs import device_kind
from vidzip.planner.costs import GENERATE, Workload, video_stats

FROM_ENCODING = "encode to first token"
"""All stages from encoding on."""

_STAGES = ("encode", "compress", "project", "prefill")
"""Stages that do not depend on where frames are resized: in the decoder, or before encoding."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A predicted and a measured time.

    Attributes:
        case: a case of vidzip's own variants.
        name: a stage, or the name of a sum of stages.
        predicted: predicted seconds.
        error: relative error bound of the prediction, as given by the cost model.
        measured: median of the measured seconds.
    """

    case: Case
    name: str
    predicted: float
    error: float
    measured: float

    @property
    def relative_error(self) -> float:
        """Relative difference of the prediction from the measurement."""
        return self.predicted / self.measured - 1


def costs_of(model: VideoModel) -> CostModel:
    """Return a model's calibrated costs on this machine, or the assumed ones.

    Raises:
        BadCalibration: the calibration cannot be read.
    """
    dtype = str(model.dtype).removeprefix("torch.")
    shape = Architecture.from_config(model.config.to_dict()).model_shape(model.name, dtype, model.batch_frames)
    return find_costs(model.name, str(model.device), dtype) or default_costs(
        shape, device_kind(model.device.type), dtype
    )


def predict(
    results: Sequence[CaseResult], models: Mapping[str, MeasuredModel], costs: Mapping[str, CostModel]
) -> Iterator[Prediction]:
    """Predict vidzip's variants: each stage from encoding on, and the total from a file.

    Args:
        results: results of all cases.
        models: models by precision.
        costs: cost models by precision.
    """
    for result in results:
        case = result.case
        if case.variant == VIDZIP:
            yield from _predict_stages(result, models[case.dtype], costs[case.dtype])
        elif case.variant == FILE:
            total = costs[case.dtype].predict(_workload(case, models[case.dtype]))
            measured = statistics.median(result.seconds(FROM_FILE))
            yield Prediction(case=case, name=FROM_FILE, predicted=total.seconds, error=total.error, measured=measured)


def _predict_stages(result: CaseResult, model: MeasuredModel, costs: CostModel) -> Iterator[Prediction]:
    total = costs.predict(_workload(result.case, model))
    predicted = {stage: total.stages[stage] for stage in _STAGES} | {GENERATE: total.seconds_per_new_token}
    for stage, cost in predicted.items():
        measured = result.median(stage)
        if measured is not None:
            yield Prediction(
                case=result.case, name=stage, predicted=cost.seconds, error=cost.error, measured=measured.median
            )
    if result.median("prefill") is not None:
        yield Prediction(
            case=result.case,
            name=FROM_ENCODING,
            predicted=sum(predicted[stage].seconds for stage in _STAGES),
            error=total.error,
            measured=statistics.median(sum(seconds[stage] for stage in _STAGES) for seconds in result.rounds),
        )


def _workload(case: Case, model: MeasuredModel) -> Workload:
    question = model.question
    return Workload(
        num_frames=case.frames,
        num_encoded_frames=case.frames,
        total_tokens=case.tokens or 0,
        prompt_tokens=0 if question is None else model.model.family.prompt(question).num_tokens,
        video=None if case.video is None else video_stats(probe(case.video)),
    )
