"""``vidzip score``, ``vidzip compare`` and ``vidzip agree``."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pipelines.options import output_options
from pipelines.scoring.judging import REPLIES, judge_options, judged
from pipelines.terminal import print_line, print_markdown_table, print_message, print_table, printable
from vidzip.errors import BadArgument, VidzipError
from vidzip.files import write_text

if TYPE_CHECKING:
    from eval.agreement import Agreement
    from eval.comparing import Comparison
    from eval.results import Run
    from eval.scoring import Judgements, MetricScore, Retention, Summary
    from eval.statistics import Estimate, TwoByTwo

SCORES = "scores.json"
"""What a run scored, in its folder."""

LONGEST_CELL, LONGEST_TEXT = 40, 120
"""Characters shown of a text of a run, in a table and in a list; JSON holds all."""

METRICS = ("exact match", "answer contained", "judge accuracy", "judge score")
"""Those of :data:`eval.scoring.RANGES`, known before that is loaded."""

_OPTION_OF = {metric.replace(" ", "-"): metric for metric in METRICS}
_EXACT_MATCH = "exact-match"
_NOTHING = "-"


class BadScoring(VidzipError):
    """Runs that cannot be scored or compared."""


_limit_option = click.option(
    "--show", "most", type=click.IntRange(min=0), metavar="N", default=10, show_default=True, help="Questions listed."
)
_replay_option = click.option(
    "--judge-replay", metavar="FILE", type=click.Path(), help=f"Kept replies of judges.  [default: RUN/{REPLIES}]"
)


@click.command(name="score")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path())
@click.option("--full", metavar="RUN", type=click.Path(), help="The run of whole frames, for retention.")
@click.option("--blind", metavar="RUN", type=click.Path(), help="The run without videos, for retention.")
@click.option("--unfinished", is_flag=True, help="Take runs that are not finished; what is missing counts as failed.")
@click.option(
    "--intervals",
    type=click.Choice(["wilson", "bootstrap"]),
    default="wilson",
    show_default=True,
    help="Intervals by formula, or by drawing videos.",
)
@judge_options
@click.option("--markdown", is_flag=True, help="Print tables of Markdown.")
@output_options
def score_command(
    *,
    runs: tuple[str, ...],
    full: str | None,
    blind: str | None,
    unfinished: bool,
    intervals: str,
    markdown: bool,
    as_json: bool,
    **judge: Any,
) -> None:
    """Score runs of 'vidzip eval', and write scores.json into their folders.

    Exact match and the contained answer are always there; --judge asks a judge, --judge-replay takes kept replies.
    Intervals are clustered by video.
    """
    from eval.scoring import score_questions, summarise

    if (full is None) != (blind is None):
        raise BadArgument("retention needs --full and --blind", hint="give both")
    if as_json and markdown:
        raise BadArgument("--json and --markdown exclude each other", hint="give one of them")
    with _refusals():
        opened = {folder: _open(folder, judge) for folder in runs}
        around = [opened.get(one) or _open(one, judge) for one in (full, blind) if one is not None]
        limits = [score_questions(*one) for one in around]
        for place, (folder, one) in enumerate(opened.items()):
            summary = summarise(*one, intervals=intervals, allow_unfinished=unfinished)
            kept = _retentions(one, limits)
            record = summary.to_json()
            if kept:
                record["retention"] = {
                    "full": around[0][0].name,
                    "blind": around[1][0].name,
                    "of": {metric: asdict(retention) for metric, retention in kept.items()},
                }
            write_text(os.path.join(folder, SCORES), json.dumps(record, indent=1) + "\n")
            if as_json:
                click.echo(json.dumps(record))
                continue
            if place:
                print_line()
            _print_summary(summary, kept, is_markdown=markdown)


def _open(folder: str, options: Mapping[str, Any]) -> tuple[Run, Judgements | None]:
    from pipelines.scoring.runs import read

    run = read(folder)
    return run, judged(run, folder, options)


def _retentions(one: tuple[Run, Judgements | None], limits: Sequence[Mapping[str, Any]]) -> dict[str, Retention]:
    from eval.scoring import retention, score_questions

    if not limits:
        return {}
    full, blind = limits
    return {
        metric: retention(rows, full[metric], blind[metric])
        for metric, rows in score_questions(*one).items()
        if metric in full and metric in blind
    }


@click.command(name="compare")
@click.argument("first", metavar="RUN_A", type=click.Path())
@click.argument("second", metavar="RUN_B", type=click.Path())
@click.option("--metric", type=click.Choice(list(_OPTION_OF)), default=_EXACT_MATCH, show_default=True)
@click.option("--judge", metavar="NAME", help="Model or fingerprint, where replies of several judges are kept.")
@_replay_option
@click.option("--strict", is_flag=True, help="Count what has no score as wrong.  [default: leave it out]")
@click.option("--intersection", is_flag=True, help="Compare on the questions that both runs hold.")
@_limit_option
@output_options
def compare_command(
    *,
    first: str,
    second: str,
    metric: str,
    judge: str | None,
    judge_replay: str | None,
    strict: bool,
    intersection: bool,
    most: int,
    as_json: bool,
) -> None:
    """Compare two runs of the same questions, question by question.

    A judge is not asked again: its kept replies are taken.
    """
    from eval.comparing import compare
    from pipelines.scoring.runs import read

    needs_judge = metric.startswith("judge")
    if not needs_judge and (judge is not None or judge_replay is not None):
        raise BadArgument(
            f"--metric {metric} needs no judge", hint="name judge-accuracy or judge-score, or leave the judge away"
        )
    with _refusals():
        runs = read(first), read(second)
        both = None
        if needs_judge:
            ours, theirs = (
                _replayed(run, folder, judge, judge_replay) for run, folder in zip(runs, (first, second), strict=True)
            )
            both = ours, theirs
        comparison = compare(
            *runs, _OPTION_OF[metric], judgements=both, is_strict=strict, allow_different_questions=intersection
        )
    if as_json:
        click.echo(json.dumps(comparison.to_json()))
    else:
        _print_comparison(comparison, most)


def _replayed(run: Run, folder: str, judge: str | None, replies: str | None) -> Judgements:
    """Take a judge's kept replies; nobody is asked."""
    options: defaultdict[str, Any] = defaultdict(lambda: None)
    options.update(judge=judge, judge_replay=replies or os.path.join(folder, REPLIES))
    found = judged(run, folder, options)
    if found is None:
        raise AssertionError("kept replies were named")
    return found


@click.command(name="agree")
@click.argument("folder", metavar="RUN", type=click.Path())
@click.option(
    "--judges",
    metavar="A B",
    nargs=2,
    required=True,
    help=f"Models or fingerprints whose replies are kept; one may be {_EXACT_MATCH}.",
)
@_replay_option
@_limit_option
@output_options
def agree_command(*, folder: str, judges: tuple[str, str], judge_replay: str | None, most: int, as_json: bool) -> None:
    """Tell how far two judges agree on a run's answers, or a judge and exact match."""
    from eval.agreement import measure_agreement
    from eval.scoring import EXACT_MATCH, JUDGE_ACCURACY, score_questions
    from pipelines.scoring.runs import read

    if judges[0] == judges[1]:
        raise BadArgument(f"{judges[0]!r} agrees with itself", hint="name two judges")
    with _refusals():
        run = read(folder)
        graded = [
            score_questions(run)[EXACT_MATCH]
            if judge == _EXACT_MATCH
            else score_questions(run, _replayed(run, folder, judge, judge_replay))[JUDGE_ACCURACY]
            for judge in judges
        ]
        agreement = measure_agreement(run, judges, (graded[0], graded[1]))
    if as_json:
        click.echo(json.dumps(agreement.to_json()))
    else:
        _print_agreement(agreement, most)


@contextmanager
def _refusals() -> Iterator[None]:
    """Let what measurement refuses be told as every other error is."""
    from eval.scoring import ScoringError

    try:
        yield
    except ScoringError as error:
        raise BadScoring(error.message, hint=error.hint) from error


def _print_summary(summary: Summary, kept: Mapping[str, Retention], *, is_markdown: bool) -> None:
    show = _show_markdown if is_markdown else print_table
    print_line(f"**{_escaped(_title(summary))}**\n" if is_markdown else _title(summary))
    for warning in summary.warnings:
        print_message("warning", f"{_text(summary.name)}: {warning}")
    show([_row(one) for one in summary.scores], _COLUMNS)
    if kept:
        print_line()
        show(
            [
                (metric, _share(one), f"{one.num_questions:,}", f"{one.num_clusters:,}", one.reason)
                for metric, one in kept.items()
            ],
            ("kept above the floor", "share", "questions", "videos", ""),
        )
    counts = [
        *((f"failed: {_text(reason)}", f"{count:,}") for reason, count in summary.failures.items()),
        *((f"unjudged: {_text(reason)}", f"{count:,}") for reason, count in summary.unjudged.items()),
    ]
    if summary.contradictions:
        counts.append(("judge: verdict and rating exclude each other", f"{summary.contradictions:,}"))
    if counts:
        print_line()
        show(counts, ("what went wrong", "questions"))


def _title(summary: Summary) -> str:
    known = [f"{key} {_text(str(summary.settings[key]))}" for key in ("set", "model") if summary.settings.get(key)]
    if summary.judge:
        known.append(f"judge {_text(str(summary.judge.get('model')))} ({_text(str(summary.judge['fingerprint']))})")
    return f"{_text(summary.name)}: {', '.join(known)}" if known else _text(summary.name)


_COLUMNS = (
    "metric", "questions", "of the scored", "s.e.", "of all asked", "unjudged wrong, right",
    "asked", "scored", "failed", "unjudged", "videos",
)  # fmt: skip


def _row(one: MetricScore) -> tuple[str, ...]:
    bounds = (one.bound_low, one.bound_high)
    return (
        one.metric,
        _text(one.group) or "of no kind",
        _mean(one.metric, one.published),
        _number(one.metric, one.published.standard_error),
        _mean(one.metric, one.strict),
        ", ".join(_number(one.metric, bound) for bound in bounds) if one.num_unjudged else _NOTHING,
        f"{one.num_asked:,}",
        f"{one.num_scored:,}",
        f"{one.num_failed:,}",
        f"{one.num_unjudged:,}",
        f"{one.strict.num_clusters:,}",
    )


def _print_comparison(comparison: Comparison, most: int) -> None:
    names = tuple(map(_text, comparison.names))
    print_line(f"A: {names[0]}\nB: {names[1]}\n{comparison.metric}, A less B")
    for warning in comparison.warnings:
        print_message("warning", warning)
    num_left = [len(ids) for ids in comparison.only_in]
    if any(num_left):
        print_message("note", f"left out: {num_left[0]:,} questions of A alone, {num_left[1]:,} of B alone")
    print_line()
    rows = []
    for one in comparison.groups:
        cells = _counts(one.counts) if one.counts else ()
        test = () if one.p_value is None else (_probability(one.p_value),)
        rows.append((
            _text(one.group) or "of no kind",
            _mean(comparison.metric, one.difference, sign=True),
            *cells,
            *test,
            f"{one.difference.num_questions:,}",
            f"{one.difference.num_clusters:,}",
        ))  # fmt: skip
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
                    (f"{side}, {score:g}", _NOTHING if prediction is None else prediction)
                    for side, score, prediction in zip("AB", flip.scores, flip.predictions, strict=True)
                ),
            )
            for flip in comparison.flips[:most]
        ],
    )


def _print_agreement(agreement: Agreement, most: int) -> None:
    names = tuple(map(_text, agreement.names))
    print_line(f"{_text(agreement.run)}\nA: {names[0]}\nB: {names[1]}\n")
    rows = [
        ("agreement", _mean("exact match", agreement.share)),
        ("kappa", _points(agreement.kappa)),
        *zip(("both right", "only A", "only B", "neither"), _counts(agreement.counts), strict=True),
        ("verdict of A alone", f"{agreement.only_judged_by[0]:,}"),
        ("verdict of B alone", f"{agreement.only_judged_by[1]:,}"),
    ]
    print_table(rows)
    _print_list(
        f"{len(agreement.disagreements):,} disagreements",
        [
            (
                f"{one.question_id} ({one.video})",
                ("question", one.question),
                ("answer", one.answer),
                ("prediction", _NOTHING if one.prediction is None else one.prediction),
                ("right for", "A" if one.verdicts[0] else "B"),
            )
            for one in agreement.disagreements[:most]
        ],
    )


def _print_list(title: str, entries: Sequence[tuple[Any, ...]]) -> None:
    print_line()
    print_line(f"{title}{', such as' if entries else ''}")
    for head, *lines in entries:
        print_line(f"  {_text(head, LONGEST_TEXT)}")
        for name, text in lines:
            print_line(f"    {name}: {_text(text, LONGEST_TEXT)}")


def _counts(counts: TwoByTwo) -> tuple[str, ...]:
    return tuple(f"{count:,}" for count in (counts.both, counts.only_first, counts.only_second, counts.neither))


def _mean(metric: str, estimate: Estimate, *, sign: bool = False) -> str:
    return _with_interval(estimate, lambda value: _number(metric, value, sign=sign))


def _share(one: Retention) -> str:
    return _with_interval(one, lambda value: _number("exact match", value))


def _points(estimate: Estimate) -> str:
    return _with_interval(estimate, lambda value: f"{value:.2f}")


def _with_interval(estimate: Estimate | Retention, shown: Callable[[float], str]) -> str:
    if estimate.value is None:
        return _NOTHING
    text = shown(estimate.value)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{shown(estimate.low)}, {shown(estimate.high)}]"


def _number(metric: str, value: float | None, *, sign: bool = False) -> str:
    """Show a mean: shares in percent, a judge's score in points."""
    if value is None:
        return _NOTHING
    plus = "+" if sign else ""
    return f"{value:{plus}.2f}" if metric == "judge score" else f"{100 * value:{plus}.1f}"


def _probability(p_value: float) -> str:
    return f"{p_value:.3f}" if p_value >= 0.001 else f"{p_value:.0e}" if p_value >= 1e-99 else "< 1e-99"


def _text(text: str, longest: int = LONGEST_CELL) -> str:
    """Bring a run's text to one line that no terminal is steered by."""
    cut = text if len(text) <= longest else text[: longest - 1] + "…"
    return " ".join(printable(cut).split())


def _show_markdown(rows: Sequence[Sequence[str]], header: Sequence[str]) -> None:
    print_markdown_table([[_escaped(cell) for cell in row] for row in rows], header)


def _escaped(text: str) -> str:
    """Let text be no more than text to Markdown: no tag, no cell of its own, no link."""
    for mark, harmless in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("](", "]&#40;")):
        text = text.replace(mark, harmless)
    return text
