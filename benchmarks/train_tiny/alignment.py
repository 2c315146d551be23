"""Stage 2: the projector learns to map the tower's tokens close to the words for what they show.

Video-LLaVA, too, first aligns its projector alone. A patch is pulled to the words for its object's colour, shape and
place, CLS to those for all colours and shapes in the frame; the word embeddings move as well. Since attention weights
similar tokens, the language model then finds a word's patches from its first step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.train_tiny.runs import Run, Stage
from benchmarks.train_tiny.training_frames import TrainingVideo
from eval.shapes.questions import plural
from eval.shapes.scene import COLOURS, SHAPES
from pipelines.terminal import Progress

STAGE = "alignment"
PEAK = 3e-3
WARM_UP = 30

SIDES = (("top", "bottom"), ("left", "right"))
"""Words for the halves of the frame, vertically and horizontally."""

WORDS = (*COLOURS, *SHAPES, *map(plural, SHAPES), *SIDES[0], *SIDES[1])

_FRAMES = 4
"""Frames per step, each from another video."""

_NO_WORD_WEIGHT = 0.2
"""Loss weight of tokens without a word."""

_MAX_SQUARED_NORM = 64.0
"""Projected tokens with a larger squared norm are penalised, so that word embeddings can follow."""

_LOG_STEPS = 50


class _Scale(nn.Module):
    """Scale and offset from dot products to logits, shared by all words."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.offset = nn.Parameter(torch.tensor(-3.0))


def align(
    run: Run,
    model: Any,
    tokenizer: Any,
    videos: Sequence[TrainingVideo],
    *,
    device: torch.device,
    progress: Progress,
) -> None:
    """Align projector and word embeddings; resume from a checkpoint if there is one.

    Args:
        run: the run.
        model: the whole model; its projector and word embeddings are trained.
        tokenizer: the model's tokenizer.
        videos: videos with frames and features.
        device: the device to train on.
        progress: called at every step.
    """
    steps, seed = run.recipe.alignment_steps, run.recipe.seed
    model.to(device).train()
    modules = {
        "projector": model.model.multi_modal_projector,
        "words": model.get_input_embeddings(),
        "scale": _Scale().to(device),
    }
    stage = Stage(run, STAGE, modules, steps=steps, peak=PEAK, warm_up=WARM_UP)
    vocabulary = tokenizer.get_vocab()
    ids = torch.tensor([vocabulary[word] for word in WORDS], device=device)
    for step in stage.steps("align the projector", progress):
        generator = torch.Generator().manual_seed(seed * 1_000_033 + step)
        frames = [
            _read_frame(videos[i], torch.rand((), generator=generator).item())
            for i in torch.randint(len(videos), (_FRAMES,), generator=generator).tolist()
        ]
        tokens = torch.cat([tokens for tokens, _ in frames]).to(device)
        targets = torch.cat([targets for _, targets in frames]).to(device)
        projected = modules["projector"](tokens)
        logits = projected @ modules["words"].weight[ids].T * modules["scale"].scale + modules["scale"].offset
        has_word = targets.sum(dim=1) > 0
        weight = torch.where(has_word, 1.0, _NO_WORD_WEIGHT)[:, None]
        error = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1, keepdim=True)
        norm_penalty = (projected.square().mean(dim=1) * (projected.shape[1] / _MAX_SQUARED_NORM) - 1).relu().mean()
        loss = (error * weight).sum() / weight.sum() * len(WORDS) + 1e-3 * norm_penalty
        stage.update(loss)
        if (step + 1) % _LOG_STEPS == 0:
            is_right = ((logits > 0) == (targets > 0.5)).all(dim=1) & has_word
            share = is_right.sum() / has_word.sum().clamp(min=1)
            run.log(STAGE, step + 1, {"loss": loss.item(), "tokens named right": share.item()})


def _read_frame(
    video: TrainingVideo, position: float
) -> tuple[Float[Tensor, "tokens width"], Float[Tensor, "tokens words"]]:
    """Read one frame's tokens and target words; ``position`` in [0, 1) picks the frame."""
    labels, features = np.load(video.frames_file), np.load(video.features_file, mmap_mode="r")
    number = int(position * len(features))
    colour = torch.from_numpy(labels["colour"][number]).long()
    shape = torch.from_numpy(labels["shape"][number]).long()
    is_right, is_bottom = (torch.from_numpy(labels["centre"][number]) > 0.5).long().unbind(dim=-1)
    words = torch.cat(
        [
            F.one_hot(colour.clamp(min=0), len(COLOURS)),
            F.one_hot(shape.clamp(min=0), len(SHAPES)).repeat(1, 2),
            F.one_hot(is_bottom, len(SIDES[0])),
            F.one_hot(is_right, len(SIDES[1])),
        ],
        dim=1,
    )
    patches = words * (colour >= 0)[:, None]
    present = (torch.from_numpy(labels["present"][number]) == 1).view(len(COLOURS), len(SHAPES))
    no_place = torch.zeros(len(SIDES[0]) + len(SIDES[1]))
    cls = torch.cat([present.any(dim=1).float(), present.any(dim=0).float().repeat(2), no_place])
    return torch.from_numpy(features[number].astype(np.float32)), torch.cat([cls[None], patches.float()])
