"""Errors of judging."""

from __future__ import annotations

from eval.errors import EvalError


class JudgeError(EvalError):
    """The judge cannot judge any answer: wrong URL, key or model, or no openai package."""


class JudgeUnreachable(JudgeError):
    """The judge does not reply; the replies so far are kept."""

    is_system_fault = True


class RepliesError(JudgeError):
    """A file of kept replies cannot be read or written."""
