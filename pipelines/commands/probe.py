"""``vidzip probe``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

import vidzip
from pipelines.options import VideoCommand, output_options, video_argument
from pipelines.terminal import print_message, print_table


@click.command(name="probe", cls=VideoCommand)
@video_argument()
@click.option("--count", is_flag=True, help="Decode every frame, and count those that can be decoded.")
@output_options
def command(*, video: str, count: bool, as_json: bool) -> None:
    """Show the properties of a video file; no model is needed."""
    info = asdict(vidzip.probe(video, count=count))
    del info["frame_times_seconds"]
    if as_json:
        click.echo(json.dumps({"schema": "vidzip/probe/1", **info}))
        return
    for warning in info.pop("warnings"):
        print_message("warning", warning)
    notes = info.pop("notes")
    print_table([(name, "unknown" if value is None else _format(value)) for name, value in info.items()])
    for note in notes:
        print_message("note", note)


def _format(value: Any) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
