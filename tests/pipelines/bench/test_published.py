from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from towers import random_pixels, random_tower
from transformers import CLIPVisionModel

from pipelines.bench.published import eager, run_everything, zip_everything
from vidzip import observe, token_split
from vidzip.compress import visionzip

LAYER = -2


@pytest.fixture(scope="module")
def tower():
    return random_tower()


def test_the_twin_has_the_same_weights_and_other_attention(tower):
    twin = eager(tower)
    assert all(a is b for a, b in zip(twin.parameters(), tower.parameters(), strict=True))
    assert (tower.config._attn_implementation, twin.config._attn_implementation) == ("sdpa", "eager")


def test_everything_is_run_and_kept(tower):
    twin = eager(tower)
    seen = run_everything(twin, random_pixels(2), LAYER)
    assert len(seen.attentions) == tower.config.num_hidden_layers
    assert {one.shape for one in seen.attentions} == {(2, 4, 17, 17)}
    assert len(seen.hidden_states) == tower.config.num_hidden_layers + 1
    k_proj = twin.encoder.layers[LAYER].self_attn.k_proj
    assert not k_proj._forward_hooks
    alone = observe(tower, random_pixels(2))
    torch.testing.assert_close(seen.keys.unflatten(-1, (4, -1)).mean(2), alone.keys, rtol=1e-4, atol=1e-4)


@given(st.lists(st.integers(1, 19), min_size=1, max_size=5))
def test_oracle_the_same_tokens_as_ours(counts):
    tower = random_tower()
    pixels = random_pixels(len(counts))
    published = zip_everything(run_everything(eager(tower), pixels, LAYER), LAYER, counts)
    ours = visionzip(observe(tower, pixels), counts)
    torch.testing.assert_close(published, ours.tokens, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [17, 64, 128])
def test_oracle_the_same_tokens_as_the_published_code(golden, count):
    tower = CLIPVisionModel.from_pretrained(golden / "visionzip" / "tower", attn_implementation="sdpa").eval()
    tensors = load_file(golden / "visionzip" / "golden.safetensors")
    expected = tensors["packed_{}_{}".format(*token_split(count))]
    seen = run_everything(eager(tower), tensors["pixel_values"], LAYER)
    tokens = zip_everything(seen, LAYER, [count] * len(expected))
    torch.testing.assert_close(tokens, expected.flatten(0, 1), rtol=1e-4, atol=1e-5)
