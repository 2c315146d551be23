"""The base class of errors in eval."""

from __future__ import annotations

from typing import ClassVar


class EvalError(Exception):
    """Base class of the errors that eval raises on purpose.

    Attributes:
        message: what happened and what was expected, in one line.
        hint: what to do about it, in one line; empty if the message says it.
        is_system_fault: whether the cause is the system, not the input.
    """

    is_system_fault: ClassVar[bool] = False

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)  # pickle passes these arguments to the copy in another process
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message
