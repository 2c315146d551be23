"""Scores, comparisons and agreement in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eval.agreement import Agreement
from eval.comparing import Comparison
from eval.reporting.formatting import MISSING, escape_markdown, format_interval, format_number, unit_of
from eval.scoring import MetricScore, Summary
from eval.statistics import TwoByTwo
from pipelines.scoring.scoring import RunScores
from pipelines.terminal import print_line, print_markdown_table, print_message, print_table, printable

MAX_CELL, MAX_TEXT = 40, 120
"""Limits on the characters of a run's text in a table and in a list; JSON has all."""

_COLUMNS = (
    "metric", "questions", "of scored", "s.e.", "of all", "bounds",
    "asked", "scored", "failed", "unjudged", "videos",
)  # fmt: skip


def print_scores(scores: RunScores, *, is_markdown: bool) -> None:
    """Print a run's scores, as Markdown if asked for."""
    summary = scores.summary

    def show(rows: Sequence[Sequence[str]], header: Sequence[str]) -> None:
        if is_markdown:
            print_markdown_table([[escape_markdown(cell) for cell in row] for row in rows], header)
        else:
            print_table(rows, header)

    title = _title(summary)
    print_line(f"**{escape_markdown(title)}**\n" if is_markdown else title)
    for warning in summary.warnings:
        print_message("warning", f"{_safe(summary.name)}: {warning}")
    show([_row(one) for one in summary.scores], _COLUMNS)
    if scores.retentions:
        print_line()
        show(
            [
                (metric, format_interval(one), f"{one.num_questions:,}", f"{one.num_clusters:,}", one.reason)
                for metric, one in scores.retentions.items()
            ],
            ("retention", "share", "questions", "videos", ""),
        )
    counts = [
        *((f"failed: {_safe(reason)}", f"{count:,}") for reason, count in summary.failures.items()),
        *((f"unjudged: {_safe(reason)}", f"{count:,}") for reason, count in summary.unjudged.items()),
    ]
    if summary.contradictions:
        counts.append(("judge: verdict contradicts rating", f"{summary.contradictions:,}"))
    if counts:
        print_line()
        show(counts, ("reason", "questions"))


def _title(summary: Summary) -> str:
    parts = [f"{key} {_safe(str(summary.settings[key]))}" for key in ("set", "model") if summary.settings.get(key)]
    if summary.judge:
        parts.append(f"judge {_safe(str(summary.judge.get('model')))} ({_safe(str(summary.judge['fingerprint']))})")
    return f"{_safe(summary.name)}: {', '.join(parts)}" if parts else _safe(summary.name)


def _row(one: MetricScore) -> tuple[str, ...]:
    unit = unit_of(one.metric)
    bounds = ", ".join(format_number(bound, **unit) for bound in (one.bound_low, one.bound_high))
    return (
        one.metric,
        _safe(one.group) or "no kind",
        format_interval(one.published, **unit),
        format_number(one.published.standard_error, **unit),
        format_interval(one.strict, **unit),
        bounds if one.num_unjudged else MISSING,
        f"{one.num_asked:,}",
        f"{one.num_scored:,}",
        f"{one.num_failed:,}",
        f"{one.num_unjudged:,}",
        f"{one.strict.num_clusters:,}",
    )


def print_comparison(comparison: Comparison, limit: int) -> None:
    """Print a comparison of two runs, and up to ``limit`` of the questions that flipped."""
    names = tuple(map(_safe, comparison.names))
    print_line(f"A: {names[0]}\nB: {names[1]}\n{comparison.metric}, A minus B")
    for warning in comparison.warnings:
        print_message("warning", warning)
    num_left_out = [len(ids) for ids in comparison.only_in]
    if any(num_left_out):
        print_message("note", f"left out: {num_left_out[0]:,} questions only in A, {num_left_out[1]:,} only in B")
    print_line()
    rows = [
        (
            _safe(one.group) or "no kind",
            format_interval(one.difference, **unit_of(comparison.metric), sign=True),
            *(_counts(one.counts) if one.counts else ()),
            *(() if one.p_value is None else (_p_value(one.p_value),)),
            f"{one.difference.num_questions:,}",
            f"{one.difference.num_clusters:,}",
        )
        for one in comparison.groups
    ]
    header = ("both right", "only A", "only B", "neither", "McNemar's p") if comparison.groups[0].counts else ()
    print_table(rows, ("questions", "A - B", *header, "compared", "videos"))
    _print_list(
        f"{len(comparison.flips):,} questions flipped",
        [
            (
                f"{flip.question_id} ({flip.video})",
                ("question", flip.question),
                ("answer", flip.answer),
                *(
                    (f"{side}, {score:g}", MISSING if prediction is None else prediction)
                    for side, score, prediction in zip("AB", flip.scores, flip.predictions, strict=True)
                ),
            )
            for flip in comparison.flips[:limit]
        ],
    )


def print_agreement(agreement: Agreement, limit: int) -> None:
    """Print the agreement between two judges, and up to ``limit`` of the answers on which they disagree."""
    names = tuple(map(_safe, agreement.names))
    print_line(f"{_safe(agreement.run)}\nA: {names[0]}\nB: {names[1]}\n")
    print_table(
        [
            ("agreement", format_interval(agreement.share)),
            ("kappa", format_interval(agreement.kappa, scale=1.0, digits=2)),
            *zip(("both right", "only A", "only B", "neither"), _counts(agreement.counts), strict=True),
            ("verdict of A only", f"{agreement.only_judged_by[0]:,}"),
            ("verdict of B only", f"{agreement.only_judged_by[1]:,}"),
        ]
    )
    _print_list(
        f"{len(agreement.disagreements):,} disagreements",
        [
            (
                f"{one.question_id} ({one.video})",
                ("question", one.question),
                ("answer", one.answer),
                ("prediction", MISSING if one.prediction is None else one.prediction),
                ("right for", "A" if one.verdicts[0] else "B"),
            )
            for one in agreement.disagreements[:limit]
        ],
    )


def _print_list(title: str, entries: Sequence[tuple[Any, ...]]) -> None:
    print_line()
    print_line(f"{title}{', such as' if entries else ''}")
    for head, *lines in entries:
        print_line(f"  {_safe(head, MAX_TEXT)}")
        for name, text in lines:
            print_line(f"    {name}: {_safe(text, MAX_TEXT)}")


def _counts(counts: TwoByTwo) -> tuple[str, ...]:
    return tuple(f"{count:,}" for count in (counts.both, counts.only_first, counts.only_second, counts.neither))


def _p_value(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}" if value >= 1e-99 else "< 1e-99"


def _safe(text: str, limit: int = MAX_CELL) -> str:
    """Shorten a run's text to one line without control characters."""
    return " ".join(printable(text if len(text) <= limit else text[: limit - 1] + "…").split())
