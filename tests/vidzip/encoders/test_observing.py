from __future__ import annotations

import threading

import pytest
import torch
from towers import random_pixels, random_tower

from vidzip import observe
from vidzip.encoders import tap
from vidzip.errors import BadArgument


def hooks_of(tower):
    return sum(
        len(hooks)
        for module in tower.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._forward_hooks_always_called)
    )


def assert_same(one, other, tolerance=1e-5):
    torch.testing.assert_close(one.hidden, other.hidden, rtol=0, atol=tolerance)
    torch.testing.assert_close(one.keys, other.keys, rtol=0, atol=tolerance)
    torch.testing.assert_close(one.attention, other.attention, rtol=0, atol=tolerance)


@pytest.mark.parametrize("layer", [-2, -1, -4, 0, 2])
def test_sees_what_eager_attention_would_return(layer):
    pixels = random_pixels(3)
    with torch.no_grad():
        eager = random_tower(attention="eager")(pixels, output_attentions=True, output_hidden_states=True)
    seen = observe(random_tower(), pixels, layer)
    number = layer % 4
    torch.testing.assert_close(seen.hidden, eager.hidden_states[number + 1], rtol=0, atol=1e-5)
    torch.testing.assert_close(seen.attention, eager.attentions[number][:, :, 0].sum(1), rtol=0, atol=1e-5)


def test_keys_are_the_projection_averaged_over_heads():
    tower, pixels = random_tower(), random_pixels(2)
    with torch.no_grad():
        states = tower(pixels, output_hidden_states=True).hidden_states
        layer = tower.encoder.layers[-2]
        keys = layer.self_attn.k_proj(layer.layer_norm1(states[-3]))
    expected = torch.stack([keys[..., head * 8 : (head + 1) * 8] for head in range(4)]).mean(0)
    torch.testing.assert_close(observe(tower, pixels).keys, expected, rtol=0, atol=1e-5)


def test_shapes_and_no_gradients():
    seen = observe(random_tower(), random_pixels(3))
    assert seen.hidden.shape == (3, 17, 32)
    assert seen.keys.shape == (3, 17, 8)
    assert seen.attention.shape == (3, 17)
    assert not seen.hidden.requires_grad


def test_attention_sums_to_the_number_of_heads():
    totals = observe(random_tower(), random_pixels(3)).attention.sum(1)
    torch.testing.assert_close(totals, torch.full((3,), 4.0))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision_stays_close(dtype, tolerance):
    # Stated tolerance, relative to the largest value: 10 % in bfloat16, 2 % in float16, through four random layers.
    pixels = random_pixels(2)
    exact = observe(random_tower(), pixels)
    half = observe(random_tower().to(dtype), pixels.to(dtype))
    assert half.hidden.dtype is dtype
    assert half.attention.dtype is half.keys.dtype is torch.float32
    for name in ("hidden", "keys", "attention"):
        wanted, got = getattr(exact, name), getattr(half, name).float()
        assert (got - wanted).abs().max() <= tolerance * wanted.abs().max()


def test_hooks_are_gone_after_success_and_after_failure():
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


def test_a_failed_call_does_not_blind_the_tap():
    tower = random_tower()
    with torch.no_grad(), tap(tower) as seen:
        with pytest.raises(Exception, match=r"size|shape|match"):
            tower(torch.zeros(1, 3, 57, 99))
        tower(random_pixels(2))
    assert_same(seen.features(), observe(tower, random_pixels(2)))


def test_what_a_failed_call_saw_is_not_mixed_with_another_calls():
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


def test_a_strangers_hook_that_fails_first_does_not_blind_the_tap():
    tower = random_tower()

    def fail(*_):
        raise RuntimeError("broken")

    with torch.no_grad(), tap(tower) as seen:
        stranger = tower.register_forward_pre_hook(fail, prepend=True)
        with pytest.raises(RuntimeError, match="broken"):
            tower(random_pixels(1))
        stranger.remove()
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
def test_a_call_inside_a_call_is_kept_apart(inner_is_observed):
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


def test_what_is_no_such_layer_or_tower_is_refused():
    with pytest.raises(BadArgument, match="has 4 layers; give -4 to 3"):
        observe(random_tower(), random_pixels(1), layer=4)
    with pytest.raises(BadArgument, match=r"Linear has no encoder\.layers"):
        observe(torch.nn.Linear(2, 2), random_pixels(1))
    with tap(random_tower()) as seen, pytest.raises(BadArgument, match="call it inside"):
        seen.features()
