"""What of a video was packed, for a reader to see: frames, their tokens, and the patches each token stands for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A frame, small.

    Attributes:
        content: an encoded file.
        media_type: of which kind, such as ``"image/jpeg"``.
        width: in pixels.
        height: in pixels.
    """

    content: bytes
    media_type: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A token that does not stand for the patch it stands on alone.

    Attributes:
        anchor: the patch it stands on; None where it stands on CLS.
        patches: all that ended in it, the anchor among them, ascending.
    """

    anchor: int | None
    patches: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Patches:
    """What became of a frame's patches, row by row from the top left, ``side * side`` of them.

    Attributes:
        side: patches down, and across.
        kept: those that have a token of their own, ascending. (Patches of other frames may be in it, too.)
        merged: the other tokens, by their first patch.
        dropped: those that ended in no token, ascending.
        elsewhere: those that ended in a token of another frame, ascending.
        has_cls: whether a token stands on CLS; None where the tower has none.
    """

    side: int
    kept: tuple[int, ...]
    merged: tuple[Merged, ...]
    dropped: tuple[int, ...]
    elsewhere: tuple[int, ...]
    has_cls: bool | None

    @property
    def num_patches(self) -> int:
        """How many the frame has."""
        return self.side**2


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame that was packed.

    Attributes:
        timestamp_seconds: when it appears on screen.
        num_tokens: tokens it got.
        picture: it; None where nobody looked.
        patches: what became of its patches; None where no pack tells.
    """

    timestamp_seconds: float
    num_tokens: int
    picture: Picture | None = None
    patches: Patches | None = None


@dataclass(frozen=True, kw_only=True)
class Look:
    """What of a video a run was shown.

    Attributes:
        method: how frames were compressed.
        frames: in order.
        notes: why pictures or patches are not there, in words.
    """

    method: str
    frames: tuple[Frame, ...]
    notes: tuple[str, ...] = ()


def look_of(trace: Mapping[str, Any]) -> Look | None:
    """Read what a question's line notes of the plan: frames and tokens; None where it was asked without a video.

    Raises:
        ValueError: there is a plan that cannot be read.
    """
    plan = trace.get("plan")
    if plan is None:
        return None
    try:
        moments = [float(moment) for moment in plan["timestamps_seconds"]]
        tokens = [int(count) for count in plan["tokens_per_frame"]]
        frames = tuple(
            Frame(timestamp_seconds=moment, num_tokens=count) for moment, count in zip(moments, tokens, strict=True)
        )
        look = Look(method=str(plan["method"]), frames=frames)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"a plan that cannot be read: {error!r}") from error
    if not all(math.isfinite(one) and one >= 0 for one in (*moments, *tokens)):
        raise ValueError("a plan that cannot be read: its numbers are negative, or none")
    return look


def patches_of(source: Sequence[int], anchors: Mapping[int, int]) -> Patches | None:
    """Sort a frame's patches by what became of them.

    Args:
        source: the token in which each of the frame's S source positions ended, -1 where it was dropped, (S,).
        anchors: the source position that each of the frame's tokens stands on. Other tokens are of other frames.

    Returns:
        None where the positions make no square, with or without CLS before it.
    """
    count = len(source)
    side, first = math.isqrt(count), 0
    if side**2 != count:
        side, first = math.isqrt(count - 1), 1
    if count == 0 or side**2 + first != count:
        return None
    of_token: dict[int, list[int]] = {}
    for position, token in enumerate(source[first:]):
        of_token.setdefault(token, []).append(position)
    dropped = of_token.pop(-1, [])
    elsewhere = [patch for token in of_token.keys() - anchors.keys() for patch in of_token.pop(token)]
    alone = {token for token, patches in of_token.items() if patches == [anchors[token] - first]}
    merged = [
        Merged(anchor=None if anchors[token] < first else anchors[token] - first, patches=tuple(patches))
        for token, patches in of_token.items()
        if token not in alone
    ]
    return Patches(
        side=side,
        kept=tuple(sorted(of_token[token][0] for token in alone)),
        merged=tuple(sorted(merged, key=lambda one: one.patches[0])),
        dropped=tuple(dropped),
        elsewhere=tuple(sorted(elsewhere)),
        has_cls=(0 in anchors.values()) if first else None,
    )
