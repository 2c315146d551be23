from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from eval.shapes.evidence import MIN_TRAVEL
from eval.shapes.scene import COLOURS, SHAPES
from pipelines.tiny.footage import Lesson, label, plan_shot
from pipelines.tiny.hindsight import MOTIONS, UNTOLD, Hindsight, Readout, hindsight_loss


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
    told = Hindsight().of(lesson, frames, all_slots(frames)).view(len(frames), 257, 4)
    assert (told[:, 0] == UNTOLD).all()
    shown = []
    for row, number in enumerate(frames):
        shown.append(scene.visible(lesson.shot.frames[number]))
        so_far = set().union(*shown)
        for patch in range(256):
            motion, by_colour, by_shape, since = told[row, 1 + patch].tolist()
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
    every = hindsight.of(lesson, frames, all_slots(frames)).view(2, 257, 4)
    expected = torch.stack([every[0, [0, 5, 100]], every[1, [0, 7, 250]]]).flatten(0, 1)
    assert torch.equal(hindsight.of(lesson, frames, slots), expected)


def test_the_loss_is_of_what_is_told_alone():
    torch.manual_seed(0)
    readout, hidden = Readout(8), torch.randn(5, 8)
    told = torch.tensor([[0, 1, 2, 0], [4, 4, 1, 7], [UNTOLD] * 4, [2, 3, 3, 1], [UNTOLD] * 4])
    loss, shares = hindsight_loss(readout, hidden, told)
    which = torch.tensor([0, 1, 3])
    alone, _ = hindsight_loss(readout, hidden[which], told[which])
    torch.testing.assert_close(loss, alone)
    assert shares["motion told"] in {0.0, 0.5, 1.0}
    _, none_moved = hindsight_loss(readout, hidden[1:3], told[1:3])
    assert set(none_moved) == {"first shown off by"}
    nothing, shares = hindsight_loss(readout, hidden, torch.full((5, 4), UNTOLD))
    assert (nothing.item(), shares) == (0, {})
