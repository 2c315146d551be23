"""From stored size to displayed size: rotation and pixel aspect ratio. Standard library only."""

from __future__ import annotations

from fractions import Fraction

_MAX_PIXEL_ASPECT = 8
"""Aspect ratios beyond this, or below its inverse, are header errors: such pixels count as square."""


def display_size(height: int, width: int, rotation: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """Return the displayed height and width of a stored frame.

    Args:
        height: stored pixels.
        width: stored pixels.
        rotation: degrees that the frame is rotated by.
        pixel_aspect: width of a stored pixel divided by its height.
    """
    if 1 / _MAX_PIXEL_ASPECT <= pixel_aspect <= _MAX_PIXEL_ASPECT:
        width = max(1, round(width * pixel_aspect))
    return (height, width) if rotation % 180 == 0 else (width, height)


def clockwise_rotation(angle: float) -> int:
    """Convert FFmpeg's counter-clockwise angle, -180 to 180, to clockwise degrees: 0, 90, 180 or 270."""
    return round(-angle / 90) * 90 % 360
