"""A dense objective for the language model: each patch tells what the frames so far say of the thing it shows.

Which way that thing has moved since it was first shown, how many things of its colour and of its shape have been shown,
and when it was first shown. An answer teaches a word or two a question; this teaches every token of the video to look back at its own kind.
It is read off in the middle of the language model, so that the layers above can use what is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from eval.shapes.evidence import MIN_TRAVEL
from eval.shapes.making import MOST_COUNTED
from eval.shapes.scene import COLOURS, DIRECTIONS, SHAPES
from pipelines.tiny.footage import Lesson

DEPTH = 2
"""Layers of the language model below the readout."""

UNTOLD = -100
"""Target of a token that shows no thing: nothing is asked of it."""

MOTIONS = (*DIRECTIONS, "none")
_NO_MOTION_WEIGHT = 0.3
"""Of things that have not moved, which are most of them."""

_FRAMES_A_UNIT = 8
"""Of the time at which a thing was first shown."""


class Readout(nn.Module):
    """Linear readouts of the motion, of both counts and of the time; thrown away after training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.motion = nn.Linear(width, len(MOTIONS))
        self.by_colour = nn.Linear(width, MOST_COUNTED + 1)
        self.by_shape = nn.Linear(width, MOST_COUNTED + 1)
        self.first = nn.Linear(width, 1)


class Hindsight:
    """What tokens can tell, from the labels of filmed shots; these are read once."""

    def __init__(self) -> None:
        self._read: dict[str, _Sightings] = {}

    def of(
        self, lesson: Lesson, frames: Sequence[int], slots: Int[np.ndarray, "frames kept"]
    ) -> Int[Tensor, "tokens 4"]:
        """Say what the shown tokens of a shot can tell: a motion, counts by colour and by shape, and a time.

        Args:
            lesson: a filmed shot.
            frames: which of its frames are shown, (F,).
            slots: which tokens of each are, (F, k): 0 for CLS, 1 + its number for a patch.

        Returns:
            (F * k, 4): a place in :data:`MOTIONS`; numbers up to ``MOST_COUNTED``, those above it counted as it; how
            many frames were shown before the first one that shows the thing; all :data:`UNTOLD` where a token shows
            no thing.
        """
        held = self._read.get(lesson.footage)
        if held is None:
            held = self._read[lesson.footage] = _Sightings.read(lesson.footage)
        return held.tell(frames, slots)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sightings:
    """Where things of each name are seen; F frames.

    Attributes:
        name: of the thing on each patch, colour times shapes plus shape, or -1 for the ground, (F, patches).
        seen: whether a thing of each name is seen, (F, names).
        place: (x, y) of it, (F, names, 2).
    """

    name: Int[np.ndarray, "frames patches"]
    seen: Bool[np.ndarray, "frames names"]
    place: Float[np.ndarray, "frames names 2"]

    @classmethod
    def read(cls, footage: str) -> _Sightings:
        held = np.load(footage)
        colour = held["colour"].astype(np.int16)
        name = np.where(colour >= 0, colour * len(SHAPES) + held["shape"], -1)
        return cls(name=name, seen=held["present"] == 1, place=held["place"])

    def tell(self, frames: Sequence[int], slots: Int[np.ndarray, "frames kept"]) -> Int[Tensor, "tokens 4"]:
        chosen = list(frames)
        seen, place = self.seen[chosen], self.place[chosen]
        so_far = np.logical_or.accumulate(seen, axis=0)
        first = seen.argmax(axis=0)
        origin = np.take_along_axis(place, first[None, :, None], axis=0)
        grid = so_far.reshape(len(chosen), len(COLOURS), len(SHAPES))
        told = np.stack(
            [
                _motions(place - origin),
                np.minimum(grid.sum(axis=2), MOST_COUNTED).repeat(len(SHAPES), axis=1),
                np.tile(np.minimum(grid.sum(axis=1), MOST_COUNTED), (1, len(COLOURS))),
                np.tile(first, (len(chosen), 1)),
            ],
            axis=-1,
        )
        told[~so_far] = UNTOLD  # covered whenever it was shown
        # The last row is for what shows no thing: the ground, which is name -1, and CLS.
        told = np.concatenate([told, np.full((len(chosen), 1, 4), UNTOLD)], axis=1)
        names = np.concatenate([np.full((len(chosen), 1), -1), self.name[chosen]], axis=1)
        shown = np.take_along_axis(names, slots, axis=1)
        return torch.from_numpy(told[np.arange(len(chosen))[:, None], shown].reshape(-1, 4))


def _motions(way: Float[np.ndarray, "frames names 2"]) -> Int[np.ndarray, "frames names"]:
    """Name the direction of ways that are far enough to be seen as motion."""
    along = np.abs(way).argmax(axis=-1)
    length = np.take_along_axis(way, along[..., None], axis=-1)[..., 0]
    across, down = (MOTIONS.index("left"), MOTIONS.index("right")), (MOTIONS.index("up"), MOTIONS.index("down"))
    back, forth = np.where(along == 0, across[0], down[0]), np.where(along == 0, across[1], down[1])
    named = np.where(length < 0, back, forth)
    return np.where(np.abs(length) >= MIN_TRAVEL, named, MOTIONS.index("none"))


def hindsight_loss(
    readout: Readout, hidden: Float[Tensor, "tokens width"], told: Int[Tensor, "tokens 4"]
) -> tuple[Tensor, dict[str, float]]:
    """Compute the mean loss of what tokens tell, none where none can; also return how well they do, of what moved."""
    is_told = told[:, 0] != UNTOLD
    if not is_told.any():
        return hidden.sum() * 0, {}
    states, told = readout.norm(hidden[is_told]), told[is_told]
    weight = torch.ones(len(MOTIONS), device=hidden.device)
    weight[-1] = _NO_MOTION_WEIGHT
    motion = readout.motion(states)
    loss = F.cross_entropy(motion, told[:, 0], weight=weight)
    loss = loss + F.cross_entropy(readout.by_colour(states), told[:, 1])
    loss = loss + F.cross_entropy(readout.by_shape(states), told[:, 2])
    late = (readout.first(states)[:, 0] - told[:, 3] / _FRAMES_A_UNIT).abs().mean()
    loss = loss + late
    with torch.no_grad():
        moved = told[:, 0] < len(DIRECTIONS)
        right = (motion.argmax(dim=-1) == told[:, 0])[moved]
    shares = {"first shown off by": late.item() * _FRAMES_A_UNIT}
    return loss, {**shares, "motion told": right.float().mean().item()} if len(right) else shares
