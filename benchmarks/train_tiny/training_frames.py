"""Training frames: short clips of rendered scenes after H.264 compression, with labels for every frame."""

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
from eval.shapes.drawing import FrameRenderer
from eval.shapes.scene import COLOURS, SHAPES, random_stream_for
from pipelines.workers import until_stopped
from vidzip.files import atomic_file
from vidzip.models.small import PREPROCESSOR
from vidzip.video.decoding import decode
from vidzip.video.writing import write

SIDES = (224, 240, 256, 272, 288)
"""Widths of the square frames in pixels; only the square that the tower sees is drawn."""

MIN_FRAMES, MAX_FRAMES = 4, 32
QUALITIES = (18, 23, 28)
"""x264's constant rate factors."""

BACKGROUND, OCCLUDED = -1, -1
PATCHES = 16
"""Patches per side of the tower's grid."""

POINTS = 4
"""Sampling points per side of a patch."""

_MIN_COVERAGE = 0.3
"""A patch is assigned to an object that covers at least this share of it."""

_FPS = 10
_STREAM = 77
"""Random stream of this module; other streams make the scene."""

COLOUR_NUMBER = {name: number for number, name in enumerate(COLOURS)}
SHAPE_NUMBER = {name: number for number, name in enumerate(SHAPES)}
NUM_NAMES = len(COLOURS) * len(SHAPES)
"""Number of (colour, shape) pairs; object names are numbered in this order."""


@dataclass(frozen=True, kw_only=True)
class RenderSpec:
    """The frames of a clip to render, and their encoding.

    Attributes:
        clip: the clip.
        frames: frame numbers, (F,), ascending.
        side: frame width and height in pixels.
        crf: x264's constant rate factor.
    """

    clip: Clip
    frames: tuple[int, ...]
    side: int
    crf: int


@dataclass(frozen=True, kw_only=True)
class TrainingVideo:
    """A training video and its files.

    Attributes:
        spec: which frames are rendered.
        frames_file: pixels and labels (``.npz``).
        features_file: the trained tower's features, (F, 1 + patches, D) (``.npy``).
    """

    spec: RenderSpec
    frames_file: str
    features_file: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """Labels of the frames of a video.

    Attributes:
        colour: index in ``COLOURS`` of the object on each patch, -1 for background, (F, patches).
        shape: index in ``SHAPES`` of the object on each patch, -1 for background, (F, patches).
        centre: (x, y) of the object on each patch, as a share of the frame width, (F, patches, 2).
        outline: whether each sampling point of a patch shows the patch's object, (F, patches, points).
        present: whether the object of each name is visible: 1, 0, or -1 if mostly occluded, (F, names).
        place: (x, y) of the object of each name, (F, names, 2).
    """

    colour: Int8[np.ndarray, "frames patches"]
    shape: Int8[np.ndarray, "frames patches"]
    centre: Float[np.ndarray, "frames patches 2"]
    outline: Bool[np.ndarray, "frames patches points"]
    present: Int8[np.ndarray, "frames names"]
    place: Float[np.ndarray, "frames names 2"]


def sample_render_spec(split: str, seed: int, index: int) -> RenderSpec:
    """Sample 4 to 32 roughly uniform frames of a clip; flashes usually get one of them."""
    clip = make_clip(split, seed, index)
    scene = clip.scene
    draws = random_stream_for(split, seed, index, _STREAM)
    count = round(MIN_FRAMES * math.exp(draws.uniform(0, math.log(MAX_FRAMES / MIN_FRAMES))))
    count = min(count, scene.num_frames)
    jitter = draws.uniform(0, 0.45)
    frames = {int((i + 0.5 + draws.uniform(-jitter, jitter)) * scene.num_frames / count) for i in range(count)}
    for flash in scene.flashes:
        if draws.uniform() < 0.7:
            flash_frame = draws.between(flash.first_frame, flash.end_frame - 1)
            frames.discard(min(frames, key=partial(_distance, flash_frame)))
            frames.add(flash_frame)
    return RenderSpec(clip=clip, frames=tuple(sorted(frames)), side=draws.choice(SIDES), crf=draws.choice(QUALITIES))


def _distance(a: int, b: int) -> int:
    return abs(a - b)


def render(video: TrainingVideo) -> None:
    """Write a video's frames file, unless it exists.

    Frames are stored uncompressed at the tower's size, about 150 KB each, since they are read more than once.
    """
    if os.path.exists(video.frames_file):
        return
    with atomic_file(video.frames_file) as file:
        pixels = _encode_and_decode(video.spec, os.path.dirname(video.frames_file))
        np.savez(file, pixels=pixels, **dataclasses.asdict(label_frames(video.spec)))


def _encode_and_decode(spec: RenderSpec, folder: str) -> UInt8[np.ndarray, "frames 3 224 224"]:
    renderer = FrameRenderer(dataclasses.replace(spec.clip.scene, width=spec.side, height=spec.side))
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = os.path.join(scratch, "clip.mp4")
        pictures = until_stopped(renderer.render_all(spec.frames))
        write(path, pictures, _FPS, crf=spec.crf, preset="veryfast", reproducible=True)
        pixels = decode(path, [(i + 0.5) / _FPS for i in range(len(spec.frames))]).pixels
    cropped: np.ndarray = PREPROCESSOR.shape.apply(pixels).numpy()
    return cropped


def label_frames(spec: RenderSpec) -> Labels:
    """Compute the labels of each frame."""
    parts = [_label_frame(spec.clip.scene, frame) for frame in spec.frames]
    return Labels(**{key: np.stack([part[key] for part in parts]) for key in parts[0]})


def _label_frame(scene: Scene, frame: int) -> dict[str, np.ndarray]:
    points = scene.owners(frame, PATCHES * POINTS)
    cells = points.reshape(PATCHES, POINTS, PATCHES, POINTS).transpose(0, 2, 1, 3).reshape(PATCHES**2, POINTS**2)
    coverage = np.stack([(cells == number).mean(axis=1) for number in range(len(scene.objects))])
    owner = np.where(coverage.max(axis=0) >= _MIN_COVERAGE, coverage.argmax(axis=0), BACKGROUND)
    colours = np.array([*(COLOUR_NUMBER[thing.colour] for thing in scene.objects), BACKGROUND], dtype=np.int8)
    shapes = np.array([*(SHAPE_NUMBER[thing.shape] for thing in scene.objects), BACKGROUND], dtype=np.int8)
    centres = np.array([*(thing.centre(frame) for thing in scene.objects), (0.0, 0.0)], dtype=np.float32)
    present = np.zeros(NUM_NAMES, dtype=np.int8)
    place = np.zeros((NUM_NAMES, 2), dtype=np.float32)
    visible = scene.visible(frame)
    for number, thing in enumerate(scene.objects):
        if thing.is_present(frame):
            name = int(colours[number]) * len(SHAPES) + int(shapes[number])
            present[name] = 1 if thing in visible else OCCLUDED
            place[name] = centres[number]
    return {
        "colour": colours[owner],
        "shape": shapes[owner],
        "centre": centres[owner],
        "outline": cells == owner[:, None],
        "present": present,
        "place": place,
    }
