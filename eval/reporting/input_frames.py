"""The frames of a video that a run passed to the model, with their tokens and the patches that each token represents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A small picture of a frame: an encoded file of a type such as ``"image/jpeg"``, with its size in pixels."""

    content: bytes
    media_type: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class MergedToken:
    """A token that represents other patches than its anchor alone.

    Attributes:
        anchor: the patch whose position the token has; None if it has that of CLS.
        patches: all patches that were merged into it, including the anchor, ascending.
    """

    anchor: int | None
    patches: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PatchMap:
    """The tokens into which a frame's patches went. Patches are numbered row by row from the top left.

    Attributes:
        rows: rows of patches.
        columns: columns of patches.
        kept: patches with a token of their own, ascending. (Patches of other frames may have been merged into it.)
        merged: the other tokens, by their first patch.
        dropped: patches without a token, ascending.
        elsewhere: patches that were merged into a token of another frame, ascending.
        has_cls: whether a token has the position of CLS; None if the tower has no CLS.
    """

    rows: int
    columns: int
    kept: tuple[int, ...]
    merged: tuple[MergedToken, ...]
    dropped: tuple[int, ...]
    elsewhere: tuple[int, ...]
    has_cls: bool | None

    @property
    def num_patches(self) -> int:
        """The frame's number of patches."""
        return self.rows * self.columns


@dataclass(frozen=True, kw_only=True)
class InputFrame:
    """A frame with its picture, if the video was decoded, and its patches, if a packed video was found."""

    timestamp_seconds: float
    num_tokens: int
    picture: Picture | None = None
    patches: PatchMap | None = None


@dataclass(frozen=True, kw_only=True)
class InputFrames:
    """The frames that a run passed to the model, in order; the notes say why pictures or patches are missing."""

    method: str
    frames: tuple[InputFrame, ...]
    notes: tuple[str, ...] = ()


def read_input_frames(trace: Mapping[str, Any]) -> InputFrames | None:
    """Read frames and tokens from the plan in a question's trace; None if it was asked without video.

    Raises:
        ValueError: the plan is malformed.
    """
    plan = trace.get("plan")
    if plan is None:
        return None
    try:
        timestamps = [float(timestamp) for timestamp in plan["timestamps_seconds"]]
        tokens = [int(count) for count in plan["tokens_per_frame"]]
        frames = tuple(
            InputFrame(timestamp_seconds=timestamp, num_tokens=count)
            for timestamp, count in zip(timestamps, tokens, strict=True)
        )
        selection = InputFrames(method=str(plan["method"]), frames=frames)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the plan cannot be read: {error!r}") from error
    if not all(math.isfinite(one) and one >= 0 for one in (*timestamps, *tokens)):
        raise ValueError("the plan cannot be read: it has negative or infinite numbers")
    return selection


def map_patches(source: Sequence[int], anchors: Mapping[int, int], *, grid: tuple[int, int], has_cls: bool) -> PatchMap:
    """Sort a frame's patches by the tokens into which they went.

    Args:
        source: the token of each of the frame's S source positions, -1 if it was dropped, (S,).
        anchors: the source position of each of the frame's tokens. Other tokens belong to other frames.
        grid: rows and columns of patches.
        has_cls: whether CLS is the first source position.

    Raises:
        ValueError: the number of source positions does not fit the grid.
    """
    rows, columns = grid
    first = int(has_cls)
    if len(source) != rows * columns + first:
        raise ValueError(f"{len(source)} source positions do not fit a grid of {rows} by {columns}")
    by_token: dict[int, list[int]] = {}
    for position, token in enumerate(source[first:]):
        by_token.setdefault(token, []).append(position)
    dropped = by_token.pop(-1, [])
    elsewhere = [patch for token in by_token.keys() - anchors.keys() for patch in by_token.pop(token)]
    kept = {token for token, patches in by_token.items() if patches == [anchors[token] - first]}
    merged = [
        MergedToken(anchor=None if anchors[token] < first else anchors[token] - first, patches=tuple(patches))
        for token, patches in by_token.items()
        if token not in kept
    ]
    return PatchMap(
        rows=rows,
        columns=columns,
        kept=tuple(sorted(by_token[token][0] for token in kept)),
        merged=tuple(sorted(merged, key=lambda one: one.patches[0])),
        dropped=tuple(dropped),
        elsewhere=tuple(sorted(elsewhere)),
        has_cls=(0 in anchors.values()) if has_cls else None,
    )
