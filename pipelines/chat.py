"""A conversation about one video, line by line: typed on a terminal, or through a pipe."""

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
class Listener:
    """What becomes of a conversation's answers, and of what goes wrong in it.

    Attributes:
        tell: takes a question and its answer.
        refuse: takes what was wrong with a question.
        answering: surrounds the work on an answer.
        is_typed: whether a person types: an interruption ends an answer then, and not the conversation.
    """

    tell: Callable[[str, Answer], object]
    refuse: Callable[[VidzipError], object]
    answering: Callable[[], AbstractContextManager[None]]
    is_typed: bool = False


def converse(session: Session, lines: Iterable[str], listener: Listener, max_new_tokens: int) -> bool:
    """Answer lines as they come, each as the next question of a conversation; empty ones are passed over.

    Args:
        session: the video, read.
        lines: questions and commands.
        listener: is told.
        max_new_tokens: tokens of an answer, at most.

    Returns:
        Whether every question could be put.

    Raises:
        SystemFault: what no other question would mend.
        KeyboardInterrupt: an interruption, where no person types.
    """
    chat, is_well = session.chat(), True
    for line in lines:
        said = line.strip()
        if said == QUIT:
            break
        if said == NEW:
            chat = session.chat()
            if listener.is_typed:
                print_message("note", "a new conversation")
        elif said:
            try:
                _check_command(said)
                with listener.answering():
                    answer = chat.ask(said, max_new_tokens)
                listener.tell(said, answer)
            except SystemFault:
                raise
            except VidzipError as error:
                is_well = False
                listener.refuse(_in_chat(error) if chat.turns else error)
            except KeyboardInterrupt:
                if not listener.is_typed:
                    raise
                print_message("note", "interrupted: the conversation goes on as if this had not been asked")
    return is_well


def _check_command(said: str) -> None:
    """Keep a mistyped command from being asked.

    Raises:
        BadQuestion: it is one.
    """
    if said.startswith("/") and said[1:].isalpha():
        raise BadQuestion(f"there is no command {said!r}", hint=COMMANDS)


def _in_chat(error: VidzipError) -> VidzipError:
    """Say what to do about an error once something was said already."""
    if isinstance(error, ContextTooLong):
        return ContextTooLong(error.message, hint=f"the conversation fills it: {NEW} starts a new one")
    return error


def is_typed() -> bool:
    """Whether a person types what is read, on a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def lines_typed() -> Iterator[str]:
    """Ask for one line after the other on a terminal, until Ctrl-D; Ctrl-C drops the line."""
    with suppress(ImportError):
        import readline  # noqa: F401 - from now on, input() edits lines and recalls earlier ones
    _keep_what_is_no_text()
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
    click.echo(PROMPT, nl=False, err=True)  # what is printed goes elsewhere, and the prompt is none of it
    return input()


def lines_piped() -> Iterator[str]:
    """Read lines as they come; none where the caller closed the input."""
    if sys.stdin is not None:
        _keep_what_is_no_text()
        yield from iter(sys.stdin.readline, "")


def _keep_what_is_no_text() -> None:
    """Let bytes that are no text come through, so that the question is refused, and not the reading."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
