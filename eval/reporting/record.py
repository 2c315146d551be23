"""The report as JSON: every number of the page, unrounded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from eval.reporting.contents import Chapter, Report, Scored, versions_of
from eval.reporting.examples import Example
from eval.reporting.frames import Look
from eval.reporting.texts import NAME_LIMIT, shown

SCHEMA = "vidzip/report/1"


def to_json(report: Report) -> str:
    """Write a report as strict JSON, one object: no NaN, no half characters, ASCII alone.

    Texts of data sets and models are as the page shows them: made safe, and cut where they are very long.
    """
    told = {
        "schema": SCHEMA,
        "title": report.title,
        "made_by": report.made_by,
        "sets": [_chapter(chapter) for chapter in report.chapters],
    }
    return json.dumps(_strict(told), allow_nan=False, indent=1) + "\n"


def _chapter(chapter: Chapter) -> dict[str, Any]:
    return {
        "set": chapter.set_name,
        "title": chapter.title,
        "runs": [_run(each) for each in chapter.scored],
        "differences": [asdict(one) for one in chapter.differences],
        "retentions": [
            {"run": each.name, **asdict(one)} for each, one in zip(chapter.scored, chapter.retentions, strict=False)
        ],
        "examples": [_example(one, chapter) for one in chapter.examples],
        "published": [asdict(one) for one in chapter.literature],
    }


def _run(scored: Scored) -> dict[str, Any]:
    summary = scored.summary
    return {
        "name": scored.name,
        "described": scored.run.described,
        "versions": versions_of(scored.run),
        "questions": scored.run.num_asked,
        "lines": len(scored.run.questions),
        "judge": summary.judge,
        "measured": [asdict(one) for one in summary.measured],
        "failures": summary.failures,
        "unjudged": summary.unjudged,
        "contradictions": summary.contradictions,
        "warnings": summary.warnings,
    }


def _example(example: Example, chapter: Chapter) -> dict[str, Any]:
    asked = example.asked
    return {
        "sort": example.sort,
        "question_id": asked.question_id,
        "video": asked.video,
        "kind": asked.kind,
        "question": asked.question,
        "answer": asked.answer,
        "replies": [
            {
                "run": chapter.scored[reply.run].name,
                "prediction": reply.answered.prediction if reply.answered else None,
                "verdict": reply.verdict,
                "reason": reply.reason,
                "shown": _look(chapter.looks.get((reply.run, asked.question_id))),
            }
            for reply in example.replies
        ],
    }


def _look(look: Look | None) -> dict[str, Any] | None:
    if look is None:
        return None
    return {
        "method": look.method,
        "timestamps_seconds": [frame.timestamp_seconds for frame in look.frames],
        "tokens_per_frame": [frame.num_tokens for frame in look.frames],
        "notes": look.notes,
    }


def _strict(value: Any) -> Any:
    """Bring a value into what strict JSON can hold: numbers that are none become null, texts are made safe."""
    if isinstance(value, Mapping):
        return {shown(str(key), NAME_LIMIT): _strict(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return shown(str(value))
