"""Rebuild dataclasses from JSON, with type checks. Standard library only."""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def rebuild(kind: Any, value: Any, name: str) -> Any:
    """Make a value of a type from its JSON value.

    Args:
        kind: a dataclass, ``tuple[X, ...]``, ``dict[str, X]``, ``X | None``, a ``Literal``, str, int, float or bool.
        value: a result of :func:`json.loads`.
        name: its name in errors.

    Raises:
        ValueError: it has another type, is not finite, lacks a field, has an unknown one, or its dataclass refuses it.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (other,) = (one for one in inner if one is not NoneType)
        return None if value is None else rebuild(other, value, name)
    if origin is tuple and isinstance(value, list):
        return tuple(rebuild(inner[0], item, f"{name}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: rebuild(inner[1], item, f"{name}[{key!r}]") for key, item in value.items()}
    if is_dataclass(kind) and isinstance(value, dict):
        return _rebuild_fields(kind, value, name)
    if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if (origin is Literal and value in inner) or (kind in (str, int, bool) and type(value) is kind):
        return value
    raise ValueError(f"{name} is {reprlib.repr(value)}, not {kind.__name__ if isinstance(kind, type) else kind}")


def _rebuild_fields(kind: Any, values: Mapping[str, Any], name: str) -> Any:
    known = {field.name: field for field in fields(kind)}
    unknown = [key for key in values if key not in known]
    missing = [key for key, field in known.items() if key not in values and not _has_default(field)]
    if unknown or missing:
        problem = f"has the unknown fields {reprlib.repr(unknown)}" if unknown else f"lacks {', '.join(missing)}"
        raise ValueError(f"{name} {problem}")
    hints = get_type_hints(kind)
    return kind(**{key: rebuild(hints[key], value, f"{name}.{key}") for key, value in values.items()})


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING
