"""A plain reference of VisionZip: one frame, one token at a time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vidzip import VisionFeatures


@dataclass
class Plain:
    tokens: Tensor
    """(dominant + contextual, D)"""
    anchors: list[int]
    """The source position of each token."""
    source: list[int]
    """The token that each source position ended in, -1 if it was dropped."""


def plain_visionzip(
    features: VisionFeatures, frame: int, *, dominant: int, contextual: int, merge: str = "sum"
) -> Plain:
    """Compress one frame."""
    hidden, first = features.tokens[frame], features.num_cls
    size = len(hidden)
    scores, keys = (dict(enumerate(part[frame], start=first)) for part in (features.scores, features.keys))
    if dominant + contextual >= size:
        return Plain(tokens=hidden, anchors=list(range(size)), source=list(range(size)))
    if dominant == 0:
        return Plain(tokens=hidden[:0], anchors=[], source=[-1] * size)
    by_score = sorted(range(first, size), key=lambda p: (-scores[p].item(), p))
    kept = sorted([*range(first), *by_score[: dominant - first]])
    left = [p for p in range(size) if p not in kept]
    source = [-1] * size
    for place, position in enumerate(kept):
        source[position] = place
    tokens = [hidden[position] for position in kept]
    if contextual == 0:
        return Plain(tokens=torch.stack(tokens), anchors=kept, source=source)

    step = max(1, len(left) // contextual)
    targets = left[::step][:contextual]
    members: dict[int, list[int]] = {target: [] for target in targets}
    unit = {p: keys[p] / keys[p].norm() for p in left}
    for position in left:
        if position in targets:
            source[position] = dominant + targets.index(position)
            continue
        similar = [(unit[position] @ unit[target]).item() for target in targets]
        nearest = similar.index(max(similar))
        members[targets[nearest]].append(position)
        source[position] = dominant + nearest
    for target in targets:
        joined = [hidden[p] for p in members[target]]
        if not joined:
            tokens.append(hidden[target])
        elif merge == "sum":
            tokens.append(hidden[target] + torch.stack(joined).mean(0))
        else:
            tokens.append(torch.stack([hidden[target], *joined]).mean(0))
    return Plain(tokens=torch.stack(tokens), anchors=kept + targets, source=source)
