"""Stage 1: the vision tower learns to localise and name objects.

Two losses on the layer that Video-LLaVA reads. Dense: each patch predicts its object's colour, shape, centre and
outline. Summary: CLS predicts which objects the frame shows, where, and how many of each colour and shape, so that it
must attend to informative patches.
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

MAX_COUNT = 5
"""Larger counts are clipped."""

STAGE = "tower"
PEAK = 1e-3
WARM_UP = 200
WINDOWS = ((0.15, 6), (0.35, 8), (0.5, 10), (0.65, 12), (1.0, PATCHES))
"""Window sizes in patches per side, each until a share of the steps; the last is the whole frame."""

_TOKENS = 3600
"""Patches per step, so that all steps cost the same."""

_CHUNK, _CHUNK_STEPS = 24, 25
"""Videos in memory at a time, and steps until the next ones are loaded."""

_LOG_STEPS = 50

_MARGIN = 0.12
"""An object may reach into a window if its centre is this close, as a share of the frame width."""

_BACKGROUND_WEIGHT = 0.25
"""Loss weight of background patches, which are the majority."""


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
        """Read the frames of several videos."""
        videos = [np.load(file) for file in files]
        parts = {f.name: torch.from_numpy(np.concatenate([video[f.name] for video in videos])) for f in fields(cls)}
        return cls(**{name: part.long() if part.dtype == torch.int8 else part for name, part in parts.items()})

    def to(self, device: torch.device) -> FrameBatch:
        """Copy it to a device."""
        return FrameBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def __getitem__(self, which: Tensor) -> FrameBatch:
        return FrameBatch(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


class TowerHeads(nn.Module):
    """Linear heads of both losses; discarded after training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.cls_norm = nn.LayerNorm(width)
        self.dense = nn.Linear(width, len(COLOURS) + 1 + len(SHAPES) + 1 + 2 + POINTS**2)
        self.summary = nn.Linear(width, NUM_NAMES * 3 + (len(COLOURS) + len(SHAPES)) * (MAX_COUNT + 1))


def train_tower(run: Run, tower: nn.Module, files: list[str], device: torch.device, progress: Progress) -> None:
    """Train the tower on rendered frames; resume from a checkpoint if there is one."""
    steps, seed = run.recipe.tower_steps, run.recipe.seed
    torch.manual_seed(seed)
    heads = TowerHeads(tower.get_parameter("embeddings.class_embedding").shape[0])
    tower.to(device).train()
    heads.to(device)
    matrices = matrices_of(tower.get_submodule("encoder.layers"))
    modules = {"tower": tower, "heads": heads}
    stage = Stage(run, STAGE, modules, steps=steps, peak=PEAK, warm_up=WARM_UP, matrices=matrices)
    frames = _FrameLoader(files, seed)
    for step in stage.steps("train the tower", progress):
        batch = frames.at(step)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        side = next(side for share, side in WINDOWS if step < share * steps or share == 1)
        which = torch.randperm(len(batch.pixels), generator=generator)[: _TOKENS // (side**2 + 1)]
        windows, kept = crop_windows(batch[which], side, generator)
        windows = windows.to(device)
        hidden = features(tower, normalize(windows.pixels), kept.to(device))
        values = tower_losses(heads, hidden, windows)
        stage.update(values["loss"])
        if (step + 1) % _LOG_STEPS == 0:
            run.log(STAGE, step + 1, {"side": side, **{key: value.item() for key, value in values.items()}})
    tower.eval()


class _FrameLoader:
    """Loads a few videos at a time, in a new order each epoch."""

    def __init__(self, files: Sequence[str], seed: int) -> None:
        self._files, self._seed = files, seed
        self._loaded: tuple[int, FrameBatch] | None = None

    def at(self, step: int) -> FrameBatch:
        """Return the frames of a step."""
        number = step // _CHUNK_STEPS
        if self._loaded is None or self._loaded[0] != number:
            rounds = max(1, len(self._files) // _CHUNK)
            generator = torch.Generator().manual_seed(self._seed * 7919 + number // rounds)
            order = torch.randperm(len(self._files), generator=generator).tolist()
            start = number % rounds * _CHUNK
            self._loaded = number, FrameBatch.read([self._files[i] for i in order[start : start + _CHUNK]])
        return self._loaded[1]


def normalize(pixels: UInt8[Tensor, "frames 3 h w"]) -> Float[Tensor, "frames 3 h w"]:
    """Scale and normalise as the preprocessor does."""
    mean = torch.tensor(PREPROCESSOR.mean, device=pixels.device)[:, None, None]
    std = torch.tensor(PREPROCESSOR.std, device=pixels.device)[:, None, None]
    return (pixels.float() / 255 - mean) / std


def features(
    tower: nn.Module, pixel_values: Float[Tensor, "frames 3 h w"], kept: Int[Tensor, "frames kept"] | None = None
) -> Float[Tensor, "frames tokens width"]:
    """Run the tower up to its second to last layer.

    Args:
        tower: a ``CLIPVisionModel``.
        pixel_values: frames or windows of frames, (F, 3, H, W).
        kept: patch numbers of the windows in the whole frame, (F, k).
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


def crop_windows(
    batch: FrameBatch, side: int, generator: torch.Generator
) -> tuple[FrameBatch, Int[Tensor, "frames kept"]]:
    """Crop a random square window of patches from each frame; also return the patch numbers.

    A window costs a fraction of the frame and leaves shapes intact. An object is present if its centre is in the
    window; it is neither present nor absent if its centre is just outside.
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
    present = torch.where(outside <= 0, batch.present, torch.where(outside <= _MARGIN, -1, 0))
    windows = FrameBatch(
        pixels=pixels,
        colour=batch.colour.gather(1, kept),
        shape=batch.shape.gather(1, kept),
        centre=batch.centre.gather(1, kept[..., None].expand(-1, -1, 2)),
        outline=batch.outline.gather(1, kept[..., None].expand(-1, -1, POINTS**2)),
        present=torch.where(batch.present == 0, 0, present),
        place=batch.place,
    )
    return windows, kept


def tower_losses(
    heads: TowerHeads, hidden: Float[Tensor, "frames tokens width"], batch: FrameBatch
) -> dict[str, Tensor]:
    """Compute the total loss, and each of its parts and the accuracies, detached, for the log."""
    colour, shape, centre = batch.colour, batch.shape, batch.centre
    c, s = len(COLOURS), len(SHAPES)
    dense = heads.dense(heads.norm(hidden[:, 1:]))
    is_object = colour >= 0
    weight = torch.where(is_object, 1.0, _BACKGROUND_WEIGHT)
    # Background, -1, is the last class.
    colour_loss = _weighted(
        F.cross_entropy(dense[..., : c + 1].transpose(1, 2), colour % (c + 1), reduction="none"), weight
    )
    shape_loss = _weighted(
        F.cross_entropy(dense[..., c + 1 : c + s + 2].transpose(1, 2), shape % (s + 1), reduction="none"), weight
    )
    at = c + s + 2
    centre_loss = _weighted((dense[..., at : at + 2] - (centre - 0.5) * 4).abs().mean(dim=-1), is_object.float())
    outline_error = F.binary_cross_entropy_with_logits(dense[..., at + 2 :], batch.outline.float(), reduction="none")
    outline_loss = _weighted(outline_error.mean(dim=-1), is_object.float())

    summary = heads.summary(heads.cls_norm(hidden[:, 0]))
    logits, place, counts = summary.split([NUM_NAMES, NUM_NAMES * 2, (c + s) * (MAX_COUNT + 1)], dim=-1)
    is_present, is_known = batch.present == 1, batch.present >= 0
    present_loss = F.binary_cross_entropy_with_logits(logits, is_present.float(), reduction="none")
    present_loss = (present_loss * is_known).sum(dim=-1).mean() / 8
    place_error = (place.view(-1, NUM_NAMES, 2) - (batch.place - 0.5) * 4).abs().mean(dim=-1)
    place_loss = _weighted(place_error, is_present.float())
    grid = is_present.long().view(-1, c, s)
    true_counts = torch.cat([grid.sum(dim=2), grid.sum(dim=1)], dim=-1).clamp(max=MAX_COUNT)
    count_loss = F.cross_entropy(counts.view(-1, c + s, MAX_COUNT + 1).transpose(1, 2), true_counts)

    with torch.no_grad():
        is_named = ((logits > 0) == is_present) | ~is_known
        is_right = (dense[..., :c].argmax(-1) == colour) & (dense[..., c + 1 : c + s + 1].argmax(-1) == shape)
        accuracies = {
            "frames named right": is_named.all(dim=-1).float().mean(),
            "patches named right": _weighted(is_right.float(), is_object.float()),
            "place error": _weighted(place_error, is_present.float()) / 4,
        }
    return {
        "loss": colour_loss + shape_loss + centre_loss + outline_loss + present_loss + place_loss + count_loss,
        "dense colour": colour_loss.detach(),
        "dense shape": shape_loss.detach(),
        "dense centre": centre_loss.detach(),
        "dense outline": outline_loss.detach(),
        "summary names": present_loss.detach(),
        "summary place": place_loss.detach(),
        "summary counts": count_loss.detach(),
        **accuracies,
    }


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp(min=1e-6)
