"""The content of a report: runs by question set, their scores, and their differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from eval.comparing import GroupDifference, compare
from eval.datasets import SETS
from eval.reporting.examples import Example
from eval.reporting.input_frames import InputFrames
from eval.reporting.literature import PublishedResult, published_results
from eval.reporting.scored_run import ScoredRun, leading_metric
from eval.scoring import ALL, EXACT_MATCH, JUDGE_ACCURACY, Retention, ScoringError, retention


@dataclass(frozen=True, kw_only=True)
class RunDifference:
    """The difference between a run and the first one, the baseline; or the reason why they cannot be compared."""

    metric: str
    run: str
    baseline: str
    compared: GroupDifference | None
    refusal: str = ""


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """The runs of one question set.

    Attributes:
        set_name: in :data:`eval.datasets.SETS`, or another name from the runs' settings.
        runs: in the given order.
        differences: of each later run to the first one, metric by metric.
        retentions: of each run, by the leading metric; empty without an uncompressed run and one without video.
        published: results published for the set.
        examples: example questions.
        input_frames: the frames that a run received of an example's video, by the run's index and question id.
    """

    set_name: str
    runs: tuple[ScoredRun, ...]
    differences: tuple[RunDifference, ...] = ()
    retentions: tuple[Retention, ...] = ()
    published: tuple[PublishedResult, ...] = ()
    examples: tuple[Example, ...] = ()
    input_frames: Mapping[tuple[int, str], InputFrames] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The set's display name."""
        known = SETS.get(self.set_name)
        return known.title if known else self.set_name

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of all runs, the leading one first."""
        return tuple(
            dict.fromkeys((self.leading_metric, *(name for each in self.runs for name in each.question_scores)))
        )

    @property
    def leading_metric(self) -> str:
        """See :func:`eval.reporting.scored_run.leading_metric`."""
        return leading_metric(self.runs)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of questions, in the set's own order."""
        found = dict.fromkeys(one.group for each in self.runs for one in each.summary.scores if one.group != ALL)
        known = SETS[self.set_name].kinds if self.set_name in SETS else ()
        return (*(kind for kind in known if kind in found), *(kind for kind in found if kind not in known))


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report with one chapter per question set; ``made_by`` is the program and its version."""

    title: str
    made_by: str
    chapters: tuple[Chapter, ...]


def make_chapters(
    runs: Iterable[ScoredRun], *, uncompressed: Iterable[ScoredRun] = (), no_video: Iterable[ScoredRun] = ()
) -> tuple[Chapter, ...]:
    """Group runs by question set, and compare those of one set with the first of them.

    Args:
        runs: the runs.
        uncompressed: runs with uncompressed video, at most one per set.
        no_video: runs without video, at most one per set; a set that has both gets retentions.

    Raises:
        ScoringError: a set has several uncompressed runs or several without video, or their questions differ from those
            of its runs.
    """
    by_set: dict[str, list[ScoredRun]] = {}
    for one in runs:
        by_set.setdefault(_set_name(one), []).append(one)
    ceilings, floors = _one_per_set(uncompressed, "uncompressed"), _one_per_set(no_video, "no-video")
    return tuple(
        Chapter(
            set_name=name,
            runs=tuple(of_set),
            differences=tuple(_differences(of_set)),
            retentions=tuple(_retentions(of_set, ceilings.get(name), floors.get(name))),
            published=published_results(name),
        )
        for name, of_set in by_set.items()
    )


def _set_name(scored: ScoredRun) -> str:
    return str(scored.run.settings.get("set") or "a set without a name")


def _one_per_set(runs: Iterable[ScoredRun], role: str) -> dict[str, ScoredRun]:
    by_set: dict[str, ScoredRun] = {}
    for one in runs:
        name = _set_name(one)
        if name in by_set:
            raise ScoringError(f"{by_set[name].name!r} and {one.name!r} are both the {role} run of {name}", "give one")
        by_set[name] = one
    return by_set


def _retentions(
    runs: Sequence[ScoredRun], uncompressed: ScoredRun | None, no_video: ScoredRun | None
) -> Iterable[Retention]:
    if uncompressed is not None and no_video is not None:
        metric = leading_metric([*runs, uncompressed, no_video])
        ceiling, floor = uncompressed.question_scores[metric], no_video.question_scores[metric]
        for one in runs:
            yield retention(one.question_scores[metric], ceiling, floor)


def _differences(runs: Sequence[ScoredRun]) -> Iterable[RunDifference]:
    first, *others = runs
    for metric in dict.fromkeys((leading_metric(runs), EXACT_MATCH)):
        for other in others:
            names = {"metric": metric, "run": other.name, "baseline": first.name}
            both = (other.judgements, first.judgements) if other.judgements and first.judgements else None
            try:
                found = compare(other.run, first.run, metric, judgements=both if metric == JUDGE_ACCURACY else None)
                yield RunDifference(**names, compared=found.groups[0])
            except ScoringError as error:
                yield RunDifference(**names, compared=None, refusal=error.message)
