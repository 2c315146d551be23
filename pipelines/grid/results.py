"""What a grid found: accuracies, paired differences, what is kept above the floor."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from eval.comparing import compare
from eval.results import Run
from eval.scoring import ALL, EXACT_MATCH, Retention, grade, retention, summarise
from eval.statistics import Estimate
from pipelines.grid.settings import BLIND, FULL, Setting
from pipelines.scoring.runs import read


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one setting scored, by exact match of all questions; what failed counts as wrong.

    Attributes:
        setting: it.
        accuracy: with a 95 % interval clustered by video.
        by_kind: the same for each kind of question.
        kept: how much it keeps of what 8 full frames bring above no video; None where those runs are not there.
        num_failed: questions without an answer.
        seconds: mean seconds a video took in each stage.
    """

    setting: Setting
    accuracy: Estimate
    by_kind: Mapping[str, Estimate]
    kept: Retention | None
    num_failed: int
    seconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much better a setting is than another, question by question, what failed counting as wrong."""

    setting: Setting
    against: Setting
    estimate: Estimate


@dataclass(frozen=True, kw_only=True)
class Found:
    """All that a grid found.

    Attributes:
        cells: every setting's, in order.
        at_same_frames: each setting less the baseline method's at the same frames and budget; of several baselines,
            the better one there.
        at_best: each method at its best frame count less the baseline's best, budget by budget. Both are chosen by
            these very answers: on a split that choices are made by, that is what it is for; elsewhere it flatters both.
    """

    cells: tuple[Cell, ...]
    at_same_frames: tuple[Difference, ...]
    at_best: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it, as JSON takes it."""
        return {
            "schema": "vidzip/grid/1",
            "settings": [
                {
                    **_described(cell.setting),
                    "accuracy": asdict(cell.accuracy),
                    "by_kind": {kind: asdict(one) for kind, one in cell.by_kind.items()},
                    "kept_above_blind": None if cell.kept is None else asdict(cell.kept),
                    "failed": cell.num_failed,
                    "seconds_a_video": dict(cell.seconds),
                }
                for cell in self.cells
            ],
            "differences_at_same_frames": [_difference(one) for one in self.at_same_frames],
            "differences_at_best_frames": [_difference(one) for one in self.at_best],
        }


def find_out(out: str, settings: Sequence[Setting], against: Sequence[str]) -> Found:
    """Read a grid's runs and compare them.

    Args:
        out: where the runs lie, each in a folder of its setting's key.
        settings: them.
        against: titles of the methods that others are compared with.
    """
    runs = {setting.key: read(os.path.join(out, setting.key)) for setting in settings}
    cells = [_cell(setting, runs) for setting in settings]
    score = {cell.setting.key: cell.accuracy.value or 0.0 for cell in cells}
    ours = [setting for setting in settings if setting.method is not None]
    baselines = [setting for setting in ours if setting.title in against]
    others = [setting for setting in ours if setting.title not in against]

    def best(some: Sequence[Setting]) -> Setting:
        return max(some, key=lambda one: score[one.key])

    same, tops = [], []
    for setting in others:
        rivals = [one for one in baselines if (one.frames, one.budget) == (setting.frames, setting.budget)]
        if rivals:
            same.append(_compared(setting, best(rivals), runs))
    for budget in dict.fromkeys(setting.budget for setting in ours):
        rivals = [one for one in baselines if one.budget == budget]
        for title in dict.fromkeys(one.title for one in others):
            mine = [one for one in others if (one.title, one.budget) == (title, budget)]
            if rivals and mine:
                tops.append(_compared(best(mine), best(rivals), runs))
    return Found(cells=tuple(cells), at_same_frames=tuple(same), at_best=tuple(tops))


def _cell(setting: Setting, runs: Mapping[str, Run]) -> Cell:
    run = runs[setting.key]
    summary = summarise(run)
    measured = {one.group: one for one in summary.measured if one.metric == EXACT_MATCH}
    kept = None
    if setting.frames and FULL in runs and BLIND in runs:
        kept = retention(*(grade(one)[EXACT_MATCH] for one in (run, runs[FULL], runs[BLIND])))
    return Cell(
        setting=setting,
        accuracy=measured[ALL].strict,
        by_kind={group: one.strict for group, one in measured.items() if group != ALL},
        kept=kept,
        num_failed=measured[ALL].num_failed,
        seconds=_seconds(run),
    )


def _seconds(run: Run) -> dict[str, float]:
    """Mean seconds a video took in each stage, each video counted once."""
    of_video = {one.video: one.trace["video_seconds"] for one in run.questions if one.trace.get("video_seconds")}
    stages = dict.fromkeys(stage for seconds in of_video.values() for stage in seconds)
    return {stage: sum(one.get(stage, 0.0) for one in of_video.values()) / len(of_video) for stage in stages}


def _compared(setting: Setting, against: Setting, runs: Mapping[str, Run]) -> Difference:
    comparison = compare(runs[setting.key], runs[against.key], EXACT_MATCH, is_strict=True)
    (of_all,) = (one for one in comparison.compared if one.group == ALL)
    return Difference(setting=setting, against=against, estimate=of_all.difference)


def _described(setting: Setting) -> dict[str, Any]:
    return {"run": setting.key, "method": setting.title, "frames": setting.frames, "budget": setting.budget}


def _difference(one: Difference) -> dict[str, Any]:
    return {"run": one.setting.key, "against": one.against.key, "difference": asdict(one.estimate)}
