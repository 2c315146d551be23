from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

import pytest

from vidzip.packing.rebuilding import rebuild


@dataclass(frozen=True)
class Part:
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("the size is negative")


@dataclass(frozen=True)
class Whole:
    name: str | None
    parts: tuple[Part, ...]
    kind: Literal["a", "b"] | None = "a"
    spare: Part | None = None
    costs: dict[str, float] = field(default_factory=dict)
    good: bool = True


WHOLE = Whole(name=None, parts=(Part(1), Part(2)), kind="b", spare=Part(3), costs={"x": 1 / 3, "y": 2}, good=False)


def through_json(whole: Whole) -> Mapping[str, object]:
    return json.loads(json.dumps(asdict(whole)))


def test_a_round_trip_through_json():
    again = rebuild(Whole, through_json(WHOLE), "it")
    assert again == WHOLE
    assert isinstance(again.costs["y"], float)
    assert rebuild(Whole, {"name": "n", "parts": []}, "it") == Whole(name="n", parts=())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"name": 3}, "it.name is 3, not str"),
        ({"parts": [{"size": 1}, {"size": "2"}]}, "it.parts[1].size is '2', not int"),
        ({"parts": [{"size": True}]}, "it.parts[0].size is True, not int"),
        ({"parts": [{"size": 1.0}]}, "it.parts[0].size is 1.0, not int"),
        ({"parts": [{"size": -1}]}, "the size is negative"),
        ({"parts": [7]}, "it.parts[0] is 7, not Part"),
        ({"parts": {"size": 1}}, "it.parts is {'size': 1}, not tuple[test_rebuilding.Part, ...]"),
        ({"parts": None}, "it.parts is None"),
        ({"kind": "c"}, "it.kind is 'c', not typing.Literal['a', 'b']"),
        ({"costs": {"x": "much"}}, "it.costs['x'] is 'much', not float"),
        ({"costs": {"x": float("nan")}}, "it.costs['x'] is nan, not float"),
        ({"costs": {"x": float("inf")}}, "it.costs['x'] is inf, not float"),
        ({"costs": {"x": 10**400}}, "it.costs['x'] is 1000"),
        ({"costs": {"x": True}}, "it.costs['x'] is True, not float"),
        ({"costs": []}, "it.costs is [], not dict[str, float]"),
        ({"good": 1}, "it.good is 1, not bool"),
        ({"wings": 2}, "it has the unknown fields ['wings']"),
        ({"spare": {}}, "it.spare lacks size"),
        ({"name": "long" * 1000}, ""),
    ],
)
def test_values_of_the_wrong_type_are_named(changed, named):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its words are compared below
        rebuild(Whole, through_json(WHOLE) | changed, "it") if named else rebuild(int, changed["name"], "it")
    assert named in str(caught.value).replace(f"{__name__}.", "test_rebuilding.")
    assert len(str(caught.value)) < 200
