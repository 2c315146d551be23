"""The synthetic question set ``shapes``: coloured shapes that move, appear, disappear and flash; seven kinds of questions.

A split, a seed and a video's number determine everything: the scene, its frames byte by byte, and its questions.
"""

from eval.shapes.clips import Clip, clip_name, make_clip
from eval.shapes.questions import KINDS, Kind, Question
from eval.shapes.scene import SPLITS, UNIFORM_FRAMES, VERSION, Scene, uniform_frames
from eval.shapes.split_hashes import FrozenSplit, frames_digest, frozen_splits, questions_digest

__all__ = [
    "KINDS",
    "SPLITS",
    "UNIFORM_FRAMES",
    "VERSION",
    "Clip",
    "FrozenSplit",
    "Kind",
    "Question",
    "Scene",
    "clip_name",
    "frames_digest",
    "frozen_splits",
    "make_clip",
    "questions_digest",
    "uniform_frames",
]
