"""A clip to show the path on, where no video is at hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CLIP = "clip.mp4"
SECONDS, FPS, WIDTH, HEIGHT, SIDE = 10, 25, 320, 240, 48


def write_clip() -> str:
    """Write a bright square that crosses a shaded ground into the current folder, and say so."""
    from vidzip.video.writing import write

    count = write(CLIP, _pictures(), FPS)
    return f"wrote {CLIP}: a square crosses the picture, {count} frames in {SECONDS} s"


def _pictures() -> Iterator[np.ndarray]:
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    ground = np.stack([across * 120 // WIDTH, down * 120 // HEIGHT, np.full_like(down, 60)], axis=-1).astype(np.uint8)
    for i in range(SECONDS * FPS):
        picture = ground.copy()
        left = i * (WIDTH - SIDE) // (SECONDS * FPS)
        top = int((HEIGHT - SIDE) * (0.5 + 0.4 * np.sin(i / 20)))
        picture[top : top + SIDE, left : left + SIDE] = (240, 200, 40)
        yield picture
