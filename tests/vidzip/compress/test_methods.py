"""What every method must keep to, whatever it does. A new method is a row here by being in METHODS."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from itertools import groupby
from typing import ClassVar, Literal, get_args, get_origin

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from towers import features_of_tokens, mapped, ragged_counts, random_features, sources

from vidzip import VisionFeatures, zip_frames
from vidzip.compress import METHODS, Method, ZippedFrames, describe, make_method, parse_method
from vidzip.compress.method import option
from vidzip.errors import BadArgument
from vidzip.planner import split_evenly


def variants():
    """Every method with its defaults, and with each other value of its boolean and literal options."""
    for name, kind in METHODS.items():
        yield name, {}
        for one in kind.options():
            others = (
                (True, False) if one.kind is bool else get_args(one.kind) if get_origin(one.kind) is Literal else ()
            )
            yield from ((name, {one.name: value}) for value in others if value != one.default)


VARIANTS = [make_method(name, options) for name, options in variants()]
ANY_BUDGET = [method for method in VARIANTS if method.takes_any_budget]
every_method = pytest.mark.parametrize(
    "method", [make_method(name) for name, kind in METHODS.items() if kind.takes_any_budget], ids=describe
)
every_variant = pytest.mark.parametrize("method", VARIANTS, ids=describe)
every_budget = pytest.mark.parametrize("method", ANY_BUDGET, ids=describe)
within_frames = pytest.mark.parametrize("method", [one for one in VARIANTS if not one.is_across_frames], ids=describe)

seeds = st.integers(0, 10_000)
has_cls = st.booleans()

budgets = st.tuples(st.integers(1, 9), st.integers(2, 24)).flatmap(
    lambda shape: st.tuples(st.just(shape[0]), st.just(shape[1]), st.integers(1, shape[0] * shape[1]))
)
"""F frames of S tokens, and a budget from 1 to F * S."""


def check(zipped, method, counts, features):
    """Check that it keeps the counts, or their sum, and that positions and sources are consistent."""
    frames, size = features.num_frames, features.tokens_per_frame
    spent = torch.bincount(zipped.frame_of, minlength=frames).tolist()
    assert sum(spent) == sum(counts) == len(zipped.tokens)
    assert method.is_across_frames or spent == counts
    assert max(spent) <= size
    assert zipped.anchor_of.shape == zipped.frame_of.shape == (sum(counts),)
    assert (zipped.grids, zipped.has_cls) == (features.grids, features.has_cls)
    assert zipped.source.shape == (frames * size,)
    assert zipped.source[zipped.frame_of * size + zipped.anchor_of].tolist() == list(range(sum(counts)))
    assert zipped.source.min() >= -1
    assert zipped.source.max() < max(1, sum(counts))
    assert zipped.frame_of.tolist() == sorted(zipped.frame_of.tolist())


@every_budget
@given(ragged_counts, seeds, has_cls)
def test_law_exactly_the_tokens_asked_for(method, drawn, seed, has_cls):
    size, counts = drawn
    features = random_features(len(counts), size, seed, has_cls=has_cls)
    check(zip_frames(features, counts, method), method, [min(k, size) for k in counts], features)


@every_budget
@given(budgets, seeds, has_cls)
def test_law_exactly_the_budget(method, drawn, seed, has_cls):
    frames, size, total = drawn
    features = random_features(frames, size, seed, has_cls=has_cls)
    check(zip_frames(features, total_tokens=total, method=method), method, split_evenly(total, frames), features)


@every_budget
@given(budgets, has_cls)
def test_law_exactly_the_budget_if_all_tokens_are_equal(method, drawn, has_cls):
    frames, size, total = drawn
    names = ("patches", "scores", "keys", *(("cls",) if has_cls else ()))
    features = mapped(random_features(frames, size, has_cls=has_cls), torch.ones_like, names)
    check(zip_frames(features, total_tokens=total, method=method), method, split_evenly(total, frames), features)


@every_method
@given(budgets, seeds)
def test_law_the_same_input_gives_the_same_bits(method, drawn, seed):
    frames, size, total = drawn
    features = random_features(frames, size, seed)
    first, second = (zip_frames(features, total_tokens=total, method=method) for _ in range(2))
    for name in ("tokens", "frame_of", "anchor_of", "source"):
        assert getattr(first, name).equal(getattr(second, name))


@every_method
@given(drawn=budgets, seed=seeds, dtype=st.sampled_from([torch.float16, torch.bfloat16]))
def test_law_half_precision_chooses_what_float32_chooses(method, dtype, drawn, seed):
    frames, size, total = drawn
    half = mapped(random_features(frames, size, seed), lambda part: part.to(dtype))
    widened = mapped(half, torch.Tensor.float)
    narrow, wide = (zip_frames(features, total_tokens=total, method=method) for features in (half, widened))
    assert narrow.tokens.dtype is dtype
    for name in ("frame_of", "anchor_of", "source"):
        assert getattr(narrow, name).equal(getattr(wide, name))
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(narrow.tokens.float(), wide.tokens, rtol=eps, atol=eps)


@within_frames
@given(ragged_counts, seeds, has_cls)
def test_law_each_frame_is_compressed_as_if_alone(method, drawn, seed, has_cls):
    size, counts = drawn
    if not method.takes_any_budget:
        counts = [size * (count % 2) for count in counts]
    features = random_features(len(counts), size, seed, has_cls=has_cls)
    together = zip_frames(features, counts, method)
    for frame, count in enumerate(counts):
        if frame and "random" in describe(method):
            break  # whose numbers continue from frame to frame
        alone = zip_frames(features[[frame]], count, method)
        mine = together.frame_of == frame
        torch.testing.assert_close(together.tokens[mine], alone.tokens, rtol=0, atol=1e-5)
        assert together.anchor_of[mine].equal(alone.anchor_of)
        first = int((together.frame_of < frame).sum())
        assert together.source_of(frame).tolist() == [at + first if at >= 0 else -1 for at in alone.source.tolist()]


grids = st.tuples(st.integers(1, 5), st.integers(1, 6))
runs = st.lists(st.tuples(st.integers(1, 3), grids), min_size=1, max_size=4)
"""Numbers of consecutive frames and their grids."""


def features_of_runs(drawn, has_cls):
    return [
        random_features(frames, rows * columns + has_cls, seed, grid=(rows, columns), has_cls=has_cls)
        for seed, (frames, (rows, columns)) in enumerate(drawn)
    ]


@pytest.mark.parametrize("method", [one for one in ANY_BUDGET if not one.is_across_frames], ids=describe)
@given(runs, has_cls, st.data())
def test_law_runs_of_different_grids_are_compressed_one_by_one(method, drawn, has_cls, data):
    parts = features_of_runs(drawn, has_cls)
    counts = [data.draw(st.integers(0, run.tokens_per_frame + 2)) for run in parts for _ in range(run.num_frames)]
    zipped = zip_frames(parts, counts, method)
    assert zipped.grids == tuple(grid for run in parts for grid in run.grids)
    assert len(zipped.source) == sum(run.tokens_per_frame * run.num_frames for run in parts)
    first_frame = 0
    for _, group in groupby(parts, key=lambda run: run.grid):
        run = VisionFeatures.cat(list(group))
        alone = zip_frames(run, counts[first_frame : first_frame + run.num_frames], method)
        mine = (zipped.frame_of >= first_frame) & (zipped.frame_of < first_frame + run.num_frames)
        assert zipped.tokens[mine].equal(alone.tokens)
        assert (zipped.frame_of[mine] - first_frame).equal(alone.frame_of)
        assert zipped.anchor_of[mine].equal(alone.anchor_of)
        first_token = int((zipped.frame_of < first_frame).sum())
        for frame in range(run.num_frames):
            expected = [token + first_token if token >= 0 else -1 for token in alone.source_of(frame).tolist()]
            assert zipped.source_of(first_frame + frame).tolist() == expected
        first_frame += run.num_frames


@given(runs, has_cls, st.integers(1, 300))
def test_law_runs_of_different_grids_share_a_budget_by_their_size(drawn, has_cls, total):
    parts = features_of_runs(drawn, has_cls)
    sizes = [run.tokens_per_frame for run in parts for _ in range(run.num_frames)]
    spent = torch.bincount(zip_frames(parts, total_tokens=total).frame_of, minlength=len(sizes)).tolist()
    assert sum(spent) == min(total, sum(sizes))
    for count, size in zip(spent, sizes, strict=True):
        assert count <= size
        assert abs(count - size * min(1, total / sum(sizes))) < 1


@pytest.mark.parametrize("method", [one for one in ANY_BUDGET if one.is_across_frames], ids=describe)
def test_methods_across_frames_take_runs_of_one_grid_only(method):
    features = random_features(5, 13)
    joined, whole = (zip_frames(given, 4, method) for given in ([features[:2], features[2:]], features))
    assert joined.tokens.equal(whole.tokens)
    assert joined.source.equal(whole.source)
    with pytest.raises(BadArgument, match="3 x 4, 4 x 3"):
        zip_frames([features, replace(features, grid=(4, 3))], 4, method)


def test_runs_of_different_towers_or_none_are_refused():
    with pytest.raises(BadArgument):
        zip_frames([random_features(1, 13), random_features(1, 12, has_cls=False, grid=(2, 6))], 4)
    with pytest.raises(BadArgument):
        zip_frames([random_features(1, 13), random_features(1, 7, dim=5)], 4)
    with pytest.raises(BadArgument):
        zip_frames([], 4)


@every_budget
def test_a_method_that_keeps_cls_says_so(method):
    features = random_features(3, 13)
    options = {"cls_share": 1.0} if "cls_share" in {one.name for one in method.options()} else {}
    keeping = replace(method, **options)
    kept = zip_frames(features, 4, keeping).anchor_of.eq(0).sum()
    assert kept == (3 if type(method).keeps_cls and getattr(method, "keep_cls", True) else 0)


@every_method
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tokens_keep_the_dtype_of_the_features(method, dtype):
    cast = mapped(random_features(3, 20), lambda part: part.to(dtype), ["patches", "cls"])
    assert zip_frames(cast, 5, method).tokens.dtype is dtype


@every_budget
@pytest.mark.parametrize("counts", [[3, 0, 20, 9], [5, 5, 5, 5], [1, 0, 0, 0], [20, 20, 20, 20]])
def test_no_shape_depends_on_values(method, counts):
    # Fake tensors have no values: reading one, for which a host would wait for its GPU, raises.
    with FakeTensorMode():
        features = features_of_tokens(torch.empty(4, 20, 8), torch.empty(4, 20, 4), torch.empty(4, 20))
        assert zip_frames(features, counts, method).tokens.shape == (sum(counts), 8)


@every_variant
def test_a_budget_of_all_tokens_leaves_frames_unchanged(method):
    features = random_features(3, 9)
    for counts in ({"tokens_per_frame": 9}, {"tokens_per_frame": [400, 9, 10]}, {"total_tokens": 27}):
        zipped = zip_frames(features, method=method, **counts)
        assert zipped.tokens.equal(features.tokens.flatten(0, 1))
        assert sources(zipped) == [list(range(first, first + 9)) for first in (0, 9, 18)]
    assert len(zip_frames(features, 0, method).tokens) == 0


@within_frames
def test_frames_with_all_tokens_are_unchanged_and_frames_with_none_are_dropped(method):
    features = random_features(3, 9)
    zipped = zip_frames(features, [0, 9, 400], method)
    assert zipped.tokens.equal(features.tokens[1:].flatten(0, 1))
    assert sources(zipped) == [[-1] * 9, list(range(9)), list(range(9, 18))]


@every_variant
def test_no_frames(method):
    zipped = zip_frames(random_features(0, 9), method=method)
    assert zipped.tokens.shape == (0, 12)
    assert zipped.source.shape == (0,)


@every_budget
def test_autocast_has_no_effect(method):
    features = random_features(4, 30)
    plainly = zip_frames(features, 12, method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = zip_frames(features, 12, method)
    assert cast.tokens.equal(plainly.tokens)
    assert cast.source.equal(plainly.source)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *((name, "patience", 1) for name in METHODS),
        ("fastvid", "pooled", 1.2),
        ("fastvid", "segments", 0),
        ("fastvid", "threshold", -2.0),
        ("fastvid", "every", 0),
        ("fastvid", "neighbours", 0),
        ("fastvid", "anchor_weight", -0.1),
        ("flashvid", "diverse", -0.1),
        ("flashvid", "threshold", 2.0),
        ("flashvid", "segments", 0),
        ("flashvid", "segment_threshold", 1.1),
        ("flashvid", "neighbours", 0),
        ("holitom", "threshold", 1.5),
        ("coverage", "pool", 0),
        ("coverage", "cls_share", 1.5),
        ("facility-location", "pool", 0),
        ("unified-st", "threshold", -1.5),
        ("unified-st", "refilled", 1.5),
        ("unified-st", "neighbours", 0),
        ("unified-st", "pool", 0),
        ("random", "seed", -1),
        ("visionzip-adaptive", "temperature", 0.0),
        ("visionzip-adaptive", "min_tokens", -1),
        ("visionzip", "merge", 1),
        ("random", "seed", True),
        ("random", "seed", "1"),
        ("random", "keep_cls", 1),
        ("visionzip-adaptive", "temperature", "hot"),
        ("visionzip-adaptive", "temperature", 10**400),
    ],
)
def test_options_out_of_range_or_unknown_are_refused(name, option, value):
    with pytest.raises(BadArgument, match=f"{name}.*{option}"):
        make_method(name, {option: value})


@pytest.mark.parametrize("kind", METHODS.values(), ids=METHODS)
def test_methods_and_options_are_documented(kind):
    assert kind.summary
    assert kind.origin
    assert "\n" not in kind.summary + kind.origin
    for one in kind.options():
        assert one.explanation
        assert one.takes
        assert one.check(one.default) == one.default
        if not isinstance(one.default, str):
            with pytest.raises(BadArgument, match=f"{one.name} is 'perhaps'"):
                one.parse("perhaps")
        assert one.parse(str(one.default)) == one.default


# Counts.


def test_a_total_is_split_evenly():
    features = random_features(5, 9)
    for total, counts in ((5, [1] * 5), (7, [1, 1, 2, 1, 2]), (2, [0, 0, 1, 0, 1]), (1, [0, 0, 0, 0, 1])):
        assert torch.bincount(zip_frames(features, total_tokens=total).frame_of, minlength=5).tolist() == counts
    assert len(zip_frames(features, total_tokens=1000).tokens) == 45


def test_the_default_budget():
    assert len(zip_frames(random_features(8, 257)).tokens) == 136
    assert len(zip_frames(random_features(3, 9)).tokens) == 27


@pytest.mark.parametrize(
    ("counts", "named"),
    [
        ({"tokens_per_frame": 4, "total_tokens": 8}, "total_tokens"),
        ({"total_tokens": 0}, "total_tokens is 0"),
        ({"total_tokens": -3}, "total_tokens is -3"),
        ({"total_tokens": 2.5}, "total_tokens is 2.5"),
        ({"tokens_per_frame": [4]}, "1 entries for 2 frames"),
        ({"tokens_per_frame": -1}, "-1"),
        ({"tokens_per_frame": "17"}, "'17'"),
        ({"tokens_per_frame": 1.5}, "1.5"),
        ({"tokens_per_frame": torch.empty(2, device="meta")}, "meta"),
    ],
)
def test_impossible_counts_are_refused(counts, named):
    with pytest.raises(BadArgument, match=named):
        zip_frames(random_features(2, 9), **counts)


def test_counts_may_be_a_host_tensor():
    assert zip_frames(random_features(2, 9), torch.tensor([2, 0])).frame_of.tolist() == [0, 0]


# Making methods.


def test_a_method_may_be_given_with_its_options():
    features = random_features(2, 20)
    given = zip_frames(features, 8, make_method("visionzip", {"merge": "mean"}))
    named = zip_frames(features, 8, "visionzip", merge="mean")
    assert given.tokens.equal(named.tokens)
    assert not given.tokens.equal(zip_frames(features, 8).tokens)


def test_a_method_without_a_name():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class First(Method):
        summary: ClassVar[str] = "the first tokens"
        origin: ClassVar[str] = "this test"
        unused: int = option(0, "nothing")

        def compress(self, features, counts):
            assert counts == [3, 2]
            return ZippedFrames(
                tokens=features.tokens[0, :5],
                frame_of=torch.tensor([0, 0, 0, 1, 1]),
                anchor_of=torch.arange(5),
                source=torch.full((18,), -1),
                grids=features.grids,
                has_cls=True,
            )

    assert len(zip_frames(random_features(2, 9), [3, 2], First(unused=2)).tokens) == 5
    assert describe(First(unused=2)) == "First(unused=2)"


def test_a_method_is_described_with_its_changed_options():
    assert describe(make_method("visionzip")) == describe(make_method("visionzip", {"merge": "sum"})) == "visionzip"
    assert describe(make_method("visionzip", {"merge": "mean"})) == "visionzip(merge=mean)"
    random = make_method("random", {"keep_cls": False, "seed": 3})
    assert describe(random) == "random(seed=3, keep_cls=False)"
    assert random.changed_options() == {"seed": 3, "keep_cls": False}


@pytest.mark.parametrize(
    ("name", "texts", "options"),
    [
        ("visionzip", {}, {}),
        ("visionzip", {"merge": "mean"}, {"merge": "mean"}),
        ("random", {"seed": "3", "keep_cls": "false"}, {"seed": 3, "keep_cls": False}),
        ("attention", {"keep_cls": "False"}, {"keep_cls": False}),
        ("visionzip-adaptive", {"temperature": "1e-1", "min_tokens": "2"}, {"temperature": 0.1, "min_tokens": 2}),
    ],
)
def test_options_are_parsed(name, texts, options):
    assert parse_method(name, texts).changed_options() == options


@pytest.mark.parametrize(
    ("name", "texts", "named"),
    [
        ("magic", {}, "'magic'; use one of visionzip, "),
        ("visionzip", {"merge": "max"}, "visionzip: merge is 'max'; it takes sum or mean"),
        ("visionzip", {"seed": "1"}, r"'seed'; it takes merge \(sum or mean\)"),
        ("stride", {"seed": "1"}, "'seed'; it takes none"),
        ("random", {"seed": "1.5"}, "random: seed is '1.5'"),
        ("random", {"keep_cls": "1"}, "random: keep_cls is '1'; it takes true or false"),
        ("visionzip-adaptive", {"temperature": "nan"}, "temperature is 'nan'"),
        ("visionzip-adaptive", {"temperature": "inf"}, "temperature is 'inf'"),
    ],
)
def test_text_that_cannot_be_parsed_is_refused(name, texts, named):
    with pytest.raises(BadArgument, match=named):
        parse_method(name, texts)


def test_options_beside_a_method_are_refused():
    with pytest.raises(BadArgument, match=r"visionzip .*'merge'"):
        zip_frames(random_features(2, 9), 4, make_method("visionzip"), merge="mean")


def test_an_option_may_be_none():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Limited(Method):
        summary: ClassVar[str] = "nothing"
        origin: ClassVar[str] = "this test"
        limit: int | None = option(None, "a limit, or none")

        def compress(self, features, counts):
            raise NotImplementedError

    (limit,) = Limited.options()
    assert limit.takes == "a whole number or none"
    assert [limit.parse("None"), limit.parse("12")] == [None, 12]
    with pytest.raises(BadArgument, match=r"limited: limit is '1\.5'; it takes a whole number or none"):
        Limited.from_options("limited", {"limit": "1.5"}, is_text=True)


def test_without_compression_frames_are_whole_or_dropped():
    features = random_features(2, 9)
    with pytest.raises(BadArgument, match=r"9 tokens.* given 4.* 18 for 2"):
        zip_frames(features, [9, 4], "none")
    assert zip_frames(features, [0, 9], "none").tokens.equal(features.tokens[1])
