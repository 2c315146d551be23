from __future__ import annotations

import numpy as np
import pytest

from eval.shapes import evidence, make_clip, uniform_frames
from eval.shapes.making import LONG, LONG_RATES, LONGEST, MIN_SIGHTINGS, RATES, SHORTEST, SIZES
from eval.shapes.scene import covers


def test_what_eight_uniform_frames_show_and_what_they_miss(some):
    for clip in some:
        scene = clip.scene
        asked = {question.kind: question for question in clip.questions}
        for frames in uniform_frames(scene.num_frames):
            for kind in ("colour", "shape", "count", "place", "direction"):
                assert evidence.together(scene, asked[kind].about, frames) >= MIN_SIGHTINGS == 2
                assert asked[kind].is_shown(scene, frames)
            assert not any(flash.is_there(frame) for flash in scene.flashes for frame in frames)
            assert not asked["flash"].is_shown(scene, frames)
            assert asked["order"].is_shown(scene, frames) == (asked["order"].form == "lasting")
        # Whoever looks when things appear as well sees all of it.
        frames = sorted({*frames, *(thing.first_frame for thing in scene.things)})
        assert all(question.is_shown(scene, frames) for question in clip.questions)


def test_the_two_flashes_are_brief_and_do_not_meet(some):
    for clip in some:
        first, second = clip.scene.flashes
        assert first.end_frame < second.first_frame
        for flash in (first, second):
            length = flash.end_frame - flash.first_frame
            assert 2 <= length <= max(2, round(2.0 * clip.scene.fps))
            assert flash in clip.scene.visible(flash.first_frame)


def test_names_are_unique(some):
    for clip in some:
        names = [thing.name for thing in clip.scene.things]
        assert len(set(names)) == len(names)
        assert 6 <= len(names) <= 8


def test_nothing_leaves_the_central_square(some):
    """What a tower crops away holds at most the tip of a thing."""
    points = (np.arange(-70, 70) + 0.5) / 50
    for clip in some:
        for thing in clip.scene.things:
            mask = covers(thing.shape, points[None, :], points[:, None])
            for frame in (thing.first_frame, thing.end_frame - 1):
                x, y = thing.centre(frame)
                assert min(x, y) > 0.1
                assert max(x, y) < 0.9
                across, down = x + points * thing.radius, y + points * thing.radius
                kept = mask[np.ix_((down >= 0) & (down <= 1), (across >= 0) & (across <= 1))]
                assert kept.sum() >= 0.9 * mask.sum()


def test_movers_go_far_and_the_others_stay(some):
    for clip in some:
        for thing in clip.scene.things:
            (x0, y0), (x1, y1) = thing.start, thing.end
            along, across = sorted((abs(x1 - x0), abs(y1 - y0)), reverse=True)
            if thing.role == "mover":
                assert along > 0.44
                assert across < 0.07
            else:
                assert along <= 0.03


def test_sizes_rates_and_lengths_are_those_of_the_design(many):
    scenes = [clip.scene for clip in many]
    assert {(scene.width, scene.height) for scene in scenes} == set(SIZES)
    assert {scene.fps for scene in scenes} == set(RATES)
    durations = sorted(scene.duration_seconds for scene in scenes)
    assert SHORTEST - 0.1 <= durations[0] < 5
    assert 75 < durations[-1] <= LONGEST + 0.1
    assert 17 < durations[len(durations) // 2] < 23


@pytest.mark.parametrize("index", range(3))
def test_long_videos_last_ten_minutes(index):
    scene = make_clip("long", 3, index).scene
    assert scene.duration_seconds == pytest.approx(LONG)
    assert scene.fps in LONG_RATES
