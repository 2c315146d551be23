"""A training run in a folder: what it is, how far it is, what it learnt so far. It goes on wherever it was ended."""

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
from benchmarks.train_tiny.training_frames import Lesson, Shot
from pipelines.files import write_text
from pipelines.terminal import Progress
from vidzip.errors import VidzipError
from vidzip.files import cannot_write, whole_file

CHECKPOINT_SECONDS = 300
"""Between two checkpoints."""

_MUON_GAIN = 3.0
"""Of Muon's learning rate over AdamW's."""

_RECIPE, _LOG = "recipe.json", "log.jsonl"


class OtherRun(VidzipError):
    """The folder holds something else than the run that was asked for."""


class Run:
    """A folder that holds one training run.

    Args:
        folder: new, empty, or holding a run of the same recipe.
        recipe: what is trained.

    Raises:
        OtherRun: the folder holds another recipe's run, one of another version, or something else.
        WriteError: it cannot be written.
    """

    def __init__(self, folder: str, recipe: Recipe) -> None:
        self.folder = folder
        self.recipe = recipe
        self._saved_at = time.monotonic()
        try:
            os.makedirs(folder, exist_ok=True)
            self._check()
            for part in (self.footage, self.features):
                os.makedirs(part, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error

    @property
    def footage(self) -> str:
        """Folder of the filmed shots."""
        return os.path.join(self.folder, "footage")

    @property
    def features(self) -> str:
        """Folder of the tower's features of all shots."""
        return os.path.join(self.folder, "features")

    @property
    def model(self) -> str:
        """Folder of the finished checkpoint."""
        return os.path.join(self.folder, "model")

    def _check(self) -> None:
        asked = {"version": RECIPE_VERSION, **asdict(self.recipe)}
        file = os.path.join(self.folder, _RECIPE)
        if not os.path.exists(file):
            names = sorted(os.listdir(self.folder))
            if names:
                raise OtherRun(
                    f"{self.folder!r} is not empty and holds no training run: there is {names[0]!r}",
                    hint="give a new or an empty folder",
                )
            write_text(file, json.dumps(asked, indent=1) + "\n")
            return
        try:
            with open(file, encoding="utf-8") as opened:
                held = json.load(opened)
        except ValueError:
            held = None
        if held != asked:
            unlike = [key for key in asked if not isinstance(held, dict) or held.get(key) != asked[key]]
            there = ", ".join(f"{key} {held.get(key)}" for key in unlike) if isinstance(held, dict) else "no known kind"
            wanted = ", ".join(f"{key} {asked[key]}" for key in unlike)
            options = " ".join(f"--{key.replace('_', '-')} {held[key]}" for key in unlike if key in (held or {}))
            can_go_on = bool(options) and "version" not in unlike
            raise OtherRun(
                f"{self.folder!r} holds a run of {there}; asked for was {wanted}",
                hint=f"give another folder, or {options} to go on with this one"
                if can_go_on
                else "give another folder",
            )

    def lesson(self, shot: Shot) -> Lesson:
        """Say where a shot's files lie, once they are made."""
        name = shot.clip.name
        return Lesson(
            shot=shot,
            footage=os.path.join(self.footage, f"{name}.npz"),
            features=os.path.join(self.features, f"{name}.npy"),
        )

    def resume(
        self, stage: str, modules: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]
    ) -> int:
        """Take up where a stage was ended; return the number of steps that are done."""
        state = self._state(stage)
        if state is None:
            self._cut_log(stage, 0)
            return 0
        try:
            for name, module in modules.items():
                module.load_state_dict(state["modules"][name])
            for name, optimizer in optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
            step = int(state["step"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise self._no_checkpoint(stage, "it holds other weights") from error
        self._cut_log(stage, step)
        return step

    def _state(self, stage: str) -> dict[str, Any] | None:
        file = self._state_file(stage)
        if not os.path.exists(file):
            return None
        try:
            held: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            version = held["version"]
        except Exception as error:
            raise self._no_checkpoint(stage, str(error)) from error
        if version != RECIPE_VERSION:
            raise OtherRun(
                f"the checkpoint {file!r} is of version {version}, needed is {RECIPE_VERSION}",
                hint="train in another folder, or go on with the vidzip that began it",
            )
        return held

    def _no_checkpoint(self, stage: str, why: str) -> OtherRun:
        return OtherRun(
            f"{self._state_file(stage)!r} is no checkpoint of this stage: {why}",
            hint=f"give a new folder, or keep {_RECIPE} and footage alone: all else is learnt anew",
        )

    def _state_file(self, stage: str) -> str:
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
        """Save how far a stage is, if five minutes have passed or the stage is over."""
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
        with whole_file(self._state_file(stage)) as file:
            file.write(buffer.getbuffer())
        self._saved_at = time.monotonic()

    def log(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Add a row to the curves."""
        row = {"stage": stage, "step": step, **{key: round(value, 5) for key, value in values.items()}}
        file = os.path.join(self.folder, _LOG)
        try:
            with open(file, "a", encoding="utf-8") as opened:
                opened.write(json.dumps(row) + "\n")
        except OSError as error:
            raise cannot_write(file, error) from error

    def rows(self) -> list[dict[str, Any]]:
        """Read the curves."""
        file = os.path.join(self.folder, _LOG)
        if not os.path.exists(file):
            return []
        with open(file, encoding="utf-8") as opened:
            return [json.loads(line) for line in opened if line.endswith("\n")]  # the last one may be half a line

    def _cut_log(self, stage: str, step: int) -> None:
        """Drop the rows of steps that will be taken again."""
        rows = [row for row in self.rows() if row["stage"] != stage or row["step"] <= step]
        write_text(os.path.join(self.folder, _LOG), "".join(json.dumps(row) + "\n" for row in rows))


class Stage:
    """One stage of a run: modules that learn together, by AdamW and, where asked for, by Muon.

    Args:
        run: where it is kept.
        name: of its checkpoint and of its curves.
        modules: what learns, by the names that they have in the checkpoint.
        steps: how many.
        peak: the highest learning rate.
        warm_up: steps until it is reached.
        matrices: those parameters that learn by Muon.
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
        """Yield the numbers of the steps that are still to do; how far it is, is saved between them."""
        for step in range(self._run.resume(self.name, self._modules, self._optimizers), self._steps):
            progress(title, step, self._steps)
            for name, optimizer in self._optimizers.items():
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(step, self._steps, self._peaks[name], self._warm_up)
            yield step
            done = step + 1
            self._run.checkpoint(self.name, done, self._modules, self._optimizers, is_last=done == self._steps)

    def learn(self, loss: Tensor) -> None:
        """Take one step of the optimizers."""
        for optimizer in self._optimizers.values():
            optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimizer in self._optimizers.values():
            optimizer.step()


def learning_rate(step: int, steps: int, peak: float, warm_up: int) -> float:
    """Rise in a line, then fall along a cosine to a fiftieth of the peak."""
    warm_up = min(warm_up, max(1, steps // 10))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    share = (step - warm_up) / max(1, steps - warm_up)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
