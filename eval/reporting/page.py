"""The report as one HTML page, which loads nothing, runs nothing, and forbids both to the browser."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from eval.reporting import tables
from eval.reporting.examples import FAILED, NOT_ASKED, RIGHT, UNJUDGED, WRONG, Example, ExampleAnswer
from eval.reporting.formatting import MAX_NAME, MISSING, format_interval, format_value, safe_text
from eval.reporting.input_frames import InputFrame, InputFrames, Picture
from eval.reporting.plots import (
    Line,
    accuracy_by_frames,
    define_picture,
    draw_frame,
    interval_axis,
    interval_row,
    legend_mark,
    timeline,
)
from eval.reporting.report import Chapter, Report
from eval.reporting.scored_run import ScoredRun
from eval.scoring import JUDGE_ACCURACY

_VERDICTS = {
    RIGHT: ("✓ right", "right"),
    WRONG: ("✗ wrong", "wrong"),
    FAILED: ("- failed", "failed"),
    UNJUDGED: ("? unjudged", "unjudged"),
    NOT_ASKED: ("not asked", "asked-not"),
}
"""A verdict's text, which does not rely on colour, and its CSS class."""


def to_html(report: Report) -> str:
    """Write a report as one HTML file without scripts, which neither loads nor sends anything.

    The template escapes all text; invisible characters and those that change the direction of text become escapes.
    """
    style = _read("page.css")
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    num_runs, num_sets = sum(len(chapter.runs) for chapter in report.chapters), len(report.chapters)
    return _template().render(
        title=safe_text(report.title, MAX_NAME),
        policy=policy,
        style=Markup(style),  # noqa: S704 - our own file, not data
        num_runs=_count(num_runs, "run"),
        num_sets=_count(num_sets, "question set"),
        chapters=[_chapter(chapter, number) for number, chapter in enumerate(report.chapters, start=1)],
        made_by=safe_text(report.made_by, MAX_NAME),
    )


def _read(name: str) -> str:
    return files("eval.reporting").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    loader = DictLoader({"page.html": _read("page.html")})
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.get_template("page.html")


def _chapter(chapter: Chapter, number: int) -> dict[str, Any]:
    """The template's values for a chapter."""
    views = _ExampleViews(chapter, f"set{number}")
    examples = [views.example(one, place) for place, one in enumerate(chapter.examples, start=1)]
    return {
        "key": f"set{number}",
        "title": safe_text(chapter.title, MAX_NAME),
        "settings": tables.settings(chapter),
        "accuracies": list(tables.accuracies(chapter)),
        "retentions": list(tables.retentions(chapter)),
        "intervals": list(_intervals(chapter)),
        "by_frames": _by_frames(chapter),
        "kinds": list(tables.kinds(chapter)),
        "differences": list(tables.differences(chapter)),
        "reasons": list(tables.reasons(chapter)),
        "notes": list(_notes(chapter)),
        "examples": examples,
        "pictures": views.pictures,
        "has_patches": views.has_patches,
        "literature": list(tables.literature(chapter)),
    }


def _intervals(chapter: Chapter) -> Iterator[dict[str, Any]]:
    """The plot of the runs' scores by the leading metric."""
    metric = chapter.leading_metric
    rows = []
    for each in chapter.runs:
        one = each.find(metric)
        if one is not None:
            name, value = safe_text(each.name, MAX_NAME), f"{format_interval(one.published)} %"
            svg = interval_row(one.published, one.strict, f"{name}: {value}")
            rows.append({"name": name, "value": value, "svg": svg})
    if rows:
        caption = (
            f"{metric[:1].upper()}{metric[1:]} of the scored questions, with 95 % intervals. A vertical bar marks the "
            "value for all questions if it differs."
        )
        yield {"rows": rows, "axis": interval_axis(), "caption": caption}


def _by_frames(chapter: Chapter) -> dict[str, Any] | None:
    """The plot of accuracy by number of frames, for runs that differ in nothing else; None without such runs."""
    metric = chapter.leading_metric
    similar: dict[str, list[ScoredRun]] = {}
    for each in chapter.runs:
        settings = each.run.settings
        if isinstance(settings.get("frames"), int) and settings["frames"] > 0:
            rest = {key: value for key, value in settings.items() if key != "frames"}
            similar.setdefault(repr(sorted(rest.items(), key=str)), []).append(each)
    lines = []
    for runs in similar.values():
        found = [(each.run.settings["frames"], each.find(metric)) for each in runs]
        points = {count: one.published for count, one in found if one is not None and one.published.value is not None}
        if len(points) > 1:
            settings = runs[0].run.settings
            names = [format_value(settings.get(key)) for key in ("model", "method")]
            name = f"{', '.join(names)}, {format_value(settings.get('budget'))} tokens"
            lines.append(Line(name=name, points=tuple(sorted(points.items()))))
    if not lines:
        return None
    label = "; ".join(
        f"{line.name}: " + ", ".join(f"{count} frames {format_interval(one)} %" for count, one in line.points)
        for line in lines
    )
    return {
        "metric": metric,
        "svg": accuracy_by_frames(lines, label),
        "legend": [{"mark": legend_mark(place), "name": line.name} for place, line in enumerate(lines)],
    }


def _notes(chapter: Chapter) -> Iterator[str]:
    """What else matters for the runs' scores."""
    if any(each.judgements for each in chapter.runs) and chapter.leading_metric != JUDGE_ACCURACY:
        yield "The runs were not all judged by one judge, and scores of different judges cannot be compared."
    for each in chapter.runs:
        name = safe_text(each.name, MAX_NAME)
        if each.summary.contradictions:
            yield f"{name}: in {each.summary.contradictions:,} replies the judge's verdict contradicts its rating"
        for warning in each.summary.warnings:
            yield f"{name}: {safe_text(warning)}"


@dataclass
class _ExampleViews:
    """The template's values for examples. The page holds each picture once, and each video's frames once."""

    chapter: Chapter
    prefix: str
    pictures: list[Markup] = field(default_factory=list)
    has_patches: bool = False
    _keys: dict[Picture, str] = field(default_factory=dict)
    _shown_at: dict[str, dict[str, Any]] = field(default_factory=dict)

    def example(self, example: Example, number: int) -> dict[str, Any]:
        """The template's values for an example."""
        here: dict[str, Any] = {"key": f"{self.prefix}-example{number}", "number": number}
        question = example.question
        selections = [
            (answer, selection)
            for answer in example.answers
            if (selection := self.chapter.input_frames.get((answer.run, question.question_id))) is not None
        ]
        is_first = bool(selections) and question.video not in self._shown_at
        if is_first:
            self._shown_at[question.video] = here
        return {
            **here,
            "category": example.category,
            "question": safe_text(question.question),
            "answer": safe_text(question.answer),
            "kind": safe_text(question.kind, MAX_NAME),
            "video": safe_text(question.video, MAX_NAME),
            "id": safe_text(question.question_id, MAX_NAME),
            "answers": [self._answer(answer) for answer in example.answers],
            "selections": [self._selection(one, answer, here["key"]) for answer, one in selections] if is_first else [],
            "shown_at": self._shown_at[question.video] if selections and not is_first else None,
        }

    def _answer(self, answer: ExampleAnswer) -> dict[str, str]:
        verdict, css = _VERDICTS[answer.verdict]
        trace = answer.result.trace if answer.result else {}
        prediction = answer.result.prediction if answer.result else None
        return {
            "run": safe_text(self.chapter.runs[answer.run].name, MAX_NAME),
            "prediction": MISSING if prediction is None else safe_text(prediction),
            "verdict": verdict,
            "css": css,
            "reason": safe_text(answer.reason),
            "frames": format_value(trace.get("frames")),
            "tokens": format_value(trace.get("visual_tokens")),
        }

    def _selection(self, selection: InputFrames, answer: ExampleAnswer, key: str) -> dict[str, Any]:
        run = safe_text(self.chapter.runs[answer.run].name, MAX_NAME)
        pictures = [
            {"svg": self._frame(frame, frame.picture), "caption": _caption(frame)}
            for frame in selection.frames
            if frame.picture is not None
        ]
        summary = _frame_summary(selection)
        return {
            "key": f"{key}-run{answer.run}",
            "run": run,
            "summary": summary,
            "pictures": pictures,
            "timeline": timeline(selection, f"{run}: {summary}") if selection.frames and not pictures else None,
            "notes": [safe_text(note) for note in selection.notes],
        }

    def _frame(self, frame: InputFrame, picture: Picture) -> Markup:
        if picture not in self._keys:
            self._keys[picture] = f"{self.prefix}-picture{len(self._keys)}"
            self.pictures.append(define_picture(picture, self._keys[picture]))
        self.has_patches |= frame.patches is not None
        return draw_frame(frame, picture, self._keys[picture], _frame_label(frame))


def _frame_summary(selection: InputFrames) -> str:
    counts = Counter(frame.num_tokens for frame in selection.frames)
    each = " and ".join(
        f"{tokens}" if len(counts) == 1 else f"{number} of {tokens}" for tokens, number in sorted(counts.items())
    )
    num_tokens = sum(frame.num_tokens for frame in selection.frames)
    return (
        f"{_count(len(selection.frames), 'frame')}, {_count(num_tokens, 'token')} "
        f"({each}{' each' if len(counts) == 1 else ''}), {safe_text(selection.method, MAX_NAME)}"
    )


def _caption(frame: InputFrame) -> str:
    return f"{frame.timestamp_seconds:.2f} s, {_count(frame.num_tokens, 'token')}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _frame_label(frame: InputFrame) -> str:
    """The text alternative of a frame."""
    parts = [f"Frame at {_caption(frame)}"]
    patches = frame.patches
    if patches is not None:
        if len(patches.kept) == patches.num_patches:
            parts.append("uncompressed: every patch has its own token")
        else:
            parts.append(f"{len(patches.kept)} of {patches.num_patches} patches have their own token")
        if patches.merged:
            total = sum(len(one.patches) for one in patches.merged)
            parts.append(f"{total} merged into {len(patches.merged)}")
        if patches.elsewhere:
            parts.append(f"{len(patches.elsewhere)} merged into tokens of other frames")
        if patches.dropped:
            parts.append(f"{len(patches.dropped)} dropped")
        if patches.has_cls:
            parts.append("one token for CLS")
    return "; ".join(parts)
