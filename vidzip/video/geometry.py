"""How a stored picture is shown: turned upright, its pixels made square. Standard library only."""

from __future__ import annotations

from fractions import Fraction

_STRANGEST_ASPECT = 8
"""A pixel that is more than so many times as long as it is short is a fault of the header: it counts as square."""


def shown_size(height: int, width: int, turn: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """Height and width of a stored picture once its pixels are square and it is turned by ``turn`` degrees."""
    if 1 / _STRANGEST_ASPECT <= pixel_aspect <= _STRANGEST_ASPECT:
        width = max(1, round(width * pixel_aspect))
    return (height, width) if turn % 180 == 0 else (width, height)


def degrees_clockwise(rotation: float) -> int:
    """Turn FFmpeg's counter-clockwise angle, -180 to 180, into quarter turns clockwise: 0, 90, 180 or 270."""
    return round(-rotation / 90) * 90 % 360
