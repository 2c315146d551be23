"""A request for the frames of a file at given timestamps, as each decoder gets it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from vidzip.errors import EndsEarly
from vidzip.video.info import ROUNDING_SECONDS
from vidzip.video.limits import TimeLimit
from vidzip.video.resizing import Shape

if TYPE_CHECKING:  # loads a decoder
    from vidzip.video.indexing import FrameIndex


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodeRequest:
    """A request for the frames on screen at some timestamps of a file.

    Attributes:
        path: a local video file.
        timestamps_seconds: seconds on the file's own clock, ascending, (F,).
        workers: number of decoding threads.
        time_limit_seconds: limit on the time spent on the file.
        shape: size of the frames.
        strict: raise an error for damage even if the frame before can be shown.
        device: where the pixels are wanted.
        max_queued_bytes: limit on the frames that are decoded before they are used; a few more are held in any case.
        warn: called with a message for each problem of the file.
    """

    path: str
    timestamps_seconds: tuple[float, ...]
    workers: int
    time_limit_seconds: float
    shape: Shape
    strict: bool
    device: str
    max_queued_bytes: float
    warn: Callable[[str], None]

    def new_limit(self) -> TimeLimit:
        """Start the file's clock."""
        return TimeLimit(self.time_limit_seconds, self.path)

    def frames_on_screen(
        self, index: FrameIndex, timestamps_seconds: Sequence[float]
    ) -> Int64[np.ndarray, " timestamps"]:
        """Return the number of the frame on screen at each timestamp, (F,); before the first frame, the first one.

        Args:
            index: the file's index.
            timestamps_seconds: ascending, (F,).

        Raises:
            EndsEarly: the video ends before a timestamp.
        """
        end, slack = index.end_seconds, index.frame_seconds
        for seconds in timestamps_seconds:
            if seconds > end + slack:
                raise self.ends_early_error(end, seconds, index.read_error)
        following = np.searchsorted(index.seconds, np.array(timestamps_seconds) + ROUNDING_SECONDS, side="right")
        return np.maximum(following - 1, 0)

    def ends_early_error(self, end_seconds: float, timestamp_seconds: float, damage: str = "") -> EndsEarly:
        """Return the error to raise for a timestamp after the end.

        Args:
            end_seconds: end of the last frame that can be decoded.
            timestamp_seconds: the timestamp.
            damage: why later frames cannot be decoded; empty if there are none.
        """
        if damage:
            return EndsEarly(
                f"{self.path!r} cannot be decoded past {end_seconds:.3f} s ({damage}), and a frame is wanted at "
                f"{timestamp_seconds:.3f} s",
                hint=f"the file is damaged or truncated: use the part before (--end {end_seconds:.3f}), or download it "
                "again",
                end_seconds=end_seconds,
            )
        return EndsEarly(
            f"{self.path!r} ends at {end_seconds:.3f} s, before {timestamp_seconds:.3f} s, where a frame is wanted",
            hint=f"use the part before the end (--end {end_seconds:.3f}); if the video should be longer, the file is "
            "truncated: download it again",
            end_seconds=end_seconds,
        )
