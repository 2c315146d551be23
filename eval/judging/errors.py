"""What is said where a judge cannot be asked, or its replies cannot be kept."""

from __future__ import annotations


class JudgeError(Exception):
    """A judge that cannot judge any answer: a wrong URL, key or model; no openai package.

    Attributes:
        message: what came and what is needed, in one line.
        hint: what to do about it, in one line; empty where the message says it all.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class JudgeUnreachable(JudgeError):
    """A judge that does not reply; what it did reply is kept."""


class RepliesError(JudgeError):
    """A file of kept replies that cannot be read or written."""
