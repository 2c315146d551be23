"""The base class of compression methods: a frozen dataclass whose fields are the method's options."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from vidzip.compress.zipped import ZippedFrames
from vidzip.errors import BadArgument
from vidzip.features import VisionFeatures

_TYPE_NAMES = {bool: "true or false", int: "a whole number", float: "a number", NoneType: "none"}


def option(default: Any, explanation: str) -> Any:
    """Declare a field of a method as an option, with its default and a one-line explanation for users."""
    return field(default=default, metadata={"explanation": explanation})


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of a method.

    Attributes:
        name: the field's name.
        default: its default value.
        explanation: one line for users.
        kind: its type: bool, int, float, a ``Literal`` of strings, or a union of one of these and None.
    """

    name: str
    default: Any
    explanation: str
    kind: Any

    @property
    def takes(self) -> str:
        """Its allowed values, as text."""
        names: list[str] = []
        for kind in _members(self.kind):
            names += get_args(kind) if get_origin(kind) is Literal else [_TYPE_NAMES[kind]]
        return " or ".join(names)

    def check(self, value: Any) -> Any:
        """Return a value if it has the option's type.

        Raises:
            BadArgument: it does not.
        """
        if not any(_is(kind, value) for kind in _members(self.kind)):
            raise self._error(value)
        return value

    def parse(self, text: str) -> Any:
        """Parse a value from the command line.

        Raises:
            BadArgument: the text is not a value of the option's type.
        """
        for kind in _members(self.kind):
            try:
                value = _parse(kind, text)
            except ValueError:
                continue
            if _is(kind, value):
                return value
        raise self._error(text)

    def _error(self, value: Any) -> BadArgument:
        return BadArgument(f"{self.name} is {value!r}", hint=f"it takes {self.takes}")


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A compression method.

    A subclass is a frozen, keyword-only dataclass. Each of its fields is an option, declared with :func:`option`; its
    ``__post_init__`` raises ``BadArgument`` for values that the types allow but the method does not.
    """

    summary: ClassVar[str]
    """What it does, in one line that follows the method's name."""

    origin: ClassVar[str]
    """Its source: a paper's name, venue and arXiv number, or what it is a baseline for."""

    recommended_for: ClassVar[str] = ""
    """What measurements recommend it for; empty if they recommend another method."""

    is_across_frames: ClassVar[bool] = False
    """Whether it divides the sum of the counts among frames itself, and may merge tokens of different frames."""

    keeps_cls: ClassVar[bool] = False
    """Whether frames keep their CLS token, if they have one: the first of a frame's tokens that the budget pays for,
    unless an option ``keep_cls`` is false. Towers without CLS work with every method."""

    takes_any_budget: ClassVar[bool] = True
    """Whether any counts are possible; otherwise, :meth:`check_counts` refuses some."""

    @abstractmethod
    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep a number of tokens.

        Pure torch, batched over frames, deterministic. Shapes depend on shapes and counts only, never on a tensor's
        values, so that the device is not waited for.

        Args:
            features: F frames of S source tokens each.
            counts: tokens per frame, (F,), each in [0, S]. A method across frames keeps ``sum(counts)`` tokens in all,
                any other exactly ``counts[f]`` of frame f.

        Returns:
            The kept tokens, ordered by frame. The anchor of each is a source token that ended in it.
        """

    def check_counts(self, counts: Sequence[int], size: int) -> None:  # noqa: B027 - most methods refuse none
        """Refuse counts, (F,), that are not possible for frames of ``size`` source tokens.

        Raises:
            BadArgument: there is such a count.
        """

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """List the options, in order."""
        kinds = get_type_hints(cls)
        return tuple(
            Option(name=one.name, default=one.default, explanation=one.metadata["explanation"], kind=kinds[one.name])
            for one in fields(cls)
        )

    @classmethod
    def from_options(cls, name: str, options: Mapping[str, Any], *, is_text: bool = False) -> Self:
        """Make a method from options.

        Args:
            name: the method's name in errors.
            options: values by option name; other options keep their defaults.
            is_text: whether the values are text from the command line.

        Raises:
            BadArgument: an unknown option, or a value that an option does not take.
        """
        known = {one.name: one for one in cls.options()}
        unknown = [key for key in options if key not in known]
        if unknown:
            allowed = ", ".join(f"{one.name} ({one.takes})" for one in known.values())
            raise BadArgument(
                f"{name} has no option {', '.join(map(repr, unknown))}", hint=f"it takes {allowed or 'none'}"
            )
        try:
            values = {
                key: known[key].parse(value) if is_text else known[key].check(value) for key, value in options.items()
            }
            return cls(**values)
        except BadArgument as error:
            raise BadArgument(f"{name}: {error.message}", hint=error.hint) from error

    def changed_options(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, by name."""
        values = {one.name: (getattr(self, one.name), one.default) for one in self.options()}
        return {name: value for name, (value, default) in values.items() if value != default}


def check_range(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Refuse an option's value outside [low, high].

    Raises:
        BadArgument: the value is outside.
    """
    if not low <= value <= high:
        allowed = f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:g}"
        raise BadArgument(f"{name} is {value!r}", hint=f"it takes {allowed}")


def _members(kind: Any) -> tuple[Any, ...]:
    """Return the types of a union; for other types, the type itself."""
    is_single = kind in _TYPE_NAMES or get_origin(kind) is Literal
    return (kind,) if is_single else get_args(kind)


def _is(kind: Any, value: Any) -> bool:
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if kind is float:
        return isinstance(value, float | int) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return type(value) is kind


def _parse(kind: Any, text: str) -> Any:
    """Parse a value of a type; raises ValueError if the text is not one."""
    if get_origin(kind) is Literal:
        return text
    if kind in (int, float):
        return kind(text)
    words = {"none": None, "true": True, "false": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]
