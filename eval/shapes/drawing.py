"""Rendering of scenes as RGB frames, with the same bytes on every machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from eval.shapes.random_stream import RandomStream
from eval.shapes.scene import COLOURS, Scene, SceneObject, covers, random_stream_for

_MARGIN = 48
"""Pixels by which the backbackground is larger than the frame: it drifts, as with a hand-held camera."""


class FrameRenderer:
    """RandomStream the frames of one scene, in any order."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        rng = random_stream_for(scene.split, scene.seed, scene.index, 1)
        self._background = _background(rng, scene.height + _MARGIN, scene.width + _MARGIN)
        self._noise = _noise(rng, scene.height + _MARGIN, scene.width + _MARGIN)
        self._drift = (
            (rng.below(_MARGIN), rng.below(_MARGIN)),
            (rng.below(_MARGIN), rng.below(_MARGIN)),
        )

    def render(self, number: int) -> UInt8[np.ndarray, "height width 3"]:
        """Render a frame."""
        scene = self.scene
        (y0, x0), (y1, x1) = self._drift
        last = max(1, scene.num_frames - 1)
        top, left = y0 + (y1 - y0) * number // last, x0 + (x1 - x0) * number // last
        picture = self._background[top : top + scene.height, left : left + scene.width].copy()
        for one in scene.objects:
            if one.is_present(number):
                _draw(picture, one, number)
        # These steps share no factor with the margin, so neighbouring frames get different noise.
        top, left = number * 19 % _MARGIN, number * 29 % _MARGIN
        picture += self._noise[top : top + scene.height, left : left + scene.width]
        return picture.clip(0, 255).astype(np.uint8)

    def render_all(self, numbers: Sequence[int] | None = None) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """Render frames one by one: those with the given numbers, or all."""
        for number in range(self.scene.num_frames) if numbers is None else numbers:
            yield self.render(number)


def _draw(picture: np.ndarray, one: SceneObject, number: int) -> None:
    height, width = picture.shape[:2]
    side = min(height, width)
    x, y = one.centre(number)
    across, down = x * side + (width - side) / 2, y * side + (height - side) / 2
    radius = one.radius * side
    reach = 1.3 * radius  # the tips of stars are outside the unit circle
    left, right = max(0, int(across - reach)), min(width, int(across + reach) + 2)
    top, bottom = max(0, int(down - reach)), min(height, int(down + reach) + 2)
    xs = (np.arange(left, right) + 0.5 - across) / radius
    ys = (np.arange(top, bottom) + 0.5 - down) / radius
    mask = covers(one.shape, xs[None, :], ys[:, None])
    picture[top:bottom, left:right][mask] = [min(255, int(value * one.brightness)) for value in COLOURS[one.colour]]


def _background(rng: RandomStream, height: int, width: int) -> np.ndarray:
    """A texture of muted colours: coarse and fine clouds over a plain background, stripes or squares."""
    base = rng.between(75, 165)
    tint = [base + rng.between(-18, 18) for _ in range(3)]
    background = np.empty((height, width, 3), dtype=np.int16)
    background[:] = tint
    pattern = rng.below(3)
    if pattern:
        period, contrast = rng.between(12, 40), rng.between(6, 20)
        rows, columns = np.arange(height) // period, np.arange(width) // period
        cells = (rows[:, None] * (pattern == 2) + columns[None, :]) % 2
        background += (cells * contrast)[:, :, None].astype(np.int16)
    for cell, strength in ((64, 40), (16, 24)):
        background += _clouds(rng, height, width, cell, rng.between(strength // 3, strength))
    return background


def _clouds(rng: RandomStream, height: int, width: int, cell: int, strength: int) -> np.ndarray:
    """Smooth random values from -strength to strength: a coarse grid, interpolated in integers."""
    rows, columns = height // cell + 2, width // cell + 2
    grid = rng.bytes(rows, columns, 3).astype(np.int32) - 128
    down, across = np.arange(height), np.arange(width)
    r, c = down // cell, across // cell
    fr, fc = (down % cell)[:, None, None], (across % cell)[None, :, None]
    upper = grid[r][:, c] * (cell - fc) + grid[r][:, c + 1] * fc
    lower = grid[r + 1][:, c] * (cell - fc) + grid[r + 1][:, c + 1] * fc
    values: np.ndarray = (upper * (cell - fr) + lower * fr) * strength // (128 * cell * cell)
    return values.astype(np.int16)


def _noise(rng: RandomStream, height: int, width: int) -> np.ndarray:
    """Grain similar to a camera's: the sum of two random bytes."""
    grain: np.ndarray = rng.bytes(height, width, 3).astype(np.int16) + rng.bytes(height, width, 3) - 255
    return (grain * rng.between(4, 12) // 128).astype(np.int16)
