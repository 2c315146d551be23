from __future__ import annotations

import pytest

from pipelines.bench.settings import (
    FILE,
    PUBLISHED,
    PUBLISHED_ONE_BATCH,
    TOWER,
    UNCOMPRESSED,
    VARIANTS,
    VIDZIP,
    BenchSettings,
    Case,
    read_names,
)
from vidzip.errors import BadArgument, BudgetTooSmall


def settings(**changes):
    usual = {
        "size": "tiny",
        "variants": (UNCOMPRESSED, VIDZIP),
        "dtypes": ("float32",),
        "frames": (2, 4),
        "budgets": (20,),
    }
    return BenchSettings(**{**usual, **changes})


def test_cases_are_all_combinations_with_uncompressed_frames_once():
    cases = list(settings(budgets=(10, 20)).cases({"float32": 16}))
    ours = [
        Case(variant=VIDZIP, dtype="float32", frames=frames, tokens=tokens) for frames in (2, 4) for tokens in (10, 20)
    ]
    assert cases == [Case(variant=UNCOMPRESSED, dtype="float32", frames=8), *ours]
    both = settings(dtypes=("float32", "bfloat16"), videos=("a.mp4", "b.mp4"))
    several = list(both.cases({"float32": 16, "bfloat16": 16}))
    assert len(set(several)) == len(several) == 2 * 2 * 3
    assert list(settings(variants=(TOWER,)).cases({"float32": 1})) == [
        Case(variant=TOWER, dtype="float32", frames=frames) for frames in (2, 4)
    ]


def test_published_variants_are_not_repeated_if_all_frames_are_one_batch():
    def variants(*names):
        made = settings(variants=names, frames=(2, 4, 6)).cases({"float32": 4})
        return [(case.variant, case.frames) for case in made if case.variant == PUBLISHED_ONE_BATCH]

    assert variants(PUBLISHED, PUBLISHED_ONE_BATCH) == [(PUBLISHED_ONE_BATCH, 6)]
    assert variants(PUBLISHED_ONE_BATCH) == [
        (PUBLISHED_ONE_BATCH, 2),
        (PUBLISHED_ONE_BATCH, 4),
        (PUBLISHED_ONE_BATCH, 6),
    ]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"rounds": 0}, BadArgument, "--rounds is 0"),
        ({"batch": 0}, BadArgument, "--batch is 0"),
        ({"variants": ()}, BadArgument, "--variants"),
        ({"variants": ("magic",)}, BadArgument, "'magic'"),
        ({"variants": (FILE,)}, BadArgument, "'file'"),
        ({"variants": (FILE,), "size": "l14", "videos": ("a.mp4",)}, BadArgument, "language model"),
        ({"frames": (2, 21)}, BudgetTooSmall, "20 tokens cannot hold 21 frames"),
    ],
)
def test_invalid_settings_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        settings(**changes)


def test_frames_that_are_not_compressed_need_no_tokens():
    assert len(list(settings(variants=(TOWER,), frames=(200,)).cases({"float32": 16}))) == 1


def test_names_are_split_at_commas_and_distinct():
    assert read_names(("a,b", " c ,a", "")) == ("a", "b", "c")


def test_every_variant_has_a_description():
    assert all(VARIANTS.values())
