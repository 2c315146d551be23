"""The training recipe: what is trained, and for how long."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from vidzip.errors import BadArgument

RECIPE_VERSION = 3
"""Version of the training code; runs of another version cannot be resumed."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a training run. The defaults give the checkpoint that ships.

    Attributes:
        seed: seed of the weights, the videos and every random choice.
        videos: rendered videos of the training split, about 13 frames each.
        tower_steps: steps of the vision tower.
        alignment_steps: steps of the projector alone.
        language_steps: steps of the projector and language model.
    """

    seed: int = 0
    videos: int = 3000
    tower_steps: int = 3600
    alignment_steps: int = 500
    language_steps: int = 4500

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 0 if name == "seed" else 1
            if value < least:
                raise BadArgument(f"{name.replace('_', ' ')} is {value}", hint=f"give {least} or more")
