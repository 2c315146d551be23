"""The command line: ``vidzip ask``, ``plan``, ``probe``, ``shapes``, ``train-tiny`` and ``demo``.

Nothing here loads torch or transformers before a command needs a model.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click

import vidzip
from pipelines.ask import DEFAULT_MODEL, Answered, Request, record, summary
from pipelines.ask import ask as ask_video
from pipelines.siblings import check_siblings, keep_workers_off_this_folder
from pipelines.terminal import Progress, print_what_the_terminal_can, progress, remark, say, table
from vidzip import Budget, Decoding, VidzipError, token_split
from vidzip.errors import SystemFault
from vidzip.planner import DEFAULT_NUM_FRAMES, WHOLE_FRAME_TOKENS
from vidzip.video.backends import BACKENDS

SAMPLE_QUESTION = "What is the color of the star?"
"""One that :data:`DEFAULT_MODEL` was trained on."""

BAD_INPUT, FAILURE, INTERRUPTED = 2, 1, 130

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".ts", ".mpg", ".flv", ".wmv", ".ogv")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 is success, 2 bad input, 130 an interruption, 1 all else: a fault of vidzip's own or of the system.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    is_debugging = "--debug" in arguments
    print_what_the_terminal_can()
    try:
        check_siblings()
        keep_workers_off_this_folder()
        code = cli.main(args=arguments, prog_name="vidzip", standalone_mode=False)
        if sys.stdout is not None:  # it is None where the caller closed it
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, click.Abort):
        remark("error", "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: not worth a word
        return FAILURE
    except Exception as error:
        if is_debugging:
            traceback.print_exc()
        return _report(error)


def _report(error: Exception) -> int:
    """Say in one line what is wrong, in another what to do."""
    if isinstance(error, VidzipError):
        remark("error", error.message)
        if error.hint:
            remark("hint", error.hint)
        return FAILURE if isinstance(error, SystemFault) else BAD_INPUT
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return BAD_INPUT
    if isinstance(error, click.ClickException):
        remark("error", error.format_message())
        context = getattr(error, "ctx", None)
        remark("hint", f"see '{context.command_path if context else 'vidzip'} --help'")
        return BAD_INPUT
    if isinstance(error, OSError):
        remark("error", f"the system refused: {error}")
        remark("hint", "check the folder, its permissions and the space left; --debug shows where it happened")
        return FAILURE
    remark("error", f"{type(error).__name__}: {error}")
    remark("hint", "this is a fault of vidzip's own; --debug shows where it happened")
    return FAILURE


class _Moment(click.ParamType):  # type: ignore[type-arg] # generic from click 8.5 on only
    """A moment of a video: seconds, minutes:seconds or hours:minutes:seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", value):
            self.fail(f"{value!r} is no moment; write seconds (90.5), 1:30 or 1:02:03", param, ctx)
        seconds = 0.0
        for part in value.split(":"):
            seconds = seconds * 60 + float(part)
        return seconds


class _Command(click.Command):
    """A command whose video may have a name that begins with a dash: it is parsed under another, then given back."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        options = {name for param in self.get_params(ctx) for name in (*param.opts, *param.secondary_opts)}
        end = args.index("--") if "--" in args else len(args)
        for place, argument in enumerate(args[:end]):
            if _is_dashed_file(argument, options):
                ctx.meta[_DASHED] = argument
                args = [*args[:place], f"./{argument}", *args[place + 1 :]]
                break
        return super().parse_args(ctx, args)


_DASHED = "pipelines.cli.dashed"


def _as_written(ctx: click.Context, _param: click.Parameter, value: str) -> str:
    dashed: str | None = ctx.meta.get(_DASHED)
    return dashed if dashed is not None and value == f"./{dashed}" else value


def _is_dashed_file(argument: str, options: set[str]) -> bool:
    return (
        argument.startswith("-")
        and argument.partition("=")[0] not in options
        and (argument.lower().endswith(VIDEO_SUFFIXES) or os.path.isfile(argument))
    )


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_video = click.argument("video", metavar="VIDEO", type=click.Path(), callback=_as_written)
_budget_options = _options(
    click.option(
        "--frames", type=int, metavar="N", help=f"Frames to look at.  [default: {DEFAULT_NUM_FRAMES}, or all]"
    ),
    click.option(
        "--budget",
        type=int,
        metavar="TOKENS",
        default=Budget.total_tokens,
        show_default=True,
        help="Visual tokens in all; never passed.",
    ),
    click.option("--start", type=_Moment(), help="Where to begin: 90.5, 1:30 or 1:02:03."),
    click.option("--end", type=_Moment(), help="Where to stop."),
    click.option("--snap", is_flag=True, help="Move frames to nearby keyframes: faster on long videos, other frames."),
)
_decoding_options = _options(
    click.option(
        "--decoder",
        type=click.Choice(["auto", *BACKENDS]),
        default=Decoding.backend,
        show_default=True,
        help="Library that decodes.",
    ),
    click.option("--workers", type=int, metavar="N", help="Threads that decode.  [default: one a core]"),
    click.option("--strict", is_flag=True, help="Damage in the file is an error."),
    click.option(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        default=Decoding.time_limit_seconds,
        show_default=True,
        help="How long one file may take to decode.",
    ),
)
_debug_option = click.option("--debug", is_flag=True, expose_value=False, help="Show where an error happened.")
_output_options = _options(
    click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line."), _debug_option
)


@contextmanager
def _progress_that_stays(what: str) -> Iterator[Progress]:
    """Show progress; where it is interrupted, say what of it stays."""
    try:
        with progress() as show:
            yield show
    except KeyboardInterrupt:
        remark("note", f"{what}: the same command goes on from there")
        raise


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(vidzip.__version__, "-V", "--version", prog_name="vidzip")
def cli() -> None:
    """Let a video LLM see many more frames at the price of few."""


@cli.command(cls=_Command)
@_video
@click.argument("questions", metavar="QUESTION...", nargs=-1, required=True)
@_budget_options
@click.option("--model", metavar="NAME", help=f"Built-in name, folder or hub id.  [default: {DEFAULT_MODEL}]")
@click.option("--revision", metavar="REV", help="Branch, tag or commit of a hub model.")
@click.option("--device", default=Request.device, show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--dtype", default=Request.dtype, show_default=True, help="auto, float32, float16 or bfloat16.")
@click.option(
    "--max-new-tokens", type=int, metavar="N", default=Request.max_new_tokens, show_default=True, help="Longest answer."
)
@_decoding_options
@_output_options
def ask(
    *,
    video: str,
    questions: tuple[str, ...],
    frames: int | None,
    budget: int,
    start: float | None,
    end: float | None,
    snap: bool,
    model: str | None,
    revision: str | None,
    device: str,
    dtype: str,
    max_new_tokens: int,
    decoder: str,
    workers: int | None,
    strict: bool,
    time_limit: float,
    as_json: bool,
) -> None:
    """Ask questions about a video: it is decoded, compressed and packed once."""
    request = Request(
        video=video,
        questions=questions,
        budget=Budget(total_tokens=budget, num_frames=frames),
        start=start,
        end=end,
        model=DEFAULT_MODEL if model is None else model,
        revision=revision,
        device=device,
        dtype=dtype,
        max_new_tokens=max_new_tokens,
        snap=snap,
        decoding=Decoding(backend=decoder, workers=workers, strict=strict, time_limit_seconds=time_limit),
    )
    with progress() as show:
        answered = list(ask_video(request, show))
    if model is None:
        remark("note", f"no --model was named: {DEFAULT_MODEL} answers, which knows coloured shapes only")
    for warning in dict.fromkeys(warning for one in answered for warning in one.answer.warnings):
        remark("warning", warning)
    if answered[0].model.name == DEFAULT_MODEL and any(one.model.unknown_words(one.question) for one in answered):
        remark(
            "hint",
            f"{DEFAULT_MODEL} was trained on videos of coloured shapes, to be asked such as {SAMPLE_QUESTION!r}; "
            "name a --model for all else",
        )
    for one in answered:
        _print_answer(one, as_json=as_json)
    if not as_json:
        say()
        table(summary(answered))


def _print_answer(answered: Answered, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(record(answered)))
        return
    say(f"Q: {answered.question}")
    ending = "" if answered.answer.finish_reason == "stop" else " …"
    say(f"A: {answered.answer.text}{ending}")


@cli.command(cls=_Command)
@_video
@_budget_options
@_output_options
def plan(
    *,
    video: str,
    frames: int | None,
    budget: int,
    start: float | None,
    end: float | None,
    snap: bool,
    as_json: bool,
) -> None:
    """Show which frames a budget buys, and how many tokens each; no model is needed."""
    planned = vidzip.plan(video, Budget(total_tokens=budget, num_frames=frames), start=start, end=end, snap=snap)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "schema": "vidzip/plan/1",
                    "video": video,
                    "video_identity": planned.video_identity,
                    "budget": planned.budget.total_tokens,
                    "frames_requested": frames,
                    "frames": planned.num_frames,
                    "visual_tokens": planned.total_tokens,
                    "unused_tokens": planned.unused_tokens,
                    "tokens_per_frame": list(planned.tokens_per_frame),
                    "timestamps_seconds": [round(moment, 6) for moment in planned.timestamps_seconds],
                    "warnings": list(planned.warnings),
                }
            )
        )
        return
    for warning in planned.warnings:
        remark("warning", warning)
    say(
        f"{planned.num_frames} frames, {planned.total_tokens} of {planned.budget.total_tokens} tokens"
        + (f" ({planned.unused_tokens} unused: every frame is whole)" if planned.unused_tokens else "")
    )
    shares = Counter(planned.tokens_per_frame)
    rows = [(str(count), str(k), _split_shown(k)) for k, count in sorted(shares.items())]
    table(rows, header=("frames", "tokens each", "dominant + contextual"))
    say("at seconds " + " ".join(f"{moment:.2f}" for moment in planned.timestamps_seconds))


def _split_shown(tokens: int) -> str:
    if tokens >= WHOLE_FRAME_TOKENS:
        return "whole"
    return "{} + {}".format(*token_split(tokens))


@cli.command(cls=_Command)
@_video
@click.option("--count", is_flag=True, help="Decode every frame, and count those that can be.")
@_output_options
def probe(*, video: str, count: bool, as_json: bool) -> None:
    """Show what is in a video file; no model is needed."""
    info = asdict(vidzip.probe(video, count=count))
    del info["frame_times_seconds"]
    if as_json:
        click.echo(json.dumps({"schema": "vidzip/probe/1", **info}))
        return
    for warning in info.pop("warnings"):
        remark("warning", warning)
    notes = info.pop("notes")
    table([(name, "unknown" if value is None else _shown(value)) for name, value in info.items()])
    for note in notes:
        remark("note", note)


def _shown(value: Any) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


@cli.command()
@click.argument("folder", metavar="OUT", type=click.Path())
@click.option("--split", metavar="NAME", default="test", show_default=True, help="train, validation, test or long.")
@click.option(
    "--videos",
    type=int,
    metavar="N",
    help="How many.  [default: all that are frozen of test and long, 200 of train, 100 of validation]",
)
@click.option("--seed", type=int, metavar="N", default=7, show_default=True, help="Other seeds make other videos.")
@click.option("--workers", type=int, metavar="N", help="Processes, one a video.  [default: one a CPU]")
@_debug_option
def shapes(*, folder: str, split: str, videos: int | None, seed: int, workers: int | None) -> None:
    """Write the synthetic question set into a folder; a second run goes on where the first was ended."""
    from pipelines.shapes import SetRequest, make_set
    from pipelines.shapes import summary as summary_of_set

    request = SetRequest(folder=folder, split=split, videos=videos, seed=seed, workers=workers)
    with _progress_that_stays("the videos that are finished stay") as show:
        made = make_set(request, show)
    if made.num_written == 0:
        say(f"{folder} holds this set already: no video was missing")
    table(summary_of_set(made))


@cli.command(name="train-tiny")
@click.argument("folder", metavar="OUT", type=click.Path())
@click.option("--seed", type=int, metavar="N", default=0, show_default=True, help="Other seeds make other models.")
@click.option("--videos", type=int, metavar="N", help="Videos to film and learn from.")
@click.option("--tower-steps", type=int, metavar="N", help="Steps of the vision tower.")
@click.option("--alignment-steps", type=int, metavar="N", help="Steps of the projector alone.")
@click.option("--language-steps", type=int, metavar="N", help="Steps of projector and language model.")
@click.option("--device", default=Request.device, show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--workers", type=int, metavar="N", help="Processes that film.  [default: one a CPU]")
@_debug_option
def train_tiny(*, folder: str, device: str, workers: int | None, **numbers: int | None) -> None:
    """Train tiny anew, in a folder; a second run goes on where the first was ended."""
    from pipelines.tiny.recipe import Recipe
    from pipelines.train_tiny import train_tiny as train
    from vidzip.models.placing import find_device

    recipe = Recipe(**{name: number for name, number in numbers.items() if number is not None})
    with _progress_that_stays("what was learnt up to the last checkpoint stays") as show:
        trained = train(folder, recipe, find_device(device), show, workers)
    say(f"{trained.folder} holds the model ({trained.size_bytes / 1e6:.1f} MB): vidzip ask --model {trained.folder} …")
    say(f"{trained.curves} shows how it learnt")


@cli.command(cls=_Command)
@_debug_option
def demo() -> None:
    """Write a video of coloured shapes and ask about it, with 8 full frames and with packed ones."""
    import contextlib
    import tempfile

    from pipelines.demo import run_demo

    with tempfile.TemporaryDirectory(prefix="vidzip-demo-") as folder, contextlib.chdir(folder):
        with progress() as show:
            shown = run_demo(show)
        for line in shown.lines:
            say(line)
        say()
        table(shown.answers, header=shown.columns)
        say()
        table(shown.costs, header=shown.cost_columns)
