"""A scene: the objects of a video of ``shapes``, with their places and times.

Places are in units of the frame's central square, (0, 0) its top left and (1, 1) its bottom right corner: CLIP's towers
crop to that square, so nothing that a question asks about lies outside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int8

from eval.shapes.random_stream import RandomStream

VERSION = 1
"""Version of the generator. Any change of its output, such as a word or a byte, needs a new version."""

SPLITS = {"train": 0, "validation": 1, "test": 2, "long": 3}
"""The number of each split, which starts its random streams: splits share nothing, even with equal seeds. Videos of
``long`` last ten minutes."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (208, 36, 40),
    "green": (36, 160, 60),
    "blue": (40, 72, 214),
    "yellow": (232, 214, 48),
    "purple": (150, 48, 190),
    "orange": (240, 132, 24),
    "white": (240, 240, 240),
    "black": (20, 20, 20),
}
"""RGB values by name."""

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
PLACES = ("top left", "top right", "bottom left", "bottom right")
DIRECTIONS: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}

UNIFORM_FRAMES = 8
"""Number of frames that Video-LLaVA samples: each question is designed to be answerable from them, or not."""

VISIBLE_SHARE = 0.5
"""Smallest uncovered share of an object's area that makes it visible."""

_GRID = 64
"""Points per side of the grid on which coverage is measured."""

Role = Literal["still", "mover", "flash"]


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """A coloured shape and its path.

    Attributes:
        colour: a name in :data:`COLOURS`.
        shape: one of :data:`SHAPES`.
        role: whether it stays in one quarter of the frame, moves along one axis, or is present only briefly.
        radius: in sides of the central square.
        brightness: factor of its colour.
        start: centre (x, y) in its first frame.
        end: centre (x, y) in its last frame.
        first_frame: number of its first frame.
        end_frame: number of the frame after its last one.
    """

    colour: str
    shape: str
    role: Role
    radius: float
    brightness: float
    start: tuple[float, float]
    end: tuple[float, float]
    first_frame: int
    end_frame: int

    @property
    def name(self) -> str:
        """Its name in questions, unique in a scene."""
        return f"{self.colour} {self.shape}"

    @property
    def place(self) -> str:
        """The quarter of the frame in which it starts."""
        x, y = self.start
        return f"{'top' if y < 0.5 else 'bottom'} {'left' if x < 0.5 else 'right'}"

    @property
    def direction(self) -> str:
        """Its direction along the axis on which it moves farther."""
        across, down = self.end[0] - self.start[0], self.end[1] - self.start[1]
        if abs(across) > abs(down):
            return "right" if across > 0 else "left"
        return "down" if down > 0 else "up"

    def is_present(self, frame: int) -> bool:
        """Whether it is in a frame, covered or not."""
        return self.first_frame <= frame < self.end_frame

    def centre(self, frame: int) -> tuple[float, float]:
        """Its centre (x, y) in a frame."""
        share = (frame - self.first_frame) / max(1, self.end_frame - 1 - self.first_frame)
        (x0, y0), (x1, y1) = self.start, self.end
        return x0 + (x1 - x0) * share, y0 + (y1 - y0) * share


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The content of a video.

    Attributes:
        split, seed, index: what it is made from.
        width, height: in pixels.
        fps: frames per second.
        num_frames: number of frames.
        objects: in drawing order: later ones cover earlier ones.
    """

    split: str
    seed: int
    index: int
    width: int
    height: int
    fps: int
    num_frames: int
    objects: tuple[SceneObject, ...]

    @property
    def duration_seconds(self) -> float:
        """Seconds from the start of the first frame to the end of the last."""
        return self.num_frames / self.fps

    @cached_property
    def lasting(self) -> tuple[SceneObject, ...]:
        """The objects that do not flash."""
        return tuple(one for one in self.objects if one.role != "flash")

    @cached_property
    def flashes(self) -> tuple[SceneObject, ...]:
        """The objects that flash, in order of time."""
        return tuple(sorted((o for o in self.objects if o.role == "flash"), key=lambda one: one.first_frame))

    def with_attribute(self, attribute: str, value: str) -> tuple[SceneObject, ...]:
        """The objects of a colour (``attribute`` is ``"colour"``) or of a shape (``"shape"``)."""
        return tuple(one for one in self.objects if getattr(one, attribute) == value)

    def frame_at(self, seconds: float) -> int:
        """The number of the frame on screen at a time."""
        return min(max(int(seconds * self.fps + 1e-3), 0), self.num_frames - 1)

    def visible(self, frame: int) -> frozenset[SceneObject]:
        """The visible objects of a frame: those that others do not cover."""
        visible = self._visible_by_frame.get(frame)
        if visible is None:
            visible = self._visible_by_frame[frame] = self._find_visible(frame)
        return visible

    @cached_property
    def _visible_by_frame(self) -> dict[int, frozenset[SceneObject]]:
        return {}

    def _find_visible(self, frame: int) -> frozenset[SceneObject]:
        masks = self._masks(frame, _GRID)
        owner = _topmost(masks, _GRID)
        return frozenset(
            self.objects[number]
            for number, mask in masks
            if (whole := int(mask.sum())) and int((owner == number).sum()) >= VISIBLE_SHARE * whole
        )

    def owners(self, frame: int, size: int) -> Int8[np.ndarray, "size size"]:
        """The number of the object at each point of a grid over the central square; -1 for the background."""
        return _topmost(self._masks(frame, size), size)

    def _masks(self, frame: int, size: int) -> list[tuple[int, Bool[np.ndarray, "size size"]]]:
        """The numbers of the present objects, lowest first, each with the points that it covers."""
        return [
            (number, covered_points(one, frame, size))
            for number, one in enumerate(self.objects)
            if one.is_present(frame)
        ]


def _topmost(masks: Sequence[tuple[int, Bool[np.ndarray, "size size"]]], size: int) -> Int8[np.ndarray, "size size"]:
    owner = np.full((size, size), -1, dtype=np.int8)
    for number, mask in masks:
        owner[mask] = number
    return owner


def random_stream_for(split: str, seed: int, index: int, *purpose: int) -> RandomStream:
    """Start a random stream for one video of a split and one purpose; each purpose has its own stream."""
    return RandomStream(VERSION, SPLITS[split], seed, index, *purpose)


def covered_points(one: SceneObject, frame: int, size: int) -> Bool[np.ndarray, "size size"]:
    """Which points of a grid over the central square an object covers in a frame."""
    points = (np.arange(size) + 0.5) / size
    x, y = one.centre(frame)
    return covers(one.shape, (points[None, :] - x) / one.radius, (points[:, None] - y) / one.radius)


def uniform_frames(num_frames: int, count: int = UNIFORM_FRAMES) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The frames of two uniform samplings: the middles of equal parts, and ``linspace``."""
    middles = tuple((2 * i + 1) * num_frames // (2 * count) for i in range(count))
    ends = tuple(i * (num_frames - 1) // (count - 1) for i in range(count))
    return middles, ends


# The five sides of a star with a tip at the top: a point is inside if it is within at least four of them.
_STAR_NORMALS = (
    (0.0, -1.0),
    (0.9510565162951535, -0.30901699437494745),
    (0.5877852522924731, 0.8090169943749475),
    (-0.5877852522924731, 0.8090169943749475),
    (-0.9510565162951535, -0.30901699437494745),
)
_STAR_SIZE, _STAR_INNER = 1.25, 0.30901699437494745


def covers(shape: str, x: Float[np.ndarray, "..."], y: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    """Whether a shape covers points, relative to its centre and in units of its radius, y downwards.

    It uses sums, products and comparisons only, so that every machine renders the same pixels.
    """
    if shape == "circle":
        return np.asarray(x * x + y * y <= 1.0)
    if shape == "ring":
        distance = x * x + y * y
        return np.asarray((distance <= 1.15) & (distance >= 0.36))
    if shape == "square":
        return np.asarray((np.abs(x) <= 0.85) & (np.abs(y) <= 0.85))
    if shape == "triangle":
        return np.asarray((y <= 0.8) & (np.abs(x) <= (y + 1.05) * 0.58))
    if shape == "cross":
        across, down = np.abs(x), np.abs(y)
        return np.asarray(((across <= 0.34) & (down <= 1.05)) | ((down <= 0.34) & (across <= 1.05)))
    if shape == "star":
        within = sum((x * nx + y * ny <= _STAR_SIZE * _STAR_INNER).astype(np.int8) for nx, ny in _STAR_NORMALS)
        return np.asarray(within >= 4)
    raise ValueError(f"unknown shape {shape!r}")
