"""The tables of a report as text; the page and the Markdown show the same tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from eval.reporting.formatting import (
    MAX_NAME,
    MISSING,
    format_interval,
    format_number,
    format_value,
    safe_text,
    unit_of,
)
from eval.reporting.literature import NOT_COMPARABLE
from eval.reporting.report import Chapter, RunDifference
from eval.reporting.scored_run import ScoredRun, flatten_settings, package_versions
from eval.scoring import EXACT_MATCH, JUDGE_SCORE, MetricScore
from eval.statistics import Estimate

_ALWAYS_SHOWN = ("model", "frames", "budget", "method", "dtype", "device")
"""Settings that always have a column; others have one if the runs differ in them."""

_NEVER_SHOWN = ("schema", "set", "questions.count")
"""Settings that are shown elsewhere, or are of no interest to readers."""

_ABOUT_DIFFERENCES = (
    "Differences cover the questions with a score in both runs. Their 95 % intervals are from a bootstrap over videos; if "
    "an interval contains 0, either run may be better. p is from McNemar's exact test, which assumes independent questions."
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Text in rows and columns.

    Attributes:
        caption: the table's title.
        columns: their headings.
        rows: their cells; the first names the row.
        align: a letter per column, ``l`` for text and ``r`` for numbers.
        notes: explanations below the table.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str
    notes: tuple[str, ...] = ()


def tables_of(chapter: Chapter) -> list[Table]:
    """All tables of a chapter, in order, except empty ones."""
    return [
        settings(chapter),
        *accuracies(chapter),
        *retentions(chapter),
        *kinds(chapter),
        *differences(chapter),
        *reasons(chapter),
        *literature(chapter),
    ]


def settings(chapter: Chapter) -> Table:
    """The settings of the runs; those that are the same in all runs are in the note."""
    by_run = [_settings(each) for each in chapter.runs]
    keys = [key for key in dict.fromkeys(key for one in by_run for key in one) if key not in _NEVER_SHOWN]
    different = [key for key in keys if len({format_value(one[key]) for one in by_run if key in one}) > 1]
    columns = list(dict.fromkeys(key for key in (*_ALWAYS_SHOWN, *different) if key in keys))
    same = []
    for key in keys:
        value = next(format_value(one[key]) for one in by_run if key in one)
        if key not in columns and value != MISSING:
            same.append(f"{safe_text(key, MAX_NAME)} {value}")
    rows = []
    for each, one in zip(chapter.runs, by_run, strict=True):
        num_results = len(each.run.results)
        num_failed = sum(result.prediction is None for result in each.run.results)
        num_asked = each.run.num_questions
        counts = (num_asked, num_results - num_failed, num_failed, num_asked - num_results)
        rows.append(
            (
                safe_text(each.name, MAX_NAME),
                *(format_value(one.get(key)) for key in columns),
                *(f"{count:,}" for count in counts),
            )
        )
    return Table(
        caption="Runs",
        columns=("run", *(safe_text(key, MAX_NAME) for key in columns), "questions", "answered", "failed", "not asked"),
        rows=tuple(rows),
        align="l" * (1 + len(columns)) + "r" * 4,
        notes=("Same in all runs: " + "; ".join(same) + ".",) if same else (),
    )


def _settings(scored: ScoredRun) -> dict[str, Any]:
    versions = {f"version of {name}": version for name, version in package_versions(scored.run).items()}
    judge = {f"judge's {name}": value for name, value in (scored.summary.judge or {"model": None}).items()}
    return {**flatten_settings(scored.run.settings), **versions, **judge}


def accuracies(chapter: Chapter) -> Iterator[Table]:
    """The runs' scores, one table per metric: both denominators, and bounds over unjudged answers."""
    for metric in chapter.metrics:
        found = [(each, each.find(metric)) for each in chapter.runs]
        rows = [
            (
                safe_text(each.name, MAX_NAME),
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
                columns=("run", "of scored", "of all", "bounds", "questions", "scored", "failed", "unjudged"),
                rows=tuple(rows),
                align="lrrrrrrr",
            )


def kinds(chapter: Chapter) -> Iterator[Table]:
    """The runs' scores on each kind of question: by the leading metric, and by exact match."""
    for metric in dict.fromkeys((chapter.leading_metric, EXACT_MATCH)):
        rows = []
        for kind in chapter.kinds:
            found = [each.find(metric, kind) for each in chapter.runs]
            if any(found):
                num_asked = max(one.num_asked for one in found if one)
                cells = (_interval(metric, one.published) if one else MISSING for one in found)
                rows.append((safe_text(kind, MAX_NAME) or MISSING, f"{num_asked:,}", *cells))
        if rows:
            yield Table(
                caption=f"{_title(metric)}, of scored questions, by kind",
                columns=("kind", "questions", *(safe_text(each.name, MAX_NAME) for each in chapter.runs)),
                rows=tuple(rows),
                align="l" + "r" * (1 + len(chapter.runs)),
            )


def retentions(chapter: Chapter) -> Iterator[Table]:
    """The runs' retention; nothing without an uncompressed run and one without video."""
    if chapter.retentions:
        rows = [
            (
                safe_text(each.name, MAX_NAME),
                format_interval(one) if one.value is not None else one.reason,
                f"{one.num_questions:,}",
                f"{one.num_clusters:,}",
            )
            for each, one in zip(chapter.runs, chapter.retentions, strict=True)
        ]
        yield Table(
            caption="Retention: share of the gain from uncompressed video over no video, %",
            columns=("run", "retention", "questions", "videos"),
            rows=tuple(rows),
            align="lrrr",
        )


def differences(chapter: Chapter) -> Iterator[Table]:
    """The differences between the later runs and the first, question by question."""
    if not chapter.differences:
        return
    first = safe_text(chapter.runs[0].name, MAX_NAME)
    yield Table(
        caption=f"Difference to {first}, question by question",
        columns=(
            "run",
            "metric",
            "difference",
            "only this run right",
            "only the first right",
            "p",
            "questions",
            "videos",
            "left out",
        ),
        rows=tuple((safe_text(one.run, MAX_NAME), one.metric, *_compared(one)) for one in chapter.differences),
        align="llrrrrrrr",
        notes=(_ABOUT_DIFFERENCES,),
    )


def _compared(one: RunDifference) -> tuple[str, ...]:
    if one.compared is None:
        return (f"refused: {safe_text(one.refusal)}", *[MISSING] * 6)
    difference, counts, p_value = one.compared.difference, one.compared.counts, one.compared.p_value
    return (
        _interval(one.metric, difference, sign=True),
        *((f"{counts.only_first:,}", f"{counts.only_second:,}") if counts else (MISSING, MISSING)),
        MISSING if p_value is None else "<0.001" if p_value < 0.001 else f"{p_value:.3f}",
        f"{difference.num_questions:,}",
        f"{difference.num_clusters:,}",
        f"{difference.num_unscored:,}",
    )


def reasons(chapter: Chapter) -> Iterator[Table]:
    """Why questions failed or are unjudged; nothing if none are."""
    rows = []
    for status, by_run in (
        ("failed", [each.summary.failures for each in chapter.runs]),
        ("unjudged", [each.summary.unjudged for each in chapter.runs]),
    ):
        rows += [
            (safe_text(reason), status, *(f"{counts.get(reason, 0):,}" for counts in by_run))
            for reason in dict.fromkeys(reason for counts in by_run for reason in counts)
        ]
    if rows:
        yield Table(
            caption="Failed and unjudged questions, by reason",
            columns=("reason", "status", *(safe_text(each.name, MAX_NAME) for each in chapter.runs)),
            rows=tuple(rows),
            align="ll" + "r" * len(chapter.runs),
            notes=("These questions count as wrong in the column “of all”, and are left out elsewhere.",),
        )


def literature(chapter: Chapter) -> Iterator[Table]:
    """The results published for the set, if any."""
    if chapter.published:
        yield Table(
            caption=f"Published accuracies, not comparable with the runs above ({chapter.title})",
            columns=("system", "visual tokens", "accuracy, %", "questions asked", "judge", "source"),
            rows=tuple(
                (
                    f"{one.system} (second-hand)" if one.is_second_hand else one.system,
                    one.visual_tokens or MISSING,
                    f"{one.accuracy:.1f}",
                    one.questions,
                    one.judge,
                    f"{one.source}; {one.note}" if one.note else one.source,
                )
                for one in chapter.published
            ),
            align="lrrlll",
            notes=(NOT_COMPARABLE,),
        )


def _title(metric: str) -> str:
    unit = "0 to 5" if metric == JUDGE_SCORE else "%"
    return f"{metric[:1].upper()}{metric[1:]}, {unit}"


def _interval(metric: str, estimate: Estimate, *, sign: bool = False) -> str:
    return format_interval(estimate, **unit_of(metric), sign=sign)


def _bounds(one: MetricScore) -> str:
    low, high = (format_number(end, **unit_of(one.metric)) for end in (one.bound_low, one.bound_high))
    return low if low == high else f"{low} to {high}"
