"""Average pooling: each patch ends in the mean of a rectangle of the picture, and none is dropped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vidzip.compress.counts import to_device
from vidzip.compress.grid import places_per_row
from vidzip.compress.method import Method, option
from vidzip.compress.zipped import ZippedFrames
from vidzip.features import VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Pool(Method):
    """The means of rectangles that divide the picture, in raster order; each stands on the patch at its middle.

    Rectangles lie in rows, see :func:`vidzip.compress.grid.places_per_row`; 16 on a grid of 16 x 16 have 4 x 4 patches
    each. A frame whose only token is CLS has no rectangle; its patches are dropped.
    """

    summary: ClassVar[str] = "the means of rectangles that divide the picture"
    origin: ClassVar[str] = "a baseline for every way to merge"
    keeps_cls: ClassVar[bool] = True

    keep_cls: bool = option(
        default=True, explanation="whether CLS is a frame's first token; where not, it is dropped unless all is kept"
    )

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep just so many tokens of each frame."""
        device = features.patches.device
        layouts = {count: _layout(count, features, keep_cls=self.keep_cls) for count in sorted(set(counts))}
        frames = {count: [frame for frame, its in enumerate(counts) if its == count] for count in layouts}
        pooled = [features.tokens.flatten(0, 1)[:0]]  # of no frames, too, there is a result
        for count, layout in layouts.items():
            pooled.append(_means(features[_on(frames[count], device)], layout).flatten(0, 1))

        # These stand by count; they go by frame.
        first = [0, *accumulate(counts)]
        by_count = [first[frame] + nth for count in layouts for frame in frames[count] for nth in range(count)]
        order = torch.empty(len(by_count), dtype=torch.long)
        order[by_count] = torch.arange(len(by_count))
        source = [
            first[frame] + token if token >= 0 else -1
            for frame, count in enumerate(counts)
            for token in layouts[count].token_of
        ]
        return ZippedFrames(
            tokens=torch.cat(pooled)[to_device(order, device)],
            frame_of=_on((frame for frame, count in enumerate(counts) for _ in range(count)), device),
            anchor_of=_on((place for count in counts for place in layouts[count].anchors), device),
            source=_on(source, device),
            grids=features.grids,
            has_cls=features.has_cls,
        )


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where the tokens of a frame stand, and the one in which each source token ends, -1 where it is dropped."""

    anchors: list[int]
    token_of: list[int]


def _layout(count: int, features: VisionFeatures, *, keep_cls: bool) -> _Layout:
    size, num_cls, (rows, columns) = features.tokens_per_frame, features.num_cls, features.grid
    if count == size:
        return _Layout(anchors=list(range(size)), token_of=list(range(size)))
    anchors, token_of = [], [-1] * size
    if features.has_cls and keep_cls and count:
        anchors, token_of[0] = [0], 0
    per_row = places_per_row(count - len(anchors), features.grid)
    for (top, bottom), share in zip(_stretches(len(per_row), rows), per_row, strict=True):
        for left, right in _stretches(share, columns):
            for row in range(top, bottom):
                for column in range(left, right):
                    token_of[num_cls + row * columns + column] = len(anchors)
            anchors.append(num_cls + (top + bottom) // 2 * columns + (left + right) // 2)
    return _Layout(anchors=anchors, token_of=token_of)


def _stretches(count: int, length: int) -> list[tuple[int, int]]:
    """Begin and end of ``count`` about equal stretches of a line of ``length`` places."""
    return [(i * length // count, (i + 1) * length // count) for i in range(count)]


def _means(features: VisionFeatures, layout: _Layout) -> Float[Tensor, "frames kept dim"]:
    """The means of what ends in each token; what is alone stays as it is."""
    token_of = torch.tensor(layout.token_of)
    members = token_of == torch.arange(len(layout.anchors))[:, None]
    numbers = members.sum(dim=1, keepdim=True)
    patches, device = features.patches, features.patches.device
    standing = features.tokens[:, _on(layout.anchors, device)]
    wide = torch.promote_types(patches.dtype, torch.float32)
    merging = members & (numbers > 1)
    # Patches alone: an infinite CLS, times its zero in the mask, would spoil the sums.
    total = to_device(merging[:, features.num_cls :].to(wide), device) @ patches.to(wide)
    means = (total / to_device(numbers, device)).to(patches.dtype)
    return torch.where(to_device(numbers > 1, device), means, standing)


def _on(values: Iterable[int], device: torch.device) -> Tensor:
    return to_device(torch.tensor(list(values), dtype=torch.long), device)
