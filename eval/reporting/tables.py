"""The tables of a report, as text: the page and the Markdown show the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eval.reporting.contents import Chapter, Difference, Scored, flatten, versions_of
from eval.reporting.literature import NOT_COMPARABLE
from eval.reporting.texts import NAME_LIMIT, NOTHING, interval, number, shown, value_shown
from eval.scoring import EXACT_MATCH, JUDGE_SCORE, Measured
from eval.statistics import Estimate

_ALWAYS = ("model", "frames", "budget", "method", "dtype", "device")
"""What of a run's description has a column of its own, differ or not."""

_LATER = ("schema", "set", "questions.count")
"""What of it stands elsewhere, or says nothing to a reader."""

_ABOUT_DIFFERENCES = (
    "The difference is of the questions with a score in both runs, in its 95 % interval by a bootstrap over videos: one "
    "that holds 0 leaves open which run is better. p is McNemar's, exact, which takes questions of one video for "
    "independent."
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Text in rows and columns.

    Attributes:
        caption: what it shows.
        columns: their heads.
        rows: as many cells each; the first names the row.
        align: a letter a column, ``l`` for words and ``r`` for numbers.
        notes: what to know of it.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str
    notes: tuple[str, ...] = ()


def tables_of(chapter: Chapter) -> list[Table]:
    """All tables of a chapter, in order; those that would be empty are left out."""
    return [
        what_was_run(chapter),
        *accuracies(chapter),
        *retentions(chapter),
        *kinds(chapter),
        *differences(chapter),
        *reasons(chapter),
        *literature(chapter),
    ]


def what_was_run(chapter: Chapter) -> Table:
    """Which model was shown how much of each video; what is the same in all runs stands below."""
    described = [_described(each) for each in chapter.scored]
    keys = [key for key in dict.fromkeys(key for one in described for key in one) if key not in _LATER]
    unlike = [key for key in keys if len({value_shown(one[key]) for one in described if key in one}) > 1]
    columns = [key for key in (*_ALWAYS, *unlike) if key in keys]
    columns = list(dict.fromkeys(columns))
    same = []
    for key in keys:
        value = next(value_shown(one[key]) for one in described if key in one)
        if key not in columns and value != NOTHING:
            same.append(f"{shown(key, NAME_LIMIT)} {value}")
    rows = []
    for each, one in zip(chapter.scored, described, strict=True):
        num_lines = len(each.run.questions)
        num_failed = sum(line.prediction is None for line in each.run.questions)
        counts = (each.run.num_asked, num_lines - num_failed, num_failed, each.run.num_asked - num_lines)
        rows.append(
            (
                shown(each.name, NAME_LIMIT),
                *(value_shown(one.get(key)) for key in columns),
                *(f"{count:,}" for count in counts),
            )
        )
    return Table(
        caption="What was run",
        columns=("run", *(shown(key, NAME_LIMIT) for key in columns), "questions", "answered", "failed", "left"),
        rows=tuple(rows),
        align="l" * (1 + len(columns)) + "r" * 4,
        notes=("The same in all: " + "; ".join(same) + ".",) if same else (),
    )


def _described(scored: Scored) -> dict[str, Any]:
    versions = {f"version of {name}": version for name, version in versions_of(scored.run).items()}
    judge = {f"judge's {name}": value for name, value in (scored.summary.judge or {"model": None}).items()}
    return {**flatten(scored.run.described), **versions, **judge}


def accuracies(chapter: Chapter) -> Iterator[Table]:
    """What the runs scored, a table a metric: both denominators, and bounds over what has no score."""
    for metric in chapter.metrics:
        found = [(each, each.measured(metric)) for each in chapter.scored]
        rows = [
            (
                shown(each.name, NAME_LIMIT),
                _interval(metric, one.published),
                _interval(metric, one.strict),
                _bounds(one),
                f"{one.num_asked:,}",
                f"{one.num_scored:,}",
                f"{one.num_failed:,}",
                f"{one.num_unjudged:,}",
            )
            for each, one in found
            if one is not None
        ]
        if rows:
            yield Table(
                caption=_title(metric),
                columns=("run", "of the scored", "of all", "bounds", "asked", "scored", "failed", "unjudged"),
                rows=tuple(rows),
                align="lrrrrrrr",
            )


def kinds(chapter: Chapter) -> Iterator[Table]:
    """What the runs scored on each kind of question: by the leading metric, and by exact match."""
    for metric in dict.fromkeys((chapter.lead, EXACT_MATCH)):
        rows = []
        for kind in chapter.kinds:
            found = [each.measured(metric, kind) for each in chapter.scored]
            if any(found):
                asked = max(one.num_asked for one in found if one)
                cells = (_interval(metric, one.published) if one else NOTHING for one in found)
                rows.append((shown(kind, NAME_LIMIT) or NOTHING, f"{asked:,}", *cells))
        if rows:
            yield Table(
                caption=f"{_title(metric)} of the scored, by kind of question",
                columns=("kind", "asked", *(shown(each.name, NAME_LIMIT) for each in chapter.scored)),
                rows=tuple(rows),
                align="l" + "r" * (1 + len(chapter.scored)),
            )


def retentions(chapter: Chapter) -> Iterator[Table]:
    """How much of what the video brings each run keeps; nothing where the runs at both ends are not named."""
    if chapter.retentions:
        rows = [
            (
                shown(each.name, NAME_LIMIT),
                interval(one) if one.value is not None else one.reason,
                f"{one.num_questions:,}",
                f"{one.num_clusters:,}",
            )
            for each, one in zip(chapter.scored, chapter.retentions, strict=True)
        ]
        yield Table(
            caption="Kept of what whole frames bring above no video, %",
            columns=("run", "kept", "questions", "videos"),
            rows=tuple(rows),
            align="lrrr",
        )


def differences(chapter: Chapter) -> Iterator[Table]:
    """How the later runs differ from the first, question by question."""
    if not chapter.differences:
        return
    first = shown(chapter.scored[0].name, NAME_LIMIT)
    yield Table(
        caption=f"Difference to {first}, question by question",
        columns=(
            "run",
            "by",
            "difference",
            "only it right",
            "only the first right",
            "p",
            "questions",
            "videos",
            "left out",
        ),
        rows=tuple((shown(one.run, NAME_LIMIT), one.metric, *_compared(one)) for one in chapter.differences),
        align="llrrrrrrr",
        notes=(_ABOUT_DIFFERENCES,),
    )


def _compared(one: Difference) -> tuple[str, ...]:
    if one.compared is None:
        return (f"refused: {shown(one.refusal)}", *[NOTHING] * 6)
    difference, counts, p_value = one.compared.difference, one.compared.counts, one.compared.p_value
    return (
        _interval(one.metric, difference, sign=True),
        *((f"{counts.only_first:,}", f"{counts.only_second:,}") if counts else (NOTHING, NOTHING)),
        NOTHING if p_value is None else "<0.001" if p_value < 0.001 else f"{p_value:.3f}",
        f"{difference.num_questions:,}",
        f"{difference.num_clusters:,}",
        f"{difference.num_unscored:,}",
    )


def reasons(chapter: Chapter) -> Iterator[Table]:
    """Why questions have no answer, or no verdict; nothing where all have both."""
    rows = []
    for what, of_run in (
        ("no answer", [each.summary.failures for each in chapter.scored]),
        ("no verdict", [each.summary.unjudged for each in chapter.scored]),
    ):
        rows += [
            (shown(reason), what, *(f"{counts.get(reason, 0):,}" for counts in of_run))
            for reason in dict.fromkeys(reason for counts in of_run for reason in counts)
        ]
    if rows:
        yield Table(
            caption="Questions without an answer or a verdict, by reason",
            columns=("reason", "what is missing", *(shown(each.name, NAME_LIMIT) for each in chapter.scored)),
            rows=tuple(rows),
            align="ll" + "r" * len(chapter.scored),
            notes=("They count against the run in the column “of all”, and nowhere else.",),
        )


def literature(chapter: Chapter) -> Iterator[Table]:
    """What was published under the set's name; nothing for sets of which nothing was."""
    if chapter.literature:
        yield Table(
            caption=f"Published accuracies, not comparable with the runs above ({chapter.title})",
            columns=("row", "visual tokens", "accuracy, %", "questions asked", "judge", "source"),
            rows=tuple(
                (
                    f"{one.system} (second hand)" if one.is_second_hand else one.system,
                    one.visual_tokens or NOTHING,
                    f"{one.accuracy:.1f}",
                    one.questions,
                    one.judge,
                    f"{one.source}; {one.note}" if one.note else one.source,
                )
                for one in chapter.literature
            ),
            align="lrrlll",
            notes=(NOT_COMPARABLE,),
        )


def _title(metric: str) -> str:
    unit = "0 to 5" if metric == JUDGE_SCORE else "%"
    return f"{metric[:1].upper()}{metric[1:]}, {unit}"


def _interval(metric: str, estimate: Estimate, *, sign: bool = False) -> str:
    return interval(estimate, **_unit(metric), sign=sign)


def _bounds(one: Measured) -> str:
    low, high = (number(end, **_unit(one.metric)) for end in (one.bound_low, one.bound_high))
    return low if low == high else f"{low} to {high}"


def _unit(metric: str) -> dict[str, Any]:
    return {"scale": 1.0, "digits": 2} if metric == JUDGE_SCORE else {}
