"""A training run in a folder: what it is, how far it is, what it learnt so far. It goes on wherever it was ended."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from pipelines.tiny.footage import Shot
from pipelines.tiny.recipe import RECIPE_VERSION, Recipe
from vidzip.errors import VidzipError
from vidzip.video.writing import cannot_write

CHECKPOINT_SECONDS = 300
"""Between two checkpoints."""

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
            write_whole(file, (json.dumps(asked, indent=1) + "\n").encode())
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

    def footage_of(self, shot: Shot) -> str:
        """Where a shot lies once it is filmed."""
        return os.path.join(self.footage, f"{shot.clip.name}.npz")

    def features_of(self, shot: Shot) -> str:
        """Where the trained tower's features of a shot lie."""
        return os.path.join(self.features, f"{shot.clip.name}.npy")

    def resume(self, stage: str, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> int:
        """Take up where a stage was ended; return the number of steps that are done."""
        state = self._state(stage)
        if state is None:
            return 0
        for name, module in modules.items():
            module.load_state_dict(state["modules"][name])
        optimizer.load_state_dict(state["optimizer"])
        step = int(state["step"])
        self._cut_log(stage, step)
        return step

    def learnt(self, stage: str, steps: int) -> dict[str, Any] | None:
        """Read what a finished stage's modules learnt; None if the stage is not over."""
        state = self._state(stage)
        return None if state is None or state["step"] < steps else dict(state["modules"])

    def _state(self, stage: str) -> dict[str, Any] | None:
        file = self._state_file(stage)
        if not os.path.exists(file):
            return None
        try:
            held: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
            version = held["version"]
        except Exception as error:
            raise OtherRun(
                f"{file!r} is no checkpoint of a training run: {error}", hint="remove it: the stage begins anew"
            ) from error
        if version != RECIPE_VERSION:
            raise OtherRun(
                f"the checkpoint {file!r} is of version {version}, needed is {RECIPE_VERSION}",
                hint="train in another folder, or go on with the vidzip that began it",
            )
        return held

    def _state_file(self, stage: str) -> str:
        return os.path.join(self.folder, f"{stage}.pt")

    def checkpoint(
        self,
        stage: str,
        step: int,
        modules: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
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
            "optimizer": optimizer.state_dict(),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_whole(self._state_file(stage), buffer.getbuffer())
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
            return [json.loads(line) for line in opened if line.endswith("\n")]

    def _cut_log(self, stage: str, step: int) -> None:
        """Drop the rows of steps that will be taken again."""
        rows = [row for row in self.rows() if row["stage"] != stage or row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_whole(os.path.join(self.folder, _LOG), text.encode())


def write_whole(path: str, content: bytes | memoryview) -> None:
    """Write a file that appears, or takes the old one's place, once it is whole.

    Raises:
        WriteError: it cannot be written; ``DiskFull`` where there is no room.
    """
    try:
        with open(f"{path}.part", "wb") as file:
            file.write(content)
        os.replace(f"{path}.part", path)
    except OSError as error:
        raise cannot_write(path, error) from error


def learning_rate(step: int, steps: int, peak: float, warm_up: int) -> float:
    """Rise in a line, then fall along a cosine to a fiftieth of the peak."""
    warm_up = min(warm_up, max(1, steps // 10))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    share = torch.tensor(torch.pi * (step - warm_up) / max(1, steps - warm_up)).cos().item()
    return peak * (0.02 + 0.98 * 0.5 * (1 + share))
