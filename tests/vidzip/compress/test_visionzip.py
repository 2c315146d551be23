from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from observers import OBSERVERS
from plain_visionzip import plain_visionzip
from safetensors.torch import load_file
from towers import features_of_tokens, mapped, ragged_counts, random_features, random_pixels, random_tower, sources
from transformers import CLIPVisionModel

from vidzip import VisionFeatures, observe, token_split
from vidzip.compress import visionzip
from vidzip.errors import BadArgument

GOLDEN_SETTINGS = [(14, 3), (15, 2), (16, 1), (7, 1), (54, 10), (108, 20), (191, 30)]


def case() -> VisionFeatures:
    """One frame of CLS and five patches, small enough to work by hand."""
    tokens = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [2.0, 0.0], [4.0, 0.0], [0.0, 6.0], [0.0, 8.0]]])
    keys = torch.tensor([[[1.0, 1.0], [1.0, 0.0], [1.0, 1.0], [3.0, 0.1], [0.0, 2.0], [0.1, 1.0]]])
    scores = torch.tensor([[0.9, 0.1, 0.8, 0.2, 0.1, 0.3]])
    return features_of_tokens(tokens, keys, scores)


def test_a_case_worked_by_hand():
    # CLS and patch 2 (0.8) stay. 1, 3, 4, 5 are left: N = 4, step 2, targets 1 and 4.
    # 3 points along 1, 5 along 4: 1 + 3 and 4 + 5.
    zipped = visionzip(case(), dominant=2, contextual=2)
    assert zipped.anchor_of.tolist() == [0, 2, 1, 4]
    assert sources(zipped) == [[0, 2, 1, 2, 3, 3]]
    assert zipped.tokens.tolist() == [[9.0, 9.0], [2.0, 0.0], [5.0, 0.0], [0.0, 14.0]]
    assert zipped.frame_of.tolist() == [0, 0, 0, 0]
    mean = visionzip(case(), dominant=2, contextual=2, merge="mean")
    assert mean.tokens.tolist() == [[9.0, 9.0], [2.0, 0.0], [2.5, 0.0], [0.0, 7.0]]


@pytest.fixture(scope="module", params=OBSERVERS)
def golden_case(golden, request):
    tower = CLIPVisionModel.from_pretrained(golden / "visionzip" / "tower", attn_implementation="sdpa").eval()
    tensors = load_file(golden / "visionzip" / "golden.safetensors")
    return OBSERVERS[request.param](tower, tensors["pixel_values"]), tensors


@pytest.mark.parametrize(("dominant", "contextual"), GOLDEN_SETTINGS)
def test_equals_the_published_code(golden_case, dominant, contextual):
    features, tensors = golden_case
    zipped = visionzip(features, dominant=dominant, contextual=contextual)
    shape = (features.num_frames, dominant + contextual)
    torch.testing.assert_close(
        zipped.tokens.unflatten(0, shape), tensors[f"packed_{dominant}_{contextual}"], rtol=0, atol=1e-4
    )
    assert zipped.anchor_of.unflatten(0, shape)[:, :dominant].equal(tensors[f"indices_{dominant}_{contextual}"])


@pytest.mark.parametrize("shift", range(6))
def test_equals_the_published_code_with_settings_mixed_in_one_batch(golden_case, shift):
    features, tensors = golden_case
    frames = [(i + shift) % 6 for i in range(len(GOLDEN_SETTINGS))]
    zipped = visionzip(
        features[frames],
        dominant=[dominant for dominant, _ in GOLDEN_SETTINGS],
        contextual=[contextual for _, contextual in GOLDEN_SETTINGS],
    )
    for i, (frame, (dominant, contextual)) in enumerate(zip(frames, GOLDEN_SETTINGS, strict=True)):
        mine = zipped.frame_of == i
        torch.testing.assert_close(
            zipped.tokens[mine], tensors[f"packed_{dominant}_{contextual}"][frame], rtol=0, atol=1e-4
        )
        assert zipped.anchor_of[mine][:dominant].equal(tensors[f"indices_{dominant}_{contextual}"][frame])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("merge", ["sum", "mean"])
def test_equals_the_plain_reference_on_a_random_tower(seed, merge):
    features = observe(random_tower(seed), random_pixels(5, seed))
    dominant, contextual = [1, 4, 8, 3, 12], [0, 3, 2, 6, 4]
    zipped = visionzip(features, dominant=dominant, contextual=contextual, merge=merge)
    check_against_plain(zipped, features, list(zip(dominant, contextual, strict=True)), merge)


def check_against_plain(zipped, features, splits, merge="sum"):
    offset = 0
    for frame, (dominant, contextual) in enumerate(splits):
        plain = plain_visionzip(features, frame, dominant=dominant, contextual=contextual, merge=merge)
        mine = zipped.frame_of == frame
        torch.testing.assert_close(zipped.tokens[mine], plain.tokens, rtol=0, atol=1e-4)
        assert zipped.anchor_of[mine].tolist() == plain.anchors
        assert zipped.source_of(frame).tolist() == [-1 if at < 0 else at + offset for at in plain.source]
        offset += len(plain.anchors)
    assert zipped.tokens.shape[0] == offset


drawn_cases = st.tuples(ragged_counts, st.integers(0, 10_000), st.sampled_from(["sum", "mean"])).map(
    lambda drawn: (*drawn[0], *drawn[1:])
)


@given(drawn_cases, st.booleans())
def test_law_equals_the_plain_reference(drawn, has_cls):
    size, counts, seed, merge = drawn
    features = random_features(len(counts), size, seed, has_cls=has_cls)
    zipped = visionzip(features, counts, merge=merge)
    check_against_plain(zipped, features, [token_split(min(k, size)) for k in counts], merge)


@given(drawn_cases, st.randoms(use_true_random=False))
def test_law_permuting_frames_permutes_the_output(drawn, random):
    size, counts, seed, merge = drawn
    features = random_features(len(counts), size, seed)
    order = list(range(len(counts)))
    random.shuffle(order)
    zipped = visionzip(features, counts, merge=merge)
    shuffled = visionzip(features[order], [counts[frame] for frame in order], merge=merge)
    for place, frame in enumerate(order):
        torch.testing.assert_close(
            shuffled.tokens[shuffled.frame_of == place], zipped.tokens[zipped.frame_of == frame], rtol=0, atol=1e-5
        )


@given(drawn_cases)
def test_law_tokens_can_be_rebuilt_from_their_provenance(drawn):
    size, counts, seed, merge = drawn
    features = random_features(len(counts), size, seed)
    zipped = visionzip(features, counts, merge=merge)
    for token in range(zipped.tokens.shape[0]):
        frame, anchor = int(zipped.frame_of[token]), int(zipped.anchor_of[token])
        ended_here = (zipped.source == token).view(len(counts), size).nonzero().tolist()
        assert [frame, anchor] in ended_here
        assert all(at_frame == frame for at_frame, _ in ended_here)
        others = [features.tokens[frame, position] for _, position in ended_here if position != anchor]
        rebuilt = features.tokens[frame, anchor]
        if others and merge == "sum":
            rebuilt = rebuilt + torch.stack(others).mean(0)
        elif others:
            rebuilt = torch.stack([rebuilt, *others]).mean(0)
        torch.testing.assert_close(zipped.tokens[token], rebuilt, rtol=0, atol=1e-5)


@given(drawn_cases, st.sampled_from([torch.float16, torch.bfloat16]))
@settings(max_examples=50)
def test_law_half_precision_costs_one_rounding(drawn, dtype):
    # Choices are made and averages are taken in float32, so the result is the float32 one, rounded once.
    size, counts, seed, merge = drawn
    half = mapped(random_features(len(counts), size, seed), lambda part: part.to(dtype), ["patches", "cls"])
    widened = mapped(half, torch.Tensor.float)
    zipped = visionzip(half, counts, merge=merge)
    assert zipped.tokens.dtype is dtype
    torch.testing.assert_close(
        zipped.tokens.float(),
        visionzip(widened, counts, merge=merge).tokens,
        rtol=torch.finfo(dtype).eps,
        atol=torch.finfo(dtype).eps,
    )


def test_a_whole_frame_stays_in_raster_order():
    features = random_features(2, 9)
    for zipped in (visionzip(features, 9), visionzip(features, 400), visionzip(features, dominant=5, contextual=7)):
        assert zipped.tokens.equal(features.tokens.flatten(0, 1))
        assert sources(zipped) == [list(range(9)), list(range(9, 18))]
        assert zipped.anchor_of.tolist() == [*range(9)] * 2


def test_an_infinity_stays_where_it_is():
    features = random_features(1, 9)
    features.cls[:] = torch.inf  # CLS, which is kept
    tokens = visionzip(features, dominant=3, contextual=2).tokens
    assert tokens[0].isinf().all()
    assert tokens[1:].isfinite().all()


def test_without_contextual_tokens_the_rest_is_dropped():
    zipped = visionzip(case(), dominant=3)
    assert zipped.anchor_of.tolist() == [0, 2, 5]
    assert sources(zipped) == [[0, -1, 1, -1, -1, 2]]


def test_of_equal_scores_the_first_in_raster_order_wins():
    level = mapped(random_features(1, 9), torch.ones_like, ["scores"])
    assert visionzip(level, dominant=4).anchor_of.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (visionzip, "no token count was given"),
        (lambda f: visionzip(f, 4, dominant=3), "give one or the other"),
        (lambda f: visionzip(f, contextual=3), "no token count was given"),
        (lambda f: visionzip(f, [4]), "1 entries for 2 frames"),
        (lambda f: visionzip(f, -1), "negative"),
        (lambda f: visionzip(f, 2.5), "whole|integer"),
        (lambda f: visionzip(f, [2.5, 1]), "integer"),
        (lambda f: visionzip(f, "17"), "integer"),
        (lambda f: visionzip(f, dominant=0, contextual=2), "0 dominant and 2 contextual"),
        (lambda f: visionzip(f, torch.empty(2, device="meta")), "host integers"),
        (lambda f: visionzip(f, 4, merge="max"), "use one of sum, mean"),
    ],
)
def test_bad_arguments_say_what_to_do(call, says):
    with pytest.raises(BadArgument, match=says):
        call(random_features(2, 9))
