"""A dense objective for the language model: each patch tells what the frames so far say of the thing it shows.

Which way that thing has moved since it was first shown, how many things of its colour and of its shape have been shown,
and when it was first shown. An answer teaches a word or two a question; this teaches every token of the video to look
back at its own kind. It is read off in the middle of the language model, so that the layers above can use what is
found. Below that, every token tells how many frames came before its own: else nothing marks the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from benchmarks.train_tiny.training_frames import Lesson
from eval.shapes.evidence import MIN_TRAVEL
from eval.shapes.making import MOST_COUNTED
from eval.shapes.scene import COLOURS, DIRECTIONS, SHAPES

CLOCK_DEPTH, DEPTHS = 1, (2, 3)
"""Layers of the language model below the readout of the frame's number, and below those of all else."""

UNTOLD = -100
"""Target of a token that shows no thing: nothing is asked of it."""

TOLD = 5
"""Numbers that a token tells."""

MOTIONS = (*DIRECTIONS, "none")
_NO_MOTION_WEIGHT, _FROM_THE_START_WEIGHT, _ALONE_WEIGHT = 0.3, 0.2, 0.3
"""Of things that have not moved, of those that the first frame shows, and of those alone in their colour or shape:
they are most of them."""


class Readouts(nn.Module):
    """Linear readouts of what tokens tell; thrown away after training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.clock = nn.Sequential(nn.RMSNorm(width), nn.Linear(width, 1))
        self.things = nn.ModuleList([ThingReadout(width) for _ in DEPTHS])


class ThingReadout(nn.Module):
    """Of the motion, of both counts, and of the time at which a thing was first shown."""

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
    ) -> Int[Tensor, "tokens told"]:
        """Say what the shown tokens of a shot can tell: a motion, counts by colour and by shape, and two times.

        Args:
            lesson: a filmed shot.
            frames: which of its frames are shown, (F,).
            slots: which tokens of each are, (F, k): 0 for CLS, 1 + its number for a patch.

        Returns:
            (F * k, 5): a place in :data:`MOTIONS`; numbers up to ``MOST_COUNTED``, those above it counted as it; how
            many frames were shown before the first one that shows the thing; all :data:`UNTOLD` where a token shows
            no thing; then how many frames were shown before this one.
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

    def tell(self, frames: Sequence[int], slots: Int[np.ndarray, "frames kept"]) -> Int[Tensor, "tokens told"]:
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
        number = np.arange(len(chosen))[:, None]
        clock = np.broadcast_to(number, shown.shape)[..., None]
        return torch.from_numpy(np.concatenate([told[number, shown], clock], axis=-1).reshape(-1, TOLD))


def _motions(way: Float[np.ndarray, "frames names 2"]) -> Int[np.ndarray, "frames names"]:
    """Name the direction of ways that are far enough to be seen as motion."""
    along = np.abs(way).argmax(axis=-1)
    length = np.take_along_axis(way, along[..., None], axis=-1)[..., 0]
    across, down = (MOTIONS.index("left"), MOTIONS.index("right")), (MOTIONS.index("up"), MOTIONS.index("down"))
    back, forth = np.where(along == 0, across[0], down[0]), np.where(along == 0, across[1], down[1])
    named = np.where(length < 0, back, forth)
    return np.where(np.abs(length) >= MIN_TRAVEL, named, MOTIONS.index("none"))


def hindsight_loss(
    readouts: Readouts, states: Sequence[Float[Tensor, "tokens width"]], told: Int[Tensor, "tokens told"]
) -> tuple[Tensor, dict[str, float]]:
    """Compute the mean loss of what tokens tell; also return how well they do, as read off highest.

    Args:
        readouts: what reads it off.
        states: the tokens' states below the language model and after each of its layers, (N, D) each.
        told: what they can tell, (N, 5); the frame's number is :data:`UNTOLD` for padding.
    """
    is_shown, is_told = told[:, 4] != UNTOLD, told[:, 0] != UNTOLD
    clock = readouts.clock(states[CLOCK_DEPTH][is_shown])[:, 0]
    loss = (clock - _octaves(told[is_shown, 4])).abs().mean()
    shares = {"frame off by": loss.item()}
    if is_told.any():
        for depth, readout in zip(DEPTHS, readouts.things, strict=True):
            error, right = _thing_loss(readout, states[depth][is_told], told[is_told])
            loss = loss + error / len(DEPTHS)
            shares |= right
    return loss, shares


def _thing_loss(
    readout: Any, states: Float[Tensor, "tokens width"], told: Int[Tensor, "tokens told"]
) -> tuple[Tensor, dict[str, float]]:
    states = readout.norm(states)
    moved_weight, count_weight = torch.ones(len(MOTIONS)), torch.ones(MOST_COUNTED + 1)
    moved_weight[-1], count_weight[1] = _NO_MOTION_WEIGHT, _ALONE_WEIGHT
    moved_weight, count_weight = moved_weight.to(told.device), count_weight.to(told.device)
    motion, by_colour, by_shape = readout.motion(states), readout.by_colour(states), readout.by_shape(states)
    is_late = torch.where(told[:, 3] > 0, 1.0, _FROM_THE_START_WEIGHT)
    late = ((readout.first(states)[:, 0] - _octaves(told[:, 3])).abs() * is_late).sum() / is_late.sum()
    counts = F.cross_entropy(by_colour, told[:, 1], weight=count_weight)
    counts = counts + F.cross_entropy(by_shape, told[:, 2], weight=count_weight)
    with torch.no_grad():
        counted = torch.stack([by_colour.argmax(dim=-1) == told[:, 1], by_shape.argmax(dim=-1) == told[:, 2]])
        shares = {"first shown off by": late.item(), "counts told": counted.float().mean().item()}
        moved = told[:, 0] < len(DIRECTIONS)
        if moved.any():
            shares["motion told"] = (motion.argmax(dim=-1) == told[:, 0])[moved].float().mean().item()
    return F.cross_entropy(motion, told[:, 0], weight=moved_weight) + counts + late, shares


def _octaves(frames: Int[Tensor, " tokens"]) -> Float[Tensor, " tokens"]:
    """A number of frames on a scale on which one more is little of many."""
    return torch.log2(1.0 + frames)
