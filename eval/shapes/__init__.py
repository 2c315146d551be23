"""The synthetic question set ``shapes``: coloured shapes that move, come, go and flash; seven kinds of questions.

Everything follows from a split, a seed and a video's number: the scene, its frames byte by byte, its questions.
"""

from eval.shapes.clips import Clip, clip_name, make_clip
from eval.shapes.frozen import Frozen, frames_digest, frozen_splits, questions_digest
from eval.shapes.questions import KINDS, Kind, Question
from eval.shapes.scene import SPLITS, UNIFORM_FRAMES, VERSION, Scene, uniform_frames

__all__ = [
    "KINDS",
    "SPLITS",
    "UNIFORM_FRAMES",
    "VERSION",
    "Clip",
    "Frozen",
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
