from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from vidzip import probe
from vidzip.errors import BadArgument, WriteError
from vidzip.video.trials import Trial, can_write, write_trial

TRIAL = Trial(codec="h264", width=96, height=64, num_frames=20, keyframe_interval=5, grain=2)


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "mpeg4"])
def test_it_is_as_it_says(codec, tmp_path):
    if not can_write(codec):
        pytest.skip(f"this FFmpeg does not encode {codec}")
    path = tmp_path / "trial.mp4"
    write_trial(replace(TRIAL, codec=codec), str(path))
    info = probe(path)
    assert (info.codec, info.width, info.height, info.num_frames) == (codec, 96, 64, 20)
    assert info.num_keyframes == 4
    assert os.listdir(tmp_path) == ["trial.mp4"]


@pytest.mark.parametrize("codec", ["h264", "vp9", "mpeg4"])
def test_more_grain_takes_more_bytes(codec, tmp_path):
    sizes = []
    for grain in (0, 10, 30):
        path = tmp_path / f"{grain}.mp4"
        write_trial(replace(TRIAL, codec=codec, grain=grain, width=160, height=96), str(path))
        sizes.append(path.stat().st_size)
    assert all(after > 1.2 * before for before, after in pairwise(sizes))


def test_pictures_move_and_are_the_same_every_time():
    pictures, again = list(TRIAL.pictures()), list(TRIAL.pictures())
    assert len(pictures) == 20
    assert all((one == other).all() for one, other in zip(pictures, again, strict=True))
    assert all((before != after).any() for before, after in pairwise(pictures))
    assert pictures[0].shape == (64, 96, 3)
    assert pictures[0].dtype == np.uint8
    assert any((one != other).any() for one, other in zip(pictures, replace(TRIAL, seed=1).pictures(), strict=True))


def test_names_differ_with_all_that_matters():
    changes = [{"codec": "hevc"}, {"width": 98}, {"grain": 2.5}, {"keyframe_interval": 6}, {"seed": 1}]
    names = {TRIAL.name, *(replace(TRIAL, **change).name for change in changes)}
    assert len(names) == 6


def test_what_cannot_be_written_is_refused(tmp_path):
    assert not can_write("nonsense")
    with pytest.raises(BadArgument, match=r"'nonsense' cannot be encoded here; use one of h264, "):
        write_trial(replace(TRIAL, codec="nonsense"), str(tmp_path / "x.mp4"))
    with pytest.raises(BadArgument, match="there are no pictures"):
        write_trial(replace(TRIAL, num_frames=0), str(tmp_path / "x.mp4"))
    with pytest.raises(WriteError):
        write_trial(TRIAL, str(tmp_path / "no such folder" / "x.mp4"))
    assert os.listdir(tmp_path) == []
