from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.train_tiny.auxiliary_loss import DEPTHS, MOTIONS, TOLD, UNTOLD, Hindsight, Readouts, hindsight_loss
from benchmarks.train_tiny.training_frames import Lesson, label, plan_shot
from eval.shapes.evidence import MIN_TRAVEL
from eval.shapes.scene import COLOURS, SHAPES


def filmed(folder, index):
    """The labels alone: no frame is drawn."""
    shot = plan_shot("train", 2, index)
    lesson = Lesson(shot=shot, footage=str(folder / f"{index}.npz"), features="")
    np.savez(lesson.footage, **dataclasses.asdict(label(shot)))
    return lesson


def all_slots(frames):
    return np.tile(np.arange(257), (len(frames), 1))


@pytest.mark.parametrize("index", range(6))
def test_patches_tell_what_was_shown_so_far(tmp_path, index):
    lesson = filmed(tmp_path, index)
    scene, held = lesson.shot.clip.scene, label(lesson.shot)
    frames = list(range(0, len(lesson.shot.frames), 2))
    told = Hindsight().of(lesson, frames, all_slots(frames)).view(len(frames), 257, TOLD)
    assert (told[:, 0, :4] == UNTOLD).all()
    assert (told[..., 4] == torch.arange(len(frames))[:, None]).all()
    shown = []
    for row, number in enumerate(frames):
        shown.append(scene.visible(lesson.shot.frames[number]))
        so_far = set().union(*shown)
        for patch in range(256):
            motion, by_colour, by_shape, since, _ = told[row, 1 + patch].tolist()
            if held.colour[number, patch] < 0:
                assert motion == by_colour == by_shape == since == UNTOLD
                continue
            name = f"{tuple(COLOURS)[held.colour[number, patch]]} {SHAPES[held.shape[number, patch]]}"
            thing = next(thing for thing in scene.things if thing.name == name)
            if thing not in so_far:
                assert motion == UNTOLD
                continue
            assert by_colour == min(4, sum(other.colour == thing.colour for other in so_far))
            assert by_shape == min(4, sum(other.shape == thing.shape for other in so_far))
            first = next(i for i, things in enumerate(shown) if thing in things)
            assert since == first
            (x0, y0), (x1, y1) = (thing.centre(lesson.shot.frames[frames[i]]) for i in (first, row))
            has_moved = max(abs(x1 - x0), abs(y1 - y0)) >= MIN_TRAVEL
            assert MOTIONS[motion] == (thing.direction if has_moved else "none")


def test_things_that_move_are_told_apart(tmp_path):
    seen = set()
    for index in range(12):
        lesson = filmed(tmp_path, index)
        frames = list(range(len(lesson.shot.frames)))
        seen |= set(Hindsight().of(lesson, frames, all_slots(frames))[:, 0].unique().tolist())
    assert seen == {UNTOLD, *range(len(MOTIONS))}


def test_only_the_shown_tokens_tell(tmp_path):
    lesson = filmed(tmp_path, 0)
    frames, slots = [1, 3], np.array([[0, 5, 100], [0, 7, 250]])
    hindsight = Hindsight()
    every = hindsight.of(lesson, frames, all_slots(frames)).view(2, 257, TOLD)
    expected = torch.stack([every[0, [0, 5, 100]], every[1, [0, 7, 250]]]).flatten(0, 1)
    assert torch.equal(hindsight.of(lesson, frames, slots), expected)


def test_the_loss_is_of_what_is_told_alone():
    torch.manual_seed(0)
    readouts, states = Readouts(8), torch.randn(5, 6, 8)
    nothing, padding = [UNTOLD] * 4, [UNTOLD] * TOLD
    told = torch.tensor([[0, 1, 2, 0, 0], [4, 4, 1, 7, 9], [*nothing, 3], padding, [2, 3, 3, 1, 1], padding])
    loss, shares = hindsight_loss(readouts, states, told)
    which = torch.tensor([0, 1, 2, 4])
    alone, _ = hindsight_loss(readouts, states[:, which], told[which])
    torch.testing.assert_close(loss, alone)
    other = states.clone()
    other[2:, [2, 3, 5]] = 0  # what shows no thing tells its frame's number alone
    torch.testing.assert_close(hindsight_loss(readouts, other, told)[0], loss)
    assert shares["motion told"] in {0.0, 0.5, 1.0}
    _, none_moved = hindsight_loss(readouts, states[:, 1:3], told[1:3])
    assert set(none_moved) == {"frame off by", "first shown off by", "counts told"}
    loss, shares = hindsight_loss(readouts, states[:, 2:4], told[2:4])
    assert loss.item() == pytest.approx(shares.pop("frame off by"))
    assert shares == {}


def test_who_tells_the_truth_has_no_loss_left():
    told = torch.tensor([[0, 1, 2, 0, 0], [4, 4, 1, 7, 9], [*[UNTOLD] * 4, 3]])
    rows = torch.arange(3.0)[:, None]

    def of(states):
        return told[states[:, 0].long()]

    def logits(column):
        return lambda states: torch.nn.functional.one_hot(of(states)[:, column], 5) * 50.0

    def octaves(column):
        return lambda states: torch.log2(1 + of(states)[:, [column]].float())

    told_by = SimpleNamespace(
        norm=lambda states: states, motion=logits(0), by_colour=logits(1), by_shape=logits(2), first=octaves(3)
    )
    truth = SimpleNamespace(clock=octaves(4), things=[told_by] * len(DEPTHS))
    loss, shares = hindsight_loss(truth, [rows] * 5, told)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert shares == {"frame off by": 0, "first shown off by": 0, "counts told": 1, "motion told": 1}
