from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from towers import random_features

from vidzip import VisionFeatures
from vidzip.errors import BadArgument


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"keys": torch.empty(2, 7, 6)}, "(2, 7, 6)"),
        ({"scores": torch.empty(2, 9)}, "(2, 9)"),
        ({"scores": torch.empty(2, 8, 1)}, "(2, 8, 1)"),
        ({"patches": torch.empty(2, 8)}, "(2, 8)"),
        ({"cls": torch.empty(2, 11)}, "(2, 11)"),
        ({"cls": torch.empty(3, 12)}, "(3, 12)"),
        ({"grid": (3, 3)}, "8 patches"),
        ({"grid": (-2, -4)}, "8 patches"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes, named):
    with pytest.raises(BadArgument) as caught:
        replace(random_features(2, 9), **changes)
    assert named in caught.value.message


def test_no_patches_are_refused():
    with pytest.raises(BadArgument):
        VisionFeatures(patches=torch.empty(2, 0, 4), scores=torch.empty(2, 0), keys=torch.empty(2, 0, 4), grid=(0, 0))


def test_tokens_are_cls_if_there_is_one_and_patches():
    features = random_features(2, 13, grid=(3, 4))
    assert (features.num_frames, features.num_patches, features.tokens_per_frame) == (2, 12, 13)
    assert features.tokens.equal(torch.cat([features.cls[:, None], features.patches], dim=1))
    without = replace(features, cls=None)
    assert (without.has_cls, without.tokens_per_frame) == (False, 12)
    assert without.tokens.equal(features.patches)


@pytest.mark.parametrize("has_cls", [True, False])
def test_chunks_join_to_what_they_were_cut_from(has_cls):
    features = random_features(5, 9, has_cls=has_cls)
    joined = VisionFeatures.cat([features[:2], features[[2]], features[3:]])
    assert joined.grid == features.grid
    for name in ("tokens", "keys", "scores"):
        assert getattr(joined, name).equal(getattr(features, name))


@pytest.mark.parametrize(
    "others", [[random_features(1, 9, grid=(1, 8))], [random_features(1, 8, has_cls=False, grid=(2, 4))], []]
)
def test_features_of_different_kinds_do_not_join(others):
    with pytest.raises(BadArgument):
        VisionFeatures.cat([*([random_features(1, 9)] if others else []), *others])
