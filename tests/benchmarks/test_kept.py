from __future__ import annotations

import numpy as np
import pytest
import torch
from kept import Seen, attention, kept, lengths, main

from vidzip import FrameFeatures


@pytest.fixture
def frame():
    """Two things of eight patches each; CLS attends to the first, a little to the second, not to the ground."""
    owners = np.full(256, -1)
    owners[16:24], owners[160:168] = 0, 1
    weight = torch.zeros(1, 257)
    weight[0, 17:25], weight[0, 161:169] = 0.11, 0.015
    hidden = torch.nn.functional.one_hot(torch.arange(257), 257).float()[None]
    features = FrameFeatures(
        hidden=hidden, keys=torch.randn(1, 257, 4, generator=torch.Generator().manual_seed(0)), attention=weight
    )
    return Seen(features=features, owners=owners, things=(0, 1))


def test_where_cls_attends(frame):
    spread, on_things, area = (value for _, value in attention([frame]))
    share = np.repeat([0.11, 0.015], 8)
    assert float(spread) == pytest.approx(np.exp(-(share * np.log(share)).sum()), abs=0.05)
    assert (on_things, area) == ("100 %", "6 %")


def test_what_keeps_a_patch(frame):
    rows = {(method, int(tokens)): rest for method, tokens, *rest in kept([frame])}
    assert rows["visionzip", 8] == ["6", "50 %", "100 %", "100 %"]  # six patches of the first thing, none of the second
    assert rows["visionzip", 17] == ["13", "100 %", "100 %", "62 %"]  # eight and five
    assert rows["stride", 34] == ["33", "50 %", "6 %", "100 %"]  # every seventh patch or so


def test_how_long_merged_tokens_are(frame):
    # Many patches, all at right angles to each other, are short on average.
    (_, summed), (_, averaged) = lengths([frame])
    assert float(summed) == pytest.approx(1.0, abs=0.02)
    assert float(averaged) < 0.2


def test_no_set_is_an_error(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "describes no set" in capsys.readouterr().err
