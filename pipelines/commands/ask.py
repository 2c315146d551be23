"""``vidzip ask``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from pipelines.ask import Request, ask, record, summary
from pipelines.options import VideoCommand, answer_option, output_options, takes_source
from pipelines.settings import DEFAULT_MODEL, note_default_model
from pipelines.source import Opened, Source
from pipelines.terminal import print_line, print_message, print_table, progress_bar

if TYPE_CHECKING:
    from vidzip import Answer, VideoModel

SAMPLE_QUESTION = "What is the color of the star?"
"""A question that :data:`DEFAULT_MODEL` was trained on."""


@click.command(name="ask", cls=VideoCommand)
@takes_source("VIDEO|PACK")
@click.argument("questions", metavar="QUESTION...", nargs=-1, required=True)
@answer_option
@output_options
def command(*, source: Source, questions: tuple[str, ...], max_new_tokens: int, as_json: bool) -> None:
    """Answer questions about a video.

    The video is decoded, compressed and packed once for all questions. A file of 'vidzip pack' is asked without the
    video.
    """
    request = Request(source=source, questions=questions, max_new_tokens=max_new_tokens)
    with progress_bar() as show:
        answered = ask(request, show)
    opened = answered[0].opened
    print_notes(opened, "answers")
    print_warnings(warning for one in answered for warning in one.answer.warnings)
    if any(is_beyond_tiny(opened.model, question) for question in questions):
        hint_at_tiny()
    for one in answered:
        if as_json:
            click.echo(json.dumps(record(one)))
        else:
            print_line(f"Q: {one.question}")
            print_line(f"A: {answer_text(one.answer)}")
    if not as_json:
        print_line()
        print_table(summary(answered))


def answer_text(answer: Answer) -> str:
    """Return the text of an answer, marked if it was cut off."""
    return answer.text + ("" if answer.finish_reason == "stop" else " …")


def print_notes(opened: Opened, verb: str) -> None:
    """Print a note if no model was named, and the notes of the plan."""
    note_default_model(opened.source.model, verb)
    for note in opened.notes:
        print_message("note", note)


def print_warnings(warnings: Iterable[str]) -> None:
    """Print each warning once."""
    for warning in dict.fromkeys(warnings):
        print_message("warning", warning)


def is_beyond_tiny(model: VideoModel, question: str) -> bool:
    """Return whether a question has words that :data:`DEFAULT_MODEL` does not know."""
    return model.name == DEFAULT_MODEL and bool(model.language.unknown_words(question))


def hint_at_tiny() -> None:
    """Print a hint at what :data:`DEFAULT_MODEL` can answer."""
    print_message(
        "hint",
        f"{DEFAULT_MODEL} was trained on videos of coloured shapes and questions such as {SAMPLE_QUESTION!r}; "
        "give another --model for anything else",
    )
