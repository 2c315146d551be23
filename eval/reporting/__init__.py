"""Reports: scores of runs side by side, as an HTML page, as Markdown and as JSON, next to published results."""

from eval.reporting.examples import Example, ExampleAnswer, choose_examples
from eval.reporting.input_frames import (
    InputFrame,
    InputFrames,
    MergedToken,
    PatchMap,
    Picture,
    map_patches,
    read_input_frames,
)
from eval.reporting.json_output import to_json
from eval.reporting.literature import LITERATURE, PublishedResult, published_results
from eval.reporting.markdown_output import to_markdown
from eval.reporting.page import to_html
from eval.reporting.report import Chapter, Report, RunDifference, make_chapters
from eval.reporting.scored_run import ScoredRun, score_run

__all__ = [
    "LITERATURE",
    "Chapter",
    "Example",
    "ExampleAnswer",
    "InputFrame",
    "InputFrames",
    "MergedToken",
    "PatchMap",
    "Picture",
    "PublishedResult",
    "Report",
    "RunDifference",
    "ScoredRun",
    "choose_examples",
    "make_chapters",
    "map_patches",
    "published_results",
    "read_input_frames",
    "score_run",
    "to_html",
    "to_json",
    "to_markdown",
]
