"""Train ``tiny``, the small Video-LLaVA that ships: film scenes, train the tower, then projector and language model.

Everything follows from the recipe. A run lies in a folder and goes on wherever it was ended. ``vidzip train-tiny``
runs it, as does ``python -m pipelines.train_tiny``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.train_tiny.alignment import align
from benchmarks.train_tiny.card import model_card
from benchmarks.train_tiny.curves import plot_curves
from benchmarks.train_tiny.initial_model import build_initial_model, save
from benchmarks.train_tiny.language import train_language
from benchmarks.train_tiny.recipe import Recipe
from benchmarks.train_tiny.runs import Run
from benchmarks.train_tiny.tower import features, to_pixel_values, train_tower
from benchmarks.train_tiny.training_frames import Lesson, film, plan_shot
from eval.shapes.questions import vocabulary
from pipelines.files import alone_in
from pipelines.terminal import Progress
from pipelines.workers import check_workers, for_each
from vidzip.files import whole_file, whole_folder

SPLIT, CURVES = "train", "curves.png"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a run made.

    Attributes:
        folder: the checkpoint, which ``vidzip.load`` takes.
        curves: a picture of the objectives over the steps.
        size_bytes: of the checkpoint's weights.
    """

    folder: str
    curves: str
    size_bytes: int


def train_tiny(
    folder: str, recipe: Recipe, device: torch.device, progress: Progress, workers: int | None = None
) -> Trained:
    """Train the model in a folder, or go on with it.

    Args:
        folder: new, empty, or holding a run of the same recipe; it takes about 3 MB a video.
        recipe: what is trained, and how long.
        device: where the model is trained.
        progress: called as stages go on.
        workers: processes that film; as many as there are CPUs when left out.

    Raises:
        BadArgument: fewer than 1 worker.
        OtherRun: the folder holds something else, or a run of another recipe or version.
        WriteError: the folder cannot be written; ``DiskFull`` where there is no room.
        WorkerLost: a process that films was ended from outside.
    """
    check_workers(workers)
    run = Run(folder, recipe)
    with alone_in(folder):
        return _train(run, device, progress, workers)


def _train(run: Run, device: torch.device, progress: Progress, workers: int | None) -> Trained:
    recipe = run.recipe
    lessons = _plan(run, progress)
    _film(lessons, workers, progress)
    model, tokenizer = build_initial_model(vocabulary(), recipe.seed)
    tower: Any = model.get_submodule("model.video_tower")
    train_tower(run, tower, [lesson.footage for lesson in lessons], device, progress)
    _watch(tower, lessons, device, progress)
    align(run, model, tokenizer, lessons, device=device, progress=progress)
    train_language(run, model, tokenizer, lessons, device=device, progress=progress)
    with whole_folder(run.model) as place:
        save(model.cpu(), tokenizer, place, model_card(recipe, run.rows()))
    curves = os.path.join(run.folder, CURVES)
    with whole_file(curves) as file:
        plot_curves(run.rows(), file)
    weights = [file for file in os.scandir(run.model) if file.name.endswith(".safetensors")]
    return Trained(folder=run.model, curves=curves, size_bytes=sum(file.stat().st_size for file in weights))


def _plan(run: Run, progress: Progress) -> list[Lesson]:
    lessons = []
    for index in range(run.recipe.videos):
        progress("plan", index, run.recipe.videos)
        lessons.append(run.lesson(plan_shot(SPLIT, run.recipe.seed, index)))
    return lessons


def _film(lessons: list[Lesson], workers: int | None, progress: Progress) -> None:
    missing = [lesson for lesson in lessons if not os.path.exists(lesson.footage)]
    there = len(lessons) - len(missing)

    def show(done: int) -> None:
        progress("film", there + done, len(lessons))

    if missing:
        show(0)
        for_each(film, missing, workers, show)


def _watch(tower: Any, lessons: list[Lesson], device: torch.device, progress: Progress) -> None:
    """Let the trained tower see every shot, once."""
    for number, lesson in enumerate(lessons):
        progress("watch", number, len(lessons))
        if not os.path.exists(lesson.features):
            pixels = torch.from_numpy(np.load(lesson.footage)["pixels"])
            with torch.no_grad():
                seen = features(tower, to_pixel_values(pixels.to(device)))
            with whole_file(lesson.features) as file:
                np.save(file, seen.half().cpu().numpy())
