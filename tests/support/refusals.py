"""Checks of the command line's refusals."""

from __future__ import annotations

from typing import Any


def assert_refused(capsys: Any, says: str, hint: str) -> None:
    """Check that only an error and a hint were printed, one line each."""
    out, err = capsys.readouterr()
    assert out == ""
    error, advice = err.splitlines()
    assert error.startswith("error: ")
    assert says in error
    assert advice.startswith("hint: ")
    assert hint in advice
