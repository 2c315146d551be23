"""``vidzip pack``."""

from __future__ import annotations

import json
import shlex

import click

from pipelines.options import VideoCommand, output_options, takes_source
from pipelines.pack import PackRequest, pack, record, summary
from pipelines.settings import note_default_model
from pipelines.source import VideoSource
from pipelines.terminal import print_line, print_messages, print_table, progress_bar


@click.command(name="pack", cls=VideoCommand)
@click.option("-o", "--output", type=click.Path(), required=True, metavar="FILE", help="File to write: NAME.vidzip.")
@takes_source("VIDEO")
@click.option(
    "--pack-dtype",
    type=click.Choice(["auto", "float16", "bfloat16", "float32"]),
    default=PackRequest.dtype,
    show_default=True,
    help="Precision of the tokens in the file; auto keeps half precision and rounds float32 to float16.",
)
@output_options
def command(*, source: VideoSource, output: str, pack_dtype: str, as_json: bool) -> None:
    """Pack a video into a small file.

    'vidzip ask' and 'vidzip chat' accept the file in place of the video, with the same --model.
    """
    with progress_bar() as progress:
        result = pack(PackRequest(source=source, file=output, dtype=pack_dtype), progress)
    note_default_model(source.model, "packs")
    print_messages("note", result.opened.notes)
    print_messages("warning", result.opened.packed.warnings)
    if as_json:
        click.echo(json.dumps(record(result)))
        return
    model = [] if source.model.name is None else ["--model", source.model.name]
    print_line(f"{output} holds the packed video: {shlex.join(['vidzip', 'ask', *model, output])} …")
    print_table(summary(result))
