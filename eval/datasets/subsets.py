"""Parts of a question set on which results are published."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eval.datasets.samples import DatasetError, Sample


def subset(samples: Sequence[Sample], name: str, *, or_fewer: bool = False) -> list[Sample]:
    """Take the first rows of a set, such as the first 1,000 for ``first1000``.

    Args:
        samples: all of a set, in file order, as :func:`eval.datasets.load` returns them.
        name: ``first`` and a number of 1 or more.
        or_fewer: take all if there are fewer, for checks of a set that is known to be broken.

    Raises:
        DatasetError: the name has another form, or there are fewer rows (without ``or_fewer``).
    """
    match = re.fullmatch(r"first([1-9][0-9]{0,8})", name)
    if match is None:
        raise DatasetError(f"unknown subset {name!r}", hint="use 'first' and a number, such as first1000")
    count = int(match[1])
    if count > len(samples) and not or_fewer:
        raise DatasetError(
            f"the subset {name} needs {count:,} questions, and there are {len(samples):,}",
            hint=f"use first{len(samples)}, or no subset" if samples else "give a set that has questions",
        )
    return list(samples[:count])
