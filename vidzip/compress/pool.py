"""Average pooling: each patch is averaged with the others of its rectangle, and none is dropped."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from vidzip.compress.counts import int_tensor, to_device
from vidzip.compress.grid import places_per_row
from vidzip.compress.method import Method, option
from vidzip.compress.zipped import ZippedFrames
from vidzip.features import VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Pool(Method):
    """The means of rectangles of patches, in raster order; the anchor of each is the patch in its middle.

    Rectangles are in rows, see :func:`~vidzip.compress.grid.places_per_row`; 16 on a grid of 16 x 16 have 4 x 4 patches
    each. A frame whose only token is CLS has no rectangle; its patches are dropped.
    """

    summary: ClassVar[str] = "averages rectangles of patches"
    origin: ClassVar[str] = "baseline for every way of merging"
    keeps_cls: ClassVar[bool] = True

    keep_cls: bool = option(
        default=True, explanation="whether CLS is kept as a frame's first token, or dropped unless all tokens are kept"
    )

    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep ``counts[f]`` tokens of frame f."""
        device = features.patches.device
        layouts = {count: _layout(count, features, keep_cls=self.keep_cls) for count in sorted(set(counts))}
        frames = {count: [frame for frame, own in enumerate(counts) if own == count] for count in layouts}
        pooled = [features.tokens.flatten(0, 1)[:0]]  # the result if there are no frames
        for count, layout in layouts.items():
            pooled.append(_means(features[int_tensor(frames[count], device)], layout).flatten(0, 1))

        # The pooled tokens are ordered by count; the result is ordered by frame.
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
            frame_of=int_tensor([frame for frame, count in enumerate(counts) for _ in range(count)], device),
            anchor_of=int_tensor([anchor for count in counts for anchor in layouts[count].anchors], device),
            source=int_tensor(source, device),
            grids=features.grids,
            has_cls=features.has_cls,
        )


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """The anchors of a frame's tokens, and the token that each source token is merged into, -1 if it is dropped."""

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
    for (top, bottom), num_places in zip(_intervals(len(per_row), rows), per_row, strict=True):
        for left, right in _intervals(num_places, columns):
            for row in range(top, bottom):
                for column in range(left, right):
                    token_of[num_cls + row * columns + column] = len(anchors)
            anchors.append(num_cls + (top + bottom) // 2 * columns + (left + right) // 2)
    return _Layout(anchors=anchors, token_of=token_of)


def _intervals(count: int, length: int) -> list[tuple[int, int]]:
    """Divide [0, length) into ``count`` about equal intervals."""
    return [(i * length // count, (i + 1) * length // count) for i in range(count)]


def _means(features: VisionFeatures, layout: _Layout) -> Float[Tensor, "frames kept dim"]:
    """Average the source tokens of each token; one that is alone stays unchanged."""
    patches, device = features.patches, features.patches.device
    members = torch.tensor(layout.token_of) == torch.arange(len(layout.anchors))[:, None]
    sizes = members.sum(dim=1, keepdim=True)
    wide = torch.promote_types(patches.dtype, torch.float32)
    merged = (members & (sizes > 1))[:, features.num_cls :]  # without CLS: an infinity in it, times 0, would be NaN
    total = to_device(merged.to(wide), device) @ patches.to(wide)
    means = (total / to_device(sizes, device)).to(patches.dtype)
    anchors = features.tokens[:, int_tensor(layout.anchors, device)]
    return torch.where(to_device(sizes > 1, device), means, anchors)
