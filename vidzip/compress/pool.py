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
from vidzip.compress.grid import rows_of
from vidzip.compress.method import Method, option
from vidzip.compress.zipped import ZippedFrames
from vidzip.features import FrameFeatures


@dataclass(frozen=True, kw_only=True)
class Pool(Method):
    """The means of rectangles that divide the picture, in raster order; each stands on the patch at its middle.

    n rectangles of a square grid of patches stand in about as many rows as columns, see
    :func:`vidzip.compress.grid.rows_of`; 16 of 16 by 16 have 4 by 4 patches each. Patches that form no square are
    divided as one line. A frame whose one token is CLS has no rectangle, and its patches are dropped.
    """

    summary: ClassVar[str] = "the means of rectangles that divide the picture"
    origin: ClassVar[str] = "a baseline for every way to merge"

    keep_cls: bool = option(
        default=True, explanation="whether CLS is a frame's first token; where not, it is dropped unless all is kept"
    )

    def compress(self, features: FrameFeatures, counts: list[int]) -> ZippedFrames:
        """Keep just so many tokens of each frame."""
        size, device = features.tokens_per_frame, features.hidden.device
        layouts = {count: _layout(count, size, keep_cls=self.keep_cls) for count in sorted(set(counts))}
        frames = {count: [frame for frame, its in enumerate(counts) if its == count] for count in layouts}
        pooled = [features.hidden.flatten(0, 1)[:0]]  # of no frames, too, there is a result
        for count, layout in layouts.items():
            pooled.append(_means(features.hidden[_on(frames[count], device)], layout).flatten(0, 1))

        # These stand by count; they go by frame.
        first = [0, *accumulate(counts)]
        by_count = [first[frame] + nth for count in layouts for frame in frames[count] for nth in range(count)]
        order = torch.empty(len(by_count), dtype=torch.long)
        order[by_count] = torch.arange(len(by_count))
        source = [
            [first[frame] + token if token >= 0 else -1 for token in layouts[count].token_of]
            for frame, count in enumerate(counts)
        ]
        return ZippedFrames(
            tokens=torch.cat(pooled)[to_device(order, device)],
            frame_of=_on((frame for frame, count in enumerate(counts) for _ in range(count)), device),
            anchor_of=_on((place for count in counts for place in layouts[count].anchors), device),
            source=_on(source, device).reshape(len(counts), size),
        )


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where the tokens of a frame stand, and the one in which each source token ends, -1 where it is dropped."""

    anchors: list[int]
    token_of: list[int]


def _layout(count: int, size: int, *, keep_cls: bool) -> _Layout:
    if count == size:
        return _Layout(anchors=list(range(size)), token_of=list(range(size)))
    anchors, token_of = [], [-1] * size
    if keep_cls and count:
        anchors, token_of[0] = [0], 0
    rows, side = rows_of(count - len(anchors), size - 1)
    for (top, bottom), share in zip(_stretches(len(rows), (size - 1) // side), rows, strict=True):
        for left, right in _stretches(share, side):
            for row in range(top, bottom):
                for column in range(left, right):
                    token_of[1 + row * side + column] = len(anchors)
            anchors.append(1 + (top + bottom) // 2 * side + (left + right) // 2)
    return _Layout(anchors=anchors, token_of=token_of)


def _stretches(count: int, length: int) -> list[tuple[int, int]]:
    """Begin and end of ``count`` about equal stretches of a line of ``length`` places."""
    return [(i * length // count, (i + 1) * length // count) for i in range(count)]


def _means(hidden: Float[Tensor, "frames tokens dim"], layout: _Layout) -> Float[Tensor, "frames kept dim"]:
    """The means of what ends in each token; what is alone stays as it is."""
    token_of = torch.tensor(layout.token_of)
    members = token_of == torch.arange(len(layout.anchors))[:, None]
    numbers = members.sum(dim=1, keepdim=True)
    standing = hidden[:, _on(layout.anchors, hidden.device)]
    wide = torch.promote_types(hidden.dtype, torch.float32)
    merging = members & (numbers > 1)
    # Patches alone: an infinite CLS, times its zero in the mask, would spoil the sums.
    total = to_device(merging[:, 1:].to(wide), hidden.device) @ hidden[:, 1:].to(wide)
    means = (total / to_device(numbers, hidden.device)).to(hidden.dtype)
    return torch.where(to_device(numbers > 1, hidden.device), means, standing)


def _on(values: Iterable[int] | Iterable[list[int]], device: torch.device) -> Tensor:
    return to_device(torch.tensor(list(values), dtype=torch.long), device)
