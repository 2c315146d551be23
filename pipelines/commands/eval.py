"""``vidzip eval``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import click

from pipelines.options import (
    debug_option,
    gpus_option,
    method_options,
    processes_option,
    spending_options,
    takes_decoding,
    takes_generation,
    takes_model,
    takes_questions,
)
from pipelines.runs.settings import (
    NO_VIDEO,
    UNCOMPRESSED,
    FrameSelection,
    FrameSettings,
    GenerationSettings,
    QuestionSettings,
    RunSettings,
)
from pipelines.settings import BASELINE_FRAMES, ModelSettings, note_default_model
from pipelines.terminal import print_line, print_message, print_table, progress_bar
from vidzip import Budget, DecodeOptions
from vidzip.errors import BadArgument


@click.command(name="eval")
@takes_questions
@click.option("--out", metavar="RUN", required=True, type=click.Path(), help="Folder of the run; it resumes there.")
@spending_options
@method_options
@click.option(
    "--uncompressed", is_flag=True, help=f"{BASELINE_FRAMES} frames as the model takes them itself: the baseline."
)
@click.option("--no-video", is_flag=True, help="Ask without the videos: the lower bound.")
@click.option("--shard", metavar="I/N", help="One of N parts, for N machines; 'vidzip merge' merges them.")
@gpus_option
@click.option("--pack-cache", metavar="DIR", type=click.Path(), help="Keep packed videos for other runs.")
@click.option("--retry-failed", is_flag=True, help="Ask questions that failed before again.")
@processes_option
@takes_generation
@takes_model
@takes_decoding
@debug_option
def command(
    *,
    questions: QuestionSettings,
    out: str,
    frames: int | None,
    budget: int,
    method: str,
    method_option: Mapping[str, str],
    uncompressed: bool,
    no_video: bool,
    shard: str | None,
    devices: tuple[str, ...],
    pack_cache: str | None,
    retry_failed: bool,
    processes: int | None,
    generation: GenerationSettings,
    model: ModelSettings,
    decoding: DecodeOptions,
) -> None:
    """Ask a model the questions of a set.

    SET is a name such as msvd or tgif-frameqa ('vidzip data where' lists them). Each video is decoded, packed and read
    once. The same command resumes an interrupted run.
    """
    from eval.reporting.formatting import format_interval
    from pipelines.runs.executing import execute_runs
    from vidzip.compress import parse_method

    flags = {"--uncompressed": uncompressed, "--no-video": no_video, "--frames": frames is not None}
    given = [flag for flag, is_given in flags.items() if is_given]
    if len(given) > 1:
        raise BadArgument(f"{' and '.join(given)} exclude each other", hint="give one of them")
    packed = FrameSettings(
        budget=Budget(total_tokens=budget, num_frames=frames),
        method=method,
        options=parse_method(method, method_option).changed_options(),
    )
    selection: FrameSelection = UNCOMPRESSED if uncompressed else NO_VIDEO if no_video else packed
    settings = RunSettings(
        questions=replace(questions, shard=shard),
        model=model,
        decoding=decoding,
        generation=generation,
        processes=processes,
        devices=devices,
        pack_cache=pack_cache,
    )
    note_default_model(model, "answers")
    with progress_bar() as progress:
        result = execute_runs(settings, {out: selection}, progress, retry_failed=retry_failed)[out]
    for kind, count in result.failures.items():
        print_message("warning", f"{count} questions have no answer: {kind}")
    if result.failures:
        print_message("hint", "the same command with --retry-failed asks them again")
    estimates = {"the answered": result.exact_match(is_strict=False), "all": result.exact_match(is_strict=True)}
    print_table(
        [
            ("questions", f"{len(result.samples):,}"),
            ("answered", f"{result.num_answered:,}"),
            ("failed", f"{result.num_failed:,}"),
            *(
                (f"exact match, of {name}", "-" if one.value is None else f"{format_interval(one)} %")
                for name, one in estimates.items()
            ),
        ]
    )
    print_line(f"{out} holds the run")
