"""``vidzip convert``."""

from __future__ import annotations

import shlex

import click

from pipelines.options import debug_option, device_option, dtype_option
from pipelines.terminal import format_bytes, print_line, print_table, progress_bar


@click.command(name="convert")
@click.argument("folder", metavar="FOLDER", type=click.Path())
@click.argument("out", metavar="OUT", type=click.Path())
@device_option
@dtype_option
@debug_option
def command(*, folder: str, out: str, device: str, dtype: str) -> None:
    """Write the original Video-LLaVA as safetensors.

    FOLDER holds the original, such as a snapshot of LanguageBind/Video-LLaVA-7B. OUT is a new or empty folder; it gets
    the whole model or, after an error, nothing. Both models are asked the same question, and their logits must be equal.
    """
    from vidzip.models.converting import convert

    with progress_bar() as show:
        made = convert(folder, out, device=device, dtype=dtype, on_progress=show)
    print_line(f"{out} holds the converted model: {shlex.join(['vidzip', 'ask', '--model', out])} …")
    print_table(
        [
            ("tensors", f"{made.num_weights:,}, bit by bit the original's"),
            ("of attention over time", f"{made.num_temporal_weights:,}"),
            ("size", format_bytes(made.size_bytes)),
            ("logits compared", f"{made.num_logits:,}, equal to the original's"),
        ]
    )
