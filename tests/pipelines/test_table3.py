from __future__ import annotations

import json
import re
import shutil

import pytest
from questions import write_set
from refusals import assert_refused

from pipelines.cli import main
from pipelines.table3 import ROWS, SETS, compare_with_paper


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    write_set(folder / "msvd", videos=2, questions=4)
    shutil.copytree(folder / "msvd", folder / "msrvtt")
    return folder


def table3(data, out, *options):
    return main(
        [
            "reproduce-table3", "--data", str(data), "--out", str(out), "--model", "tiny-random", "--device", "cpu",
            "--max-new-tokens", "3", *options,
        ]
    )  # fmt: skip


def test_a_dry_run_lists_what_is_missing_and_writes_nothing(data, tmp_path, capsys):
    out = tmp_path / "out"
    assert table3(data, out, "--dry-run") == 0
    printed = capsys.readouterr().out
    assert ["msvd", "msvd", "8 of 13,157", "2 of 2", "0 of 48"] in [
        re.split("  +", line) for line in printed.splitlines()
    ]
    assert "tgif         tgif-mixture  none of 25,751" in printed
    assert "row fastv: FastV" in printed
    assert "missing: activitynet: " in printed
    assert "missing: msvd: 8 questions" in printed
    assert "--judge" in printed
    assert not out.exists()


def test_a_missing_set_or_video_is_refused_before_anything_is_asked(data, tmp_path, capsys):
    assert table3(data, tmp_path / "out") == 2
    assert_refused(capsys, "tgif: ", "--dry-run")
    broken = tmp_path / "data"
    shutil.copytree(data, broken)
    next((broken / "msvd" / "videos").iterdir()).unlink()
    assert table3(broken, tmp_path / "out", "--sets", "msvd") == 2
    assert_refused(capsys, "msvd: 1 of 2 videos", "--dry-run")
    assert not (tmp_path / "out").exists()


def test_rows_are_run_once_and_printed_beside_the_papers(data, tmp_path, capsys):
    out = tmp_path / "out"
    chosen = ("--sets", "msvd,msrvtt", "--rows", "visionzip,uncompressed,fastv,no-video")
    assert table3(data, out, *chosen) == 0
    titles = [re.split(r"(?<=\S)  ", line)[0] for line in capsys.readouterr().out.splitlines()[3:-2]]
    assert titles == [
        "8 uncompressed frames", "  the paper's", "no video", "FastV (not in vidzip yet)", "  the paper's",
        "VisionZip, 8 frames, 136 tokens", "  the paper's",
    ]  # fmt: skip
    before = {path: path.read_bytes() for path in out.rglob("answers.jsonl")}
    assert {str(path.parent.relative_to(out)) for path in before} == {
        f"{name}/{row}" for name in ("msvd", "msrvtt") for row in ("uncompressed", "no-video", "visionzip")
    }
    record = json.loads((out / "table3.json").read_text())
    assert record["rows"]["visionzip"]["msvd"]["settings"]["frames"] == 8
    assert record["rows"]["uncompressed"]["msvd"]["settings"]["budget"] == 8 * 257
    assert table3(data, out, *chosen, "--markdown") == 0
    printed = capsys.readouterr().out
    assert "| FastV (not in vidzip yet) |" in printed
    assert "| 38.0 | 19.3 |" in printed
    assert {path: path.read_bytes() for path in out.rglob("answers.jsonl")} == before


def test_the_papers_own_means_are_reproduced():
    lines = compare_with_paper({}, list(SETS), ROWS)
    assert [line[-1] for line in lines if line[0] == "  the paper's"] == ["100.0", "52.1", "86.5", "93.2"]


@pytest.mark.parametrize(
    ("options", "says"), [(["--sets", "tgif,imagenet"], "'imagenet'"), (["--rows", ","], "--rows")]
)
def test_unknown_rows_and_columns_are_refused(data, tmp_path, capsys, options, says):
    assert table3(data, tmp_path, *options) == 2
    assert_refused(capsys, says, "use ")
