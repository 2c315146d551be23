from __future__ import annotations

import threading
from functools import partial

import pytest
import torch
from observers import assert_same, assert_unchanged, contents
from plain_languagebind import random_languagebind
from torch._inductor.exc import InvalidCxxCompiler
from towers import random_pixels, random_tower

from vidzip import observe
from vidzip.encoders import CompiledTower
from vidzip.errors import BadArgument, CompilationFailed, SystemFault

as_graphs = partial(CompiledTower, backend="eager")
"""torch runs the graph that it would compile, without the minute of compiling."""


@pytest.mark.parametrize("tower", [random_tower(), random_languagebind(2)], ids=["CLIP's", "with attention over time"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_graph_gives_the_towers_features_at_every_layer(tower, dtype):
    tower, graphs = tower.to(dtype), as_graphs(tower.to(dtype))
    for layer in (-2, 0):
        for seed in (1, 2):
            pixels = random_pixels(4, seed).to(dtype)
            seen = graphs.observe(pixels, layer)
            assert_same(seen, observe(tower, pixels, layer), tolerance=0)
            assert not seen.tokens.requires_grad


def test_one_graph_serves_one_number_of_frames():
    graphs = as_graphs(random_tower())
    first = graphs.observe(random_pixels(4, seed=1))
    with torch.compiler.set_stance("fail_on_recompile"):
        graphs.observe(random_pixels(4, seed=2))
        with pytest.raises(RuntimeError, match="expected 4, actual 5"):
            graphs.observe(random_pixels(5))
    assert_same(first, observe(random_tower(), random_pixels(4, seed=1)))


def test_the_tower_is_not_changed():
    tower = random_tower()
    before = contents(tower)
    as_graphs(tower).observe(random_pixels(2))
    assert_unchanged(before, contents(tower))


def test_any_number_of_towers_can_be_compiled():
    for seed in range(9):  # one more than torch compiles of the same code
        tower = random_tower(seed, layers=1)
        assert_same(as_graphs(tower).observe(random_pixels(2), -1), observe(tower, random_pixels(2), -1))


def test_changed_weights_are_used():
    tower = random_tower()
    graphs = as_graphs(tower)
    before = graphs.observe(random_pixels(2))
    with torch.no_grad():
        tower.encoder.layers[0].mlp.fc1.weight.mul_(2)
    after = graphs.observe(random_pixels(2))
    assert (after.tokens - before.tokens).abs().max() > 0.1
    assert_same(after, observe(tower, random_pixels(2)))


def test_calls_of_several_threads():
    graphs, seen = as_graphs(random_tower()), {}

    def run(seed):
        for _ in range(5):
            seen[seed] = graphs.observe(random_pixels(2, seed))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(3):
        assert_same(seen[seed], observe(random_tower(), random_pixels(2, seed)))


def test_a_tower_that_torch_cannot_compile_is_an_error():
    tower = random_tower()
    tower.encoder.layers[0].register_forward_hook(lambda *_: torch._dynamo.graph_break())
    with pytest.raises(CompilationFailed, match="torch cannot compile") as caught:
        as_graphs(tower).observe(random_pixels(1))
    assert isinstance(caught.value, SystemFault)
    assert "--compile" in caught.value.hint
    assert "\n" not in str(caught.value)


def test_an_unknown_layer_is_refused():
    with pytest.raises(BadArgument, match="4 layers; give -4 to 3"):
        as_graphs(random_tower()).observe(random_pixels(1), layer=4)


def test_a_missing_compiler_is_an_error():
    def no_compiler(*_):
        raise InvalidCxxCompiler

    with pytest.raises(CompilationFailed, match="No working C\\+\\+ compiler"):
        CompiledTower(random_tower(), backend=no_compiler).observe(random_pixels(1))
