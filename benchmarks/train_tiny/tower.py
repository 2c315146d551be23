"""The first stage: the vision tower learns to say what lies where.

Two objectives on the output of the layer that Video-LLaVA reads. A dense one: each patch says what thing it shows and
where that thing's centre is. A summary one: CLS says which things the frame shows, where, and how many of each
colour and shape; to do so it must attend to the patches that tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from benchmarks.train_tiny.muon import matrices_of
from benchmarks.train_tiny.runs import Run, Stage
from benchmarks.train_tiny.training_frames import NUM_NAMES, PATCHES, POINTS
from eval.shapes.scene import COLOURS, SHAPES
from pipelines.terminal import Progress
from vidzip.models.small import PREPROCESSOR

MOST = 5
"""Counts above this are told apart no further."""

STAGE = "tower"
PEAK = 1e-3
WARM_UP = 200
WINDOWS = ((0.15, 6), (0.35, 8), (0.5, 10), (0.65, 12), (1.0, PATCHES))
"""Until which share of the steps windows have how many patches a side: they grow to the whole frame."""

_TOKENS = 3600
"""Patches a step, so that all steps cost the same."""

_CHUNK, _CHUNK_STEPS = 24, 25
"""Videos in memory at a time, and steps until the next ones."""

_LOG_STEPS = 50

_NEAR = 0.12
"""A thing whose centre lies this close to a window, in sides of the frame, may reach into it."""

_GROUND_WEIGHT = 0.25
"""Of patches that show the ground, which are most of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameBatch:
    """Frames with their labels; names and units as in :class:`benchmarks.train_tiny.training_frames.Labels`."""

    pixels: UInt8[Tensor, "frames 3 224 224"]
    colour: Int[Tensor, "frames patches"]
    shape: Int[Tensor, "frames patches"]
    centre: Float[Tensor, "frames patches 2"]
    outline: Bool[Tensor, "frames patches points"]
    present: Int[Tensor, "frames names"]
    place: Float[Tensor, "frames names 2"]

    @classmethod
    def read(cls, files: list[str]) -> FrameBatch:
        """Read filmed shots."""
        shots = [np.load(file) for file in files]
        parts = {f.name: torch.from_numpy(np.concatenate([shot[f.name] for shot in shots])) for f in fields(cls)}
        wide = {name: part.long() if part.dtype == torch.int8 else part for name, part in parts.items()}
        return cls(**wide)

    def to(self, device: torch.device) -> FrameBatch:
        """Move it to a device."""
        return FrameBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def __getitem__(self, which: Tensor) -> FrameBatch:
        return FrameBatch(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


class Heads(nn.Module):
    """Linear readouts of both objectives; thrown away after training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.cls_norm = nn.LayerNorm(width)
        self.dense = nn.Linear(width, len(COLOURS) + 1 + len(SHAPES) + 1 + 2 + POINTS**2)
        self.summary = nn.Linear(width, NUM_NAMES * 3 + (len(COLOURS) + len(SHAPES)) * (MOST + 1))


def train_tower(run: Run, tower: nn.Module, files: list[str], device: torch.device, progress: Progress) -> None:
    """Train the tower on filmed shots, or go on with it."""
    steps, seed = run.recipe.tower_steps, run.recipe.seed
    torch.manual_seed(seed)
    heads = Heads(tower.get_parameter("embeddings.class_embedding").shape[0])
    tower.to(device).train()
    heads.to(device)
    matrices = matrices_of(tower.get_submodule("encoder.layers"))
    modules = {"tower": tower, "heads": heads}
    stage = Stage(run, STAGE, modules, steps=steps, peak=PEAK, warm_up=WARM_UP, matrices=matrices)
    footage = _Footage(files, seed)
    for step in stage.steps("train the tower", progress):
        batch = footage.at(step)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        side = next(side for share, side in WINDOWS if step < share * steps or share == 1)
        which = torch.randperm(len(batch.pixels), generator=generator)[: _TOKENS // (side**2 + 1)]
        windows, kept = cut_windows(batch[which], side, generator)
        windows = windows.to(device)
        hidden = features(tower, to_pixel_values(windows.pixels), kept.to(device))
        values = losses(heads, hidden, windows)
        stage.learn(values["loss"])
        if (step + 1) % _LOG_STEPS == 0:
            run.log(STAGE, step + 1, {"side": side, **{key: value.item() for key, value in values.items()}})
    tower.eval()


class _Footage:
    """The shots, a few in memory at a time, each time round in another order."""

    def __init__(self, files: Sequence[str], seed: int) -> None:
        self._files, self._seed = files, seed
        self._held: tuple[int, FrameBatch] | None = None

    def at(self, step: int) -> FrameBatch:
        """Read the shots of a step."""
        number = step // _CHUNK_STEPS
        if self._held is None or self._held[0] != number:
            rounds = max(1, len(self._files) // _CHUNK)
            generator = torch.Generator().manual_seed(self._seed * 7919 + number // rounds)
            order = torch.randperm(len(self._files), generator=generator).tolist()
            start = number % rounds * _CHUNK
            self._held = number, FrameBatch.read([self._files[i] for i in order[start : start + _CHUNK]])
        return self._held[1]


def to_pixel_values(pixels: UInt8[Tensor, "frames 3 h w"]) -> Float[Tensor, "frames 3 h w"]:
    """Scale and normalise as the preprocessor does."""
    mean = torch.tensor(PREPROCESSOR.mean, device=pixels.device)[:, None, None]
    std = torch.tensor(PREPROCESSOR.std, device=pixels.device)[:, None, None]
    return (pixels.float() / 255 - mean) / std


def features(
    tower: nn.Module, pixel_values: Float[Tensor, "frames 3 h w"], kept: Int[Tensor, "frames kept"] | None = None
) -> Float[Tensor, "frames tokens width"]:
    """Run the tower up to its last layer but one.

    Args:
        tower: a ``CLIPVisionModel``.
        pixel_values: frames, or windows of them, (F, 3, H, W).
        kept: where the patches of windows lie, (F, k): their numbers in the whole frame.
    """
    embeddings, norm = tower.get_submodule("embeddings"), tower.get_submodule("pre_layrnorm")
    if kept is None:
        tokens = embeddings(pixel_values)
    else:
        positions = embeddings.get_submodule("position_embedding")
        patches = embeddings.get_submodule("patch_embedding")(pixel_values).flatten(2).transpose(1, 2)
        cls = embeddings.get_parameter("class_embedding") + positions(kept.new_zeros(1))
        tokens = torch.cat([cls.expand(len(kept), 1, -1), patches + positions(kept + 1)], dim=1)
    hidden: Tensor = norm(tokens)
    for layer in list(tower.get_submodule("encoder.layers").children())[:-1]:
        hidden = layer(hidden, attention_mask=None)
    return hidden


def cut_windows(
    batch: FrameBatch, side: int, generator: torch.Generator
) -> tuple[FrameBatch, Int[Tensor, "frames kept"]]:
    """Keep a square window of patches of each frame, drop the rest; also return the kept patches' numbers.

    Windows leave shapes whole, and cost a small part of the frame. A thing is present where its centre lies in the
    window; it is neither present nor absent where its centre lies close by.
    """
    frames, patch = len(batch.pixels), batch.pixels.shape[-1] // PATCHES
    corners = torch.randint(0, PATCHES - side + 1, (frames, 2), generator=generator)
    pixels = torch.stack(
        [
            picture[:, top : top + side * patch, left : left + side * patch]
            for picture, (top, left) in zip(batch.pixels, (corners * patch).tolist(), strict=True)
        ]
    )
    steps = torch.arange(side)
    kept = ((corners[:, :1] + steps)[:, :, None] * PATCHES + (corners[:, 1:] + steps)[:, None, :]).flatten(1)
    low = corners.flip(1)[:, None] / PATCHES
    high = low + side / PATCHES
    outside = torch.maximum(low - batch.place, batch.place - high).amax(dim=-1)
    seen = torch.where(outside <= 0, batch.present, torch.where(outside <= _NEAR, -1, 0))
    windows = FrameBatch(
        pixels=pixels,
        colour=batch.colour.gather(1, kept),
        shape=batch.shape.gather(1, kept),
        centre=batch.centre.gather(1, kept[..., None].expand(-1, -1, 2)),
        outline=batch.outline.gather(1, kept[..., None].expand(-1, -1, POINTS**2)),
        present=torch.where(batch.present == 0, 0, seen),
        place=batch.place,
    )
    return windows, kept


def losses(heads: Heads, hidden: Float[Tensor, "frames tokens width"], batch: FrameBatch) -> dict[str, Tensor]:
    """Compute each objective's loss, and the shares that are right."""
    colour, shape, centre = batch.colour, batch.shape, batch.centre
    c, s = len(COLOURS), len(SHAPES)
    dense = heads.dense(heads.norm(hidden[:, 1:]))
    on_thing = colour >= 0
    weight = torch.where(on_thing, 1.0, _GROUND_WEIGHT)
    # The ground, -1, is the last class.
    colour_loss = _weighted(
        F.cross_entropy(dense[..., : c + 1].transpose(1, 2), colour % (c + 1), reduction="none"), weight
    )
    shape_loss = _weighted(
        F.cross_entropy(dense[..., c + 1 : c + s + 2].transpose(1, 2), shape % (s + 1), reduction="none"), weight
    )
    at = c + s + 2
    centre_loss = _weighted((dense[..., at : at + 2] - (centre - 0.5) * 4).abs().mean(dim=-1), on_thing.float())
    outline_error = F.binary_cross_entropy_with_logits(dense[..., at + 2 :], batch.outline.float(), reduction="none")
    outline_loss = _weighted(outline_error.mean(dim=-1), on_thing.float())

    summary = heads.summary(heads.cls_norm(hidden[:, 0]))
    logits, place, counts = summary.split([NUM_NAMES, NUM_NAMES * 2, (c + s) * (MOST + 1)], dim=-1)
    is_seen = batch.present == 1
    present_loss = F.binary_cross_entropy_with_logits(logits, is_seen.float(), reduction="none")
    present_loss = (present_loss * (batch.present >= 0)).sum(dim=-1).mean() / 8
    place_error = (place.view(-1, NUM_NAMES, 2) - (batch.place - 0.5) * 4).abs().mean(dim=-1)
    place_loss = _weighted(place_error, is_seen.float())
    grid = is_seen.long().view(-1, c, s)
    truth = torch.cat([grid.sum(dim=2), grid.sum(dim=1)], dim=-1).clamp(max=MOST)
    count_loss = F.cross_entropy(counts.view(-1, c + s, MOST + 1).transpose(1, 2), truth)

    sure = batch.present >= 0
    with torch.no_grad():
        named = ((logits > 0) == is_seen) | ~sure
        patch = (dense[..., :c].argmax(-1) == colour) & (dense[..., c + 1 : c + s + 1].argmax(-1) == shape)
        right = {
            "frames named right": named.all(dim=-1).float().mean(),
            "patches named right": _weighted(patch.float(), on_thing.float()),
            "place error": _weighted(place_error, is_seen.float()) / 4,
        }
    # Detached values are for the curves.
    loss = colour_loss + shape_loss + centre_loss + outline_loss + present_loss + place_loss + count_loss
    return {
        "loss": loss,
        "dense colour": colour_loss.detach(),
        "dense shape": shape_loss.detach(),
        "dense centre": centre_loss.detach(),
        "dense outline": outline_loss.detach(),
        "summary names": present_loss.detach(),
        "summary place": place_loss.detach(),
        "summary counts": count_loss.detach(),
        **right,
    }


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)
