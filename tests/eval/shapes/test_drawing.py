from __future__ import annotations

import numpy as np
import pytest
from scenes import scene, scene_object

from eval.shapes import make_clip
from eval.shapes.drawing import FrameRenderer
from eval.shapes.scene import COLOURS


def colour_near(picture: np.ndarray, x: float, y: float) -> np.ndarray:
    """The mean colour around a point of the central square."""
    height, width = picture.shape[:2]
    side = min(height, width)
    across, down = int(x * side + (width - side) / 2), int(y * side + (height - side) / 2)
    return picture[down - 3 : down + 4, across - 3 : across + 4].reshape(-1, 3).mean(axis=0)


@pytest.mark.parametrize(("width", "height"), [(320, 240), (240, 320), (288, 288)])
def test_objects_are_drawn_at_their_places_and_times(width, height):
    mover = scene_object("blue square", role="mover", start=(0.2, 0.7), end=(0.8, 0.7))
    flash = scene_object("yellow circle", role="flash", start=(0.75, 0.25), first_frame=40, end_frame=42)
    renderer = FrameRenderer(scene(mover, flash, width=width, height=height))
    for frame in (0, 39, 40, 41, 42, 79):
        picture = renderer.render(frame)
        assert picture.shape == (height, width, 3)
        assert picture.dtype == np.uint8
        assert np.abs(colour_near(picture, *mover.centre(frame)) - COLOURS["blue"]).max() < 12
        is_yellow = np.abs(colour_near(picture, 0.75, 0.25) - COLOURS["yellow"]).max() < 12
        assert is_yellow == (frame in (40, 41))


def test_the_background_is_muted_and_its_grain_changes():
    renderer = FrameRenderer(scene())
    first, second = renderer.render(0).astype(int), renderer.render(1).astype(int)
    assert 30 < first.mean() < 210
    assert first.std() < 60
    assert (first != second).mean() > 0.5  # similar, but not equal byte by byte
    assert np.abs(first - second).mean() < 20


def test_frames_are_the_same_in_any_order():
    clip = make_clip("train", 1, 4)
    count = clip.scene.num_frames
    some = [count - 1, 3, 0]
    again = make_clip("train", 1, 4).renderer
    for number, picture in zip(some, clip.renderer.render_all(some), strict=True):
        assert (picture == again.render(number)).all()


def test_all_frames_are_rendered_by_default():
    renderer = FrameRenderer(scene(num_frames=5))
    assert len(list(renderer.render_all())) == 5
    assert [picture.tobytes() for picture in renderer.render_all([1, 4])] == [
        renderer.render(1).tobytes(),
        renderer.render(4).tobytes(),
    ]
