from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from browser import browsing, find_browser
from reports import HOSTILE, Text, answered, chapter, plan, report, run

from eval.reporting import PatchMap, Picture, read_input_frames, to_html
from eval.reporting.formatting import safe_text

PATCHES = PatchMap(
    rows=4, columns=4, kept=(5, 6), merged=(), dropped=tuple(range(5)), elsewhere=tuple(range(7, 16)), has_cls=True
)
OWN = ["127.0.0.1/framed.html", "127.0.0.1/page.html"]


@pytest.fixture
def browser(tmp_path):
    with browsing(find_browser(), tmp_path) as browser:
        yield browser


def png() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (160, 112), (200, 80, 40)).save(file, "PNG")
    return file.getvalue()


def large_chapter():
    """Many runs of long names and many settings, frames with pictures, and text in every place it can have."""
    trace = plan(*[4] * 34)
    kinds = ("what", "who", "how", "when", "where")
    lines = [
        answered(f"v{n}-{n}", "no" if n % 3 else "yes", kind=kinds[n % 5], trace=trace, question="Why is it so? " * 9)
        for n in range(30)
    ]
    runs = [
        run(
            f"a-run-of-a-rather-long-name-{number}",
            lines,
            {"frames": 8 << number, "set": "msvd", "commit": "f" * 40, "seed": number},
        )
        for number in range(5)
    ]
    one = chapter(*runs)
    picture = Picture(content=png(), media_type="image/png", width=160, height=112)
    plain = read_input_frames(trace)
    seen = replace(plain, frames=tuple(replace(frame, picture=picture, patches=PATCHES) for frame in plain.frames))
    selections = {
        (0, example.question.question_id): seen if place else plain for place, example in enumerate(one.examples)
    }
    return replace(one, input_frames=selections)


def hostile_page():
    lines = [
        answered(f"v{place}-{text}", text, video=text, kind=text, question=text, answer=text, trace=plan(4))
        for place, text in enumerate(HOSTILE.values())
    ]
    runs = [run(text, lines, {text: text, "model": text}) for text in HOSTILE.values()]
    one = chapter(*runs[:4], examples=len(lines))
    selections = {
        (0, line.question_id): replace(read_input_frames(line.trace), notes=(line.question,)) for line in lines
    }
    return to_html(report(replace(one, input_frames=selections), title=HOSTILE["script"]))


def test_the_checks_below_see_scripts_and_requests(browser):
    bad = (
        "<title>still</title><script>document.title='ran'</script><img src=http://hostile.example/x>"
        "<link rel=stylesheet href=http://hostile.example/y><div style='width:1000px'>wide</div>"
    )
    page_state = browser.show(bad, 390)
    assert (page_state["title"], page_state["scripts"]) == ("ran", 1)
    assert page_state["body"] > page_state["width"]
    assert sorted(set(browser.asked)) == [*OWN, "hostile.example/x", "hostile.example/y"]


def test_hostile_text_stays_text_and_nothing_runs_or_is_loaded(browser):
    page = hostile_page()
    page_state = browser.show(page, 390)
    assert page_state["title"] == safe_text(HOSTILE["script"])
    assert page_state["scripts"] == 0
    assert page_state["texts"] == Text(page).texts
    for text in HOSTILE.values():
        assert safe_text(text) in page_state["texts"]
    assert page_state["body"] <= page_state["width"]
    assert sorted(set(browser.asked)) == OWN


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_the_window_and_tables_scroll(browser, width):
    page_state = browser.show(to_html(report(large_chapter())), width)
    assert page_state["width"] == width
    assert page_state["body"] <= width
    assert page_state["scrolls"] > 0 or width > 390
    assert len(page_state["pictures"]) % 34 == 0 < len(page_state["pictures"])
    assert all(80 < picture < 260 for picture in page_state["pictures"])
    assert page_state["marks"] == [10] * 5
    assert sorted(set(browser.asked)) == OWN


def test_dark_mode_changes_the_background(browser):
    page = to_html(report(large_chapter()))
    light = browser.show(page, 390)
    dark = browser.show(page, 390, "--blink-settings=preferredColorScheme=0")
    assert light["ground"] == "rgb(255, 255, 255)"
    assert dark["ground"] == "rgb(20, 23, 27)"


def test_no_table_is_clipped_on_paper(browser, tmp_path):
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.skip("pdftotext is not installed (Debian: apt-get install poppler-utils)")
    browser.print(to_html(report(large_chapter())))
    done = subprocess.run(
        [reader, "-bbox", str(tmp_path / "printed.pdf"), "-"], capture_output=True, text=True, check=True
    )  # fmt: skip
    (width,) = {float(one) for one in re.findall(r'<page width="([\d.]+)"', done.stdout)}
    words = re.findall(r'<word xMin="([\d.-]+)" yMin="[\d.-]+" xMax="([\d.]+)"[^>]*>([^<]*)<', done.stdout)
    margin = 14 / 25.4 * 72
    assert all(float(left) > margin - 1 and float(right) < width - margin + 1 for left, right, _ in words)
    texts = [word for _, _, word in words]
    assert texts.count("unjudged") >= 2  # the last column of the widest tables
    assert texts.count("Example") == len(large_chapter().examples)
