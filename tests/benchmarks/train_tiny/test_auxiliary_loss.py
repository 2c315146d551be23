from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.train_tiny.auxiliary_loss import (
    IGNORED,
    MOTIONS,
    NUM_TARGETS,
    OBJECT_LAYERS,
    AuxiliaryHeads,
    AuxiliaryTargets,
    auxiliary_loss,
)
from benchmarks.train_tiny.training_frames import TrainingVideo, label_frames, sample_render_spec
from eval.shapes.evidence import MIN_TRAVEL
from eval.shapes.scene import COLOURS, SHAPES


def labelled(folder, index):
    """A video of labels alone: no frame is rendered."""
    spec = sample_render_spec("train", 2, index)
    video = TrainingVideo(spec=spec, frames_file=str(folder / f"{index}.npz"), features_file="")
    np.savez(video.frames_file, **dataclasses.asdict(label_frames(spec)))
    return video


def all_tokens(frames):
    return np.tile(np.arange(257), (len(frames), 1))


@pytest.mark.parametrize("index", range(6))
def test_targets_follow_from_the_frames_so_far(tmp_path, index):
    video = labelled(tmp_path, index)
    scene, labels = video.spec.clip.scene, label_frames(video.spec)
    frames = list(range(0, len(video.spec.frames), 2))
    targets = AuxiliaryTargets().of(video, frames, all_tokens(frames)).view(len(frames), 257, NUM_TARGETS)
    assert (targets[:, 0, :4] == IGNORED).all()
    assert (targets[..., 4] == torch.arange(len(frames))[:, None]).all()
    visible = []
    for row, number in enumerate(frames):
        visible.append(scene.visible(video.spec.frames[number]))
        so_far = set().union(*visible)
        for patch in range(256):
            motion, by_colour, by_shape, since, _ = targets[row, 1 + patch].tolist()
            if labels.colour[number, patch] < 0:
                assert motion == by_colour == by_shape == since == IGNORED
                continue
            name = f"{tuple(COLOURS)[labels.colour[number, patch]]} {SHAPES[labels.shape[number, patch]]}"
            thing = next(thing for thing in scene.objects if thing.name == name)
            if thing not in so_far:
                assert motion == IGNORED
                continue
            assert by_colour == min(4, sum(other.colour == thing.colour for other in so_far))
            assert by_shape == min(4, sum(other.shape == thing.shape for other in so_far))
            first = next(i for i, things in enumerate(visible) if thing in things)
            assert since == first
            (x0, y0), (x1, y1) = (thing.centre(video.spec.frames[frames[i]]) for i in (first, row))
            has_moved = max(abs(x1 - x0), abs(y1 - y0)) >= MIN_TRAVEL
            assert MOTIONS[motion] == (thing.direction if has_moved else "none")


def test_every_motion_occurs(tmp_path):
    seen = set()
    for index in range(12):
        video = labelled(tmp_path, index)
        frames = list(range(len(video.spec.frames)))
        seen |= set(AuxiliaryTargets().of(video, frames, all_tokens(frames))[:, 0].unique().tolist())
    assert seen == {IGNORED, *range(len(MOTIONS))}


def test_targets_are_of_the_sampled_tokens(tmp_path):
    video = labelled(tmp_path, 0)
    frames, tokens = [1, 3], np.array([[0, 5, 100], [0, 7, 250]])
    targets = AuxiliaryTargets()
    every = targets.of(video, frames, all_tokens(frames)).view(2, 257, NUM_TARGETS)
    expected = torch.stack([every[0, [0, 5, 100]], every[1, [0, 7, 250]]]).flatten(0, 1)
    assert torch.equal(targets.of(video, frames, tokens), expected)


def test_ignored_targets_do_not_change_the_loss():
    torch.manual_seed(0)
    heads, states = AuxiliaryHeads(8), torch.randn(5, 6, 8)
    nothing, padding = [IGNORED] * 4, [IGNORED] * NUM_TARGETS
    targets = torch.tensor([[0, 1, 2, 0, 0], [4, 4, 1, 7, 9], [*nothing, 3], padding, [2, 3, 3, 1, 1], padding])
    loss, metrics = auxiliary_loss(heads, states, targets)
    which = torch.tensor([0, 1, 2, 4])
    alone, _ = auxiliary_loss(heads, states[:, which], targets[which])
    torch.testing.assert_close(loss, alone)
    other = states.clone()
    other[2:, [2, 3, 5]] = 0  # without an object, only the frame number counts
    torch.testing.assert_close(auxiliary_loss(heads, other, targets)[0], loss)
    assert metrics["object motion right"] in {0.0, 0.5, 1.0}
    _, none_moved = auxiliary_loss(heads, states[:, 1:3], targets[1:3])
    assert set(none_moved) == {"frame number error", "object first frame error", "object counts right"}
    loss, metrics = auxiliary_loss(heads, states[:, 2:4], targets[2:4])
    assert loss.item() == pytest.approx(metrics.pop("frame number error"))
    assert metrics == {}


def test_perfect_predictions_have_no_loss():
    targets = torch.tensor([[0, 1, 2, 0, 0], [4, 4, 1, 7, 9], [*[IGNORED] * 4, 3]])
    rows = torch.arange(3.0)[:, None]

    def of(states):
        return targets[states[:, 0].long()]

    def logits(column):
        return lambda states: torch.nn.functional.one_hot(of(states)[:, column], 5) * 50.0

    def log_scale(column):
        return lambda states: torch.log2(1 + of(states)[:, [column]].float())

    object_head = SimpleNamespace(
        norm=lambda states: states, motion=logits(0), by_colour=logits(1), by_shape=logits(2), first=log_scale(3)
    )
    truth = SimpleNamespace(frame=log_scale(4), objects=[object_head] * len(OBJECT_LAYERS))
    loss, metrics = auxiliary_loss(truth, [rows] * 5, targets)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert metrics == {
        "frame number error": 0,
        "object first frame error": 0,
        "object counts right": 1,
        "object motion right": 1,
    }
