"""Settings that several commands share. Nothing here loads torch before a model is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import vidzip
from pipelines.terminal import Progress, print_message

if TYPE_CHECKING:
    from vidzip import VideoModel

DEFAULT_MODEL = "tiny"
BASELINE_FRAMES = 8
"""Frames that Video-LLaVA takes, uncompressed: the baseline of every report."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which model is loaded, and how; see :func:`vidzip.load`.

    Attributes:
        name: a built-in name, a folder or a hub id; None stands for :data:`DEFAULT_MODEL`.
    """

    name: str | None = None
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    quantize: str | None = None
    device_map: str | None = None
    compile_tower: bool = False

    @property
    def name_or_default(self) -> str:
        """The name that is loaded."""
        return DEFAULT_MODEL if self.name is None else self.name

    def load(self, progress: Progress) -> VideoModel:
        """Load the model, which may take minutes.

        Raises:
            As :func:`vidzip.load`.
        """
        progress(f"load {self.name_or_default}", 0, 1)
        return vidzip.load(
            self.name_or_default,
            revision=self.revision,
            device=self.device,
            dtype=self.dtype,
            quantize=self.quantize,
            device_map=self.device_map,
            compile_tower=self.compile_tower,
        )


def note_default_model(model: ModelSettings, verb: str) -> None:
    """Print a note if no model was named."""
    if model.name is None:
        print_message("note", f"no --model was named: {DEFAULT_MODEL} {verb}, which knows coloured shapes only")
