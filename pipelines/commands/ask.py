"""``vidzip ask``."""

from __future__ import annotations

import json

import click

from pipelines.ask import (
    AskRequest,
    VideoAnswer,
    ask,
    format_answer,
    is_unknown_to_default_model,
    print_default_model_hint,
    record,
    summary,
)
from pipelines.options import VideoCommand, answer_option, output_options, takes_source
from pipelines.settings import note_default_model
from pipelines.source import VideoSource
from pipelines.terminal import print_line, print_messages, print_table, progress_bar


@click.command(name="ask", cls=VideoCommand)
@takes_source("VIDEO|PACK")
@click.argument("questions", metavar="QUESTION...", nargs=-1, required=True)
@answer_option
@output_options
def command(*, source: VideoSource, questions: tuple[str, ...], max_new_tokens: int, as_json: bool) -> None:
    """Answer questions about a video.

    The video is decoded, compressed and packed once for all questions. A file that 'vidzip pack' wrote takes the
    video's place.
    """
    with progress_bar() as progress:
        answers = ask(AskRequest(source=source, questions=questions, max_new_tokens=max_new_tokens), progress)
    opened = answers[0].opened
    note_default_model(source.model, "answers")
    print_messages("note", opened.notes)
    print_messages("warning", (warning for one in answers for warning in one.answer.warnings))
    if any(is_unknown_to_default_model(opened.model, question) for question in questions):
        print_default_model_hint()
    for one in answers:
        _print_answer(one, as_json=as_json)
    if not as_json:
        print_line()
        print_table(summary(answers))


def _print_answer(one: VideoAnswer, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(record(one)))
        return
    print_line(f"Q: {one.question}")
    print_line(f"A: {format_answer(one.answer)}")
