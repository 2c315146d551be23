"""Before the second stage: the projector learns to put the tower's tokens where the words for them are.

Video-LLaVA, too, begins by aligning its projector alone. Each patch shall lie near the words for the colour, the shape
and the place of what it shows, CLS near those of all colours and shapes in its frame; the words move as well. Attention
finds by likeness, so that a language model which starts to attend to what is alike finds a word's patches from the
first step on.
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
from benchmarks.train_tiny.training_frames import Lesson
from eval.shapes.questions import plural
from eval.shapes.scene import COLOURS, SHAPES
from pipelines.terminal import Progress

STAGE = "alignment"
PEAK = 3e-3
WARM_UP = 30

SIDES = (("top", "bottom"), ("left", "right"))
"""Words for the halves of the picture, down and across."""

WORDS = (*COLOURS, *SHAPES, *map(plural, SHAPES), *SIDES[0], *SIDES[1])

_FRAMES = 4
"""Frames a step, each of another video."""

_NOTHING_WEIGHT = 0.2
"""Of tokens that no word is for."""

_LONGEST = 64.0
"""Mean square above which a projected token is too long for the words to keep up with."""

_LOG_STEPS = 50


class _Readout(nn.Module):
    """From likeness to log-odds: one scale and one offset for all words."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.offset = nn.Parameter(torch.tensor(-3.0))


def align(
    run: Run,
    model: Any,
    tokenizer: Any,
    lessons: Sequence[Lesson],
    *,
    device: torch.device,
    progress: Progress,
) -> None:
    """Align projector and words, or go on with it.

    Args:
        run: where it is kept.
        model: the whole model; its projector and its words' embeddings learn.
        tokenizer: the model's.
        lessons: filmed shots, and the tower's features of them.
        device: where to train.
        progress: called as it goes on.
    """
    steps, seed = run.recipe.alignment_steps, run.recipe.seed
    model.to(device).train()
    modules = {
        "projector": model.model.multi_modal_projector,
        "words": model.get_input_embeddings(),
        "readout": _Readout().to(device),
    }
    stage = Stage(run, STAGE, modules, steps=steps, peak=PEAK, warm_up=WARM_UP)
    vocabulary = tokenizer.get_vocab()
    ids = torch.tensor([vocabulary[word] for word in WORDS], device=device)
    for step in stage.steps("align the projector", progress):
        generator = torch.Generator().manual_seed(seed * 1_000_033 + step)
        frames = [
            _frame(lessons[i], torch.rand((), generator=generator).item())
            for i in torch.randint(len(lessons), (_FRAMES,), generator=generator).tolist()
        ]
        tokens = torch.cat([seen for seen, _ in frames]).to(device)
        targets = torch.cat([told for _, told in frames]).to(device)
        projected = modules["projector"](tokens)
        readout = modules["readout"]
        logits = projected @ modules["words"].weight[ids].T * readout.scale + readout.offset
        weight = torch.where(targets.sum(dim=1) > 0, 1.0, _NOTHING_WEIGHT)[:, None]
        error = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1, keepdim=True)
        length = (projected.square().mean(dim=1) * (projected.shape[1] / _LONGEST) - 1).relu().mean()
        loss = (error * weight).sum() / weight.sum() * len(WORDS) + 1e-3 * length
        stage.learn(loss)
        if (step + 1) % _LOG_STEPS == 0:
            right = ((logits > 0) == (targets > 0.5)).all(dim=1) & (targets.sum(dim=1) > 0)
            share = right.sum() / (targets.sum(dim=1) > 0).sum().clamp(min=1)
            run.log(STAGE, step + 1, {"loss": loss.item(), "tokens named right": share.item()})


def _frame(lesson: Lesson, which: float) -> tuple[Float[Tensor, "tokens width"], Float[Tensor, "tokens words"]]:
    """Read one frame of a shot: its tokens, and for each which words it shall lie near."""
    held, seen = np.load(lesson.footage), np.load(lesson.features, mmap_mode="r")
    number = int(which * len(seen))
    colour = torch.from_numpy(held["colour"][number]).long()
    shape = torch.from_numpy(held["shape"][number]).long()
    across, down = (torch.from_numpy(held["centre"][number]) > 0.5).long().unbind(dim=-1)
    named = torch.cat(
        [
            F.one_hot(colour.clamp(min=0), len(COLOURS)),
            F.one_hot(shape.clamp(min=0), len(SHAPES)).repeat(1, 2),
            F.one_hot(down, len(SIDES[0])),
            F.one_hot(across, len(SIDES[1])),
        ],
        dim=1,
    )
    patches = named * (colour >= 0)[:, None]
    present = (torch.from_numpy(held["present"][number]) == 1).view(len(COLOURS), len(SHAPES))
    nowhere = torch.zeros(len(SIDES[0]) + len(SIDES[1]))
    cls = torch.cat([present.any(dim=1).float(), present.any(dim=0).float().repeat(2), nowhere])
    return torch.from_numpy(seen[number].astype(np.float32)), torch.cat([cls[None], patches.float()])
