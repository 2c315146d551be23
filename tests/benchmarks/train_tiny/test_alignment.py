from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.train_tiny.alignment import WORDS, align
from benchmarks.train_tiny.alignment import _frame as read_frame
from benchmarks.train_tiny.initial_model import build_initial_model
from benchmarks.train_tiny.recipe import Recipe
from benchmarks.train_tiny.runs import Run
from benchmarks.train_tiny.training_frames import Lesson, film, label, plan_shot
from eval.shapes.questions import plural, vocabulary
from eval.shapes.scene import COLOURS, SHAPES


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shot")
    taken = plan_shot("train", 5, 0)
    lesson = Lesson(shot=taken, footage=str(folder / "shot.npz"), features=str(folder / "seen.npy"))
    film(lesson)
    held = label(taken)
    # Features that tell all there is to tell: what a patch shows, one number each.
    seen = np.zeros((len(taken.frames), 257, 128), dtype=np.float16)
    for frame, patch in zip(*np.nonzero(held.colour >= 0), strict=True):
        seen[frame, 1 + patch, held.colour[frame, patch]] = 4
        seen[frame, 1 + patch, 10 + held.shape[frame, patch]] = 4
        x, y = held.centre[frame, patch]
        seen[frame, 1 + patch, 20:24] = 4 * np.array([y <= 0.5, y > 0.5, x <= 0.5, x > 0.5])
    np.save(lesson.features, seen)
    return lesson, held


def test_tokens_are_told_the_words_for_what_they_show(filmed):
    lesson, held = filmed
    taken = lesson.shot
    for number, frame in enumerate(taken.frames):
        tokens, targets = read_frame(lesson, (number + 0.5) / len(taken.frames))
        assert tokens.shape == (257, 128)
        visible = taken.clip.scene.visible(frame)
        words = {WORDS[i] for i in targets[0].nonzero()[:, 0].tolist()}
        shapes = {thing.shape for thing in visible}
        assert words == {thing.colour for thing in visible} | shapes | {plural(shape) for shape in shapes}
        for patch in range(256):
            words = [WORDS[i] for i in targets[1 + patch].nonzero()[:, 0].tolist()]
            if held.colour[number, patch] < 0:
                assert words == []
            else:
                x, y = held.centre[number, patch]
                assert words == [
                    tuple(COLOURS)[held.colour[number, patch]],
                    SHAPES[held.shape[number, patch]],
                    plural(SHAPES[held.shape[number, patch]]),
                    "bottom" if y > 0.5 else "top",
                    "right" if x > 0.5 else "left",
                ]


def test_alignment_brings_tokens_to_their_words(filmed, tmp_path):
    lesson, _ = filmed
    run = Run(str(tmp_path / "run"), Recipe(seed=5, videos=1, alignment_steps=100))
    model, tokenizer = build_initial_model(vocabulary(), 5)
    align(run, model, tokenizer, [lesson], device=torch.device("cpu"), progress=lambda *_: None)
    first, last = run.rows()[0], run.rows()[-1]
    assert last["loss"] < first["loss"]
    assert last["tokens named right"] > 0.6
