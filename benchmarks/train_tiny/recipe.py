"""What is trained, and how long."""

from __future__ import annotations

from dataclasses import dataclass

from vidzip.errors import BadArgument

RECIPE_VERSION = 3
"""Of everything that steers training: a run of another version cannot be gone on with."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run. The defaults make the checkpoint that ships.

    Attributes:
        seed: of the weights, the footage and all that is drawn at random.
        videos: videos of the training split that are filmed, about 13 frames each.
        tower_steps: steps of the tower.
        alignment_steps: steps of the projector alone.
        language_steps: steps of projector and language model.
    """

    seed: int = 0
    videos: int = 3000
    tower_steps: int = 3600
    alignment_steps: int = 500
    language_steps: int = 4500

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise BadArgument(f"the seed is {self.seed}", hint="give 0 or more")
        for name in ("videos", "tower_steps", "alignment_steps", "language_steps"):
            if getattr(self, name) < 1:
                raise BadArgument(f"{name.replace('_', ' ')}: {getattr(self, name)}", hint="give 1 or more")
