from __future__ import annotations

import pytest
import torch
from towers import random_features

from vidzip import FrameFeatures
from vidzip.errors import BadArgument


def test_features_of_different_shapes_are_refused():
    with pytest.raises(BadArgument, match=r"\(2, 9, 4\), \(2, 8, 4\) and \(2, 9\)"):
        FrameFeatures(hidden=torch.empty(2, 9, 4), keys=torch.empty(2, 8, 4), attention=torch.empty(2, 9))


def test_chunks_join_to_what_they_were_cut_from():
    features = random_features(5, 9)
    joined = FrameFeatures.cat([features[:2], features[[2]], features[3:]])
    assert joined.hidden.equal(features.hidden)
    assert joined.keys.equal(features.keys)
    assert joined.attention.equal(features.attention)
    with pytest.raises(BadArgument, match="no frames were encoded"):
        FrameFeatures.cat([])
