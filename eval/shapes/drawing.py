"""Drawing scenes: from a scene to RGB frames, the same bytes on every machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from eval.shapes.randomness import Draws
from eval.shapes.scene import COLOURS, Scene, Thing, covers, draws_for

_MARGIN = 48
"""Pixels by which the ground is larger than the picture: it drifts behind it, as under a camera in the hand."""


class Painter:
    """Draws the frames of one scene, in any order."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        draws = draws_for(scene.split, scene.seed, scene.index, 1)
        self._ground = _ground(draws, scene.height + _MARGIN, scene.width + _MARGIN)
        self._noise = _noise(draws, scene.height + _MARGIN, scene.width + _MARGIN)
        self._drift = (
            (draws.below(_MARGIN), draws.below(_MARGIN)),
            (draws.below(_MARGIN), draws.below(_MARGIN)),
        )

    def frame(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Draw a frame."""
        scene = self.scene
        (y0, x0), (y1, x1) = self._drift
        last = max(1, scene.num_frames - 1)
        top, left = y0 + (y1 - y0) * number // last, x0 + (x1 - x0) * number // last
        picture = self._ground[top : top + scene.height, left : left + scene.width].copy()
        for thing in scene.things:
            if thing.is_there(number):
                _paint(picture, thing, number)
        # Steps that share no factor with the margin: neighbouring frames get unlike noise.
        top, left = number * 19 % _MARGIN, number * 29 % _MARGIN
        picture += self._noise[top : top + scene.height, left : left + scene.width]
        return picture.clip(0, 255).astype(np.uint8)

    def frames(self, numbers: Sequence[int] | None = None) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """Draw frames one by one: those of the numbers, or all."""
        for number in range(self.scene.num_frames) if numbers is None else numbers:
            yield self.frame(number)


def _paint(picture: np.ndarray, thing: Thing, number: int) -> None:
    height, width = picture.shape[:2]
    side = min(height, width)
    x, y = thing.centre(number)
    across, down = x * side + (width - side) / 2, y * side + (height - side) / 2
    radius = thing.radius * side
    reach = 1.3 * radius  # tips of stars lie outside of the unit circle
    left, right = max(0, int(across - reach)), min(width, int(across + reach) + 2)
    top, bottom = max(0, int(down - reach)), min(height, int(down + reach) + 2)
    xs = (np.arange(left, right) + 0.5 - across) / radius
    ys = (np.arange(top, bottom) + 0.5 - down) / radius
    mask = covers(thing.shape, xs[None, :], ys[:, None])
    picture[top:bottom, left:right][mask] = [min(255, int(value * thing.brightness)) for value in COLOURS[thing.colour]]


def _ground(draws: Draws, height: int, width: int) -> np.ndarray:
    """A texture of muted colours: coarse and fine clouds, over an even ground, stripes or squares."""
    base = draws.between(75, 165)
    tint = [base + draws.between(-18, 18) for _ in range(3)]
    ground = np.empty((height, width, 3), dtype=np.int16)
    ground[:] = tint
    pattern = draws.below(3)
    if pattern:
        period, contrast = draws.between(12, 40), draws.between(6, 20)
        rows, columns = np.arange(height) // period, np.arange(width) // period
        cells = (rows[:, None] * (pattern == 2) + columns[None, :]) % 2
        ground += (cells * contrast)[:, :, None].astype(np.int16)
    for cell, strength in ((64, 40), (16, 24)):
        ground += _clouds(draws, height, width, cell, draws.between(strength // 3, strength))
    return ground


def _clouds(draws: Draws, height: int, width: int, cell: int, strength: int) -> np.ndarray:
    """Smooth random values of -strength to strength: a coarse grid, interpolated in whole numbers."""
    rows, columns = height // cell + 2, width // cell + 2
    grid = draws.bytes(rows, columns, 3).astype(np.int32) - 128
    down, across = np.arange(height), np.arange(width)
    r, c = down // cell, across // cell
    fr, fc = (down % cell)[:, None, None], (across % cell)[None, :, None]
    upper = grid[r][:, c] * (cell - fc) + grid[r][:, c + 1] * fc
    lower = grid[r + 1][:, c] * (cell - fc) + grid[r + 1][:, c + 1] * fc
    values: np.ndarray = (upper * (cell - fr) + lower * fr) * strength // (128 * cell * cell)
    return values.astype(np.int16)


def _noise(draws: Draws, height: int, width: int) -> np.ndarray:
    """Grain: two random bytes added up, which is near enough to a camera's."""
    grain: np.ndarray = draws.bytes(height, width, 3).astype(np.int16) + draws.bytes(height, width, 3) - 255
    return (grain * draws.between(4, 12) // 128).astype(np.int16)
