"""A training run in a folder: recipe, training videos, checkpoints of each stage, log. It resumes where it stopped."""

from __future__ import annotations

import io
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.train_tiny.muon import Muon
from benchmarks.train_tiny.recipe import RECIPE_VERSION, Recipe
from benchmarks.train_tiny.training_frames import RenderSpec, TrainingVideo
from pipelines.terminal import Progress
from vidzip.errors import VidzipError
from vidzip.files import atomic_file, write_error, write_text

CHECKPOINT_SECONDS = 300
"""Time between two checkpoints."""

_MUON_GAIN = 3.0
"""Muon's learning rate over AdamW's."""

_RECIPE, _LOG = "recipe.json", "log.jsonl"


class RunMismatch(VidzipError):
    """The folder does not hold the requested training run."""


class Run:
    """A folder with one training run.

    Args:
        folder: new, empty, or holding a run of the same recipe.
        recipe: the recipe.

    Raises:
        RunMismatch: the folder holds a run of another recipe or version, or other files.
        WriteError: the folder cannot be written.
    """

    def __init__(self, folder: str, recipe: Recipe) -> None:
        self.folder, self.recipe = folder, recipe
        self.model_folder = os.path.join(folder, "model")
        self._frames_folder, self._features_folder = os.path.join(folder, "frames"), os.path.join(folder, "features")
        self._log_file = os.path.join(folder, _LOG)
        self._saved_at = time.monotonic()
        try:
            os.makedirs(folder, exist_ok=True)
            self._check_recipe()
            for part in (self._frames_folder, self._features_folder):
                os.makedirs(part, exist_ok=True)
        except OSError as error:
            raise write_error(folder, error) from error

    def _check_recipe(self) -> None:
        requested = {"version": RECIPE_VERSION, **asdict(self.recipe)}
        file = os.path.join(self.folder, _RECIPE)
        if not os.path.exists(file):
            names = sorted(name for name in os.listdir(self.folder) if not name.startswith("."))
            if names:
                raise RunMismatch(
                    f"{self.folder!r} holds {names[0]!r} and no training run", hint="give a new or an empty folder"
                )
            write_text(file, json.dumps(requested, indent=1) + "\n")
            return
        try:
            with open(file, encoding="utf-8") as opened:
                found = dict(json.load(opened))
        except (ValueError, TypeError):
            found = {}
        differing = [key for key in requested if found.get(key) != requested[key]]
        if differing:
            hint = "give another folder"
            if "version" not in differing:
                options = " ".join(f"--{key.replace('_', '-')} {found.get(key)}" for key in differing)
                hint += f", or {options} to resume this run"
            raise RunMismatch(
                f"{self.folder!r} holds a run with {', '.join(f'{key} {found.get(key)}' for key in differing)}; "
                f"requested: {', '.join(f'{key} {requested[key]}' for key in differing)}",
                hint=hint,
            )

    def video(self, spec: RenderSpec) -> TrainingVideo:
        """Return a training video with the paths of its files."""
        name = spec.clip.name
        return TrainingVideo(
            spec=spec,
            frames_file=os.path.join(self._frames_folder, f"{name}.npz"),
            features_file=os.path.join(self._features_folder, f"{name}.npy"),
        )

    def resume(
        self, stage: str, modules: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]
    ) -> int:
        """Load a stage's checkpoint, if there is one; return the number of steps that are done."""
        state = self._read_checkpoint(stage)
        step = 0
        if state is not None:
            try:
                for name, module in modules.items():
                    module.load_state_dict(state["modules"][name])
                for name, optimizer in optimizers.items():
                    optimizer.load_state_dict(state["optimizers"][name])
                step = int(state["step"])
            except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
                raise self._bad_checkpoint(stage, "the weights do not fit the model") from error
        # Rows after the checkpoint belong to steps that are repeated.
        rows = [row for row in self.rows() if row["stage"] != stage or row["step"] <= step]
        write_text(self._log_file, "".join(json.dumps(row) + "\n" for row in rows))
        return step

    def _read_checkpoint(self, stage: str) -> dict[str, Any] | None:
        file = self._checkpoint_file(stage)
        if not os.path.exists(file):
            return None
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            version = state["version"]
        except Exception as error:
            raise self._bad_checkpoint(stage, str(error)) from error
        if version != RECIPE_VERSION:
            raise RunMismatch(
                f"the checkpoint {file!r} has version {version}, expected {RECIPE_VERSION}",
                hint="train in another folder, or resume with the version of vidzip that started the run",
            )
        return state

    def _bad_checkpoint(self, stage: str, reason: str) -> RunMismatch:
        return RunMismatch(
            f"{self._checkpoint_file(stage)!r} is not a checkpoint of this stage: {reason}",
            hint="delete it to train the stage again, or give a new folder",
        )

    def _checkpoint_file(self, stage: str) -> str:
        return os.path.join(self.folder, f"{stage}.pt")

    def checkpoint(
        self,
        stage: str,
        step: int,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer],
        *,
        is_last: bool,
    ) -> None:
        """Write a stage's checkpoint after its last step, or if :data:`CHECKPOINT_SECONDS` have passed."""
        if not is_last and time.monotonic() - self._saved_at < CHECKPOINT_SECONDS:
            return
        state = {
            "version": RECIPE_VERSION,
            "step": step,
            "modules": {name: module.state_dict() for name, module in modules.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        with atomic_file(self._checkpoint_file(stage)) as file:
            file.write(buffer.getbuffer())
        self._saved_at = time.monotonic()

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Append a row to the log."""
        row = {"stage": stage, "step": step, **{key: round(value, 5) for key, value in values.items()}}
        try:
            with open(self._log_file, "a", encoding="utf-8") as opened:
                opened.write(json.dumps(row) + "\n")
        except OSError as error:
            raise write_error(self._log_file, error) from error

    def rows(self) -> list[dict[str, Any]]:
        """Read the log; an incomplete last line is dropped."""
        if not os.path.exists(self._log_file):
            return []
        with open(self._log_file, encoding="utf-8") as opened:
            return [json.loads(line) for line in opened if line.endswith("\n")]


class Stage:
    """One stage of a run: modules trained by AdamW and, for some of their matrices, Muon.

    Args:
        run: the run.
        name: name of the checkpoint and of the log rows.
        modules: trained modules by their names in the checkpoint.
        steps: number of steps.
        peak: highest learning rate.
        warm_up: steps until it is reached.
        matrices: the parameters that Muon trains.
    """

    def __init__(
        self,
        run: Run,
        name: str,
        modules: Mapping[str, nn.Module],
        *,
        steps: int,
        peak: float,
        warm_up: int,
        matrices: Sequence[nn.Parameter] = (),
    ) -> None:
        self.name = name
        self._run, self._modules = run, modules
        self._steps, self._warm_up = steps, warm_up
        self._peaks = {"adamw": peak, "muon": _MUON_GAIN * peak}
        self._parameters = [parameter for module in modules.values() for parameter in module.parameters()]
        of_muon = {id(matrix) for matrix in matrices}
        rest = [parameter for parameter in self._parameters if id(parameter) not in of_muon]
        self._optimizers: dict[str, torch.optim.Optimizer] = {
            "adamw": torch.optim.AdamW(rest, lr=peak, betas=(0.9, 0.98), weight_decay=0.05)
        }
        if matrices:
            self._optimizers["muon"] = Muon(matrices, lr=self._peaks["muon"], weight_decay=0.05)

    def steps(self, title: str, progress: Progress) -> Iterator[int]:
        """Yield the numbers of the remaining steps, writing checkpoints in between."""
        for step in range(self._run.resume(self.name, self._modules, self._optimizers), self._steps):
            progress(title, step, self._steps)
            for name, optimizer in self._optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step, self._steps, self._peaks[name], self._warm_up)
            yield step
            done = step + 1
            self._run.checkpoint(self.name, done, self._modules, self._optimizers, is_last=done == self._steps)

    def update(self, loss: Tensor) -> None:
        """Take one optimizer step."""
        for optimizer in self._optimizers.values():
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimizer in self._optimizers.values():
            optimizer.step()


def learning_rate(step: int, steps: int, peak: float, warm_up: int) -> float:
    """Rise linearly, then decay along a cosine to 2 % of the peak."""
    warm_up = min(warm_up, max(1, steps // 10))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    share = (step - warm_up) / max(1, steps - warm_up)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
