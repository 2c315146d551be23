"""What one file may cost: how long it is worked on, and how large its pictures are."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from vidzip.errors import BadArgument, PictureTooLarge, TimeLimitExceeded

DEFAULT_TIME_LIMIT_SECONDS = 600.0
"""How long one file is worked on before it is given up."""

MAX_PIXELS = 1 << 27
"""Pixels of the largest picture that is decoded, 16,384 by 8,192: a header can promise any size."""


class TimeLimit:
    """A clock that runs while one file is worked on.

    Args:
        seconds: when it runs out.
        path: the file, to name it.

    Raises:
        BadArgument: ``seconds`` is not positive.
    """

    def __init__(self, seconds: float, path: str) -> None:
        if math.isnan(seconds) or seconds <= 0:
            raise BadArgument(f"the time limit is {seconds} s", hint="give more than 0 seconds")
        self._seconds = seconds
        self._path = path
        self._ends = time.monotonic() + seconds

    def check(self) -> None:
        """Go on, or say that time is up.

        Raises:
            TimeLimitExceeded: it is.
        """
        if time.monotonic() > self._ends:
            raise TimeLimitExceeded(
                f"reading {self._path!r} took longer than {self._seconds:g} s",
                hint="raise the limit (--time-limit); a file that never ends is damaged: fetch it again",
            )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the clock stand still while something else is done, such as what the pictures are wanted for."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._ends += time.monotonic() - began


def check_picture_size(width: int, height: int, path: str) -> None:
    """Refuse a picture that no video needs, before there is memory for it.

    Raises:
        PictureTooLarge: it has more than :data:`MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise PictureTooLarge(
            f"{path!r} says that its pictures are {width}x{height}; up to {MAX_PIXELS:,} pixels are decoded",
            hint="the file is damaged, or scale it down first",
        )
