"""Texts and numbers as a report shows them: no text of a data set or of a model can steer who reads it."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from eval.scoring import Retention
from eval.statistics import Estimate

TEXT_LIMIT, NAME_LIMIT = 600, 100
"""Characters that are shown of a question or an answer, and of a name."""

NOTHING = "-"
"""What stands where there is no number."""

_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Invisible characters that some languages cannot be written without."""

_HIDDEN = {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}
"""Unicode's categories of characters that steer, hide or mean nothing to anyone else."""

_MARKDOWN = str.maketrans(
    {char: f"\\{char}" for char in "\\`*_[]|~$#"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"},
)
_ADDRESSES = re.compile(r"((?<=www)\.|:(?=\S))", re.IGNORECASE)
"""What makes an address or an emoji's name of the words around it."""


def shown(text: str, limit: int = TEXT_LIMIT) -> str:
    """Make a text safe to read: what steers a terminal, turns writing around or cannot be seen shows as an escape.

    Lines and tabs become spaces. A longer text is cut, and says how long it was.

    Args:
        text: whatever came, halves of characters included.
        limit: characters that are looked at.
    """
    visible = "".join(map(_visible, text[:limit]))
    return visible if len(text) <= limit else f"{visible} … (cut: {len(text):,} characters in all)"


def _visible(char: str) -> str:
    if char in "\n\t":
        return " "
    if char in _JOINERS or unicodedata.category(char) not in _HIDDEN:
        return char
    return char.encode("unicode_escape").decode("ascii")


def escaped(text: str) -> str:
    """Escape a shown text for a cell of a Markdown table, so that it is read as it stands.

    Nothing in it is markup then: no HTML, code, emphasis, link, formula or end of the cell.
    """
    return " ".join(_ADDRESSES.sub(r"\\\1", text.translate(_MARKDOWN)).split())


def value_shown(value: Any) -> str:
    """Show a value of a run's description."""
    if value is None or (isinstance(value, dict | list | tuple) and not value):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return shown(", ".join(f"{key}: {value_shown(one)}" for key, one in value.items()), NAME_LIMIT)
    if isinstance(value, list | tuple):
        return shown(", ".join(map(value_shown, value)), NAME_LIMIT)
    return shown(str(value), NAME_LIMIT)


def number(value: float | None, *, scale: float = 100.0, digits: int = 1, sign: bool = False) -> str:
    """Show a number of percent, or of points; a dash where there is none."""
    if value is None:
        return NOTHING
    text = f"{scale * value:{'+' if sign else ''}.{digits}f}"
    return text if float(text) else f"{0:.{digits}f}"  # never -0.0


def interval(estimate: Estimate | Retention, *, scale: float = 100.0, digits: int = 1, sign: bool = False) -> str:
    """Show an estimate and its 95 % interval, such as ``81.0 [72.2, 87.4]``."""
    value = number(estimate.value, scale=scale, digits=digits, sign=sign)
    if estimate.low is None or estimate.high is None:
        return value
    low, high = (number(end, scale=scale, digits=digits, sign=sign) for end in (estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"
