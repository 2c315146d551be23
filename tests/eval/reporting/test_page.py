from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise

import pytest
from reports import HOSTILE, Text, answered, chapter, judged, plan, report, run

from eval.reporting import InputFrames, PatchMap, Picture, read_input_frames, score_run, to_html
from eval.reporting.formatting import safe_text

RIGHT = [answered(f"v{n}-1", trace=plan(4, 4)) for n in range(4)]


def elements(page, name):
    return [attributes for tag, attributes in Text(page).tags if tag == name]


def test_the_page_lets_the_browser_load_and_run_nothing():
    page = to_html(report(chapter(run("a", RIGHT))))
    (policy,) = [one["content"] for one in elements(page, "meta") if one.get("http-equiv") == "Content-Security-Policy"]
    style = re.search("<style>(.*?)</style>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert (
        policy == f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    names = {tag for tag, _ in Text(page).tags}
    assert not names & {"script", "iframe", "object", "embed", "form", "base", "img", "video", "audio"}
    assert page.count("<style>") == 1
    for _, attributes in Text(page).tags:
        assert not any(key.startswith("on") or key == "style" for key in attributes)
        for key in ("href", "src"):
            assert attributes.get(key, "#").startswith(("#", "data:"))


def test_the_page_is_accessible():
    one = chapter(run("a", RIGHT, {"frames": 8}), run("b", RIGHT, {"frames": 16}))
    page = to_html(report(replace(one, input_frames={(0, "v0-1"): read_input_frames(RIGHT[0].trace)})))
    assert elements(page, "html") == [{"lang": "en"}]
    tags = [tag for tag, _ in Text(page).tags]
    assert tags.count("table") == tags.count("caption") == tags.count("thead")
    assert all(one.get("scope") for one in elements(page, "th"))
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for one in elements(page, "svg"):
        assert one.get("aria-label") or one.get("aria-hidden") == "true" or "overflow" in one
    ids = [attributes["id"] for _, attributes in Text(page).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {one["href"][1:] for one in elements(page, "a")}
    assert targets
    assert targets <= set(ids)


def test_the_same_runs_make_the_same_page():
    first, second = (to_html(report(chapter(run("a", RIGHT)))) for _ in range(2))
    assert first == second


def test_frames_are_plotted_if_runs_differ_in_nothing_else():
    def plotted(*settings):
        return "Accuracy by number of frames" in to_html(
            report(chapter(*(run(str(place), RIGHT, one) for place, one in enumerate(settings))))
        )

    assert plotted({"frames": 8}, {"frames": 16})
    assert not plotted({"frames": 8}, {"frames": 8})
    assert not plotted({"frames": 8}, {"frames": 16, "budget": 272})
    assert not plotted({"frames": None}, {"frames": 8})
    assert not plotted({"frames": "many"}, {"frames": True})


def test_a_videos_frames_and_each_picture_occur_once():
    picture = Picture(content=b"x", media_type="image/jpeg", width=160, height=112)
    patches = PatchMap(rows=2, columns=2, kept=(0,), merged=(), dropped=(1, 2, 3), elsewhere=(), has_cls=True)
    plain = read_input_frames(plan(4, 5))
    seen = replace(plain, frames=tuple(replace(one, picture=picture, patches=patches) for one in plain.frames))
    lines = [answered("v-1", "no", trace=plan(4, 5)), answered("v-2", trace=plan(4, 5)), answered("w-3", trace=plan(1))]
    selections = {
        (0, "v-1"): seen,
        (0, "v-2"): seen,
        (0, "w-3"): replace(read_input_frames(plan(1)), notes=("its frames cannot be shown",)),
    }
    page = to_html(report(chapter(run("a", lines), input_frames=selections)))
    assert page.count("data:image/jpeg;base64,") == 1
    assert len(elements(page, "use")) == 2
    assert "2 frames, 9 tokens (1 of 4 and 1 of 5), visionzip" in page
    assert '<a href="#set1-example1">example 1</a>' in page
    label = "Frame at 1.00 s, 5 tokens; 1 of 4 patches have their own token; 3 dropped; one token for CLS"
    assert label in {one.get("aria-label") for one in elements(page, "svg")}
    assert "its frames cannot be shown" in page
    assert len([one for one in elements(page, "svg") if one.get("class") == "timeline"]) == 1


def test_a_run_without_scores_or_frames_has_a_page_too():
    nothing = [answered("v1-1", None), answered("v2-1", None)]
    selections = {(0, "v1-1"): InputFrames(method="unknown", frames=(), notes=("a plan that cannot be read",))}
    page = to_html(
        report(chapter(run("a", nothing, {"frames": 8}), run("b", nothing, {"frames": 16}), input_frames=selections))
    )
    assert "a plan that cannot be read" in page
    assert "VideoMissing" in page
    empty = to_html(report(chapter(run("a", [], num_questions=0))))
    assert "every question has an answer and a verdict" in empty


def test_the_page_warns_of_different_judges():
    runs = [score_run(run(name, RIGHT), judged(name, v0_1=True)) for name in "ab"]
    warning = "scores of different judges cannot be compared"
    assert warning in to_html(report(chapter(*runs)))
    assert warning not in to_html(report(chapter(runs[0], runs[0])))


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_text_is_text(name):
    text = HOSTILE[name]
    lines = [
        answered("v0-1", text, kind=text, question=text, answer=text, trace=plan(4) | {"versions": {text: text}}),
        answered("v1-1" + text, "no", video=text),
        answered("v2-1", None, failure=f"{text}: {text}", trace={"frames": text, "visual_tokens": [text]}),
    ]
    one = chapter(run(text[:300], lines, {"model": text, text: text, "set": text[:300]}), examples=5)
    selections = {(0, "v0-1"): replace(read_input_frames(plan(4)), method=text, notes=(text,))}
    harmless = to_html(report(chapter(run("a", [replace(line, question="q") for line in lines]))))
    page = to_html(report(replace(one, input_frames=selections), title=text))
    page.encode()
    found = Text(page)
    assert found.texts.count(safe_text(text)) >= 3
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in Text(harmless).tags} | {"figure", "figcaption", "h5"}
    assert not any(key.startswith("on") for _, attributes in found.tags for key in attributes)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028]", page)
    assert len(page) < 120_000


def luminance(colour):
    # WCAG 2.2, relative luminance.
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_colours_contrast_with_the_background():
    style = files("eval.reporting").joinpath("page.css").read_text()
    themes = [
        dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    assert len(themes) == 3
    for theme in themes:
        for ground in ("ground", "panel"):
            for ink in ("text", "quiet", "blue", "orange", "green", "purple", "wrong"):
                darker, lighter = sorted(luminance(theme[name]) for name in (ground, ink))
                assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (ground, ink)
