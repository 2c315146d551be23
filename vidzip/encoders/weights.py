"""Check the weights of a checkpoint against those that a model needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from torch import Tensor

from vidzip.errors import BadModelFolder

_BUFFERS = ("position_ids", "inv_freq")
"""Last parts of names in older checkpoints whose values are computed, not learned."""

_MAX_NAMES = 50
"""Names that a message lists of each problem."""


def is_buffer(name: str) -> bool:
    """Whether a name in a checkpoint belongs to a computed value, not to a weight."""
    return name.rpartition(".")[2] in _BUFFERS


def check_weights(
    source: str,
    expected: Mapping[str, Tensor],
    given: Mapping[str, Tensor],
    *,
    tied: Collection[str] = (),
    hint: str = "download the whole checkpoint again",
) -> None:
    """Check that exactly the expected weights are given, by name, shape and kind.

    Args:
        source: where they come from, for the message: "in FOLDER" or "of MODULE".
        expected: the model's weights, which may be on the meta device.
        given: the checkpoint's weights.
        tied: expected names that may be missing, because they share the values of another weight.
        hint: of the error.

    Raises:
        BadModelFolder: a weight is missing, unexpected, of another shape, or not floating-point.
    """
    common = expected.keys() & given.keys()
    shapes = [(name, given[name].shape, expected[name].shape) for name in common]
    raise_for_problems(
        source,
        {
            "missing": expected.keys() - given.keys() - set(tied),
            "unexpected": given.keys() - expected.keys(),
            "mis-shaped": [shape_mismatch(*one) for one in shapes if one[1] != one[2]],
            "not floating-point": [
                f"{name} of {given[name].dtype}" for name in common if not given[name].is_floating_point()
            ],
        },
        hint,
    )


def shape_mismatch(name: str, shape: Iterable[int], expected: Iterable[int]) -> str:
    """Describe a weight of the wrong shape."""
    return f"{name} of {tuple(shape)} instead of {tuple(expected)}"


def raise_for_problems(
    source: str, problems: Mapping[str, Iterable[str]], hint: str = "download the whole checkpoint again"
) -> None:
    """Raise an error that lists weights by their problem; computed values are ignored.

    Args:
        source: as in :func:`check_weights`.
        problems: names of weights by problem.
        hint: of the error.

    Raises:
        BadModelFolder: there is a problem.
    """
    listed = []
    for problem, names in problems.items():
        weights = sorted(str(name) for name in names if not is_buffer(str(name)))
        if weights:
            shown = ", ".join(weights[:_MAX_NAMES]) + (", …" if len(weights) > _MAX_NAMES else "")
            listed.append(f"{len(weights)} {problem} weights ({shown})")
    if listed:
        raise BadModelFolder(f"the weights {source} do not fit the config: {'; '.join(listed)}", hint=hint)
