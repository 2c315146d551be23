"""``vidzip chat``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import click

from pipelines.ask import Answered, record
from pipelines.commands.ask import answer_text, hint_at_tiny, is_beyond_tiny, print_notes, print_warnings
from pipelines.errors import BAD_INPUT, report_error
from pipelines.options import VideoCommand, answer_option, output_options, takes_source
from pipelines.source import Source, open_source
from pipelines.terminal import print_line, print_message, progress_bar

if TYPE_CHECKING:
    from vidzip import Answer


@click.command(name="chat", cls=VideoCommand)
@takes_source("VIDEO|PACK")
@answer_option
@output_options
def command(*, source: Source, max_new_tokens: int, as_json: bool) -> int:
    """Talk about a video.

    The video is packed once, or read from a file of 'vidzip pack'. Each question follows the conversation so far.

    On a terminal, /new starts a new conversation, and /quit or Ctrl-D ends it. Ctrl-C stops an answer or clears the
    line, and the conversation continues.

    From a pipe, every line is a question, and every answer is printed on one line. A bad question is reported on
    standard error, and the next one is answered; the exit code is 2 then.
    """
    from pipelines.chat import COMMANDS, Listener, converse, is_typed, lines_piped, lines_typed

    is_debugging, typed = bool(click.get_current_context().obj), is_typed()
    with progress_bar() as show:
        opened = open_source(source, show, lambda model, tokens: model.language.check_length(tokens, 0, max_new_tokens))
        session = opened.model.session(opened.packed)
    packed, hint_once = opened.packed, cache(hint_at_tiny)
    print_notes(opened, "answers")
    print_warnings(packed.warnings)
    if typed:
        print_message("note", f"{packed.num_frames} frames in {packed.num_tokens} tokens; {COMMANDS}")

    def print_answer(question: str, answer: Answer) -> None:
        print_warnings(warning for warning in answer.warnings if warning not in packed.warnings)
        if is_beyond_tiny(opened.model, question):
            hint_once()
        if as_json:
            click.echo(json.dumps(record(Answered(opened=opened, question=question, answer=answer))))
        else:
            text = answer_text(answer)
            print_line(text if typed else " ".join(text.splitlines()))

    @contextmanager
    def answering() -> Iterator[None]:
        with progress_bar() as show:
            show("answer", 0, 1)
            yield

    listener = Listener(
        tell=print_answer,
        refuse=lambda error: report_error(error, is_debugging=is_debugging),
        answering=answering,
        is_typed=typed,
    )
    is_well = converse(session, lines_typed() if typed else lines_piped(), listener, max_new_tokens)
    return 0 if is_well or typed else BAD_INPUT
