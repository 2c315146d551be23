"""A report as JSON: every number of the page, unrounded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from eval.reporting.examples import Example
from eval.reporting.formatting import MAX_NAME, safe_text
from eval.reporting.input_frames import InputFrames
from eval.reporting.report import Chapter, Report
from eval.reporting.scored_run import ScoredRun, package_versions

SCHEMA = "vidzip/report/1"


def to_json(report: Report) -> str:
    """Write a report as one strict JSON object in ASCII, without NaN.

    Texts of data sets and models are as on the page: made safe, and cut if they are very long.
    """
    data = {
        "schema": SCHEMA,
        "title": report.title,
        "made_by": report.made_by,
        "sets": [_chapter(chapter) for chapter in report.chapters],
    }
    return json.dumps(_strict(data), allow_nan=False, indent=1) + "\n"


def _chapter(chapter: Chapter) -> dict[str, Any]:
    return {
        "set": chapter.set_name,
        "title": chapter.title,
        "runs": [_run(each) for each in chapter.runs],
        "differences": [asdict(one) for one in chapter.differences],
        "retentions": [
            {"run": each.name, **asdict(one)} for each, one in zip(chapter.runs, chapter.retentions, strict=False)
        ],
        "examples": [_example(one, chapter) for one in chapter.examples],
        "published": [asdict(one) for one in chapter.published],
    }


def _run(scored: ScoredRun) -> dict[str, Any]:
    summary = scored.summary
    return {
        "name": scored.name,
        "settings": scored.run.settings,
        "versions": package_versions(scored.run),
        "num_questions": scored.run.num_questions,
        "num_results": len(scored.run.results),
        "judge": summary.judge,
        "scores": [asdict(one) for one in summary.scores],
        "failures": summary.failures,
        "unjudged": summary.unjudged,
        "contradictions": summary.contradictions,
        "warnings": summary.warnings,
    }


def _example(example: Example, chapter: Chapter) -> dict[str, Any]:
    question = example.question
    return {
        "category": example.category,
        **question.asked(),
        "answers": [
            {
                "run": chapter.runs[answer.run].name,
                "prediction": answer.result.prediction if answer.result else None,
                "verdict": answer.verdict,
                "reason": answer.reason,
                "frames": _frames(chapter.input_frames.get((answer.run, question.question_id))),
            }
            for answer in example.answers
        ],
    }


def _frames(selection: InputFrames | None) -> dict[str, Any] | None:
    if selection is None:
        return None
    return {
        "method": selection.method,
        "timestamps_seconds": [frame.timestamp_seconds for frame in selection.frames],
        "tokens_per_frame": [frame.num_tokens for frame in selection.frames],
        "notes": selection.notes,
    }


def _strict(value: Any) -> Any:
    """Convert a value to strict JSON data: NaN and infinity become null, texts are made safe."""
    if isinstance(value, Mapping):
        return {safe_text(str(key), MAX_NAME): _strict(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return safe_text(str(value))
