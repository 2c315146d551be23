from __future__ import annotations

import gc
import threading
import types
import weakref
from collections import Counter
from functools import partial

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from observers import OBSERVERS, assert_same, assert_unchanged, contents, of_the_whole_tower
from plain_languagebind import random_languagebind
from towers import random_pixels, random_tower
from transformers import SiglipVisionConfig, SiglipVisionModel

from vidzip import observe
from vidzip.encoders import ObservedTower, tap
from vidzip.errors import BadArgument


def hooks_of(tower):
    return sum(
        len(hooks)
        for module in tower.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._forward_hooks_always_called)
    )


@pytest.mark.parametrize("layer", [-2, -1, -4, 0, 2])
def test_equals_eager_attention(layer):
    pixels = random_pixels(3)
    with torch.no_grad():
        eager = random_tower(attention="eager")(pixels, output_attentions=True, output_hidden_states=True)
    seen = observe(random_tower(), pixels, layer)
    number = layer % 4
    torch.testing.assert_close(seen.tokens, eager.hidden_states[number + 1], rtol=0, atol=1e-5)
    torch.testing.assert_close(seen.scores, eager.attentions[number][:, :, 0, 1:].sum(1), rtol=0, atol=1e-5)


def test_keys_are_the_projection_averaged_over_heads():
    tower, pixels = random_tower(), random_pixels(2)
    with torch.no_grad():
        states = tower(pixels, output_hidden_states=True).hidden_states
        layer = tower.encoder.layers[-2]
        keys = layer.self_attn.k_proj(layer.layer_norm1(states[-3]))
    expected = torch.stack([keys[..., head * 8 : (head + 1) * 8] for head in range(4)]).mean(0)
    torch.testing.assert_close(observe(tower, pixels).keys, expected[:, 1:], rtol=0, atol=1e-5)


def test_shapes_and_no_gradients():
    seen = observe(random_tower(), random_pixels(3))
    assert seen.tokens.shape == (3, 17, 32)
    assert seen.keys.shape == (3, 16, 8)
    assert seen.grid == (4, 4)
    assert seen.scores.shape == (3, 16)
    assert not seen.tokens.requires_grad


def test_attention_sums_to_the_number_of_heads():
    with torch.no_grad():
        _, _, attention = ObservedTower(random_tower())(random_pixels(3))
    torch.testing.assert_close(attention.sum(1), torch.full((3,), 4.0))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision_stays_close(dtype, tolerance):
    # Stated tolerance, relative to the largest value: 10 % in bfloat16, 2 % in float16, through four random layers.
    pixels = random_pixels(2)
    exact = observe(random_tower(), pixels)
    half = observe(random_tower().to(dtype), pixels.to(dtype))
    assert half.tokens.dtype is dtype
    assert half.scores.dtype is half.keys.dtype is torch.float32
    for name in ("tokens", "keys", "scores"):
        wanted, got = getattr(exact, name), getattr(half, name).float()
        assert (got - wanted).abs().max() <= tolerance * wanted.abs().max()


def test_hooks_are_removed_after_success_and_after_failure():
    tower = random_tower()
    before = hooks_of(tower)
    observe(tower, random_pixels(1))
    assert hooks_of(tower) == before
    with pytest.raises(Exception, match=r"size|shape|match"):
        observe(tower, torch.zeros(1, 3, 57, 99))
    assert hooks_of(tower) == before
    with pytest.raises(KeyboardInterrupt), tap(tower):
        raise KeyboardInterrupt
    assert hooks_of(tower) == before
    assert_same(observe(tower, random_pixels(1)), observe(random_tower(), random_pixels(1)))


def test_the_tap_works_after_a_failed_call():
    tower = random_tower()
    with torch.no_grad(), tap(tower) as seen:
        with pytest.raises(Exception, match=r"size|shape|match"):
            tower(torch.zeros(1, 3, 57, 99))
        tower(random_pixels(2))
    assert_same(seen.features(), observe(tower, random_pixels(2)))


def test_records_of_a_failed_call_are_not_mixed_with_those_of_another():
    tower = random_tower()
    broken = tower.encoder.layers[-2].mlp

    def fail(*_):
        raise RuntimeError("broken")

    with torch.no_grad(), tap(tower) as seen:
        tower(random_pixels(1))
        breaking = broken.register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="broken"):
            tower(random_pixels(1, seed=2))
        breaking.remove()
        with pytest.raises(BadArgument, match="did not run the observed layer"):
            seen.features()


def test_the_tap_works_after_another_hook_failed_first():
    tower = random_tower()

    def fail(*_):
        raise RuntimeError("broken")

    with torch.no_grad(), tap(tower) as seen:
        other = tower.register_forward_pre_hook(fail, prepend=True)
        with pytest.raises(RuntimeError, match="broken"):
            tower(random_pixels(1))
        other.remove()
        tower(random_pixels(2))
    assert_same(seen.features(), observe(tower, random_pixels(2)))


def test_two_threads_inside_the_same_tower_at_once():
    tower = random_tower()
    expected = {name: observe(tower, random_pixels(2, seed=name)) for name in (1, 2, 3)}
    together = threading.Barrier(3, timeout=60)

    def meet(*_):
        together.wait()

    meeting = tower.encoder.layers[1].register_forward_hook(meet)
    seen, failures = {}, []

    def run(name, watch):
        try:
            with torch.no_grad():
                for _ in range(20):
                    seen[name] = observe(tower, random_pixels(2, seed=name)) if watch else tower(random_pixels(2, name))
        except Exception as error:
            failures.append(error)
            together.abort()

    threads = [threading.Thread(target=run, args=(name, name != 3)) for name in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    meeting.remove()
    assert not failures
    assert_same(seen[1], expected[1])
    assert_same(seen[2], expected[2])
    assert hooks_of(tower) == 0


@pytest.mark.parametrize("inner_is_observed", [True, False])
def test_a_call_inside_a_call_is_separate(inner_is_observed):
    tower = random_tower()
    outer_pixels, inner_pixels = random_pixels(2, seed=1), random_pixels(3, seed=2)
    inner = []

    def call_again(*_):
        if not inner:
            inner.append(None)
            inner[0] = observe(tower, inner_pixels) if inner_is_observed else tower(inner_pixels)

    expected = observe(tower, outer_pixels)
    # After the projections of the observed layer and before its end: what was seen must survive the call inside.
    nesting = tower.encoder.layers[-2].mlp.register_forward_hook(call_again)
    outer = observe(tower, outer_pixels)
    nesting.remove()
    assert_same(outer, expected)
    if inner_is_observed:
        assert_same(inner[0], observe(tower, inner_pixels))


def test_the_tap_keeps_the_last_call():
    tower = random_tower()
    with torch.no_grad(), tap(tower) as seen:
        tower(random_pixels(1, seed=1))
        tower(random_pixels(2, seed=2))
    assert_same(seen.features(), observe(tower, random_pixels(2, seed=2)))


TOWERS = {"CLIP's": random_tower, "with attention over time": partial(random_languagebind, 2)}


@pytest.fixture(params=TOWERS)
def tower(request):
    return TOWERS[request.param]()


def assert_equal(one, other):
    for name in ("tokens", "keys", "scores"):
        assert getattr(one, name).equal(getattr(other, name))


@pytest.mark.parametrize("layer", range(-4, 4))
def test_law_nothing_after_the_layer_runs_and_all_before_it_runs_once(tower, layer):
    calls, passes = Counter(), 3
    names = {id(module): name for name, module in tower.named_modules()}
    for module in tower.modules():
        module.register_forward_hook(lambda module, *_: calls.update([names.get(id(module), "?")]))
    with torch.no_grad():
        tower(random_pixels(4))
    whole, last = calls.copy(), layer % 4
    calls.clear()
    at_layer = f"encoder.layers.{last}"
    viewed = {"", "encoder", at_layer, *(f"{at_layer}.self_attn{part}" for part in ("", ".q_proj", ".k_proj"))}
    for _ in range(passes):
        observe(tower, random_pixels(4), layer)
    behind = {name for name in whole if name.startswith("post_layernorm")}
    behind |= {name for name in whole for number in range(last + 1, 4) if name.startswith(f"encoder.layers.{number}")}
    expected = {name: passes * count for name, count in whole.items() if name not in behind | viewed}
    # Hooks on the way to the layer are called too, with the modules' views.
    assert calls == {**expected, "?": passes * len(viewed)}
    assert behind


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("layer", [-1, -2, 0])
def test_features_equal_the_whole_towers_bit_for_bit(tower, layer, dtype):
    tower, pixels = tower.to(dtype), random_pixels(4).to(dtype)
    assert_equal(observe(tower, pixels, layer), of_the_whole_tower(tower, pixels, layer))


def test_the_tower_is_not_changed_and_shares_its_weights_with_the_view(tower):
    tower.register_forward_hook(lambda *_: None)
    before = contents(tower)
    view = ObservedTower(tower, -2)
    held = {id(weight) for weight in tower.parameters()}
    assert {id(weight) for weight in view.parameters()} < held
    during = []
    hook = tower.encoder.layers[0].mlp.register_forward_hook(lambda *_: during.append(contents(tower)))
    with_hook = contents(tower)
    observe(tower, random_pixels(2))
    hook.remove()
    observe(tower, random_pixels(2))
    with pytest.raises(Exception, match=r"size|shape|match"):
        observe(tower, torch.zeros(2, 3, 57, 99))
    assert_unchanged(with_hook, during[0])
    assert_unchanged(before, contents(tower))


def test_an_observation_leaves_no_references(tower):
    gc.collect()
    gc.disable()
    try:
        alive = []
        hook = tower.register_forward_pre_hook(lambda view, _: alive.append(weakref.ref(view)))
        observe(tower, random_pixels(2))
        hook.remove()
        assert [view() for view in alive] == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize("asked", ["output_hidden_states", "output_attentions"])
def test_output_settings_of_the_config_leave_no_hooks(tower, asked):
    tower.set_attn_implementation("eager")
    expected, before = observe(tower, random_pixels(2)), hooks_of(tower)
    setattr(tower.config, asked, True)
    assert_equal(observe(tower, random_pixels(2)), expected)
    assert hooks_of(tower) == before
    assert getattr(tower.config, asked) is True


class Counting(ModelHook):
    """accelerate's kind of hook: it puts a ``forward`` of its own on a module."""

    def __init__(self):
        self.calls = Counter()

    def pre_forward(self, module, *args, **kwargs):
        self.calls["before"] += 1
        return args, kwargs

    def post_forward(self, module, output):
        self.calls["behind"] += 1
        return output


def test_accelerates_hooks_are_called_on_modules_that_run_only(tower):
    expected = observe(tower, random_pixels(2))
    hooks = {name: Counting() for name, _ in tower.named_modules()}
    for name, module in dict(tower.named_modules()).items():
        add_hook_to_module(module, hooks[name])
    before = contents(tower)
    assert_equal(observe(tower, random_pixels(2)), expected)
    assert_unchanged(before, contents(tower))
    called = {name for name, hook in hooks.items() if hook.calls == {"before": 1, "behind": 1}}
    assert {"", "encoder", "pre_layrnorm", "encoder.layers.2", "encoder.layers.2.self_attn.q_proj"} <= called
    assert not [name for name in called if name.startswith(("encoder.layers.3", "post_layernorm"))]
    assert_equal(of_the_whole_tower(tower, random_pixels(2)), expected)


def test_outputs_that_other_hooks_replace_are_observed(tower):
    layer = tower.encoder.layers[-2]
    plain = observe(tower, random_pixels(2))
    for module in (layer, layer.self_attn.k_proj):
        module.register_forward_hook(lambda _, __, output: 2 * output)
    changed = observe(tower, random_pixels(2))
    assert_equal(changed, of_the_whole_tower(tower, random_pixels(2)))
    assert changed.keys.equal(2 * plain.keys)


def test_a_tap_records_an_observation_inside_its_block(tower):
    with tap(tower) as seen:
        within = observe(tower, random_pixels(2))
    assert_equal(seen.features(), within)


def test_a_forward_bound_to_the_tower_is_bound_to_its_view():
    tower, calls = random_tower(), []

    def counted(self, *args, **kwargs):
        calls.append(self)
        return type(self).forward(self, *args, **kwargs)

    tower.forward = types.MethodType(counted, tower)
    assert_equal(observe(tower, random_pixels(1)), observe(random_tower(), random_pixels(1)))
    assert len(calls) == 1
    assert calls[0] is not tower


def test_a_tower_whose_forward_runs_other_modules_is_refused():
    tower = random_tower()
    forward = tower.forward

    def behind_a_wrapper(pixels):
        return forward(pixels)

    tower.forward = behind_a_wrapper
    with pytest.raises(BadArgument, match="did not run the observed layer"):
        observe(tower, random_pixels(1))
    assert_equal(of_the_whole_tower(tower, random_pixels(1)), observe(random_tower(), random_pixels(1)))
    wrapped = torch.compile(random_tower(), backend="eager")
    with pytest.raises(BadArgument, match="OptimizedModule"):
        observe(wrapped, random_pixels(1))


@pytest.mark.parametrize("as_keyword", [True, False])
def test_the_grid_of_frames_that_are_not_square(as_keyword):
    tower, pixels = random_tower(), torch.randn(2, 3, 56, 84)
    with torch.no_grad(), tap(tower) as seen:
        if as_keyword:
            tower(pixel_values=pixels, interpolate_pos_encoding=True)
        else:
            tower(pixels, interpolate_pos_encoding=True)
    assert seen.features().grid == (4, 6)


def test_a_tower_without_cls_is_refused():
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    tower = SiglipVisionModel(SiglipVisionConfig(**sizes, image_size=56, patch_size=14))
    for watch in OBSERVERS.values():
        with pytest.raises(BadArgument, match="SiglipVisionModel has no class embedding"):
            watch(tower, random_pixels(1))


def test_an_unknown_layer_or_another_kind_of_module_is_refused():
    with pytest.raises(BadArgument, match="4 layers; give -4 to 3"):
        observe(random_tower(), random_pixels(1), layer=4)
    with pytest.raises(BadArgument, match=r"Linear has no encoder\.layers"):
        observe(torch.nn.Linear(2, 2), random_pixels(1))
    with tap(random_tower()) as seen, pytest.raises(BadArgument):
        seen.features()
