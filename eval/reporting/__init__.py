"""Reports: what runs scored, side by side, as a page, as Markdown and as JSON; beside what others published."""

from eval.reporting.contents import Chapter, Difference, Report, Scored, make_chapters, score
from eval.reporting.examples import Example, Reply, choose_examples
from eval.reporting.frames import Frame, Look, Merged, Patches, Picture, look_of, patches_of
from eval.reporting.literature import LITERATURE, Published, published
from eval.reporting.markdown import to_markdown
from eval.reporting.page import to_html
from eval.reporting.record import to_json

__all__ = [
    "LITERATURE",
    "Chapter",
    "Difference",
    "Example",
    "Frame",
    "Look",
    "Merged",
    "Patches",
    "Picture",
    "Published",
    "Reply",
    "Report",
    "Scored",
    "choose_examples",
    "look_of",
    "make_chapters",
    "patches_of",
    "published",
    "score",
    "to_html",
    "to_json",
    "to_markdown",
]
