from __future__ import annotations

import pytest

from eval.shapes import SPLITS, clip_name, frames_digest, make_clip, questions_digest


def test_the_same_numbers_make_the_same_clip():
    first, second = make_clip("train", 5, 2), make_clip("train", 5, 2)
    assert first.scene == second.scene
    assert questions_digest([first]) == questions_digest([second])
    assert frames_digest(first) == frames_digest(second)


def test_a_clip_does_not_depend_on_those_made_before():
    alone = make_clip("validation", 3, 9)
    assert [make_clip("validation", 3, index) for index in range(10)][9].scene == alone.scene


def test_splits_seeds_and_numbers_share_nothing():
    clips = [make_clip(split, seed, index) for split in SPLITS for seed in (0, 1) for index in (0, 1)]
    assert len({clip.scene.objects for clip in clips}) == len(clips)
    assert len({clip.renderer.render(0).tobytes() for clip in clips}) == len(clips)
    assert len({questions_digest([clip]) for clip in clips}) == len(clips)


def test_names():
    assert make_clip("test", 7, 3).name == clip_name("test", 7, 3) == "test_7_00003"
    assert clip_name("long", 0, 123456) == "long_0_123456"


@pytest.mark.parametrize(
    ("split", "seed", "index", "message"),
    [
        ("dev", 0, 0, "'dev'.*train, validation, test, long"),
        ("test", -1, 0, "seed is -1"),
        ("test", 0, -1, "index -1"),
    ],
)
def test_unknown_clips_are_refused(split, seed, index, message):
    with pytest.raises(ValueError, match=message):
        make_clip(split, seed, index)
