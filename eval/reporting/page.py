"""The report as one page: it loads nothing, runs nothing, and says so to the browser."""

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
from eval.reporting.contents import Chapter, Report, Scored
from eval.reporting.examples import FAILED, NOT_ASKED, RIGHT, UNJUDGED, WRONG, Example, Reply
from eval.reporting.frames import Frame, Look, Picture
from eval.reporting.plots import (
    Line,
    accuracy_by_frames,
    frame_shown,
    interval_axis,
    interval_row,
    legend_mark,
    picture_defined,
    timeline,
)
from eval.reporting.texts import NAME_LIMIT, NOTHING, interval, shown, value_shown
from eval.scoring import JUDGE_ACCURACY

_VERDICTS = {
    RIGHT: ("✓ right", "right"),
    WRONG: ("✗ wrong", "wrong"),
    FAILED: ("- failed", "failed"),
    UNJUDGED: ("? unjudged", "unjudged"),
    NOT_ASKED: ("not asked", "asked-not"),
}
"""Verdicts as the page shows them: in words and with a mark, since not all can tell the colours; and their class."""


def to_html(report: Report) -> str:
    """Write a report as HTML: one file, without scripts, that neither loads nor sends anything.

    All text is escaped by the template; characters that would hide or turn text around show as escapes.
    """
    style = _read("page.css")
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    num_runs, num_sets = sum(len(chapter.scored) for chapter in report.chapters), len(report.chapters)
    return _template().render(
        title=shown(report.title, NAME_LIMIT),
        policy=policy,
        style=Markup(style),  # noqa: S704 - our own file, not data
        num_runs=_count(num_runs, "run"),
        num_sets=_count(num_sets, "question set"),
        chapters=[_chapter(chapter, number) for number, chapter in enumerate(report.chapters, start=1)],
        made_by=shown(report.made_by, NAME_LIMIT),
    )


def _read(name: str) -> str:
    return files("eval.reporting").joinpath(name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    loader = DictLoader({"page.html": _read("page.html")})
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.get_template("page.html")


def _chapter(chapter: Chapter, number: int) -> dict[str, Any]:
    """What the template shows of a chapter."""
    strips = _Strips(chapter, f"set{number}")
    examples = [strips.example(one, place) for place, one in enumerate(chapter.examples, start=1)]
    return {
        "key": f"set{number}",
        "title": shown(chapter.title, NAME_LIMIT),
        "what_was_run": tables.what_was_run(chapter),
        "accuracies": list(tables.accuracies(chapter)),
        "retentions": list(tables.retentions(chapter)),
        "intervals": list(_intervals(chapter)),
        "frames": _frames(chapter),
        "kinds": list(tables.kinds(chapter)),
        "differences": list(tables.differences(chapter)),
        "reasons": list(tables.reasons(chapter)),
        "remarks": list(_remarks(chapter)),
        "examples": examples,
        "pictures": strips.pictures,
        "has_patches": strips.has_patches,
        "literature": list(tables.literature(chapter)),
    }


def _intervals(chapter: Chapter) -> Iterator[dict[str, Any]]:
    """The plot of what the runs scored by what it leads with."""
    metric = chapter.lead
    rows = []
    for each in chapter.scored:
        one = each.measured(metric)
        if one is not None:
            value = f"{interval(one.published)} %"
            name = shown(each.name, NAME_LIMIT)
            rows.append(
                {"name": name, "value": value, "svg": interval_row(one.published, one.strict, f"{name}: {value}")}
            )
    if rows:
        caption = (
            f"{metric[:1].upper()}{metric[1:]}, of the scored, in its 95 % interval. A line across stands where the "
            "share of all questions is another."
        )
        yield {"rows": rows, "axis": interval_axis(), "caption": caption}


def _frames(chapter: Chapter) -> dict[str, Any] | None:
    """The plot of accuracy over frames, where runs differ in their number alone; None where none do."""
    metric = chapter.lead
    alike: dict[str, list[Scored]] = {}
    for each in chapter.scored:
        described = each.run.described
        if isinstance(described.get("frames"), int) and described["frames"] > 0:
            rest = {key: value for key, value in described.items() if key != "frames"}
            alike.setdefault(repr(sorted(rest.items(), key=str)), []).append(each)
    lines = []
    for runs in alike.values():
        found = [(each.run.described["frames"], each.measured(metric)) for each in runs]
        points = {count: one.published for count, one in found if one is not None and one.published.value is not None}
        if len(points) > 1:
            described = runs[0].run.described
            named = [value_shown(described.get(key)) for key in ("model", "method")]
            name = f"{', '.join(named)}, {value_shown(described.get('budget'))} tokens"
            lines.append(Line(name=name, points=tuple(sorted(points.items()))))
    if not lines:
        return None
    said = "; ".join(
        f"{line.name}: " + ", ".join(f"{count} frames {interval(one)} %" for count, one in line.points)
        for line in lines
    )
    return {
        "caption": "More frames at the same price",
        "metric": metric,
        "svg": accuracy_by_frames(lines, said),
        "legend": [{"mark": legend_mark(place), "name": line.name} for place, line in enumerate(lines)],
    }


def _remarks(chapter: Chapter) -> Iterator[str]:
    """What to know of the runs beside their numbers."""
    if any(each.judged for each in chapter.scored) and chapter.lead != JUDGE_ACCURACY:
        yield "Not all runs were judged by the same judge: none leads here, and no two judges' figures compare."
    for each in chapter.scored:
        name = shown(each.name, NAME_LIMIT)
        if each.summary.contradictions:
            yield f"{name}: the judge contradicted itself in {each.summary.contradictions:,} replies"
        for warning in each.summary.warnings:
            yield f"{name}: {shown(warning)}"


@dataclass
class _Strips:
    """Frames to be shown: each picture is in the page once, and each video's frames stand at its first example."""

    chapter: Chapter
    prefix: str
    pictures: list[Markup] = field(default_factory=list)
    has_patches: bool = False
    _keys: dict[Picture, str] = field(default_factory=dict)
    _seen_at: dict[str, dict[str, Any]] = field(default_factory=dict)

    def example(self, one: Example, number: int) -> dict[str, Any]:
        """What the template shows of an example."""
        here: dict[str, Any] = {"key": f"{self.prefix}-example{number}", "number": number}
        video = one.asked.video
        looks = [
            (reply, found)
            for reply in one.replies
            if (found := self.chapter.looks.get((reply.run, one.asked.question_id))) is not None
        ]
        is_new = bool(looks) and video not in self._seen_at
        if is_new:
            self._seen_at[video] = here
        return {
            **here,
            "sort": one.sort,
            "question": shown(one.asked.question),
            "answer": shown(one.asked.answer),
            "kind": shown(one.asked.kind, NAME_LIMIT),
            "video": shown(video, NAME_LIMIT),
            "id": shown(one.asked.question_id, NAME_LIMIT),
            "replies": [self._reply(reply) for reply in one.replies],
            "looks": [self._look(found, reply, here["key"]) for reply, found in looks] if is_new else [],
            "seen_at": self._seen_at[video] if looks and not is_new else None,
        }

    def _reply(self, reply: Reply) -> dict[str, str]:
        verdict, css = _VERDICTS[reply.verdict]
        answered = reply.answered
        trace = answered.trace if answered else {}
        prediction = answered.prediction if answered else None
        return {
            "run": shown(self.chapter.scored[reply.run].name, NAME_LIMIT),
            "prediction": NOTHING if prediction is None else shown(prediction),
            "verdict": verdict,
            "css": css,
            "reason": shown(reply.reason),
            "frames": value_shown(trace.get("frames")),
            "tokens": value_shown(trace.get("visual_tokens")),
        }

    def _look(self, look: Look, reply: Reply, key: str) -> dict[str, Any]:
        run = shown(self.chapter.scored[reply.run].name, NAME_LIMIT)
        pictures = [
            {"svg": self._frame(frame, frame.picture), "caption": _caption(frame)}
            for frame in look.frames
            if frame.picture is not None
        ]
        spent = _spent(look)
        return {
            "key": f"{key}-run{reply.run}",
            "run": run,
            "spent": spent,
            "pictures": pictures,
            "timeline": timeline(look, f"{run}: {spent}") if look.frames and not pictures else None,
            "notes": [shown(note) for note in look.notes],
        }

    def _frame(self, frame: Frame, picture: Picture) -> Markup:
        if picture not in self._keys:
            self._keys[picture] = f"{self.prefix}-picture{len(self._keys)}"
            self.pictures.append(picture_defined(picture, self._keys[picture]))
        self.has_patches |= frame.patches is not None
        return frame_shown(frame, picture, self._keys[picture], _said(frame))


def _spent(look: Look) -> str:
    counts = Counter(frame.num_tokens for frame in look.frames)
    each = " and ".join(
        f"{tokens}" if len(counts) == 1 else f"{number} of {tokens}" for tokens, number in sorted(counts.items())
    )
    return (
        f"{_count(len(look.frames), 'frame')}, {_count(sum(frame.num_tokens for frame in look.frames), 'token')} "
        f"({each}{' each' if len(counts) == 1 else ''}), {shown(look.method, NAME_LIMIT)}"
    )


def _caption(frame: Frame) -> str:
    return f"{frame.timestamp_seconds:.2f} s, {_count(frame.num_tokens, 'token')}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _said(frame: Frame) -> str:
    """What a frame shows, in words."""
    said = [f"Frame at {_caption(frame)}"]
    patches = frame.patches
    if patches is not None:
        if len(patches.kept) == patches.num_patches:
            said.append("whole: every patch has a token of its own")
        else:
            said.append(f"{len(patches.kept)} of {patches.num_patches} patches with a token of their own")
        if patches.merged:
            total = sum(len(one.patches) for one in patches.merged)
            said.append(f"{total} merged into {len(patches.merged)}")
        if patches.elsewhere:
            said.append(f"{len(patches.elsewhere)} merged into tokens of other frames")
        if patches.dropped:
            said.append(f"{len(patches.dropped)} dropped")
        if patches.has_cls:
            said.append("a token for CLS")
    return "; ".join(said)
