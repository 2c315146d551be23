"""What is asked of a decoder, whichever one it is, and what it says where a video ends too early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int64

from vidzip.errors import EndsEarly
from vidzip.video.info import ROUNDING_SECONDS
from vidzip.video.limits import TimeLimit
from vidzip.video.resizing import Shape

if TYPE_CHECKING:  # what decodes is loaded where a file is opened
    from vidzip.video.indexing import Index


@dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """The pictures on screen at some moments of a file.

    Attributes:
        path: a local video file.
        moments: seconds on the file's own clock, ascending, (F,).
        workers: threads that decode.
        time_limit_seconds: how long the file may be worked on.
        shape: the size that pictures are brought to.
        strict: whether damage is an error also where something can be shown.
        device: where the pictures are wanted.
        max_waiting_bytes: pictures that are decoded before they are taken hold no more than this, or a few.
        warn: told, in words, what is wrong with the file.
    """

    path: str
    moments: tuple[float, ...]
    workers: int
    time_limit_seconds: float
    shape: Shape = field(default_factory=Shape)
    strict: bool = False
    device: str = "cpu"
    max_waiting_bytes: float
    warn: Callable[[str], None]

    def new_limit(self) -> TimeLimit:
        """Start the file's clock."""
        return TimeLimit(self.time_limit_seconds, self.path)

    def frames_on_screen(self, index: Index, moments: Sequence[float]) -> Int64[np.ndarray, " moments"]:
        """Number the frame on screen at each of some ascending moments, (F,); the first one also before it appears.

        Raises:
            EndsEarly: the video ends before a moment.
        """
        ends, slack = index.ends_seconds, index.frame_seconds
        for moment in moments:
            if moment > ends + slack:
                raise self.ends_early(ends, moment, index.breaks)
        after = np.searchsorted(index.seconds, np.array(moments) + ROUNDING_SECONDS, side="right")
        return np.maximum(after - 1, 0)

    def ends_early(self, ends_seconds: float, moment: float, damage: str = "") -> EndsEarly:
        """Say that a moment lies past the end.

        Args:
            ends_seconds: when the last frame leaves the screen.
            moment: where a frame is wanted.
            damage: what keeps later frames from being decoded; empty where there are none.
        """
        if damage:
            return EndsEarly(
                f"{self.path!r} cannot be decoded past {ends_seconds:.3f} s ({damage}), and a frame is wanted at "
                f"{moment:.3f} s",
                hint=f"the file is damaged or cut off: stay before that moment (--end {ends_seconds:.3f}), or fetch it "
                "again",
                ends_seconds=ends_seconds,
            )
        return EndsEarly(
            f"{self.path!r} ends at {ends_seconds:.3f} s, before {moment:.3f} s, where a frame is wanted",
            hint=f"stay before the end (--end {ends_seconds:.3f}); if the file promises more, it is cut off: fetch it "
            "again",
            ends_seconds=ends_seconds,
        )
