"""What the command line says where it refuses something."""

from __future__ import annotations

from typing import Any


def assert_refused(capsys: Any, says: str, hint: str) -> None:
    """Check that nothing was printed but an error in one line, and what to do in another."""
    out, err = capsys.readouterr()
    assert out == ""
    error, advice = err.splitlines()
    assert error.startswith("error: ")
    assert says in error
    assert advice.startswith("hint: ")
    assert hint in advice
