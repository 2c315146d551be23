"""A plain reference of what methods across frames share: one patch, one frame at a time, in float64 with numpy.

Patches have indices over all frames, as in the code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor
from towers import features_of_tokens, sources

from vidzip import VisionFeatures
from vidzip.compress.across_frames import AcrossFrames
from vidzip.planner import split_evenly

budgets = st.tuples(st.integers(1, 9), st.integers(2, 14)).flatmap(
    lambda shape: st.tuples(st.just(shape[0]), st.just(shape[1]), st.integers(1, shape[0] * shape[1]))
)
"""F frames of S tokens, and a budget from 1 to F * S."""

seeds = st.integers(0, 10_000)

shared_options = {
    "keep_cls": st.booleans(),
    "merge": st.sampled_from(["mean", "sum", "none"]),
    "compare": st.sampled_from(["hidden", "keys"]),
}
"""Options of every method across frames."""


def moving_features(
    num_frames: int, size: int, seed: int = 0, dim: int = 8, key_dim: int = 4, *, has_cls: bool = True
) -> VisionFeatures:
    """Frames in float64 in which some patches are static, some drift and some are new, with a few scene changes."""
    rng = torch.Generator().manual_seed(seed)

    def walk(width: int) -> Tensor:
        frames = [torch.randn(size, width, generator=rng, dtype=torch.float64)]
        for _ in range(num_frames - 1):
            fresh = torch.randn(size, width, generator=rng, dtype=torch.float64)
            pace = torch.tensor([0.05, 0.4, 3.0])[torch.randint(0, 3, (size, 1), generator=rng)]
            is_scene = torch.rand((), generator=rng) < 0.2
            frames.append(fresh if is_scene else frames[-1] + pace * fresh)
        return torch.stack(frames)

    scores = torch.rand(num_frames, size, generator=rng, dtype=torch.float64)
    return features_of_tokens(walk(dim), walk(key_dim), scores, has_cls=has_cls)


def identical_frames(num_frames: int, size: int) -> VisionFeatures:
    """The same frame, repeated."""
    return moving_features(1, size)[[0] * num_frames]


def features_of(patches: list[list[list[float]]], scores: list[list[float]]) -> VisionFeatures:
    """Features worked by hand, with a CLS of all zeros; patches are in one row."""
    values = torch.tensor(patches)
    return VisionFeatures(
        patches=values,
        scores=torch.tensor(scores),
        keys=values.clone(),
        grid=(1, values.shape[1]),
        cls=torch.zeros_like(values[:, 0]),
    )


@dataclass
class Video:
    """Patches of F frames, N each, without CLS."""

    values: np.ndarray
    """What is compared, (F * P, dim)."""
    scores: np.ndarray
    """(F * P,)"""
    frames: int
    per_frame: int
    num_cls: int

    @classmethod
    def of(cls, features: VisionFeatures, compare: str = "hidden") -> Video:
        values = (features.patches if compare == "hidden" else features.keys).double().flatten(0, 1)
        scores = features.scores.double().flatten()
        return cls(values.numpy(), scores.numpy(), features.num_frames, features.num_patches, features.num_cls)

    @property
    def all(self) -> range:
        return range(self.frames * self.per_frame)

    def frame(self, patch: int) -> int:
        return patch // self.per_frame

    def place(self, patch: int) -> tuple[int, int]:
        """Its frame and source position."""
        return self.frame(patch), self.num_cls + patch % self.per_frame

    def patches(self, frame: int) -> list[int]:
        return list(range(frame * self.per_frame, (frame + 1) * self.per_frame))

    def cosine(self, one: int, other: int) -> float:
        return cosine(self.values[one], self.values[other])

    def by_score(self, patches: list[int]) -> list[int]:
        return sorted(patches, key=lambda patch: (-self.scores[patch], patch))

    def most_similar(self, patch: int, targets: list[int]) -> int:
        """The most similar target, the first on ties; -1 if there is none."""
        return max(targets, key=lambda target: (self.cosine(patch, target), -targets.index(target)), default=-1)


@dataclass
class PlainChoice:
    """Which patches to keep, and what each of the others is merged into, -1 for nothing."""

    anchors: list[int]
    targets: dict[int, int]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def proportional(sizes: list[int], total: int) -> list[int]:
    all_sizes = sum(sizes)
    edges = [sum(sizes[:i]) * min(total, all_sizes) // max(1, all_sizes) for i in range(len(sizes) + 1)]
    return [after - before for before, after in pairwise(edges)]


def segments(video: Video, min_segments: int, threshold: float) -> list[list[int]]:
    """Frames of each segment."""
    means = [video.values[video.patches(frame)].mean(0) for frame in range(video.frames)]
    similar = [cosine(means[t], means[t + 1]) for t in range(video.frames - 1)]
    smallest = sorted(range(len(similar)), key=lambda t: (similar[t], t))[: min_segments - 1]
    cuts = {t for t in range(len(similar)) if t in smallest or similar[t] < threshold}
    found: list[list[int]] = [[0]]
    for frame in range(1, video.frames):
        if frame - 1 in cuts:
            found.append([])
        found[-1].append(frame)
    return found


def scores(video: Video, patches: list[int], neighbours: int) -> dict[int, float]:
    """Density times distance to a denser patch; on ties, the first is denser."""
    points = video.values[patches]
    squares = ((points[:, None] - points[None]) ** 2).mean(-1)
    density = [math.exp(-np.sort(row)[:neighbours].mean()) for row in squares]
    found = {}
    for i, patch in enumerate(patches):
        denser = [j for j in range(len(patches)) if (density[j], -j) > (density[i], -i)]
        gap = min(squares[i][j] for j in denser) if denser else squares.max()
        found[patch] = density[i] * math.sqrt(gap)
    return found


def peaks(video: Video, patches: list[int], neighbours: int) -> list[int]:
    """The same patches, sorted by score, the highest first; on ties, in their order."""
    found = scores(video, patches, neighbours)
    return sorted(patches, key=lambda patch: -found[patch])


def split_total(video: Video, total: int, *, keep_cls: bool, max_cls: int | None = None) -> tuple[list[int], int]:
    """Frames that keep CLS, and the number of patches to keep; ``max_cls`` limits the CLS tokens."""
    frames = video.frames
    wanted = min(frames, total if max_cls is None else max_cls) if keep_cls and video.num_cls else 0
    count = max(wanted, total - len(video.all))
    return [math.floor((i + 0.5) * frames / count) for i in range(count)], total - count


def mean(anchor: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.concatenate([anchor[None], others]).mean(0)


def summed(anchor: np.ndarray, others: np.ndarray) -> np.ndarray:
    return anchor + others.mean(0)


MERGES = {"mean": mean, "sum": summed}


def follow(candidates: list[int], count: int, kept: set[int], value: Callable[[Collection[int]], float]) -> list[int]:
    """Check a greedy choice step by step: up to rounding, no candidate may be worth more than the one chosen."""
    chosen: list[int] = []
    while len(chosen) < count:
        worth = {u: value((*chosen, u)) for u in candidates if u not in chosen}
        best = max((u for u in worth if u in kept), key=worth.__getitem__)
        assert count == len(candidates) or worth[best] >= max(worth.values()) - 1e-9
        chosen.append(best)
    return sorted(chosen)


def patches_kept(method: AcrossFrames, drawn: tuple[int, int, int], seed: int, *, has_cls: bool = True) -> set[int]:
    """List the patches that a method keeps of drawn frames."""
    frames, size, total = drawn
    features = moving_features(frames, size, seed, has_cls=has_cls)
    zipped = method.compress(features, split_evenly(total, frames))
    places = zip(zipped.frame_of.tolist(), zipped.anchor_of.tolist(), strict=True)
    first = features.num_cls
    return {frame * (size - first) + place - first for frame, place in places if place >= first}


def check(
    method: AcrossFrames,
    drawn: tuple[int, int, int],
    seed: int,
    choose: Callable[[Video, int], PlainChoice],
    merges: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = MERGES,
    *,
    max_cls: int | None = None,
    has_cls: bool = True,
) -> None:
    """Compare a method's result for drawn frames, size and budget with a plain function's choice of patches."""
    frames, size, total = drawn
    features = moving_features(frames, size, seed, has_cls=has_cls)
    zipped = method.compress(features, split_evenly(total, frames))
    video = Video.of(features, method.compare)
    with_cls, count = split_total(video, total, keep_cls=method.keep_cls, max_cls=max_cls)
    is_trivial = count in (0, len(video.all))
    choice = PlainChoice(list(video.all)[:count], {}) if is_trivial else choose(video, count)
    assert len(set(choice.anchors)) == count

    ended = {video.place(anchor): anchor for anchor in choice.anchors}
    kept = sorted([*((frame, 0) for frame in with_cls), *ended])
    assert list(zip(zipped.frame_of.tolist(), zipped.anchor_of.tolist(), strict=True)) == kept
    tokens = features.tokens.numpy()
    source = np.full((frames, size), -1)
    members: dict[int, list[np.ndarray]] = {anchor: [] for anchor in choice.anchors}
    for token, at in enumerate(kept):
        source[at] = token
    for patch in video.all:
        at, target = video.place(patch), choice.targets.get(patch, -1)
        if at not in ended and target >= 0 and method.merge != "none":
            source[at] = source[video.place(target)]
            members[target].append(tokens[at])
    assert sources(zipped) == source.tolist()
    for token, at in enumerate(kept):
        others = members[ended[at]] if at in ended else []
        expected = merges[method.merge](tokens[at], np.stack(others)) if others else tokens[at]
        np.testing.assert_allclose(zipped.tokens[token].numpy(), expected, rtol=0, atol=1e-12)
