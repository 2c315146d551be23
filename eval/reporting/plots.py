"""Plots as inline SVG. Horizontal positions are in percent: a plot fills any width while its text keeps its size."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from eval.reporting.input_frames import InputFrame, InputFrames, PatchMap, Picture
from eval.statistics import Estimate

ROW_HEIGHT = 26
FRAMES_HEIGHT = 240
NUM_TINTS = 5
"""Number of colours for merged tokens, used in turn; odd, so that regular patterns of tokens get several colours."""

NUM_SERIES = 4
"""Number of line styles, each with its own colour and marker."""

_TOP, _BOTTOM = 12, 28
_LEFT, _WIDTH = 9.0, 86.0
"""Left edge and width of the plotting area of :func:`accuracy_by_frames`, in percent."""


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """Write an SVG element. In attribute names, ``_`` stands for ``-``, and a trailing ``_`` is removed."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, inside)


def _percent(share: float) -> str:
    return f"{100 * share:.3f}".rstrip("0").rstrip(".") + "%"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line in the plot of accuracy by number of frames: the settings of its runs, and its points."""

    name: str
    points: tuple[tuple[int, Estimate], ...]


def interval_row(estimate: Estimate, strict: Estimate, label: str) -> Markup:
    """Draw a proportion and its interval on a scale of 0 to 100 %.

    Args:
        estimate: of the questions with a score: a dot on its interval.
        strict: of all questions: a vertical bar if the value differs.
        label: text alternative.
    """
    middle = ROW_HEIGHT / 2
    parts = [
        tag("line", x1=_percent(tick / 4), x2=_percent(tick / 4), y1=0, y2=ROW_HEIGHT, class_="grid")
        for tick in range(5)
    ]
    if estimate.low is not None and estimate.high is not None:
        ends = {"x1": _percent(estimate.low), "x2": _percent(estimate.high)}
        parts.append(tag("line", **ends, y1=middle, y2=middle, class_="interval"))
    if strict.value is not None and strict.value != estimate.value:
        place = _percent(strict.value)
        parts.append(tag("line", x1=place, x2=place, y1=middle - 8, y2=middle + 8, class_="strict"))
    if estimate.value is not None:
        parts.append(tag("circle", cx=_percent(estimate.value), cy=middle, r=5, class_="dot"))
    return tag("svg", *parts, height=ROW_HEIGHT, class_="track", role="img", aria_label=label)


def interval_axis() -> Markup:
    """Draw the axis of :func:`interval_row`."""
    anchors = {0: "start", 4: "end"}
    ticks = (
        tag("text", f"{25 * tick} %", x=_percent(tick / 4), y=13, text_anchor=anchors.get(tick, "middle"))
        for tick in range(5)
    )
    return tag("svg", *ticks, height=18, class_="track axis", aria_hidden="true")


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """Positions in the plot of accuracy: frames across in percent, on a logarithmic scale; proportions down in pixels."""

    fewest: int
    most: int
    lowest: float
    highest: float

    def across(self, count: int, shift: float = 0.0) -> str:
        span = math.log(self.most / self.fewest) or 1.0
        return _percent((_LEFT + shift + _WIDTH * (0.04 + 0.92 * math.log(count / self.fewest) / span)) / 100)

    def down(self, share: float) -> float:
        within = (self.highest - share) / (self.highest - self.lowest)
        return round(_TOP + (FRAMES_HEIGHT - _TOP - _BOTTOM) * within, 2)


def accuracy_by_frames(lines: Sequence[Line], label: str) -> Markup:
    """Draw accuracy and its interval by number of frames, on a logarithmic scale.

    Args:
        lines: each with at least one point; they differ in colour and marker.
        label: text alternative.
    """
    points = [point for line in lines for point in line.points]
    counts = sorted({count for count, _ in points})
    ends = [end for _, one in points for end in (one.low, one.value, one.high) if end is not None]
    lowest, highest = math.floor(10 * min(ends)) / 10, math.ceil(10 * max(ends)) / 10
    if lowest == highest:
        lowest, highest = max(0.0, lowest - 0.1), min(1.0, highest + 0.1)
    scale = _Scale(fewest=counts[0], most=counts[-1], lowest=lowest, highest=highest)
    parts = []
    for tick in range(round(10 * lowest), round(10 * highest) + 1):
        y = scale.down(tick / 10)
        parts.append(tag("line", x1=_percent(_LEFT / 100), x2="100%", y1=y, y2=y, class_="grid"))
        parts.append(tag("text", f"{10 * tick}", x=_percent((_LEFT - 1) / 100), y=y + 4, text_anchor="end"))
    parts += [tag("text", f"{n}", x=scale.across(n), y=FRAMES_HEIGHT - 8, text_anchor="middle") for n in counts]
    for place, line in enumerate(lines):
        shift = 0.9 * (place - (len(lines) - 1) / 2)  # draws intervals at one number of frames side by side
        parts.extend(_line(line, place, scale, shift))
    return tag("svg", *parts, height=FRAMES_HEIGHT, class_="frames", role="img", aria_label=label)


def _line(line: Line, place: int, scale: _Scale, shift: float) -> Iterable[Markup]:
    series = f"series{place % NUM_SERIES}"
    at = [
        (scale.across(count, shift), scale.down(one.value), one) for count, one in line.points if one.value is not None
    ]
    for (x1, y1, _), (x2, y2, _) in pairwise(at):
        yield tag("line", x1=x1, x2=x2, y1=y1, y2=y2, class_=f"{series} link")
    for x, y, one in at:
        if one.low is not None and one.high is not None:
            yield tag("line", x1=x, x2=x, y1=scale.down(one.low), y2=scale.down(one.high), class_=f"{series} interval")
        yield tag("svg", _mark(place), x=x, y=y, overflow="visible")


def _mark(place: int) -> Markup:
    """The marker of a line, around the origin."""
    number = place % NUM_SERIES
    shape = ("M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z", "M-4.5 -4.5h9v9h-9z", "M0 -6l6 6l-6 6l-6 -6z", "M0 -6l6 10h-12z")
    return tag("path", d=shape[number], class_=f"series{number} mark")


def legend_mark(place: int) -> Markup:
    """The marker of a line, for a legend."""
    return tag("svg", _mark(place), width=14, height=14, viewBox="-7 -7 14 14", class_="key", aria_hidden="true")


def timeline(selection: InputFrames, label: str) -> Markup:
    """Draw one or more frames over time, with their numbers of tokens; ``label`` is the text alternative."""
    most = max(1, *(frame.num_tokens for frame in selection.frames))
    last = max(frame.timestamp_seconds for frame in selection.frames) or 1.0
    bars = [
        tag("line", x1=x, x2=x, y1=30, y2=round(30 - 26 * frame.num_tokens / most, 2), class_="bar")
        for frame in selection.frames
        for x in [_percent(0.01 + 0.98 * frame.timestamp_seconds / last)]
    ]
    ground = tag("line", x1="0%", x2="100%", y1=30.5, y2=30.5, class_="grid")
    ends = (
        tag("text", "0 s", x="0%", y=44),
        tag("text", f"{last:.1f} s", x="100%", y=44, text_anchor="end"),
    )
    return tag("svg", ground, *bars, *ends, height=48, class_="timeline", role="img", aria_label=label)


def define_picture(picture: Picture, key: str) -> Markup:
    """Define a picture that :func:`draw_frame` can show several times."""
    address = f"data:{picture.media_type};base64,{b64encode(picture.content).decode('ascii')}"
    return tag("image", id=key, href=address, width=picture.width, height=picture.height)


def draw_frame(frame: InputFrame, picture: Picture, key: str, label: str) -> Markup:
    """Draw a frame with its patches on top.

    The patches cover the largest centred area with the grid's aspect ratio: towers resize a frame and crop its centre.
    ``key`` is the id of the defined picture, ``label`` the text alternative.
    """
    parts = [tag("use", href=f"#{key}")]
    if frame.patches is not None:
        rows, columns = frame.patches.rows, frame.patches.columns
        step = min(picture.width / columns, picture.height / rows)
        width, height = columns * step, rows * step
        left, top = (picture.width - width) / 2, (picture.height - height) / 2
        parts.append(_outside(picture, left, top, width, height))
        parts.append(tag("g", *_overlay(frame.patches), transform=f"translate({left:g} {top:g}) scale({step:.6g})"))
    size = {"width": picture.width, "height": picture.height, "viewBox": f"0 0 {picture.width} {picture.height}"}
    return tag("svg", *parts, **size, class_="frame", role="img", aria_label=label)


def _outside(picture: Picture, left: float, top: float, width: float, height: float) -> Markup:
    """Darken the part of a picture that the model did not see."""
    outside = f"M0 0H{picture.width}V{picture.height}H0zM{left:g} {top:g}v{height:g}h{width:g}v-{height:g}z"
    return tag("path", d=outside, class_="unseen")


def _overlay(patches: PatchMap) -> Iterable[Markup]:
    for places, kind in ((patches.dropped, "dropped"), (patches.elsewhere, "elsewhere")):
        if places:
            yield tag("path", d=_squares(places, patches.columns), class_=kind)
    for tint in range(min(NUM_TINTS, len(patches.merged))):
        together = [patch for one in patches.merged[tint::NUM_TINTS] for patch in one.patches]
        colour = "only" if len(patches.merged) == 1 else f"tint{tint}"  # one tint alone would distort the colours
        yield tag("path", d=_squares(sorted(together), patches.columns), class_=f"merged {colour}")
    for number, one in enumerate(patches.merged):
        if one.anchor is not None:
            down, across = divmod(one.anchor, patches.columns)
            yield tag("circle", cx=across + 0.5, cy=down + 0.5, r=0.5, class_=f"anchor tint{number % NUM_TINTS}")
    if patches.kept and len(patches.kept) < patches.num_patches:
        yield tag("path", d=_squares(patches.kept, patches.columns, joined=False), class_="kept")


def _squares(places: Sequence[int], columns: int, *, joined: bool = True) -> str:
    """Write patches as a path in units of patches; ``joined`` merges neighbours in a row into one rectangle."""
    path, at = [], 0
    while at < len(places):
        end = at + 1
        while joined and end < len(places) and places[end] == places[end - 1] + 1 and places[end] % columns:
            end += 1
        down, across = divmod(places[at], columns)
        path.append(f"M{across} {down}h{end - at}v1h-{end - at}z")
        at = end
    return "".join(path)
