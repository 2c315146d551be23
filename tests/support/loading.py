"""Load a model in worker processes."""

from __future__ import annotations

import os

import vidzip
from pipelines.runs.answering import Answerer
from pipelines.runs.settings import GenerationSettings

GENERATION = GenerationSettings(max_new_tokens=4, batch_questions=3)


def load_small(device):
    """Load the built-in random model; the device's name may ask for a failure."""
    if device == "lost":
        os._exit(9)
    if device == "refused":
        raise vidzip.VidzipError("no such luck")
    return Answerer(model=vidzip.load("tiny-random", device="cpu", dtype="float32"), generation=GENERATION)
