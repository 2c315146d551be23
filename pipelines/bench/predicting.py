"""What the planner's cost model predicts, beside what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipelines.bench.measuring import FROM_FILE, Measured
from pipelines.bench.settings import FILE, OURS, Case
from pipelines.bench.ways import Subject
from vidzip import VideoModel, probe
from vidzip.calibration import find_costs
from vidzip.planner import Architecture, CostModel, default_costs
from vidzip.planner.assumed_costs import device_kind
from vidzip.planner.costs import GENERATE, Workload, video_stats

FROM_ENCODING = "encode to first token"
"""All stages from encoding on."""

_STAGES = ("encode", "compress", "project", "prefill")
"""What is the same whoever resizes frames: the decoder, as on a CPU where a file is read, or the stage before these."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One figure of one case.

    Attributes:
        case: of vidzip's own ways.
        what: a stage, or seconds of several together.
        predicted: seconds.
        error: how far off that may be, as the cost model says, as a share of it.
        measured: the median of seconds.
    """

    case: Case
    what: str
    predicted: float
    error: float
    measured: float

    @property
    def off(self) -> float:
        """How far the prediction is from what was measured, as a share of that."""
        return self.predicted / self.measured - 1


def costs_of(model: VideoModel) -> CostModel:
    """Find what was measured of a model here by ``vidzip calibrate``, or else what is assumed of such a device.

    Raises:
        BadCalibration: what was measured cannot be read.
    """
    dtype = str(model.dtype).removeprefix("torch.")
    shape = Architecture.from_config(model.config.to_dict()).model_shape(model.name, dtype, model.batch_frames)
    return find_costs(model.name, str(model.device), dtype) or default_costs(
        shape, device_kind(model.device.type), dtype
    )


def predict(
    measured: Sequence[Measured], subjects: Mapping[str, Subject], costs: Mapping[str, CostModel]
) -> Iterator[Prediction]:
    """Predict what vidzip's own ways take: its stages from encoding on, and from a file all of it.

    Args:
        measured: of all cases.
        subjects: the models, by precision.
        costs: cost models, by precision.
    """
    for one in measured:
        if one.case.way == OURS:
            yield from _predict_stages(one, subjects[one.case.dtype], costs[one.case.dtype])
        elif one.case.way == FILE:
            whole = costs[one.case.dtype].predict(_work(one.case, subjects[one.case.dtype]))
            taken = statistics.median(one.series(FROM_FILE))
            yield Prediction(case=one.case, what=FROM_FILE, predicted=whole.seconds, error=whole.error, measured=taken)


def _predict_stages(measured: Measured, subject: Subject, costs: CostModel) -> Iterator[Prediction]:
    whole = costs.predict(_work(measured.case, subject))
    predicted = {stage: whole.stages[stage] for stage in _STAGES} | {GENERATE: whole.seconds_per_new_token}
    for stage, cost in predicted.items():
        found = measured.middle(stage)
        if found is not None:
            yield Prediction(
                case=measured.case, what=stage, predicted=cost.seconds, error=cost.error, measured=found.median
            )
    if measured.middle("prefill") is not None:
        yield Prediction(
            case=measured.case,
            what=FROM_ENCODING,
            predicted=sum(predicted[stage].seconds for stage in _STAGES),
            error=whole.error,
            measured=statistics.median(sum(one[stage] for stage in _STAGES) for one in measured.rounds),
        )


def _work(case: Case, subject: Subject) -> Workload:
    question = subject.question
    return Workload(
        num_frames=case.frames,
        num_encoded_frames=case.frames,
        total_tokens=case.tokens or 0,
        prompt_tokens=0 if question is None else subject.model.family.prompt(question).num_tokens,
        video=None if case.video is None else video_stats(probe(case.video)),
    )
