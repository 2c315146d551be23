"""The auxiliary loss of the language model: each visual token predicts what the frames so far show of its object.

For a patch: which way its object has moved since it first appeared, how many objects of its colour and of its shape
have appeared, and in which frame it first appeared. Answers supervise a word or two per question; this supervises every
visual token to attend to earlier frames. Linear heads read it from middle layers, so that later layers can use it.
At a lower layer every token predicts its frame number, since nothing else marks the time.
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

from benchmarks.train_tiny.training_frames import TrainingVideo
from eval.shapes.evidence import MIN_TRAVEL
from eval.shapes.scene import COLOURS, DIRECTIONS, SHAPES
from eval.shapes.scene_generation import MAX_COUNTED

FRAME_LAYER, OBJECT_LAYERS = 1, (2, 3)
"""Layers whose outputs the frame head and the object heads read."""

IGNORED = -100
"""Target of a token without an object."""

NUM_TARGETS = 5
"""Targets per token."""

MOTIONS = (*DIRECTIONS, "none")
_NO_MOTION_WEIGHT, _FIRST_FRAME_WEIGHT, _COUNT_OF_ONE_WEIGHT = 0.3, 0.2, 0.3
"""Loss weights of the most frequent targets: no motion, present since the first frame, a count of one."""


class AuxiliaryHeads(nn.Module):
    """Linear heads of the auxiliary loss; discarded after training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.frame = nn.Sequential(nn.RMSNorm(width), nn.Linear(width, 1))
        self.objects = nn.ModuleList([ObjectHead(width) for _ in OBJECT_LAYERS])


class ObjectHead(nn.Module):
    """Predictions of an object's motion, both counts, and its first frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.motion = nn.Linear(width, len(MOTIONS))
        self.by_colour = nn.Linear(width, MAX_COUNTED + 1)
        self.by_shape = nn.Linear(width, MAX_COUNTED + 1)
        self.first = nn.Linear(width, 1)


class AuxiliaryTargets:
    """Targets computed from the labels of training videos; each labels file is read once."""

    def __init__(self) -> None:
        self._labels: dict[str, _ObjectLabels] = {}

    def of(
        self, video: TrainingVideo, frames: Sequence[int], tokens: Int[np.ndarray, "frames kept"]
    ) -> Int[Tensor, "tokens targets"]:
        """Compute the targets of a video's sampled tokens.

        Args:
            video: a rendered video.
            frames: the sampled frames, (F,).
            tokens: the sampled tokens of each, (F, k): 0 for CLS, 1 + patch number otherwise.

        Returns:
            (F * k, 5): an index in :data:`MOTIONS`; the counts by colour and by shape, clipped to ``MAX_COUNTED``; the
            number of the first frame with the object; the frame number. All but the last are :data:`IGNORED` if the
            token shows no object.
        """
        path = video.frames_file
        if path not in self._labels:
            self._labels[path] = _ObjectLabels.read(path)
        return self._labels[path].targets(frames, tokens)


@dataclass(frozen=True, kw_only=True, eq=False)
class _ObjectLabels:
    """Where the objects of a video are; F frames.

    Attributes:
        name: number of the object on each patch (colour times shapes plus shape), -1 for background, (F, patches).
        present: whether the object of each name is visible, (F, names).
        place: its (x, y), (F, names, 2).
    """

    name: Int[np.ndarray, "frames patches"]
    present: Bool[np.ndarray, "frames names"]
    place: Float[np.ndarray, "frames names 2"]

    @classmethod
    def read(cls, path: str) -> _ObjectLabels:
        labels = np.load(path)
        colour = labels["colour"].astype(np.int16)
        name = np.where(colour >= 0, colour * len(SHAPES) + labels["shape"], -1)
        return cls(name=name, present=labels["present"] == 1, place=labels["place"])

    def targets(self, frames: Sequence[int], tokens: Int[np.ndarray, "frames kept"]) -> Int[Tensor, "tokens targets"]:
        chosen = list(frames)
        present, place = self.present[chosen], self.place[chosen]
        so_far = np.logical_or.accumulate(present, axis=0)
        first = present.argmax(axis=0)
        origin = np.take_along_axis(place, first[None, :, None], axis=0)
        grid = so_far.reshape(len(chosen), len(COLOURS), len(SHAPES))
        by_name = np.stack(
            [
                _motions(place - origin),
                np.minimum(grid.sum(axis=2), MAX_COUNTED).repeat(len(SHAPES), axis=1),
                np.tile(np.minimum(grid.sum(axis=1), MAX_COUNTED), (1, len(COLOURS))),
                np.tile(first, (len(chosen), 1)),
            ],
            axis=-1,
        )
        by_name[~so_far] = IGNORED  # occluded in every frame so far
        # The last row is for the background, whose name is -1, and CLS.
        by_name = np.concatenate([by_name, np.full((len(chosen), 1, 4), IGNORED)], axis=1)
        names = np.concatenate([np.full((len(chosen), 1), -1), self.name[chosen]], axis=1)
        names = np.take_along_axis(names, tokens, axis=1)
        number = np.arange(len(chosen))[:, None]
        frame = np.broadcast_to(number, names.shape)[..., None]
        return torch.from_numpy(np.concatenate([by_name[number, names], frame], axis=-1).reshape(-1, NUM_TARGETS))


def _motions(displacement: Float[np.ndarray, "frames names 2"]) -> Int[np.ndarray, "frames names"]:
    """Return the direction of displacements that are long enough to count as motion."""
    axis = np.abs(displacement).argmax(axis=-1)
    length = np.take_along_axis(displacement, axis[..., None], axis=-1)[..., 0]
    negative = np.where(axis == 0, MOTIONS.index("left"), MOTIONS.index("up"))
    positive = np.where(axis == 0, MOTIONS.index("right"), MOTIONS.index("down"))
    direction = np.where(length < 0, negative, positive)
    return np.where(np.abs(length) >= MIN_TRAVEL, direction, MOTIONS.index("none"))


def auxiliary_loss(
    heads: AuxiliaryHeads, states: Sequence[Float[Tensor, "tokens width"]], targets: Int[Tensor, "tokens targets"]
) -> tuple[Tensor, dict[str, float]]:
    """Compute the mean loss over tokens; also return metrics of the highest layer.

    Args:
        heads: the heads.
        states: the tokens' embeddings and the output of each layer of the language model, (N, D) each.
        targets: (N, 5); the frame number is :data:`IGNORED` for padding.
    """
    is_token, has_object = targets[:, 4] != IGNORED, targets[:, 0] != IGNORED
    frame = heads.frame(states[FRAME_LAYER][is_token])[:, 0]
    loss = (frame - _log_scale(targets[is_token, 4])).abs().mean()
    metrics = {"frame number error": loss.item()}
    if has_object.any():
        for layer, head in zip(OBJECT_LAYERS, heads.objects, strict=True):
            object_loss, object_metrics = _object_loss(head, states[layer][has_object], targets[has_object])
            loss = loss + object_loss / len(OBJECT_LAYERS)
            metrics |= object_metrics
    return loss, metrics


def _object_loss(
    head: Any, states: Float[Tensor, "tokens width"], targets: Int[Tensor, "tokens targets"]
) -> tuple[Tensor, dict[str, float]]:
    states = head.norm(states)
    motion_weight, count_weight = torch.ones(len(MOTIONS)), torch.ones(MAX_COUNTED + 1)
    motion_weight[-1], count_weight[1] = _NO_MOTION_WEIGHT, _COUNT_OF_ONE_WEIGHT
    motion_weight, count_weight = motion_weight.to(targets.device), count_weight.to(targets.device)
    motion, by_colour, by_shape = head.motion(states), head.by_colour(states), head.by_shape(states)
    first_weight = torch.where(targets[:, 3] > 0, 1.0, _FIRST_FRAME_WEIGHT)
    first = ((head.first(states)[:, 0] - _log_scale(targets[:, 3])).abs() * first_weight).sum() / first_weight.sum()
    counts = F.cross_entropy(by_colour, targets[:, 1], weight=count_weight)
    counts = counts + F.cross_entropy(by_shape, targets[:, 2], weight=count_weight)
    with torch.no_grad():
        right = torch.stack([by_colour.argmax(dim=-1) == targets[:, 1], by_shape.argmax(dim=-1) == targets[:, 2]])
        metrics = {"object first frame error": first.item(), "object counts right": right.float().mean().item()}
        has_moved = targets[:, 0] < len(DIRECTIONS)
        if has_moved.any():
            metrics["object motion right"] = (motion.argmax(dim=-1) == targets[:, 0])[has_moved].float().mean().item()
    return F.cross_entropy(motion, targets[:, 0], weight=motion_weight) + counts + first, metrics


def _log_scale(frames: Int[Tensor, " tokens"]) -> Float[Tensor, " tokens"]:
    """Put frame numbers on a log scale, where one more frame matters less the more there are."""
    return torch.log2(1.0 + frames)
