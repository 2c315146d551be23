from __future__ import annotations

import numpy as np
import pytest

from eval.shapes import evidence, make_clip, uniform_frames
from eval.shapes.scene import covers
from eval.shapes.scene_generation import LONG_RATES, LONG_SECONDS, MAX_SECONDS, MIN_SECONDS, MIN_SIGHTINGS, RATES, SIZES


def test_the_evidence_in_eight_uniform_frames(some):
    for clip in some:
        scene = clip.scene
        asked = {question.kind: question for question in clip.questions}
        for frames in uniform_frames(scene.num_frames):
            for kind in ("colour", "shape", "count", "place", "direction"):
                assert evidence.count_showing(scene, asked[kind].about, frames) >= MIN_SIGHTINGS == 2
                assert asked[kind].is_shown(scene, frames)
            assert not any(flash.is_present(frame) for flash in scene.flashes for frame in frames)
            assert not asked["flash"].is_shown(scene, frames)
            assert asked["order"].is_shown(scene, frames) == (asked["order"].form == "lasting")
        # Frames at which objects appear show the rest.
        frames = sorted({*frames, *(one.first_frame for one in scene.objects)})
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
        names = [one.name for one in clip.scene.objects]
        assert len(set(names)) == len(names)
        assert 6 <= len(names) <= 8


def test_nothing_leaves_the_central_square(some):
    """What a tower crops away holds at most the tip of a one."""
    points = (np.arange(-70, 70) + 0.5) / 50
    for clip in some:
        for one in clip.scene.objects:
            mask = covers(one.shape, points[None, :], points[:, None])
            for frame in (one.first_frame, one.end_frame - 1):
                x, y = one.centre(frame)
                assert min(x, y) > 0.1
                assert max(x, y) < 0.9
                across, down = x + points * one.radius, y + points * one.radius
                kept = mask[np.ix_((down >= 0) & (down <= 1), (across >= 0) & (across <= 1))]
                assert kept.sum() >= 0.9 * mask.sum()


def test_movers_go_far_and_the_others_stay(some):
    for clip in some:
        for one in clip.scene.objects:
            (x0, y0), (x1, y1) = one.start, one.end
            along, across = sorted((abs(x1 - x0), abs(y1 - y0)), reverse=True)
            if one.role == "mover":
                assert along > 0.44
                assert across < 0.07
            else:
                assert along <= 0.03


def test_sizes_rates_and_durations(many):
    scenes = [clip.scene for clip in many]
    assert {(scene.width, scene.height) for scene in scenes} == set(SIZES)
    assert {scene.fps for scene in scenes} == set(RATES)
    durations = sorted(scene.duration_seconds for scene in scenes)
    assert MIN_SECONDS - 0.1 <= durations[0] < 5
    assert 75 < durations[-1] <= MAX_SECONDS + 0.1
    assert 17 < durations[len(durations) // 2] < 23


@pytest.mark.parametrize("index", range(3))
def test_long_videos_last_ten_minutes(index):
    scene = make_clip("long", 3, index).scene
    assert scene.duration_seconds == pytest.approx(LONG_SECONDS)
    assert scene.fps in LONG_RATES
