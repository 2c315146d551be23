"""A scene: what there is in a video of ``shapes``, where and when. All of it follows from a seed.

Places are in units of the picture's central square, (0, 0) its top left and (1, 1) its bottom right corner: towers of
CLIP's family crop to that square, so nothing that a question asks for lies outside of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int8

from eval.shapes.randomness import Draws

VERSION = 1
"""Of the generator. Any change to what comes out of it, a question's word or a frame's byte, is a new version."""

SPLITS = {"train": 0, "validation": 1, "test": 2, "long": 3}
"""Each split's number, with which its random draws begin: splits have nothing in common, whatever their seeds.
Videos of ``long`` last ten minutes."""

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
"""Names and RGB."""

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
PLACES = ("top left", "top right", "bottom left", "bottom right")
DIRECTIONS: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}

UNIFORM_FRAMES = 8
"""Frames that Video-LLaVA takes: the sampling whose sight or blindness is part of each question's design."""

VISIBLE_SHARE = 0.5
"""A thing counts as visible where at least this share of its area is covered by nothing."""

_GRID = 64
"""Points a side at which covering is measured."""

Role = Literal["still", "mover", "flash"]


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A coloured shape and its way through the picture.

    Attributes:
        colour: a name in :data:`COLOURS`.
        shape: one of :data:`SHAPES`.
        role: it stays in one quarter of the picture, moves along one axis, or is there only briefly.
        radius: in sides of the central square.
        brightness: what its colour is multiplied by.
        start: centre (x, y) where it appears.
        end: centre (x, y) where it leaves.
        first_frame: the first frame that shows it.
        end_frame: the first frame that does not show it any more.
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
        """What questions call it: no two things of a scene have the same name."""
        return f"{self.colour} {self.shape}"

    @property
    def place(self) -> str:
        """The quarter of the picture that it starts in."""
        x, y = self.start
        return f"{'top' if y < 0.5 else 'bottom'} {'left' if x < 0.5 else 'right'}"

    @property
    def direction(self) -> str:
        """Which way it goes, along the axis on which it goes farther."""
        across, down = self.end[0] - self.start[0], self.end[1] - self.start[1]
        if abs(across) > abs(down):
            return "right" if across > 0 else "left"
        return "down" if down > 0 else "up"

    def is_there(self, frame: int) -> bool:
        """Whether a frame shows it, if nothing covers it."""
        return self.first_frame <= frame < self.end_frame

    def centre(self, frame: int) -> tuple[float, float]:
        """Its centre (x, y) in a frame."""
        share = (frame - self.first_frame) / max(1, self.end_frame - 1 - self.first_frame)
        (x0, y0), (x1, y1) = self.start, self.end
        return x0 + (x1 - x0) * share, y0 + (y1 - y0) * share


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A whole video, before it is drawn.

    Attributes:
        split, seed, index: where it comes from.
        width, height: in pixels.
        fps: frames a second.
        num_frames: frames in all.
        things: drawn in this order, so that later ones cover earlier ones.
    """

    split: str
    seed: int
    index: int
    width: int
    height: int
    fps: int
    num_frames: int
    things: tuple[Thing, ...]

    @property
    def duration_seconds(self) -> float:
        """Seconds from the first frame's start to the last one's end."""
        return self.num_frames / self.fps

    @cached_property
    def lasting(self) -> tuple[Thing, ...]:
        """All that does not just flash."""
        return tuple(thing for thing in self.things if thing.role != "flash")

    @cached_property
    def flashes(self) -> tuple[Thing, ...]:
        """What is there only briefly, in the order of time."""
        return tuple(sorted((t for t in self.things if t.role == "flash"), key=lambda thing: thing.first_frame))

    def having(self, attribute: str, value: str) -> tuple[Thing, ...]:
        """The things of a colour (``attribute`` is ``"colour"``) or of a shape (``"shape"``)."""
        return tuple(thing for thing in self.things if getattr(thing, attribute) == value)

    def frame_at(self, seconds: float) -> int:
        """The number of the frame on screen at a moment."""
        return min(max(int(seconds * self.fps + 1e-3), 0), self.num_frames - 1)

    def visible(self, frame: int) -> frozenset[Thing]:
        """The things that a frame shows, less those that others cover."""
        seen = self._visible_in.get(frame)
        if seen is None:
            seen = self._visible_in[frame] = self._look(frame)
        return seen

    @cached_property
    def _visible_in(self) -> dict[int, frozenset[Thing]]:
        return {}

    def _look(self, frame: int) -> frozenset[Thing]:
        masks = self._masks(frame, _GRID)
        owner = _topmost(masks, _GRID)
        return frozenset(
            self.things[number]
            for number, mask in masks
            if (whole := int(mask.sum())) and int((owner == number).sum()) >= VISIBLE_SHARE * whole
        )

    def owners(self, frame: int, size: int) -> Int8[np.ndarray, "size size"]:
        """The number of the thing that is seen at each point of a grid over the central square; -1 for the ground."""
        return _topmost(self._masks(frame, size), size)

    def _masks(self, frame: int, size: int) -> list[tuple[int, Bool[np.ndarray, "size size"]]]:
        """The numbers of the things that are there, lowest first, and which points each covers."""
        return [
            (number, covered_points(thing, frame, size))
            for number, thing in enumerate(self.things)
            if thing.is_there(frame)
        ]


def _topmost(masks: Sequence[tuple[int, Bool[np.ndarray, "size size"]]], size: int) -> Int8[np.ndarray, "size size"]:
    owner = np.full((size, size), -1, dtype=np.int8)
    for number, mask in masks:
        owner[mask] = number
    return owner


def draws_for(split: str, seed: int, index: int, *purpose: int) -> Draws:
    """Begin the random draws about one video of a split, for one purpose: each has draws of its own."""
    return Draws(VERSION, SPLITS[split], seed, index, *purpose)


def covered_points(thing: Thing, frame: int, size: int) -> Bool[np.ndarray, "size size"]:
    """Which points of a grid over the central square a thing covers in a frame."""
    points = (np.arange(size) + 0.5) / size
    x, y = thing.centre(frame)
    return covers(thing.shape, (points[None, :] - x) / thing.radius, (points[:, None] - y) / thing.radius)


def uniform_frames(num_frames: int, count: int = UNIFORM_FRAMES) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The frames that uniform sampling takes: by the middles of equal stretches, and by ``linspace``."""
    middles = tuple((2 * i + 1) * num_frames // (2 * count) for i in range(count))
    ends = tuple(i * (num_frames - 1) // (count - 1) for i in range(count))
    return middles, ends


# The five sides of a star with a tip on top: a point is inside if it lies within at least four of them.
_STAR_NORMALS = (
    (0.0, -1.0),
    (0.9510565162951535, -0.30901699437494745),
    (0.5877852522924731, 0.8090169943749475),
    (-0.5877852522924731, 0.8090169943749475),
    (-0.9510565162951535, -0.30901699437494745),
)
_STAR_SIZE, _STAR_INNER = 1.25, 0.30901699437494745


def covers(shape: str, x: Float[np.ndarray, "..."], y: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    """Whether a shape covers points, given from its centre in units of its radius, y downwards.

    Only sums, products and comparisons, so that every machine draws the same pixels.
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
