"""What is said where a judge cannot be asked, or its replies cannot be kept."""

from __future__ import annotations

from eval.errors import EvalError


class JudgeError(EvalError):
    """A judge that cannot judge any answer: a wrong URL, key or model; no openai package."""


class JudgeUnreachable(JudgeError):
    """A judge that does not reply; what it did reply is kept."""


class RepliesError(JudgeError):
    """A file of kept replies that cannot be read or written."""
