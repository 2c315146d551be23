"""``vidzip calibrate``: measure a model's stages on this machine, and store the rates for the planner."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from pipelines.options import device_option, dtype_option, output_options
from pipelines.settings import DEFAULT_MODEL, ModelSettings
from pipelines.terminal import print_line, print_message, print_table, progress_bar

if TYPE_CHECKING:
    from vidzip.calibration import Calibration

_UNITS = {
    "runs": "run",
    "frames": "frame",
    "megapixels": "megapixel of a frame",
    "tokens": "token",
    "pairs": "pair of attending tokens",
    "files": "file",
    "groups": "seek to a keyframe",
    "taken frames": "requested frame",
    "taken megapixels": "megapixel of a requested frame",
}
"""Units of rates as text; rates of codecs are formatted in pairs."""


@click.command(name="calibrate")
@click.option("--model", metavar="NAME", help=f"Built-in name, folder or hub id.  [default: {DEFAULT_MODEL}]")
@device_option
@dtype_option
@click.option("--quick", is_flag=True, help="Measure fewer cases, each once: a third of the time, larger errors.")
@output_options
def command(*, model: str | None, device: str, dtype: str, quick: bool, as_json: bool) -> None:
    """Measure this machine, so that plans predict its costs.

    Measures decoding of synthetic clips and every stage of the model, interleaved; about a minute with a small model.
    The result is stored in your cache folder for this model, device, precision and library versions. Other load on the
    machine makes it less accurate.
    """
    from vidzip.calibration import save_calibration
    from vidzip.models.calibrating import calibrate

    settings = ModelSettings(name=model, device=device, dtype=dtype)
    with progress_bar() as show:
        loaded = settings.load(show)
        done = calibrate(loaded, asked_device=device, asked_dtype=dtype, quick=quick, on_progress=show)
    file = save_calibration(done)
    if model is None:
        print_message("note", f"no --model was given: measured {DEFAULT_MODEL}")
    if as_json:
        click.echo(json.dumps(record(done, file)))
        return
    print_line(
        f"{settings.name_or_default} on {done.costs.device}, {done.costs.dtype}, measured in {done.took_seconds:.0f} s:\n"
    )
    print_table(list(rows(done)), header=("stage", "time", "per", "90 % error"))
    print_line(f"\ndecoding and encoding overlap by {done.costs.overlap:.0%} of the shorter one")
    print_line(f"stored in {file}; vidzip plan uses it to predict this model on this machine")


def record(done: Calibration, file: str) -> dict[str, Any]:
    """Return the calibration as JSON values."""
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
    """Yield a row per rate above 0, with the stage's name and error on its first row."""
    costs = done.costs
    for stage, rates in costs.rates.items():
        shown = list(_rates(rates)) or [("no measurable time", "")]
        for number, (time, unit) in enumerate(shown):
            yield ("", time, unit, "") if number else (stage, time, unit, f"{costs.errors[stage]:.0%}")
    yield "file to first token", "", "", f"{costs.total_error:.0%}"


def _rates(rates: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    for kind, unit in _UNITS.items():
        if rates.get(kind):
            yield format_duration(rates[kind]), unit
    codecs = [kind.removesuffix(" megabytes") for kind in rates if kind.endswith(" megabytes")]
    for codec in sorted(codecs, key=lambda codec: (codec != "h264", codec == "other", codec)):
        pixels, stored = (format_duration(rates[f"{codec} {unit}"]) for unit in ("megapixels", "megabytes"))
        name = "another codec" if codec == "other" else codec
        yield f"{pixels} + {stored}", f"megapixel + stored megabyte of {name}"


def format_duration(seconds: float) -> str:
    """Format a short duration with three digits."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
