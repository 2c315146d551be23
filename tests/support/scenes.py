"""Scenes put together by hand, thing by thing."""

from __future__ import annotations

from typing import Any

from eval.shapes.scene import Scene, Thing


def thing(name: str = "red circle", **fields: Any) -> Thing:
    """Make a thing of a name, still in the top left for 80 frames unless said otherwise."""
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
    return Thing(colour=colour, shape=shape, **{**usual, **fields})


def scene(*things: Thing, **fields: Any) -> Scene:
    """Make a scene of 80 frames at 10 a second, 100 pixels wide and high unless said otherwise."""
    usual: dict[str, Any] = {"split": "train", "seed": 0, "index": 0, "width": 100, "height": 100, "fps": 10}
    return Scene(things=things, **{**usual, "num_frames": 80, **fields})
