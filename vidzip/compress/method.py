"""What a compression method is: a frozen dataclass whose fields are its options."""

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

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", NoneType: "none"}


def option(default: Any, explanation: str) -> Any:
    """A field of a method: its default, and a line for whoever may set it."""
    return field(default=default, metadata={"explanation": explanation})


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option of a method, as it is shown.

    Attributes:
        name: of the field.
        default: what it is where nobody sets it.
        explanation: one line.
        kind: its type: bool, int, float, a ``Literal`` of words, or one of these or None.
    """

    name: str
    default: Any
    explanation: str
    kind: Any

    @property
    def takes(self) -> str:
        """What it may be, in words."""
        words: list[str] = []
        for kind in _kinds(self.kind):
            words += get_args(kind) if get_origin(kind) is Literal else [_WORDS[kind]]
        return " or ".join(words)

    def check(self, value: Any) -> Any:
        """Give back a value of its type.

        Raises:
            BadArgument: it is of another.
        """
        if not any(_is(kind, value) for kind in _kinds(self.kind)):
            raise self.refusal(value)
        return value

    def read(self, text: str) -> Any:
        """Make a value of what was written on a command line.

        Raises:
            BadArgument: it is none.
        """
        for kind in _kinds(self.kind):
            try:
                value = _read(kind, text)
            except ValueError:
                continue
            if _is(kind, value):
                return value
        raise self.refusal(text)

    def refusal(self, value: Any) -> BadArgument:
        """Say that a value is none for it."""
        return BadArgument(f"{self.name} is {value!r}", hint=f"it takes {self.takes}")


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to spend a number of tokens on frames.

    A subclass is a frozen, keyword-only dataclass. Each of its fields is one of its options, made by :func:`option`;
    its ``__post_init__`` refuses values that its types allow with a ``BadArgument``.
    """

    summary: ClassVar[str]
    """What it does, in one line."""

    origin: ClassVar[str]
    """Where it comes from: a paper's name, venue and arXiv number, or what it is a baseline for."""

    recommended_for: ClassVar[str] = ""
    """What measurements recommend it for, in a few words; empty where they recommend another one."""

    is_across_frames: ClassVar[bool] = False
    """Whether it moves tokens from frame to frame: it then spends the sum of the counts, and not each frame its own."""

    keeps_cls: ClassVar[bool] = False
    """Whether frames keep their CLS token, if they have one, as long as the budget allows and unless the method's
    option ``keep_cls`` is false."""

    takes_any_budget: ClassVar[bool] = True
    """Whether it can spend any counts; where not, :meth:`check_counts` says which."""

    @abstractmethod
    def compress(self, features: VisionFeatures, counts: list[int]) -> ZippedFrames:
        """Keep so many tokens.

        Pure torch, batched over frames, deterministic. Shapes depend on shapes and counts alone, never on a tensor's
        values, so that no device is waited for.

        Args:
            features: F frames of S tokens each, CLS first.
            counts: tokens a frame, (F,), each in [0, S]. A method across frames keeps ``sum(counts)`` tokens in all;
                any other keeps just so many of each frame.

        Returns:
            The kept tokens, frame by frame in order; every one of them stands on a source token that ended in it.
        """

    def check_counts(self, counts: Sequence[int], size: int) -> None:  # noqa: B027 - most methods refuse none
        """Refuse counts, (F,), of frames of ``size`` tokens, that it cannot spend.

        Raises:
            BadArgument: it cannot.
        """

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """Its options, in order."""
        kinds = get_type_hints(cls)
        return tuple(
            Option(name=one.name, default=one.default, explanation=one.metadata["explanation"], kind=kinds[one.name])
            for one in fields(cls)
        )

    @classmethod
    def of(cls, name: str, options: Mapping[str, Any], *, is_text: bool = False) -> Self:
        """Make one with options.

        Args:
            name: what errors call it.
            options: values by the fields' names; the others keep their defaults.
            is_text: whether the values are as a command line has them.

        Raises:
            BadArgument: an option that it has not, or a value that is none for it.
        """
        known = {one.name: one for one in cls.options()}
        unknown = [key for key in options if key not in known]
        if unknown:
            taken = ", ".join(f"{one.name} ({one.takes})" for one in known.values())
            raise BadArgument(
                f"{name} has no option {', '.join(map(repr, unknown))}", hint=f"it takes {taken or 'none'}"
            )
        try:
            values = {
                key: known[key].read(value) if is_text else known[key].check(value) for key, value in options.items()
            }
            return cls(**values)
        except BadArgument as error:
            raise BadArgument(f"{name}: {error.message}", hint=error.hint) from error

    def changed(self) -> dict[str, Any]:
        """Its options that are not at their defaults, by their names."""
        values = {one.name: (getattr(self, one.name), one.default) for one in self.options()}
        return {name: value for name, (value, default) in values.items() if value != default}


def _kinds(kind: Any) -> tuple[Any, ...]:
    """The types of a union; of any other, itself."""
    is_one = kind in _WORDS or get_origin(kind) is Literal
    return (kind,) if is_one else get_args(kind)


def _is(kind: Any, value: Any) -> bool:
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if kind is float:
        return isinstance(value, float | int) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return type(value) is kind


def _read(kind: Any, text: str) -> Any:
    """Read a value of a type.

    Raises:
        ValueError: it is none.
    """
    if get_origin(kind) is Literal:
        return text
    if kind in (int, float):
        return kind(text)
    words = {"none": None, "true": True, "false": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]
