"""What a report says: runs by their question set, what they scored, and how they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eval.comparing import Compared, compare
from eval.datasets import SETS
from eval.reporting.frames import Look
from eval.reporting.literature import Published, published
from eval.results import Run
from eval.scoring import (
    ALL,
    EXACT_MATCH,
    JUDGE_ACCURACY,
    Judged,
    Measured,
    Retention,
    ScoringError,
    Summary,
    grade,
    retention,
    summarise,
)
from eval.statistics import Graded

if TYPE_CHECKING:
    from eval.reporting.examples import Example


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A run with what it scored; :func:`score` makes one.

    Attributes:
        run: it.
        judged: the judge and its judgements; None where there was none.
        summary: what it scored.
        graded: by metric, the score of each question.
    """

    run: Run
    judged: Judged | None
    summary: Summary
    graded: Mapping[str, tuple[Graded, ...]]

    @property
    def name(self) -> str:
        """What tables call the run."""
        return self.run.name

    def measured(self, metric: str, group: str = ALL) -> Measured | None:
        """Find what was measured of all questions, or of a kind; None where it was not."""
        return next((one for one in self.summary.measured if (one.metric, one.group) == (metric, group)), None)


def score(run: Run, judged: Judged | None = None, *, is_unfinished_allowed: bool = False) -> Scored:
    """Score a run for a report.

    Args:
        run: it.
        judged: a judge and its judgements; None measures without one.
        is_unfinished_allowed: take a run of which questions are still to be asked; they count as failed.

    Raises:
        ScoringError: as :func:`eval.scoring.summarise` raises it.
    """
    summary = summarise(run, judged, is_unfinished_allowed=is_unfinished_allowed)
    return Scored(run=run, judged=judged, summary=summary, graded=grade(run, judged))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much better a run scores than the first one, on the questions of both.

    Attributes:
        metric: by which.
        run: the run's name.
        baseline: the first one's.
        compared: the difference; None where the two cannot be compared.
        refusal: why not; empty where they can.
    """

    metric: str
    run: str
    baseline: str
    compared: Compared | None
    refusal: str = ""


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """The runs of one question set.

    Attributes:
        set_name: in :data:`eval.datasets.SETS`, or what the runs call it.
        scored: the runs, as they were given.
        differences: each later run's to the first one, metric by metric.
        retentions: how much each run keeps of what the full video brings above the blind floor, by the leading metric;
            nothing where no such runs were named.
        literature: what was published under the set's name.
        examples: questions to look at.
        looks: what of an example's video a run was shown, by the run's place and the question's id.
    """

    set_name: str
    scored: tuple[Scored, ...]
    differences: tuple[Difference, ...] = ()
    retentions: tuple[Retention, ...] = ()
    literature: tuple[Published, ...] = ()
    examples: tuple[Example, ...] = ()
    looks: Mapping[tuple[int, str], Look] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The set's name for people."""
        known = SETS.get(self.set_name)
        return known.title if known else self.set_name

    @property
    def metrics(self) -> tuple[str, ...]:
        """What was measured of any run, in order; what the chapter leads with comes first."""
        names = [name for each in self.scored for name in each.graded]
        return tuple(dict.fromkeys((self.lead, *names)))

    @property
    def lead(self) -> str:
        """The metric that the chapter leads with: a judge's verdicts where one judge judged all runs."""
        return leading_metric(self.scored)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of questions, in the set's own order."""
        there = dict.fromkeys(one.group for each in self.scored for one in each.summary.measured if one.group != ALL)
        known = SETS[self.set_name].kinds if self.set_name in SETS else ()
        return (*(kind for kind in known if kind in there), *(kind for kind in there if kind not in known))


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that a report says.

    Attributes:
        title: what stands above it.
        made_by: the program and its version.
        chapters: one a question set, in the order in which runs of it were given.
    """

    title: str
    made_by: str
    chapters: tuple[Chapter, ...]


def leading_metric(scored: Sequence[Scored]) -> str:
    """What a chapter leads with: a judge's verdicts where one judge judged all its runs, else exact match."""
    judges = {one.summary.judge["fingerprint"] if one.summary.judge else None for one in scored}
    return EXACT_MATCH if None in judges or len(judges) > 1 else JUDGE_ACCURACY


def make_chapters(
    scored: Iterable[Scored], *, full: Iterable[Scored] = (), blind: Iterable[Scored] = ()
) -> tuple[Chapter, ...]:
    """Sort runs by their question set, and compare those of one set with the first of them.

    Args:
        scored: the runs.
        full: runs of whole frames, one a set at most.
        blind: runs without videos, one a set at most; where a set has both, it is told what each run keeps.

    Raises:
        ScoringError: there are several full or blind runs of a set, or they are of other questions than its runs.
    """
    of_set: dict[str, list[Scored]] = {}
    for one in scored:
        of_set.setdefault(_set_of(one), []).append(one)
    ceilings, floors = _one_a_set(full, "full"), _one_a_set(blind, "blind")
    return tuple(
        Chapter(
            set_name=name,
            scored=tuple(runs),
            differences=tuple(_differences(runs)),
            retentions=tuple(_retentions(runs, ceilings.get(name), floors.get(name))),
            literature=published(name),
        )
        for name, runs in of_set.items()
    )


def _set_of(scored: Scored) -> str:
    return str(scored.run.described.get("set") or "a set without a name")


def _one_a_set(runs: Iterable[Scored], what: str) -> dict[str, Scored]:
    of_set: dict[str, Scored] = {}
    for one in runs:
        name = _set_of(one)
        if name in of_set:
            raise ScoringError(f"{of_set[name].name!r} and {one.name!r} are both the {what} run of {name}", "give one")
        of_set[name] = one
    return of_set


def _retentions(runs: Sequence[Scored], full: Scored | None, blind: Scored | None) -> Iterable[Retention]:
    if full is not None and blind is not None:
        metric = leading_metric([*runs, full, blind])
        for one in runs:
            yield retention(one.graded[metric], full.graded[metric], blind.graded[metric])


def _differences(runs: Sequence[Scored]) -> Iterable[Difference]:
    first, *others = runs
    for metric in dict.fromkeys((leading_metric(runs), EXACT_MATCH)):
        for other in others:
            named = {"metric": metric, "run": other.name, "baseline": first.name}
            both = (other.judged, first.judged) if other.judged and first.judged else None
            try:
                found = compare(other.run, first.run, metric, judged=both if metric == JUDGE_ACCURACY else None)
                yield Difference(**named, compared=found.compared[0])
            except ScoringError as error:
                yield Difference(**named, compared=None, refusal=error.message)


def flatten(described: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Bring what is nested in a run's description to one level, its names joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in described.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def versions_of(run: Run) -> dict[str, str]:
    """Return the versions of the packages that answered; several where a run was gone on with after an update."""
    seen: dict[str, dict[str, None]] = {}
    for one in run.questions:
        versions = one.trace.get("versions")
        if isinstance(versions, Mapping):
            for name, version in versions.items():
                seen.setdefault(str(name), {})[str(version)] = None
    return {name: " and ".join(versions) for name, versions in seen.items()}
