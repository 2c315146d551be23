"""Clips of the set: from a split, a seed and a number to a scene, its questions and its frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from eval.shapes.drawing import FrameRenderer
from eval.shapes.questions import Question, main_questions
from eval.shapes.scene import SPLITS, Scene, random_stream_for
from eval.shapes.scene_generation import QuestionTargets, make_scene


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video of the set: its scene, its questions, and a renderer of its frames."""

    scene: Scene
    targets: QuestionTargets
    questions: tuple[Question, ...]

    @property
    def name(self) -> str:
        """The video's name, without suffix."""
        return clip_name(self.scene.split, self.scene.seed, self.scene.index)

    @cached_property
    def renderer(self) -> FrameRenderer:
        """The renderer of its frames."""
        return FrameRenderer(self.scene)


def clip_name(split: str, seed: int, index: int) -> str:
    """Name a video of the set, without suffix."""
    return f"{split}_{seed}_{index:05d}"


def make_clip(split: str, seed: int, index: int) -> Clip:
    """Make a clip of a split in :data:`SPLITS`.

    Raises:
        ValueError: the split is unknown, or a number is negative.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; use one of {', '.join(SPLITS)}")
    if seed < 0 or index < 0:
        raise ValueError(f"the seed is {seed} and the index {index}; give 0 or more")
    scene, targets = make_scene(split, seed, index)
    questions = main_questions(random_stream_for(split, seed, index, 2), scene, targets)
    return Clip(scene=scene, targets=targets, questions=tuple(questions))
