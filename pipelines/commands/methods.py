"""``vidzip methods``: compression methods and their options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from pipelines.options import output_options
from pipelines.terminal import print_line, print_table

if TYPE_CHECKING:
    from vidzip.compress import Method


@click.command(name="methods")
@click.argument("name", metavar="[NAME]", required=False)
@output_options
def command(*, name: str | None, as_json: bool) -> None:
    """List compression methods.

    With a NAME, list the options of one. 'vidzip ask', 'pack', 'chat' and 'eval' take a method with --method NAME, and
    its options with --method-option KEY=VALUE. 'vidzip eval' also takes --uncompressed and --no-video.
    """
    from vidzip.compress import METHODS, make_method

    chosen = METHODS if name is None else {name: type(make_method(name))}
    if as_json:
        for record in records(chosen):
            click.echo(json.dumps(record))
    elif name is None:
        rows = [(key, kind.summary, _scope(kind), kind.origin) for key, kind in chosen.items()]
        print_table(rows, header=("method", "what it does", "scope", "source"))
        for key, kind in chosen.items():
            if kind.recommended_for:
                print_line(f"\n{key} is recommended for {kind.recommended_for}.")
    else:
        _print_method(name, chosen[name])


def _scope(kind: type[Method]) -> str:
    return "across frames" if kind.is_across_frames else "within a frame"


def _print_method(name: str, kind: type[Method]) -> None:
    print_line(f"{name}: {kind.summary}")
    if kind.is_across_frames:
        print_line("It works across frames: the budget is exact, but the method divides it among frames itself.")
    if kind.keeps_cls:
        has_option = any(one.name == "keep_cls" for one in kind.options())
        unless = ", unless keep_cls is false" if has_option else ""
        print_line(f"It keeps the CLS tokens of frames within the budget{unless}.")
    print_line(f"Source: {kind.origin}")
    if kind.recommended_for:
        print_line(f"Recommended for {kind.recommended_for}.")
    print_line()
    rows = [(one.name, _as_typed(one.default), one.takes, one.explanation) for one in kind.options()]
    if rows:
        print_table(rows, header=("option", "default", "takes", "explanation"))
    else:
        print_line("It has no options.")


def _as_typed(default: Any) -> str:
    """Return a default as it is typed on the command line."""
    return str(default).lower() if default is None or isinstance(default, bool) else str(default)


def records(chosen: Mapping[str, type[Method]]) -> list[dict[str, Any]]:
    """Describe methods as JSON values."""
    return [
        {
            "schema": "vidzip/method/1",
            "name": name,
            "summary": kind.summary,
            "across_frames": kind.is_across_frames,
            "keeps_cls": kind.keeps_cls,
            "any_budget": kind.takes_any_budget,
            "source": kind.origin,
            "recommended_for": kind.recommended_for or None,
            "options": [
                {"name": one.name, "default": one.default, "takes": one.takes, "explanation": one.explanation}
                for one in kind.options()
            ],
        }
        for name, kind in chosen.items()
    ]
