"""Runs for reports, made by hand."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from eval.judging import Judgement
from eval.reporting import Chapter, Report, choose_examples, make_chapters, score_run
from eval.results import QuestionResult, Run
from eval.scoring import Judgements

HOSTILE = {
    "script": "<script>document.title='ran'</script>",
    "style": "</style><style>body{display:none}</style>",
    "image": "<img src=x onerror=\"document.title='ran'\">",
    "attribute": "\" onmouseover=\"document.title='ran'\" x='",
    "address": "<a href=javascript:document.title='ran'>here</a> http://hostile.example/x www.hostile.example",
    "template": "{{ 7 * 7 }} {% raw %} ${7*7}",
    "svg": "</svg><svg onload=\"document.title='ran'\">",
    "comment": "<!-- --> ]]> <![CDATA[ &lt;b&gt; &amp;amp;",
    "formula": '=HYPERLINK("http://hostile.example") $x^2$ | `code` **bold** [link](http://hostile.example)',
    "terminal": "\x1b[2J\x1b]0;title\x07 \r\n\x00 \x9b31m",
    "turned": "right \u202eesrever\u202c \u2066isolated\u2069 \u200fmark \u2028line",
    "half": "half a character: \ud800",
    "zalgo": "Z" + "\u0335\u0336\u0337" * 40,
    "unbroken": "W" * 500,
    "long": "x" * 1_000_000,
}
"""Texts that have an effect if they are not escaped."""


def answered(key, prediction="yes", **changes) -> QuestionResult:
    """A question with the answer ``yes``; the part of its id before the dash is its video."""
    plain = QuestionResult(
        question_id=key,
        video=key.partition("-")[0],
        kind="",
        question=f"Is it {key}?",
        answer="yes",
        prediction=prediction,
        failure="" if prediction is not None else "VideoMissing: there is no such file",
        trace={},
    )
    return replace(plain, **changes)


def run(name="a", results=(), settings=None, num_questions=None) -> Run:
    return Run(
        name=name,
        settings={"set": "shapes", "model": "tiny", "budget": 136, "frames": 8, "method": "visionzip"}
        | (settings or {}),
        results=tuple(results),
        num_questions=len(results) if num_questions is None else num_questions,
    )


def plan(*tokens, step=1.0, identity="abc") -> dict[str, Any]:
    """The trace of a question with one frame per number of tokens."""
    return {
        "frames": len(tokens),
        "visual_tokens": sum(tokens),
        "plan": {
            "video_identity": identity,
            "timestamps_seconds": [step * number for number in range(len(tokens))],
            "tokens_per_frame": list(tokens),
            "method": "visionzip",
        },
    }


def judged(fingerprint="f", **verdicts):
    """A judge's judgements: yes, no, or why there is none, by question id with ``_`` for ``-``."""
    judgements = {}
    for name, verdict in verdicts.items():
        key = name.replace("_", "-")
        is_known = isinstance(verdict, bool)
        judgements[key] = Judgement(
            question_id=key,
            verdict=verdict if is_known else None,
            rating=5 * verdict if is_known else None,
            reason="" if is_known else verdict,
        )
    return Judgements(judge={"model": "judge-1", "fingerprint": fingerprint}, by_id=judgements)


def chapter(*runs, examples=2, **changes) -> Chapter:
    """The chapter of runs of one set, with examples."""
    (one,) = make_chapters(each if not isinstance(each, Run) else score_run(each) for each in runs)
    return replace(one, examples=choose_examples(one.runs, examples), **changes)


def report(*chapters, title="A report") -> Report:
    return Report(title=title, made_by="vidzip", chapters=chapters)


class Text(HTMLParser):
    """The elements of a page, and the text of each ``<bdi>``."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._depth = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "bdi":
            self._depth += 1
            self.texts.append("")

    def handle_endtag(self, tag):
        if tag == "bdi":
            self._depth -= 1

    def handle_data(self, data):
        if self._depth:
            self.texts[-1] += data
