"""Parts of a question set that results are published on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eval.datasets.sample import DatasetError, Sample


def subset(samples: Sequence[Sample], name: str, *, or_fewer: bool = False) -> list[Sample]:
    """Take a part of a set: ``first1000`` is its first 1,000 rows, and so is any other number.

    Args:
        samples: all of a set, in file order, as :func:`eval.datasets.load` returns them.
        name: ``first`` and a number of 1 or more.
        or_fewer: take all where there are fewer, for a look at a set that is known to be broken.

    Raises:
        DatasetError: another name, or more rows than there are unless fewer will do.
    """
    told = re.fullmatch(r"first([1-9][0-9]{0,8})", name)
    if told is None:
        raise DatasetError(f"there is no subset {name!r}", hint="use 'first' and a number, such as first1000")
    count = int(told[1])
    if count > len(samples) and not or_fewer:
        raise DatasetError(
            f"the subset {name} needs {count:,} questions, and there are {len(samples):,}",
            hint=f"use first{len(samples)}, or no subset" if samples else "give a set that holds some",
        )
    return list(samples[:count])
