"""What measurement refuses."""

from __future__ import annotations


class EvalError(Exception):
    """Base class of what the rooms of measurement raise on purpose.

    Attributes:
        message: what came and what is needed, in one line.
        hint: what to do about it, in one line; empty where the message says it all.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)  # what pickle makes it of again, in another process
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message
