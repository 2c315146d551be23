from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.train_tiny.alignment import WORDS, align
from benchmarks.train_tiny.alignment import _read_frame as read_frame
from benchmarks.train_tiny.initial_model import build_initial_model
from benchmarks.train_tiny.recipe import Recipe
from benchmarks.train_tiny.runs import Run
from benchmarks.train_tiny.training_frames import TrainingVideo, label_frames, render, sample_render_spec
from eval.shapes.questions import plural, vocabulary
from eval.shapes.scene import COLOURS, SHAPES


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("video")
    spec = sample_render_spec("train", 5, 0)
    video = TrainingVideo(spec=spec, frames_file=str(folder / "frames.npz"), features_file=str(folder / "features.npy"))
    render(video)
    labels = label_frames(spec)
    # Features that determine every target word: one-hot colour, shape and half of the frame.
    features = np.zeros((len(spec.frames), 257, 128), dtype=np.float16)
    for frame, patch in zip(*np.nonzero(labels.colour >= 0), strict=True):
        features[frame, 1 + patch, labels.colour[frame, patch]] = 4
        features[frame, 1 + patch, 10 + labels.shape[frame, patch]] = 4
        x, y = labels.centre[frame, patch]
        features[frame, 1 + patch, 20:24] = 4 * np.array([y <= 0.5, y > 0.5, x <= 0.5, x > 0.5])
    np.save(video.features_file, features)
    return video, labels


def test_target_words_name_what_tokens_show(rendered):
    video, labels = rendered
    spec = video.spec
    for number, frame in enumerate(spec.frames):
        tokens, targets = read_frame(video, (number + 0.5) / len(spec.frames))
        assert tokens.shape == (257, 128)
        visible = spec.clip.scene.visible(frame)
        words = {WORDS[i] for i in targets[0].nonzero()[:, 0].tolist()}
        shapes = {thing.shape for thing in visible}
        assert words == {thing.colour for thing in visible} | shapes | {plural(shape) for shape in shapes}
        for patch in range(256):
            words = [WORDS[i] for i in targets[1 + patch].nonzero()[:, 0].tolist()]
            if labels.colour[number, patch] < 0:
                assert words == []
            else:
                x, y = labels.centre[number, patch]
                assert words == [
                    tuple(COLOURS)[labels.colour[number, patch]],
                    SHAPES[labels.shape[number, patch]],
                    plural(SHAPES[labels.shape[number, patch]]),
                    "bottom" if y > 0.5 else "top",
                    "right" if x > 0.5 else "left",
                ]


def test_alignment_moves_tokens_to_their_words(rendered, tmp_path):
    video, _ = rendered
    run = Run(str(tmp_path / "run"), Recipe(seed=5, videos=1, alignment_steps=100))
    model, tokenizer = build_initial_model(vocabulary(), 5)
    align(run, model, tokenizer, [video], device=torch.device("cpu"), progress=lambda *_: None)
    first, last = run.rows()[0], run.rows()[-1]
    assert last["loss"] < first["loss"]
    assert last["tokens named right"] > 0.6
