from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from vidzip import probe
from vidzip.errors import BadArgument, WriteError
from vidzip.video.synthetic import SyntheticClip, can_encode, write_synthetic_clip

CLIP = SyntheticClip(codec="h264", width=96, height=64, num_frames=20, keyframe_interval=5, grain=2)


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "mpeg4"])
def test_a_clip_is_written_as_described(codec, tmp_path):
    if not can_encode(codec):
        pytest.skip(f"this FFmpeg does not encode {codec}")
    path = tmp_path / "clip.mp4"
    write_synthetic_clip(replace(CLIP, codec=codec), str(path))
    info = probe(path)
    assert (info.codec, info.width, info.height, info.num_frames) == (codec, 96, 64, 20)
    assert info.num_keyframes == 4
    assert os.listdir(tmp_path) == ["clip.mp4"]


@pytest.mark.parametrize("codec", ["h264", "vp9", "mpeg4"])
def test_more_grain_takes_more_bytes(codec, tmp_path):
    sizes = []
    for grain in (0, 10, 30):
        path = tmp_path / f"{grain}.mp4"
        write_synthetic_clip(replace(CLIP, codec=codec, grain=grain, width=160, height=96), str(path))
        sizes.append(path.stat().st_size)
    assert all(after > 1.2 * before for before, after in pairwise(sizes))


def test_frames_move_and_are_reproducible():
    frames, again = list(CLIP.frames()), list(CLIP.frames())
    assert len(frames) == 20
    assert all((one == other).all() for one, other in zip(frames, again, strict=True))
    assert all((before != after).any() for before, after in pairwise(frames))
    assert frames[0].shape == (64, 96, 3)
    assert frames[0].dtype == np.uint8
    assert any((one != other).any() for one, other in zip(frames, replace(CLIP, seed=1).frames(), strict=True))


def test_names_differ_between_clips():
    changes = [{"codec": "hevc"}, {"width": 98}, {"grain": 2.5}, {"keyframe_interval": 6}, {"seed": 1}]
    names = {CLIP.name, *(replace(CLIP, **change).name for change in changes)}
    assert len(names) == 6


def test_clips_that_cannot_be_written(tmp_path):
    assert not can_encode("nonsense")
    with pytest.raises(BadArgument, match=r"'nonsense'.*h264, "):
        write_synthetic_clip(replace(CLIP, codec="nonsense"), str(tmp_path / "x.mp4"))
    with pytest.raises(BadArgument):
        write_synthetic_clip(replace(CLIP, num_frames=0), str(tmp_path / "x.mp4"))
    with pytest.raises(WriteError):
        write_synthetic_clip(CLIP, str(tmp_path / "no such folder" / "x.mp4"))
    assert os.listdir(tmp_path) == []
