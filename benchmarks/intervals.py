"""Measure the coverage of 95 % confidence intervals on simulated data.

    python -m benchmarks.intervals --markdown

Videos have 1 to 13 questions each, with correlated answers: each video has its own difficulty, its own gain from a better
run, and its own disagreement between judges. vidzip's intervals are compared with naive ones that treat all questions as
independent: the mean and 1.96 standard errors.
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
    Interval,
    QuestionScore,
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
class Simulation:
    """Simulated answers.

    Attributes:
        videos: the video of each question.
        columns: 0 or 1 for each question: whether a run, or one it is compared with, is right.
    """

    videos: np.ndarray
    columns: tuple[np.ndarray, ...]


@dataclass(frozen=True, kw_only=True)
class Case:
    """An estimate.

    Attributes:
        truth: its value for infinitely many videos.
        draw: simulates a number of videos.
        value: computes the estimate from sums of the columns and of ones, one row per sample.
        intervals: vidzip's intervals, by name.
    """

    truth: float
    draw: Callable[[np.random.Generator, int], Simulation]
    value: Callable[[np.ndarray], np.ndarray]
    intervals: dict[str, Callable[[Simulation], Any]]


def _questions(rng: np.random.Generator, num_videos: int) -> np.ndarray:
    return np.repeat(np.arange(num_videos), rng.integers(1, 14, num_videos))


def _flips(rng: np.random.Generator, chances: np.ndarray) -> np.ndarray:
    return (rng.random(len(chances)) < chances).astype(float)


def _accuracy(share: float, correlation: float) -> Case:
    def draw(rng: np.random.Generator, num_videos: int) -> Simulation:
        odds = (1 - correlation) / correlation
        videos = _questions(rng, num_videos)
        return Simulation(
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
    def draw(rng: np.random.Generator, num_videos: int) -> Simulation:
        videos = _questions(rng, num_videos)
        chance, gain = rng.beta(2, 2, num_videos), rng.random(num_videos)
        better = chance + (1 - chance) * gain
        return Simulation(videos=videos, columns=(_flips(rng, better[videos]), _flips(rng, chance[videos])))

    return Case(
        truth=0.25,
        draw=draw,
        value=lambda sums: (sums[:, 0] - sums[:, 1]) / sums[:, 2],
        intervals={
            FORMULA: lambda drawn: paired_difference(*_scores(drawn)),
            BOOTSTRAP: lambda drawn: bootstrap_mean(
                drawn.columns[0] - drawn.columns[1], drawn.videos.tolist(), lowest=-1.0
            ),
        },
    )


def _retention() -> Case:
    def draw(rng: np.random.Generator, num_videos: int) -> Simulation:
        videos = _questions(rng, num_videos)
        no_video, gain, kept = (
            0.4 * rng.random(num_videos),
            0.6 * rng.beta(2, 1, num_videos),
            rng.beta(0.8, 0.2, num_videos),
        )
        chances = (no_video + kept * gain, no_video + gain, no_video)
        return Simulation(videos=videos, columns=tuple(_flips(rng, chance[videos]) for chance in chances))

    return Case(
        truth=0.8,
        draw=draw,
        value=lambda sums: (sums[:, 0] - sums[:, 2]) / (sums[:, 1] - sums[:, 2]),
        intervals={BOOTSTRAP: lambda drawn: retention(*_scores(drawn))},
    )


def _kappa() -> Case:
    def draw(rng: np.random.Generator, num_videos: int) -> Simulation:
        videos = _questions(rng, num_videos)
        first = _flips(rng, rng.beta(2, 2, num_videos)[videos])
        is_same = _flips(rng, rng.beta(4, 1, num_videos)[videos])
        second = np.where(is_same, first, _flips(rng, np.full(len(videos), 0.5)))
        return Simulation(videos=videos, columns=(first, second, first * second))

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


def _scores(drawn: Simulation) -> list[list[QuestionScore]]:
    return [
        [
            QuestionScore(question_id=str(place), video=str(video), score=Score(value=float(value)))
            for place, (video, value) in enumerate(zip(drawn.videos, column, strict=True))
        ]
        for column in drawn.columns
    ]


def naive(case: Case, drawn: Simulation) -> Interval:
    """Return the interval that treats all questions as independent."""
    sums = cluster_sums(range(len(drawn.videos)), *drawn.columns, np.ones(len(drawn.videos)))
    value, error = float(case.value(sums.sum(axis=0)[None])[0]), linear_standard_error(sums, case.value)
    margin = 1.96 * (error or 0.0)
    return value - margin, value + margin


def coverage(case: Case, num_videos: int, rounds: int, seed: int) -> dict[str, float]:
    """Return the share of rounds in which each interval contains the truth; an undefined interval does not."""
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
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description="Measure the coverage of 95 %% confidence intervals.")
    parser.add_argument("--rounds", type=int, default=1000, help="simulations per number")
    parser.add_argument("--videos", type=int, nargs="+", default=[30, 60, 200], help="videos per simulation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args(arguments)
    rows = []
    with progress_bar() as show:
        for place, (title, case) in enumerate(CASES.items()):
            for videos in options.videos:
                show(f"{title}, {videos} videos", place, len(CASES))
                shares = coverage(case, videos, options.rounds, options.seed)
                cells = (
                    f"{100 * shares[name]:.1f} %" if name in shares else "-" for name in (NAIVE, FORMULA, BOOTSTRAP)
                )
                rows.append((title, str(videos), *cells))
    (print_markdown_table if options.markdown else print_table)(rows, ("estimate", "videos", NAIVE, FORMULA, BOOTSTRAP))
    return 0


if __name__ == "__main__":
    sys.exit(main())
