"""What methods across frames share, as slowly and plainly as it can be said: one patch, one frame at a time.

Patches of all frames are numbered through, as in the code; every function takes numpy arrays in float64.
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
from vidzip.compress.selecting import AcrossFrames

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
"""What every method across frames takes."""


def moving_features(
    num_frames: int, size: int, seed: int = 0, dim: int = 8, key_dim: int = 4, *, has_cls: bool = True
) -> VisionFeatures:
    """Frames in float64 in which some patches stand still, some drift and some are new, with a few scene changes."""
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


def all_alike(num_frames: int, size: int) -> VisionFeatures:
    """The same frame over and over."""
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
    """Patches of F frames, P each, without CLS."""

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
        """The most similar target, the first of equals; -1 where there is none."""
        return max(targets, key=lambda target: (self.cosine(patch, target), -targets.index(target)), default=-1)


@dataclass
class Plan:
    """Which patches stay, and what each of the others joins, -1 for nothing."""

    anchors: list[int]
    joins: dict[int, int]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def evenly(total: int, num_parts: int) -> list[int]:
    return [(i + 1) * total // num_parts - i * total // num_parts for i in range(num_parts)]


def proportional(sizes: list[int], total: int) -> list[int]:
    all_sizes = sum(sizes)
    edges = [sum(sizes[:i]) * min(total, all_sizes) // max(1, all_sizes) for i in range(len(sizes) + 1)]
    return [after - before for before, after in pairwise(edges)]


def segments(video: Video, least: int, threshold: float) -> list[list[int]]:
    """Frames of each segment."""
    means = [video.values[video.patches(frame)].mean(0) for frame in range(video.frames)]
    similar = [cosine(means[t], means[t + 1]) for t in range(video.frames - 1)]
    smallest = sorted(range(len(similar)), key=lambda t: (similar[t], t))[: least - 1]
    cuts = {t for t in range(len(similar)) if t in smallest or similar[t] < threshold}
    found: list[list[int]] = [[0]]
    for frame in range(1, video.frames):
        if frame - 1 in cuts:
            found.append([])
        found[-1].append(frame)
    return found


def scores(video: Video, patches: list[int], neighbours: int) -> dict[int, float]:
    """Density times distance to a denser one; of equally dense ones, the first is denser."""
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
    """The same patches, the greatest score first, equal ones as they came."""
    found = scores(video, patches, neighbours)
    return sorted(patches, key=lambda patch: -found[patch])


def share_out(video: Video, total: int, *, keep_cls: bool, most: int | None = None) -> tuple[list[int], int]:
    """Frames that keep CLS, and how many patches are kept; ``most`` is how many CLS tokens may be paid for."""
    frames = video.frames
    wanted = min(frames, total if most is None else most) if keep_cls and video.num_cls else 0
    count = max(wanted, total - len(video.all))
    return [math.floor((i + 0.5) * frames / count) for i in range(count)], total - count


def mean(anchor: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.concatenate([anchor[None], others]).mean(0)


def summed(anchor: np.ndarray, others: np.ndarray) -> np.ndarray:
    return anchor + others.mean(0)


BLENDS = {"mean": mean, "sum": summed}


def follow(candidates: list[int], count: int, kept: set[int], value: Callable[[Collection[int]], float]) -> list[int]:
    """Follow a greedy choice step by step: nothing may be worth more with those chosen than what was chosen.

    But for rounding, that is, which decides where several are worth the same.
    """
    chosen: list[int] = []
    while len(chosen) < count:
        worth = {u: value((*chosen, u)) for u in candidates if u not in chosen}
        pick = max((u for u in worth if u in kept), key=worth.__getitem__)
        assert count == len(candidates) or worth[pick] >= max(worth.values()) - 1e-9
        chosen.append(pick)
    return sorted(chosen)


def patches_kept(method: AcrossFrames, drawn: tuple[int, int, int], seed: int, *, has_cls: bool = True) -> set[int]:
    """List the patches that a method keeps of drawn frames."""
    frames, size, total = drawn
    features = moving_features(frames, size, seed, has_cls=has_cls)
    zipped = method.compress(features, evenly(total, frames))
    places = zip(zipped.frame_of.tolist(), zipped.anchor_of.tolist(), strict=True)
    first = features.num_cls
    return {frame * (size - first) + place - first for frame, place in places if place >= first}


def check(
    method: AcrossFrames,
    drawn: tuple[int, int, int],
    seed: int,
    choose: Callable[[Video, int], Plan],
    blends: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = BLENDS,
    *,
    most_cls: int | None = None,
    has_cls: bool = True,
) -> None:
    """Compare a method's result for drawn frames, size and budget with a plain function's choice of patches."""
    frames, size, total = drawn
    features = moving_features(frames, size, seed, has_cls=has_cls)
    zipped = method.compress(features, evenly(total, frames))
    video = Video.of(features, method.compare)
    with_cls, count = share_out(video, total, keep_cls=method.keep_cls, most=most_cls)
    is_trivial = count in (0, len(video.all))
    plan = Plan(list(video.all)[:count], {}) if is_trivial else choose(video, count)
    assert len(set(plan.anchors)) == count

    ended = {video.place(anchor): anchor for anchor in plan.anchors}
    kept = sorted([*((frame, 0) for frame in with_cls), *ended])
    assert list(zip(zipped.frame_of.tolist(), zipped.anchor_of.tolist(), strict=True)) == kept
    tokens = features.tokens.numpy()
    source = np.full((frames, size), -1)
    members: dict[int, list[np.ndarray]] = {anchor: [] for anchor in plan.anchors}
    for token, at in enumerate(kept):
        source[at] = token
    for patch in video.all:
        at, target = video.place(patch), plan.joins.get(patch, -1)
        if at not in ended and target >= 0 and method.merge != "none":
            source[at] = source[video.place(target)]
            members[target].append(tokens[at])
    assert sources(zipped) == source.tolist()
    for token, at in enumerate(kept):
        others = members[ended[at]] if at in ended else []
        expected = blends[method.merge](tokens[at], np.stack(others)) if others else tokens[at]
        np.testing.assert_allclose(zipped.tokens[token].numpy(), expected, rtol=0, atol=1e-12)
