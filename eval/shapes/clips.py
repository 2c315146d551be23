"""Videos of the set: from a split, a seed and a number to a scene, its questions and its frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from eval.shapes.drawing import Painter
from eval.shapes.making import Roles, make_scene
from eval.shapes.questions import Question, main_questions
from eval.shapes.scene import SPLITS, Scene, draws_for


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One video of the set: its scene, its questions, and its frames, drawn when asked for."""

    scene: Scene
    roles: Roles
    questions: tuple[Question, ...]

    @property
    def name(self) -> str:
        """The video's name, without suffix."""
        return clip_name(self.scene.split, self.scene.seed, self.scene.index)

    @cached_property
    def painter(self) -> Painter:
        """What draws its frames."""
        return Painter(self.scene)


def clip_name(split: str, seed: int, index: int) -> str:
    """Name a video of the set, without suffix."""
    return f"{split}_{seed}_{index:05d}"


def make_clip(split: str, seed: int, index: int) -> Clip:
    """Make a video of the set.

    Args:
        split: a name in :data:`SPLITS`.
        seed: 0 or more.
        index: the video's number, 0 or more.

    Raises:
        ValueError: an unknown split, or a negative number.
    """
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}; use one of {', '.join(SPLITS)}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed is {seed} and index {index}; give 0 or more")
    scene, roles = make_scene(split, seed, index)
    questions = main_questions(draws_for(split, seed, index, 2), scene, roles)
    return Clip(scene=scene, roles=roles, questions=tuple(questions))
