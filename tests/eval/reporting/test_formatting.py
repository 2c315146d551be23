from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.reporting.formatting import escape_markdown, format_interval, format_number, format_value, safe_text
from eval.statistics import Estimate

any_text = st.text(st.characters(codec=None, categories=None), max_size=200)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a plain text, ünïcode 中文 🙂", "a plain text, ünïcode 中文 🙂"),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\rb\x00c\x9bd", "a\\rb\\x00c\\x9bd"),
        ("right \u202etfel\u202c", "right \\u202etfel\\u202c"),
        ("\u2066\u200f\u2028\ufeff\u00ad", "\\u2066\\u200f\\u2028\\ufeff\\xad"),
        ("half \ud800", "half \\ud800"),
        ("tags \U000e0041", "tags \\U000e0041"),
        (
            "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0646\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("<script>", "<script>"),
    ],
)
def test_control_and_invisible_characters_become_escapes(text, seen):
    assert safe_text(text) == seen


def test_a_long_text_is_cut():
    assert safe_text("x" * 1_000_000, 5) == "xxxxx … (cut from 1,000,000 characters)"
    assert safe_text("xxxxx", 5) == "xxxxx"


@given(any_text)
def test_law_safe_text_can_be_encoded_and_is_a_fixed_point(text):
    seen = safe_text(text)
    seen.encode()
    assert not re.search("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", seen)
    assert safe_text(seen) == seen


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a|b", "a\\|b"),
        ("a\\|b", "a\\\\\\|b"),
        ("`code`", "\\`code\\`"),
        ("<script>&amp;", "&lt;script&gt;&amp;amp;"),
        ("**bold** _so_ ~~no~~ $x^2$", "\\*\\*bold\\*\\* \\_so\\_ \\~\\~no\\~\\~ \\$x^2\\$"),
        ("![x](http://h.example)", "!\\[x\\](http\\://h.example)"),
        ("www.h.example", "www\\.h.example"),
        ("The same in all: a", "The same in all: a"),
    ],
)
def test_a_markdown_cell_is_escaped(text, cell):
    assert escape_markdown(text) == cell


@given(any_text)
def test_law_a_cell_never_ends_its_row_or_opens_markup(text):
    cell = escape_markdown(safe_text(text))
    assert "\n" not in cell
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`<>*\[\]]", cell)


@pytest.mark.parametrize(
    ("value", "formatted"),
    [
        (None, "-"), ({}, "-"), ([], "-"), (True, "yes"), (False, "no"), (2056, "2,056"), (0, "0"), (0.5, "0.5"),
        ("", ""), ({"a": 1, "b": None}, "a: 1, b: -"), ((1, "x"), "1, x"), ("\x1b", "\\x1b"),
    ],
)  # fmt: skip
def test_values_of_settings(value, formatted):
    assert format_value(value) == formatted


def test_numbers_are_rounded_and_never_minus_zero():
    assert (format_number(0.8104), format_number(-0.0001), format_number(None)) == ("81.0", "0.0", "-")
    assert (format_number(0.024, sign=True), format_number(-0.0001, sign=True), format_number(0.0, sign=True)) == (
        "+2.4",
        "0.0",
        "0.0",
    )
    assert format_number(3.456, scale=1.0, digits=2) == "3.46"


def test_an_interval_is_in_brackets_if_there_is_one():
    counts = {"num_questions": 4, "num_clusters": 2}
    assert format_interval(Estimate(value=0.5, low=0.25, high=0.751, **counts)) == "50.0 [25.0, 75.1]"
    assert format_interval(Estimate(value=0.5, low=None, high=None, **counts)) == "50.0"
    assert format_interval(Estimate(value=None, low=None, high=None, num_questions=0, num_clusters=0)) == "-"
