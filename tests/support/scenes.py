"""Scenes composed by hand."""

from __future__ import annotations

from typing import Any

from eval.shapes.scene import Scene, SceneObject


def scene_object(name: str = "red circle", **fields: Any) -> SceneObject:
    """Make an object, by default still in the top left for 80 frames."""
    colour, shape = name.split()
    usual: dict[str, Any] = {
        "role": "still",
        "radius": 0.1,
        "brightness": 1.0,
        "start": (0.25, 0.25),
        "end": fields.get("start", (0.25, 0.25)),
        "first_frame": 0,
        "end_frame": 80,
    }
    return SceneObject(colour=colour, shape=shape, **{**usual, **fields})


def scene(*objects: SceneObject, **fields: Any) -> Scene:
    """Make a scene, by default of 80 frames at 10 fps, 100 pixels wide and high."""
    usual: dict[str, Any] = {"split": "train", "seed": 0, "index": 0, "width": 100, "height": 100, "fps": 10}
    return Scene(objects=objects, **{**usual, "num_frames": 80, **fields})
