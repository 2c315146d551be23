from __future__ import annotations

import pytest

from eval.datasets import SETS
from eval.reporting import LITERATURE, published_results


def accuracies(set_name, system):
    return [row.accuracy for row in published_results(set_name) if row.system == system]


@pytest.mark.parametrize(
    ("set_name", "full", "packed", "rerun"),
    [
        ("tgif-mixture", 70.0, 42.4, 19.8),
        ("msvd", 70.7, 63.5, 70.5),
        ("msrvtt", 59.2, 52.1, 57.5),
        ("activitynet", 45.3, 43.0, 43.6),
    ],
)
def test_rows_are_as_published(set_name, full, packed, rerun):
    assert accuracies(set_name, "Video-LLaVA 7B") == [full]
    assert accuracies(set_name, "VisionZip") == [packed]
    assert accuracies(set_name, "Video-LLaVA 7B, as FasterVLM's baseline") == [rerun]


def test_the_published_ratio_of_visionzip_follows_from_its_rows():
    # Table 3 gives 93.2 %, the average of the four ratios to its own baseline.
    ratios = [
        accuracies(name, "VisionZip")[0] / accuracies(name, "Video-LLaVA 7B, as VisionZip's baseline")[0]
        for name in ("tgif-mixture", "msvd", "msrvtt", "activitynet")
    ]
    assert 100 * sum(ratios) / 4 == pytest.approx(93.2, abs=0.05)


@pytest.mark.parametrize(("system", "percent"), [("FastV", 52.1), ("SparseVLM", 86.5)])
def test_so_do_those_of_the_others(system, percent):
    ratios = [
        accuracies(name, system)[0] / accuracies(name, "Video-LLaVA 7B, as VisionZip's baseline")[0]
        for name in ("tgif-mixture", "msvd", "msrvtt", "activitynet")
    ]
    assert 100 * sum(ratios) / 4 == pytest.approx(percent, abs=0.05)


def test_every_row_names_its_questions_its_judge_and_its_source():
    assert all(row.questions and row.judge and row.source for row in LITERATURE)
    assert all("TGIF" in row.questions or "mixture" in row.questions for row in published_results("tgif-action"))


def test_results_belong_to_their_set():
    assert published_results("shapes") == ()
    assert {row.family for row in published_results("msvd")} == {"msvd"}
    families = {row.family for row in LITERATURE}
    assert families == {name.partition("-")[0] for name in SETS} - {"shapes"}
