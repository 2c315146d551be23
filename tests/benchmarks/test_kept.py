from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from towers import random_features

from benchmarks.kept import LabelledFrame, attention, changed, kept, lengths, main
from pipelines.shapes import ShapesSettings, write_set
from pipelines.terminal import progress_bar


@pytest.fixture
def frame():
    """Two objects of eight patches each; CLS attends to the first, a little to the second, not to the background."""
    owners = np.full(256, -1)
    owners[16:24], owners[160:168] = 0, 1
    scores = torch.zeros(1, 256)
    scores[0, 16:24], scores[0, 160:168] = 0.11, 0.015
    tokens = torch.nn.functional.one_hot(torch.arange(257), 257).float()[None]
    features = replace(random_features(1, 257, dim=257), patches=tokens[:, 1:], cls=tokens[:, 0], scores=scores)
    return LabelledFrame(features=features, owners=owners, things=(0, 1))


def test_where_cls_attends(frame):
    spread, on_things, area = (value for _, value in attention([frame]))
    share = np.repeat([0.11, 0.015], 8)
    assert float(spread) == pytest.approx(np.exp(-(share * np.log(share)).sum()), abs=0.05)
    assert (on_things, area) == ("100 %", "6 %")


def test_objects_with_a_kept_patch(frame):
    rows = {(method, int(tokens)): rest for method, tokens, *rest in kept([frame])}
    assert rows["visionzip", 8] == ["6", "50 %", "100 %", "100 %"]  # six patches of the first thing, none of the second
    assert rows["visionzip", 17] == ["13", "100 %", "100 %", "62 %"]  # eight and five
    assert rows["stride", 34] == ["33", "50 %", "6 %", "100 %"]  # every seventh patch or so


def test_norms_of_merged_tokens(frame):
    # Many patches, all at right angles to each other, are short on average.
    (_, summed), (_, averaged) = lengths([frame])
    assert float(summed) == pytest.approx(1.0, abs=0.02)
    assert float(averaged) < 0.2


def test_tokens_changed_by_another_precision(frame):
    same = changed([frame, frame], [frame, frame])
    assert [share for _, _, share in same] == ["0.00 %"] * 8
    # In one of two frames CLS attends to other patches: all that is kept there is new, but for CLS itself.
    scores = torch.zeros(1, 256)
    scores[0, 60:93] = 1 + torch.arange(33) / 100
    features = replace(frame.features, scores=scores)
    other = LabelledFrame(features=features, owners=frame.owners, things=())
    rows = {(method, int(tokens)): share for method, tokens, share in changed([frame, frame], [frame, other])}
    assert rows["visionzip", 8] == f"{100 * 6 / 16:.2f} %"
    assert rows["stride", 8] == "0.00 %"


def test_a_set_is_analysed_in_two_precisions(tmp_path, capsys):
    folder = str(tmp_path / "set")
    with progress_bar() as show:
        write_set(ShapesSettings(folder=folder, split="validation", videos=1, seed=50, workers=1), show)
    assert main([folder, "--model", "tiny-random", "--device", "cpu", "--dtype", "bfloat16"]) == 0
    assert "changed by bfloat16" in capsys.readouterr().out


def test_no_set_is_an_error(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "shapes.json" in capsys.readouterr().err
