"""``vidzip calibrate``: measures what this machine takes for a model's stages, and keeps it for the planner."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

import vidzip
from pipelines.options import device_option, dtype_option, output_options
from pipelines.settings import DEFAULT_MODEL
from pipelines.terminal import print_line, print_message, print_table, progress_bar

if TYPE_CHECKING:
    from vidzip.calibration import Calibration

_PREDICTS = "vidzip plan predicts from it what this model costs on this machine"

_UNITS = {
    "runs": "once",
    "frames": "a frame",
    "megapixels": "a megapixel of it",
    "tokens": "a token",
    "pairs": "a token that attends to another",
    "files": "a file",
    "groups": "a jump to a keyframe",
    "taken frames": "a frame that is taken",
    "taken megapixels": "a megapixel of it",
}
"""What rates are for, in words; those of codecs are put together."""


@click.command(name="calibrate")
@click.option("--model", metavar="NAME", help=f"Built-in name, folder or hub id.  [default: {DEFAULT_MODEL}]")
@device_option
@dtype_option
@click.option("--quick", is_flag=True, help="Measure less, and each only once: a third of the time, larger errors.")
@output_options
def calibrate_command(*, model: str | None, device: str, dtype: str, quick: bool, as_json: bool) -> None:
    """Measure this machine, for predictions of what plans cost.

    It takes about a minute with a small model: decoding of videos that it writes for this, and every stage of the model,
    in turns. What comes of it is kept in your cache folder, for this model, device, precision and these versions of
    libraries; what else the machine does meanwhile makes it worse.
    """
    from vidzip.calibration import store
    from vidzip.models.calibrating import calibrate

    name = model if model is not None else DEFAULT_MODEL
    with progress_bar() as show:
        show(f"load {name}", 0, 1)
        loaded = vidzip.load(name, device=device, dtype=dtype)
        done = calibrate(loaded, asked_device=device, asked_dtype=dtype, quick=quick, on_progress=show)
    file = store(done)
    if model is None:
        print_message("note", f"no --model was named: {DEFAULT_MODEL} was measured")
    if as_json:
        click.echo(json.dumps(record(done, file)))
        return
    print_line(f"{name} on {done.costs.device}, {done.costs.dtype}, measured in {done.took_seconds:.0f} s:\n")
    print_table(list(rows(done)), header=("stage", "takes", "of", "off by, nine times of ten"))
    print_line(f"\n{_overlap(done.costs.overlap)}")
    print_line(f"{file} holds it: {_PREDICTS}")


def record(done: Calibration, file: str) -> dict[str, Any]:
    """Report it as JSON takes it."""
    costs = done.costs
    return {
        "schema": "vidzip/calibrated/1",
        "model": done.model,
        "device": costs.device,
        "dtype": costs.dtype,
        "seconds_per_unit": {stage: dict(rates) for stage, rates in costs.rates.items()},
        "errors": dict(costs.errors),
        "total_error": costs.total_error,
        "overlap": costs.overlap,
        "took_seconds": round(done.took_seconds, 3),
        "file": file,
    }


def rows(done: Calibration) -> Iterator[tuple[str, str, str, str]]:
    """Rates in units for people: a row each, but that what takes no time is left out; a stage's error beside its first."""
    costs = done.costs
    for stage, rates in costs.rates.items():
        shown = list(_rates(rates)) or [("no time that could be measured", "")]
        for number, (takes, of) in enumerate(shown):
            yield ("", takes, of, "") if number else (stage, takes, of, f"{costs.errors[stage]:.0%}")
    yield "file to first token", "", "", f"{costs.total_error:.0%}"


def _rates(rates: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    for kind, unit in _UNITS.items():
        if rates.get(kind):
            yield seconds_shown(rates[kind]), unit
    codecs = [kind.removesuffix(" megabytes") for kind in rates if kind.endswith(" megabytes")]
    for codec in sorted(codecs, key=lambda codec: (codec != "h264", codec == "other", codec)):
        pixels, stored = (seconds_shown(rates[f"{codec} {unit}"]) for unit in ("megapixels", "megabytes"))
        name = "another codec" if codec == "other" else codec
        yield f"{pixels} + {stored}", f"a megapixel + a stored megabyte of {name}"


def _overlap(share: float) -> str:
    if not share:
        return "decoding and encoding hide nothing of each other"
    return f"{share:.0%} of the shorter one of decoding and encoding is hidden behind the other"


def seconds_shown(seconds: float) -> str:
    """Show a short time in three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
