"""Texts and numbers in reports: text from data sets and models is made safe to display."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from eval.scoring import JUDGE_SCORE, Retention
from eval.statistics import Estimate

MAX_TEXT, MAX_NAME = 600, 100
"""Limits on the displayed characters of a question or an answer, and of a name."""

MISSING = "-"
"""Stands for a missing value."""

_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Invisible characters that some languages need."""

_HIDDEN = {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}
"""Unicode categories of characters that control the display, are invisible, or have no standard meaning."""

_MARKDOWN = str.maketrans(
    {char: f"\\{char}" for char in "\\`*_[]|~$#"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"},
)
_LINKS = re.compile(r"((?<=www)\.|:(?=\S))", re.IGNORECASE)
"""Characters that turn the text around them into a link or an emoji."""


def safe_text(text: str, limit: int = MAX_TEXT) -> str:
    """Make a text safe to display: control, direction and invisible characters become escapes.

    Line breaks and tabs become spaces. A text above the limit is cut, and its length is given.

    Args:
        text: any text, including lone surrogates.
        limit: on the characters that are displayed.
    """
    visible = "".join(map(_visible, text[:limit]))
    return visible if len(text) <= limit else f"{visible} … (cut from {len(text):,} characters)"


def _visible(char: str) -> str:
    if char in "\n\t":
        return " "
    if char in _JOINERS or unicodedata.category(char) not in _HIDDEN:
        return char
    return char.encode("unicode_escape").decode("ascii")


def escape_markdown(text: str) -> str:
    """Escape a text for a cell of a Markdown table, so that nothing in it is markup, a link or the end of the cell."""
    return " ".join(_LINKS.sub(r"\\\1", text.translate(_MARKDOWN)).split())


def format_value(value: Any) -> str:
    """Format a value of a run's settings."""
    if value is None or (isinstance(value, dict | list | tuple) and not value):
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return safe_text(", ".join(f"{key}: {format_value(one)}" for key, one in value.items()), MAX_NAME)
    if isinstance(value, list | tuple):
        return safe_text(", ".join(map(format_value, value)), MAX_NAME)
    return safe_text(str(value), MAX_NAME)


def format_number(value: float | None, *, scale: float = 100.0, digits: int = 1, sign: bool = False) -> str:
    """Format a number, by default in percent."""
    if value is None:
        return MISSING
    text = f"{scale * value:{'+' if sign else ''}.{digits}f}"
    return text if float(text) else f"{0:.{digits}f}"  # never -0.0


def format_interval(
    estimate: Estimate | Retention, *, scale: float = 100.0, digits: int = 1, sign: bool = False
) -> str:
    """Format an estimate and its 95 % interval, such as ``81.0 [72.2, 87.4]``."""
    value = format_number(estimate.value, scale=scale, digits=digits, sign=sign)
    if estimate.low is None or estimate.high is None:
        return value
    low, high = (format_number(end, scale=scale, digits=digits, sign=sign) for end in (estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def unit_of(metric: str) -> dict[str, Any]:
    """How to format scores of a metric: a judge's scores in points, others in percent."""
    return {"scale": 1.0, "digits": 2} if metric == JUDGE_SCORE else {}
