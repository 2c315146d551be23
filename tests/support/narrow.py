"""The full-size model made narrow, so that a test can run it: all its layers, small widths."""

from __future__ import annotations

from collections.abc import Callable

from vidzip.models import full_size


def make_narrow(set_attribute: Callable[[object, str, object], None] = setattr) -> None:
    """Make what is built from now on narrow, until a ``monkeypatch.setattr`` that is given undoes it."""
    widths = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    set_attribute(full_size, "_TOWER", {**full_size._TOWER, **widths})
    set_attribute(full_size, "_VICUNA", {**full_size._VICUNA, **widths, "num_key_value_heads": 4})
