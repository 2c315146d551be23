"""A conversation about one video, line by line: typed on a terminal, or from a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from pipelines.terminal import print_message
from vidzip.errors import BadQuestion, ContextTooLong, SystemFault, VidzipError

if TYPE_CHECKING:
    from vidzip import Answer, Session

PROMPT = "you> "
NEW, QUIT = "/new", "/quit"
COMMANDS = f"{NEW} starts a new conversation, {QUIT} or Ctrl-D ends it"


@dataclass(frozen=True, kw_only=True)
class ChatOutput:
    """Where a conversation's answers and errors go.

    Attributes:
        print_answer: takes a question and its answer.
        print_error: takes the error of an invalid question.
        show_progress: context manager around the work on an answer.
        interactive: whether a person types: an interruption then stops an answer, and not the conversation.
    """

    print_answer: Callable[[str, Answer], object]
    print_error: Callable[[VidzipError], object]
    show_progress: Callable[[], AbstractContextManager[None]]
    interactive: bool = False


def run_chat(session: Session, lines: Iterable[str], output: ChatOutput, max_new_tokens: int) -> bool:
    """Answer lines as they come, each as the next question of a conversation; empty lines are skipped.

    Args:
        session: the video in the model's cache.
        lines: questions and commands.
        output: receives answers and errors.
        max_new_tokens: limit on the tokens of an answer.

    Returns:
        Whether every question was valid.

    Raises:
        SystemFault: the system failed; no other question would help.
        KeyboardInterrupt: an interruption, if no person types.
    """
    chat, all_valid = session.chat(), True
    for line in lines:
        text = line.strip()
        if text == QUIT:
            break
        if text == NEW:
            chat = session.chat()
            if output.interactive:
                print_message("note", "a new conversation")
        elif text:
            try:
                _check_command(text)
                with output.show_progress():
                    answer = chat.ask(text, max_new_tokens)
                output.print_answer(text, answer)
            except SystemFault:
                raise
            except VidzipError as error:
                all_valid = False
                output.print_error(_in_chat(error) if chat.turns else error)
            except KeyboardInterrupt:
                if not output.interactive:
                    raise
                print_message("note", "interrupted: the conversation continues without this question")
    return all_valid


def _check_command(text: str) -> None:
    """Check that a line is not a mistyped command.

    Raises:
        BadQuestion: it is.
    """
    if text.startswith("/") and text[1:].isalpha():
        raise BadQuestion(f"unknown command {text!r}", hint=COMMANDS)


def _in_chat(error: VidzipError) -> VidzipError:
    """Adapt an error's hint to a conversation that already has turns."""
    if isinstance(error, ContextTooLong):
        return ContextTooLong(error.message, hint=f"the conversation is too long: {NEW} starts a new one")
    return error


def is_interactive() -> bool:
    """Whether standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def read_typed_lines() -> Iterator[str]:
    """Prompt for lines on a terminal, until Ctrl-D; Ctrl-C clears the line."""
    with suppress(ImportError):
        import readline  # noqa: F401 - from now on, input() edits lines and recalls earlier ones
    _accept_invalid_utf8()
    while True:
        try:
            line = _typed()
        except EOFError:
            click.echo(err=True)
            return
        except KeyboardInterrupt:
            click.echo(err=True)
            print_message("note", COMMANDS)
            continue
        yield line


def _typed() -> str:
    if sys.stdout.isatty():
        return input(PROMPT)
    click.echo(PROMPT, nl=False, err=True)  # standard output is redirected: keep the prompt out of it
    return input()


def read_piped_lines() -> Iterator[str]:
    """Read lines as they come; none if standard input is closed."""
    if sys.stdin is not None:
        _accept_invalid_utf8()
        yield from iter(sys.stdin.readline, "")


def _accept_invalid_utf8() -> None:
    """Read bytes that are not UTF-8 as surrogates: the question is refused, and reading continues."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
