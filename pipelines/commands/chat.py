"""``vidzip chat``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import click

from pipelines.ask import VideoAnswer, format_answer, is_unknown_to_default_model, print_default_model_hint, record
from pipelines.chat import COMMANDS, ChatOutput, is_interactive, read_piped_lines, read_typed_lines, run_chat
from pipelines.errors import BAD_INPUT, report_error
from pipelines.options import VideoCommand, answer_option, output_options, takes_source
from pipelines.settings import note_default_model
from pipelines.source import VideoSource, open_source
from pipelines.terminal import print_line, print_message, print_messages, progress_bar

if TYPE_CHECKING:
    from vidzip import Answer, PackedVideo, Plan, VideoModel


@click.command(name="chat", cls=VideoCommand)
@takes_source("VIDEO|PACK")
@answer_option
@output_options
def command(*, source: VideoSource, max_new_tokens: int, as_json: bool) -> int:
    """Chat about a video.

    The video is packed once, or loaded from a file that 'vidzip pack' wrote. Each question follows all earlier ones.

    On a terminal, /new starts a new conversation, /quit or Ctrl-D ends it. Ctrl-C stops an answer, or clears the line,
    and the conversation continues.

    From a pipe, every line is a question, and every answer is printed on one line. An invalid question is reported on
    standard error, and the next one is answered; the exit code is then 2.
    """

    def check(model: VideoModel, video: Plan | PackedVideo) -> None:
        visual_tokens = model.family.count_visual_tokens(video.tokens_per_frame)
        model.language.check_length(visual_tokens, 0, max_new_tokens)

    is_debugging, interactive = bool(click.get_current_context().obj), is_interactive()
    with progress_bar() as progress:
        opened = open_source(source, progress, check)
        session = opened.model.session(opened.packed)
    packed, hint_once = opened.packed, cache(print_default_model_hint)
    note_default_model(source.model, "answers")
    print_messages("note", opened.notes)
    print_messages("warning", packed.warnings)
    if interactive:
        print_message("note", f"{packed.num_frames} frames in {packed.num_tokens} tokens; {COMMANDS}")

    def print_answer(question: str, answer: Answer) -> None:
        print_messages("warning", (warning for warning in answer.warnings if warning not in packed.warnings))
        if is_unknown_to_default_model(opened.model, question):
            hint_once()
        if as_json:
            click.echo(json.dumps(record(VideoAnswer(opened=opened, question=question, answer=answer))))
        else:
            text = format_answer(answer)
            print_line(text if interactive else " ".join(text.splitlines()))

    @contextmanager
    def show_progress() -> Iterator[None]:
        with progress_bar() as progress:
            progress("answer", 0, 1)
            yield

    output = ChatOutput(
        print_answer=print_answer,
        print_error=lambda error: report_error(error, is_debugging=is_debugging),
        show_progress=show_progress,
        interactive=interactive,
    )
    lines = read_typed_lines() if interactive else read_piped_lines()
    all_valid = run_chat(session, lines, output, max_new_tokens)
    return 0 if all_valid or interactive else BAD_INPUT
