from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from towers import random_pixels, random_tower
from transformers import CLIPVisionModel

from pipelines.bench.published import compress, run_tower, with_eager_attention
from vidzip import observe, token_split
from vidzip.compress import visionzip

LAYER = -2


@pytest.fixture(scope="module")
def tower():
    return random_tower()


def test_the_eager_tower_shares_its_weights(tower):
    eager = with_eager_attention(tower)
    assert all(a is b for a, b in zip(eager.parameters(), tower.parameters(), strict=True))
    assert (tower.config._attn_implementation, eager.config._attn_implementation) == ("sdpa", "eager")


def test_all_layers_are_run_and_kept(tower):
    eager = with_eager_attention(tower)
    seen = run_tower(eager, random_pixels(2), LAYER)
    assert len(seen.attentions) == tower.config.num_hidden_layers
    assert {one.shape for one in seen.attentions} == {(2, 4, 17, 17)}
    assert len(seen.hidden_states) == tower.config.num_hidden_layers + 1
    k_proj = eager.encoder.layers[LAYER].self_attn.k_proj
    assert not k_proj._forward_hooks
    alone = observe(tower, random_pixels(2))
    torch.testing.assert_close(seen.keys[:, 1:].unflatten(-1, (4, -1)).mean(2), alone.keys, rtol=1e-4, atol=1e-4)


@given(st.lists(st.integers(1, 19), min_size=1, max_size=5))
def test_oracle_tokens_equal_vidzips(counts):
    tower = random_tower()
    pixels = random_pixels(len(counts))
    published = compress(run_tower(with_eager_attention(tower), pixels, LAYER), LAYER, counts)
    ours = visionzip(observe(tower, pixels), counts)
    torch.testing.assert_close(published, ours.tokens, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [17, 64, 128])
def test_oracle_tokens_equal_those_of_the_published_code(golden, count):
    tower = CLIPVisionModel.from_pretrained(golden / "visionzip" / "tower", attn_implementation="sdpa").eval()
    tensors = load_file(golden / "visionzip" / "golden.safetensors")
    expected = tensors["packed_{}_{}".format(*token_split(count))]
    seen = run_tower(with_eager_attention(tower), tensors["pixel_values"], LAYER)
    tokens = compress(seen, LAYER, [count] * len(expected))
    torch.testing.assert_close(tokens, expected.flatten(0, 1), rtol=1e-4, atol=1e-5)
