"""Training of ``tiny``: render videos, train the tower, extract features, train the projector and language model."""

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
from benchmarks.train_tiny.tower import features, normalize, train_tower
from benchmarks.train_tiny.training_frames import TrainingVideo, render, sample_render_spec
from eval.shapes.questions import vocabulary
from pipelines.terminal import Progress
from pipelines.workers import check_workers, for_each
from vidzip.files import atomic_file, atomic_folder, lock_folder

SPLIT, CURVES = "train", "curves.png"


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """The results of a run.

    Attributes:
        folder: the checkpoint, for ``vidzip.load``.
        curves: the plot of the training curves.
        size_bytes: size of the weights.
    """

    folder: str
    curves: str
    size_bytes: int


def train_tiny(
    folder: str, recipe: Recipe, device: torch.device, progress: Progress, workers: int | None = None
) -> TrainedModel:
    """Train the model in a folder; resume if the folder holds an unfinished run.

    Args:
        folder: new, empty, or holding a run of the same recipe; it takes about 3 MB per video.
        recipe: what is trained, and for how long.
        device: the device to train on.
        progress: called at every step.
        workers: processes that render videos; one per CPU when left out.

    Raises:
        BadArgument: the number of workers is below 1.
        RunMismatch: the folder holds a run of another recipe or version, or other files.
        WriteError: the folder cannot be written; ``DiskFull`` if the disk is full.
        WorkerLost: a rendering process was killed.
    """
    check_workers(workers)
    run = Run(folder, recipe)
    with lock_folder(folder):
        return _train(run, device, progress, workers)


def _train(run: Run, device: torch.device, progress: Progress, workers: int | None) -> TrainedModel:
    recipe = run.recipe
    videos = _plan(run, progress)
    _render_missing(videos, workers, progress)
    model, tokenizer = build_initial_model(vocabulary(), recipe.seed)
    tower: Any = model.get_submodule("model.video_tower")
    train_tower(run, tower, [video.frames_file for video in videos], device, progress)
    _extract_features(tower, videos, device, progress)
    align(run, model, tokenizer, videos, device=device, progress=progress)
    train_language(run, model, tokenizer, videos, device=device, progress=progress)
    with atomic_folder(run.model_folder) as scratch:
        save(model.cpu(), tokenizer, scratch, model_card(recipe, run.rows()))
    curves = os.path.join(run.folder, CURVES)
    with atomic_file(curves) as file:
        plot_curves(run.rows(), file)
    weights = [file for file in os.scandir(run.model_folder) if file.name.endswith(".safetensors")]
    return TrainedModel(folder=run.model_folder, curves=curves, size_bytes=sum(file.stat().st_size for file in weights))


def _plan(run: Run, progress: Progress) -> list[TrainingVideo]:
    videos = []
    for index in range(run.recipe.videos):
        progress("plan videos", index, run.recipe.videos)
        videos.append(run.video(sample_render_spec(SPLIT, run.recipe.seed, index)))
    return videos


def _render_missing(videos: list[TrainingVideo], workers: int | None, progress: Progress) -> None:
    missing = [video for video in videos if not os.path.exists(video.frames_file)]
    num_existing = len(videos) - len(missing)

    def show(done: int) -> None:
        progress("render videos", num_existing + done, len(videos))

    if missing:
        show(0)
        for_each(render, missing, workers, show)


def _extract_features(tower: Any, videos: list[TrainingVideo], device: torch.device, progress: Progress) -> None:
    for number, video in enumerate(videos):
        progress("extract features", number, len(videos))
        if not os.path.exists(video.features_file):
            pixels = torch.from_numpy(np.load(video.frames_file)["pixels"])
            with torch.no_grad():
                extracted = features(tower, normalize(pixels.to(device)))
            with atomic_file(video.features_file) as file:
                np.save(file, extracted.half().cpu().numpy())
