"""The tables of a grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from eval.reporting.formatting import format_interval
from pipelines.grid.results import Difference, GridResult, VariantResult

Table = tuple[str, list[list[str]], tuple[str, ...]]
"""A title, rows and a header."""


def grid_tables(result: GridResult) -> Iterator[Table]:
    """Make the tables of every budget: accuracies, what is kept of the baseline's gain, and differences."""
    for budget in dict.fromkeys(one.variant.budget for one in result.variants if one.variant.budget):
        results = [one for one in result.variants if one.variant.budget in {None, budget}]
        compressed = [one for one in results if one.variant.method is not None]
        frames = sorted({one.variant.frames for one in compressed})
        header = ("method", *(f"{count} frames" for count in frames))
        yield (
            f"{budget:,} visual tokens in all; exact match in percent, 95 % intervals clustered by video",
            _rows(results, frames, lambda one: format_interval(one.accuracy)),
            header,
        )
        if any(one.kept for one in results):
            title = "share of the gain of 8 uncompressed frames over no video that is kept, in percent"
            yield title, _rows(compressed, frames, lambda one: format_interval(one.kept) if one.kept else ""), header
        same_frames = [one for one in result.at_same_frames if one.variant.budget == budget]
        if same_frames:
            yield (
                "minus the baseline at the same frames, question by question, in points",
                [_row(title, frames, cells) for title, cells in _difference_cells(same_frames).items()],
                header,
            )
        tops = [one for one in result.at_best if one.variant.budget == budget]
        if tops:
            yield (
                "at its best frame count, minus the baseline at its own",
                [
                    [
                        one.variant.title,
                        str(one.variant.frames),
                        f"{one.baseline.title}, {one.baseline.frames}",
                        format_interval(one.estimate, sign=True),
                    ]
                    for one in tops
                ],
                ("method", "its frames", "baseline, frames", "difference"),
            )


def _rows(
    results: Sequence[VariantResult], frames: Sequence[int], text: Callable[[VariantResult], str]
) -> list[list[str]]:
    """Make a row for each method with a column for each frame count; runs without a method use the first column."""
    cells: dict[str, dict[int, str]] = {}
    for one in results:
        column = frames[0] if one.variant.method is None else one.variant.frames
        cells.setdefault(one.variant.title, {})[column] = text(one)
    return [_row(title, frames, of_method) for title, of_method in cells.items()]


def _difference_cells(differences: Sequence[Difference]) -> dict[str, dict[int, str]]:
    cells: dict[str, dict[int, str]] = {}
    for one in differences:
        cells.setdefault(one.variant.title, {})[one.variant.frames] = format_interval(one.estimate, sign=True)
    return cells


def _row(title: str, frames: Sequence[int], cells: Mapping[int, str]) -> list[str]:
    return [title, *(cells.get(count, "") for count in frames)]
