"""Footage to train on: short clips of scenes as a codec leaves them, with what is to be seen in each frame."""

from __future__ import annotations

import dataclasses
import math
import os
import tempfile
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Int8, UInt8

from eval.shapes import Clip, Scene, make_clip
from eval.shapes.drawing import Painter
from eval.shapes.scene import COLOURS, SHAPES, draws_for
from pipelines.workers import until_told
from vidzip.files import whole_file
from vidzip.video.writing import write

SIDES = (224, 240, 256, 272, 288)
"""Pixels a side: only the square that the tower gets to see is drawn."""

MIN_FRAMES, MAX_FRAMES = 4, 32
QUALITIES = (18, 23, 28)
"""x264's constant rate factors: from losses hardly seen to plain ones."""

GROUND, UNSURE = -1, -1
PATCHES = 16
"""Patches a side of the tower."""

POINTS = 4
"""Points a side at which a patch is looked at."""

_THING_SHARE = 0.3
"""A patch belongs to a thing that covers at least this share of it."""

_FPS = 10
_STREAM = 77
"""Sets this module's draws apart from those that make the scene."""

COLOUR_NUMBER = {name: number for number, name in enumerate(COLOURS)}
SHAPE_NUMBER = {name: number for number, name in enumerate(SHAPES)}
NUM_NAMES = len(COLOURS) * len(SHAPES)
"""Different (colour, shape) pairs."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """Which frames of a video are filmed, and how.

    Attributes:
        clip: the video.
        frames: numbers of its frames, (F,), ascending.
        side: pixels a side.
        crf: x264's constant rate factor.
    """

    clip: Clip
    frames: tuple[int, ...]
    side: int
    crf: int


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """A shot, and where what is learnt from lies.

    Attributes:
        shot: the shot.
        footage: the file of its frames and labels, once it is filmed.
        features: the file of the trained tower's features of its frames, (F, 1 + patches, D), once it has seen them.
    """

    shot: Shot
    footage: str
    features: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """What is to be seen in the frames of a shot.

    Attributes:
        colour: of the thing on each patch, a place in ``COLOURS``, or -1 for the ground, (F, patches).
        shape: likewise, a place in ``SHAPES``.
        centre: (x, y) of the thing on each patch, in sides of the square, (F, patches, 2).
        outline: whether each of a patch's points shows the same thing as the patch, (F, patches, points).
        present: whether a thing of each name is seen: 1, 0, or -1 where it is mostly covered, (F, names).
        place: (x, y) of the thing of each name, (F, names, 2).
    """

    colour: Int8[np.ndarray, "frames patches"]
    shape: Int8[np.ndarray, "frames patches"]
    centre: Float[np.ndarray, "frames patches 2"]
    outline: Bool[np.ndarray, "frames patches points"]
    present: Int8[np.ndarray, "frames names"]
    place: Float[np.ndarray, "frames names 2"]


def plan_shot(split: str, seed: int, index: int) -> Shot:
    """Choose the frames of a video: any number from 4 to 32, about evenly spaced, some of them on its flashes."""
    clip = make_clip(split, seed, index)
    scene = clip.scene
    draws = draws_for(split, seed, index, _STREAM)
    count = round(MIN_FRAMES * math.exp(draws.uniform(0, math.log(MAX_FRAMES / MIN_FRAMES))))
    count = min(count, scene.num_frames)
    jitter = draws.uniform(0, 0.45)
    frames = {int((i + 0.5 + draws.uniform(-jitter, jitter)) * scene.num_frames / count) for i in range(count)}
    for flash in scene.flashes:
        if draws.uniform() < 0.7:
            at = draws.between(flash.first_frame, flash.end_frame - 1)
            frames.discard(min(frames, key=partial(_distance, at)))
            frames.add(at)
    return Shot(clip=clip, frames=tuple(sorted(frames)), side=draws.choice(SIDES), crf=draws.choice(QUALITIES))


def _distance(a: int, b: int) -> int:
    return abs(a - b)


def film(lesson: Lesson) -> None:
    """Draw the frames of a shot, send them through a codec, and save them with their labels, unless that is done.

    A shot takes about 150 KB a frame: pixels at the tower's size, uncompressed, since they are read more than once.
    """
    if os.path.exists(lesson.footage):
        return
    with whole_file(lesson.footage) as file:
        pixels = _through_codec(lesson.shot, os.path.dirname(lesson.footage))
        np.savez(file, pixels=pixels, **dataclasses.asdict(label(lesson.shot)))


def _through_codec(shot: Shot, folder: str) -> UInt8[np.ndarray, "frames 3 224 224"]:
    from vidzip.models.small import PREPROCESSOR
    from vidzip.video.decoding import decode

    scene = shot.clip.scene
    square = dataclasses.replace(scene, width=shot.side, height=shot.side)
    painter = Painter(square)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = os.path.join(place, "shot.mp4")
        pictures = until_told(painter.frames(shot.frames))
        write(path, pictures, _FPS, crf=shot.crf, preset="veryfast", reproducible=True)
        pixels = decode(path, [(i + 0.5) / _FPS for i in range(len(shot.frames))]).pixels
    cropped: np.ndarray = PREPROCESSOR.resize_and_crop(pixels).numpy()
    return cropped


def label(shot: Shot) -> Labels:
    """Say what is to be seen in each frame."""
    scene = shot.clip.scene
    parts = [_label(scene, frame) for frame in shot.frames]
    return Labels(**{key: np.stack([part[key] for part in parts]) for key in parts[0]})


def _label(scene: Scene, frame: int) -> dict[str, np.ndarray]:
    points = scene.owners(frame, PATCHES * POINTS)
    cells = points.reshape(PATCHES, POINTS, PATCHES, POINTS).transpose(0, 2, 1, 3).reshape(PATCHES**2, POINTS**2)
    shares = np.stack([(cells == number).mean(axis=1) for number in range(len(scene.things))])
    owner = np.where(shares.max(axis=0) >= _THING_SHARE, shares.argmax(axis=0), GROUND)
    colours = np.array([*(COLOUR_NUMBER[thing.colour] for thing in scene.things), GROUND], dtype=np.int8)
    shapes = np.array([*(SHAPE_NUMBER[thing.shape] for thing in scene.things), GROUND], dtype=np.int8)
    centres = np.array([*(thing.centre(frame) for thing in scene.things), (0.0, 0.0)], dtype=np.float32)
    present = np.zeros(NUM_NAMES, dtype=np.int8)
    place = np.zeros((NUM_NAMES, 2), dtype=np.float32)
    visible = scene.visible(frame)
    for number, thing in enumerate(scene.things):
        if thing.is_there(frame):
            name = int(colours[number]) * len(SHAPES) + int(shapes[number])
            present[name] = 1 if thing in visible else UNSURE
            place[name] = centres[number]
    return {
        "colour": colours[owner],
        "shape": shapes[owner],
        "centre": centres[owner],
        "outline": cells == owner[:, None],
        "present": present,
        "place": place,
    }
