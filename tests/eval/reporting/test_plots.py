from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html import unescape

import pytest

from eval.reporting import InputFrame, InputFrames, MergedToken, PatchMap, Picture
from eval.reporting.plots import (
    Line,
    accuracy_by_frames,
    define_picture,
    draw_frame,
    interval_axis,
    interval_row,
    tag,
    timeline,
)
from eval.statistics import Estimate

PICTURE = Picture(content=b"\xff\xd8x", media_type="image/jpeg", width=160, height=112)


def estimate(value, low=None, high=None):
    return Estimate(value=value, low=low, high=high, num_questions=1, num_clusters=1)


def parsed(svg):
    return ET.fromstring(svg)  # noqa: S314 - our own


def found(svg, name, kind):
    return [one for one in parsed(svg).iter(name) if kind in one.get("class", "").split()]


def test_elements_are_escaped_and_have_svg_names():
    text = tag("text", "<b> & \"'", aria_label='" onload="x', class_="a", viewBox="0 0 1 1", missing=None)
    one = parsed(text)
    assert one.text == "<b> & \"'"
    assert one.attrib == {"aria-label": '" onload="x', "class": "a", "viewBox": "0 0 1 1"}
    assert tag("g", tag("path")) == "<g><path></path></g>"


def test_an_interval_is_drawn_at_its_numbers():
    svg = interval_row(estimate(0.5, 0.25, 0.8), estimate(0.4), "a: 50 %")
    (line,) = found(svg, "line", "interval")
    assert (line.get("x1"), line.get("x2")) == ("25%", "80%")
    assert [dot.get("cx") for dot in found(svg, "circle", "dot")] == ["50%"]
    assert [line.get("x1") for line in found(svg, "line", "strict")] == ["40%"]
    assert parsed(svg).get("aria-label") == "a: 50 %"
    assert not found(interval_row(estimate(0.5), estimate(0.5), ""), "line", "strict")
    assert not found(interval_row(estimate(None), estimate(None), ""), "circle", "dot")


def test_the_axis_has_its_ends():
    assert [one.text for one in parsed(interval_axis())] == ["0 %", "25 %", "50 %", "75 %", "100 %"]


def test_more_frames_are_to_the_right_and_more_accuracy_above():
    line = Line(name="a", points=((8, estimate(0.5, 0.4, 0.6)), (16, estimate(0.7)), (32, estimate(0.6))))
    svg = accuracy_by_frames([line], "label")
    places = [one for one in parsed(svg).findall("svg") if one.get("x")]
    across = [float(one.get("x").rstrip("%")) for one in places]
    down = [float(one.get("y")) for one in places]
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.01)
    assert down[1] < down[2] < down[0]
    assert len(found(svg, "line", "link")) == 2
    (interval,) = found(svg, "line", "interval")
    assert float(interval.get("y2")) < down[0] < float(interval.get("y1"))


def test_lines_differ_in_marker_and_equal_values_have_an_axis():
    lines = [Line(name=name, points=((8, estimate(1.0)), (16, estimate(1.0)))) for name in "abcde"]
    svg = accuracy_by_frames(lines, "label")
    shapes = {one.get("class"): one.get("d") for one in parsed(svg).iter("path")}
    assert len(shapes) == len(set(shapes.values())) == 4
    assert "nan" not in svg.lower()
    assert accuracy_by_frames([Line(name="a", points=((8, estimate(0.0)),))], "")


def test_a_timeline_has_a_bar_per_frame():
    frames = tuple(InputFrame(timestamp_seconds=at, num_tokens=count) for at, count in ((0.0, 4), (5.0, 8), (10.0, 0)))
    bars = found(timeline(InputFrames(method="m", frames=frames), "label"), "line", "bar")
    assert [bar.get("x1") for bar in bars] == ["1%", "50%", "99%"]
    assert [30 - float(bar.get("y2")) for bar in bars] == [13.0, 26.0, 0.0]
    still = InputFrames(method="m", frames=(InputFrame(timestamp_seconds=0.0, num_tokens=0),))
    assert len(found(timeline(still, ""), "line", "bar")) == 1


def covered(path, side):
    """The patches that a path of rectangles covers."""
    patches = []
    for across, down, width in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\3z", path):
        patches += [int(down) * side + int(across) + step for step in range(int(width))]
    assert re.sub(r"M\d+ \d+h\d+v1h-\d+z", "", path) == ""
    return patches


def test_patches_cover_the_centre_of_the_frame():
    patches = PatchMap(
        rows=4, columns=4, kept=(5, 6), dropped=(0, 1, 2, 4), elsewhere=(8,),
        merged=(MergedToken(anchor=3, patches=(3, 7)), MergedToken(anchor=None, patches=(9, 10, 11, 12, 13, 14, 15))),
        has_cls=True,
    )  # fmt: skip
    svg = draw_frame(InputFrame(timestamp_seconds=1, num_tokens=5, patches=patches), PICTURE, "p1", "label")
    (group,) = parsed(svg).findall("g")
    assert group.get("transform") == "translate(24 0) scale(28)"
    assert parsed(svg).find("use").get("href") == "#p1"
    paths = {one.get("class"): covered(one.get("d"), 4) for one in group.findall("path")}
    assert paths == {
        "dropped": [0, 1, 2, 4], "elsewhere": [8], "merged tint0": [3, 7],
        "merged tint1": [9, 10, 11, 12, 13, 14, 15], "kept": [5, 6],
    }  # fmt: skip
    (anchor,) = group.findall("circle")
    assert (anchor.get("cx"), anchor.get("cy"), anchor.get("class")) == ("3.5", "0.5", "anchor tint0")
    (unseen,) = found(svg, "path", "unseen")
    assert unseen.get("d") == "M0 0H160V112H0zM24 0v112h112v-112z"


def test_a_single_merged_token_has_no_tint_and_an_uncompressed_frame_no_outline():
    nothing = {"dropped": (), "elsewhere": (), "has_cls": None}
    one = PatchMap(rows=2, columns=2, kept=(0,), merged=(MergedToken(anchor=1, patches=(1, 2, 3)),), **nothing)
    svg = draw_frame(InputFrame(timestamp_seconds=1, num_tokens=2, patches=one), PICTURE, "p1", "label")
    assert found(svg, "path", "only")
    whole = PatchMap(rows=2, columns=2, kept=(0, 1, 2, 3), merged=(), **nothing)
    svg = draw_frame(InputFrame(timestamp_seconds=1, num_tokens=4, patches=whole), PICTURE, "p1", "label")
    assert not found(svg, "path", "kept")
    assert "<g" not in draw_frame(InputFrame(timestamp_seconds=1, num_tokens=4), PICTURE, "p1", "label")


def test_a_picture_is_a_data_url():
    one = parsed(define_picture(PICTURE, "p1"))
    assert unescape(one.get("href")) == "data:image/jpeg;base64,/9h4"
