"""How often 95 % intervals hold the truth, in data that are made up so that the truth is known.

    python -m benchmarks.intervals --markdown

Videos have 1 to 13 questions each, whose answers hang together: each video has its own difficulty, its own gain from a
better run, its own doubt of judges. Beside the intervals that vidzip prints stand those of a textbook that takes every
question for independent of all others: the mean and 1.96 standard errors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.metrics import Score
from eval.scoring import retention
from eval.statistics import (
    Graded,
    Interval,
    bootstrap_mean,
    cluster_sums,
    cohens_kappa,
    linear_standard_error,
    mean_estimate,
    paired_difference,
)
from pipelines.terminal import print_markdown_table, print_table, progress_bar

NAIVE, FORMULA, BOOTSTRAP = "questions independent", "formula, by video", "bootstrap over videos"


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Made-up answers.

    Attributes:
        videos: each question's.
        columns: of each question, 0 or 1: a run's answer and what it is compared with.
    """

    videos: np.ndarray
    columns: tuple[np.ndarray, ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is estimated from them.

    Attributes:
        truth: its value where videos never end.
        draw: makes up so many videos.
        value: computes it from the sums of a draw's columns and of ones, a row a sample.
        intervals: by name, how vidzip puts an interval around it.
    """

    truth: float
    draw: Callable[[np.random.Generator, int], Draw]
    value: Callable[[np.ndarray], np.ndarray]
    intervals: dict[str, Callable[[Draw], Any]]


def _questions(rng: np.random.Generator, num_videos: int) -> np.ndarray:
    return np.repeat(np.arange(num_videos), rng.integers(1, 14, num_videos))


def _flips(rng: np.random.Generator, chances: np.ndarray) -> np.ndarray:
    return (rng.random(len(chances)) < chances).astype(float)


def _accuracy(share: float, likeness: float) -> Case:
    def draw(rng: np.random.Generator, num_videos: int) -> Draw:
        odds = (1 - likeness) / likeness
        videos = _questions(rng, num_videos)
        return Draw(
            videos=videos, columns=(_flips(rng, rng.beta(share * odds, (1 - share) * odds, num_videos)[videos]),)
        )

    return Case(
        truth=share,
        draw=draw,
        value=lambda sums: sums[:, 0] / sums[:, 1],
        intervals={
            FORMULA: lambda drawn: mean_estimate(drawn.columns[0], drawn.videos.tolist()),
            BOOTSTRAP: lambda drawn: bootstrap_mean(drawn.columns[0], drawn.videos.tolist()),
        },
    )


def _difference() -> Case:
    def draw(rng: np.random.Generator, num_videos: int) -> Draw:
        videos = _questions(rng, num_videos)
        chance, gain = rng.beta(2, 2, num_videos), rng.random(num_videos)
        better = chance + (1 - chance) * gain
        return Draw(videos=videos, columns=(_flips(rng, better[videos]), _flips(rng, chance[videos])))

    return Case(
        truth=0.25,
        draw=draw,
        value=lambda sums: (sums[:, 0] - sums[:, 1]) / sums[:, 2],
        intervals={
            FORMULA: lambda drawn: paired_difference(*_graded(drawn)),
            BOOTSTRAP: lambda drawn: bootstrap_mean(
                drawn.columns[0] - drawn.columns[1], drawn.videos.tolist(), lowest=-1.0
            ),
        },
    )


def _retention() -> Case:
    def draw(rng: np.random.Generator, num_videos: int) -> Draw:
        videos = _questions(rng, num_videos)
        blind, gain, kept = (
            0.4 * rng.random(num_videos),
            0.6 * rng.beta(2, 1, num_videos),
            rng.beta(0.8, 0.2, num_videos),
        )
        chances = (blind + kept * gain, blind + gain, blind)
        return Draw(videos=videos, columns=tuple(_flips(rng, chance[videos]) for chance in chances))

    return Case(
        truth=0.8,
        draw=draw,
        value=lambda sums: (sums[:, 0] - sums[:, 2]) / (sums[:, 1] - sums[:, 2]),
        intervals={BOOTSTRAP: lambda drawn: retention(*_graded(drawn))},
    )


def _kappa() -> Case:
    def draw(rng: np.random.Generator, num_videos: int) -> Draw:
        videos = _questions(rng, num_videos)
        first = _flips(rng, rng.beta(2, 2, num_videos)[videos])
        is_same = _flips(rng, rng.beta(4, 1, num_videos)[videos])
        second = np.where(is_same, first, _flips(rng, np.full(len(videos), 0.5)))
        return Draw(videos=videos, columns=(first, second, first * second))

    def value(sums: np.ndarray) -> np.ndarray:
        first, second, both = (sums[:, :3] / sums[:, 3:]).T
        expected = first * second + (1 - first) * (1 - second)
        kappa: np.ndarray = (1 - first - second + 2 * both - expected) / (1 - expected)
        return kappa

    return Case(
        truth=0.8,
        draw=draw,
        value=value,
        intervals={
            BOOTSTRAP: lambda drawn: cohens_kappa(drawn.columns[0] > 0, drawn.columns[1] > 0, drawn.videos.tolist())
        },
    )


CASES = {
    "accuracy of 50 %": _accuracy(0.5, 0.3),
    "accuracy of 80 %": _accuracy(0.8, 0.3),
    "accuracy of 95 %": _accuracy(0.95, 0.3),
    "paired difference": _difference(),
    "retention": _retention(),
    "kappa": _kappa(),
}


def _graded(drawn: Draw) -> list[list[Graded]]:
    return [
        [
            Graded(question_id=str(place), video=str(video), score=Score(value=float(value)))
            for place, (video, value) in enumerate(zip(drawn.videos, column, strict=True))
        ]
        for column in drawn.columns
    ]


def naive(case: Case, drawn: Draw) -> Interval:
    """The interval of a textbook, which takes every question for a video of its own."""
    alone = cluster_sums(range(len(drawn.videos)), *drawn.columns, np.ones(len(drawn.videos)))
    value, error = float(case.value(alone.sum(axis=0)[None])[0]), linear_standard_error(alone, case.value)
    reach = 1.96 * (error or 0.0)
    return value - reach, value + reach


def held(case: Case, num_videos: int, rounds: int, seed: int) -> dict[str, float]:
    """In which share of the rounds each interval holds the truth; one without ends does not hold it."""
    rng = np.random.default_rng(seed)
    count = dict.fromkeys((NAIVE, *case.intervals), 0)
    for _ in range(rounds):
        drawn = case.draw(rng, num_videos)
        ends = {NAIVE: naive(case, drawn)}
        for name, interval in case.intervals.items():
            estimate = interval(drawn)
            if estimate.low is not None:
                ends[name] = (estimate.low, estimate.high)
        for name, (low, high) in ends.items():
            count[name] += low <= case.truth <= high
    return {name: times / rounds for name, times in count.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="How often 95 %% intervals hold the truth.")
    parser.add_argument("--rounds", type=int, default=1000, help="draws behind each number")
    parser.add_argument("--videos", type=int, nargs="+", default=[30, 60, 200], help="videos of a draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args(arguments)
    rows = []
    with progress_bar() as show:
        for place, (name, case) in enumerate(CASES.items()):
            for videos in options.videos:
                show(f"{name}, {videos} videos", place, len(CASES))
                shares = held(case, videos, options.rounds, options.seed)
                cells = (f"{100 * shares[way]:.1f} %" if way in shares else "-" for way in (NAIVE, FORMULA, BOOTSTRAP))
                rows.append((name, str(videos), *cells))
    (print_markdown_table if options.markdown else print_table)(rows, ("estimate", "videos", NAIVE, FORMULA, BOOTSTRAP))
    return 0


if __name__ == "__main__":
    sys.exit(main())
