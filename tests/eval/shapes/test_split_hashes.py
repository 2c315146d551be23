"""The frozen splits are reproduced on this machine with the installed versions."""

from __future__ import annotations

import pytest

from eval.shapes import frames_digest, frozen_splits, make_clip, questions_digest


def clips(split: str):
    frozen = frozen_splits()[split]
    return [make_clip(split, frozen.seed, index) for index in range(frozen.num_videos)]


def test_sizes_of_the_frozen_splits():
    assert {name: (one.seed, one.num_videos) for name, one in frozen_splits().items()} == {
        "test": (7, 220),
        "long": (7, 10),
    }


@pytest.mark.parametrize("split", ["test", "long"])
def test_questions(split):
    made = clips(split)
    assert questions_digest(made) == frozen_splits()[split].questions_sha256
    assert questions_digest(made[:-1]) != frozen_splits()[split].questions_sha256


@pytest.mark.parametrize("index", [10, 116, 151])  # among the shortest
def test_frames_of_three_videos(index):
    frozen = frozen_splits()["test"]
    assert frames_digest(make_clip("test", frozen.seed, index)) == frozen.frames_sha256[index]


@pytest.mark.slow
@pytest.mark.parametrize("split", ["test", "long"])
def test_all_frames(split):
    differing = [
        clip.name
        for clip, digest in zip(clips(split), frozen_splits()[split].frames_sha256, strict=True)
        if frames_digest(clip) != digest
    ]
    assert differing == []


def test_hashes_of_another_version_are_refused(monkeypatch):
    frozen_splits.cache_clear()
    monkeypatch.setattr("eval.shapes.split_hashes.VERSION", 2)
    with pytest.raises(ValueError, match=r"1, .* 2"):
        frozen_splits()
