"""Limits on the time and the frame size of one file."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from vidzip.errors import BadArgument, FrameTooLarge, TimeLimitExceeded

DEFAULT_TIME_LIMIT_SECONDS = 600.0
"""Default limit on the time spent on one file."""

MAX_PIXELS = 1 << 27
"""Limit on the pixels of a frame, 16,384 by 8,192: a damaged header can claim any size."""


class TimeLimit:
    """A clock that limits the time spent on one file.

    Args:
        seconds: the limit.
        path: the file, for error messages.

    Raises:
        BadArgument: ``seconds`` is not positive.
    """

    def __init__(self, seconds: float, path: str) -> None:
        if math.isnan(seconds) or seconds <= 0:
            raise BadArgument(f"the time limit is {seconds} s", hint="give more than 0 seconds")
        self._seconds = seconds
        self._path = path
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Check the clock.

        Raises:
            TimeLimitExceeded: the limit is exceeded.
        """
        if time.monotonic() > self._end:
            raise TimeLimitExceeded(
                f"reading {self._path!r} took longer than {self._seconds:g} s",
                hint="raise the limit (--time-limit); a file that never ends is damaged: download it again",
            )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock during the block, such as while the caller uses a frame."""
        start = time.monotonic()
        try:
            yield
        finally:
            self._end += time.monotonic() - start


def check_frame_size(width: int, height: int, path: str) -> None:
    """Check the size of a file's frames before memory is allocated.

    Raises:
        FrameTooLarge: a frame has more than :data:`MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise FrameTooLarge(
            f"{path!r} has frames of {width}x{height} by its header; the limit is {MAX_PIXELS:,} pixels",
            hint="the file is damaged, or must be scaled down first",
        )
