"""Command-line arguments and options that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource

from pipelines.runs.settings import GenerationSettings, QuestionSettings
from pipelines.settings import DEFAULT_MODEL, ModelSettings
from pipelines.source import VideoSource
from vidzip import Budget, DecodeOptions
from vidzip.errors import BadArgument
from vidzip.planner import DEFAULT_NUM_FRAMES
from vidzip.video.backends import BACKENDS

FILE_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".ts", ".mpg", ".flv", ".wmv", ".ogv", ".vidzip",
)  # fmt: skip
"""Suffixes of videos and packed videos."""

_DASHED = "pipelines.options.dashed"


class Moment(click.ParamType):  # type: ignore[type-arg] # generic from click 8.5 on only
    """A time in a video: seconds, minutes:seconds or hours:minutes:seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert it to seconds."""
        if isinstance(value, float):
            return value
        if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", value):
            self.fail(f"{value!r} is not a time; write seconds (90.5), 1:30 or 1:02:03", param, ctx)
        seconds = 0.0
        for part in value.split(":"):
            seconds = seconds * 60 + float(part)
        return seconds


class VideoCommand(click.Command):
    """A command that takes a video whose name begins with a dash as a file, not as an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments, with ``./`` before the first such name; the callback of the argument removes it."""
        params = self.get_params(ctx)
        options = {name for param in params for name in (*param.opts, *param.secondary_opts)}
        take_values = {name for param in params if not getattr(param, "is_flag", True) for name in param.opts}
        end = args.index("--") if "--" in args else len(args)
        for place, argument in enumerate(args[:end]):
            is_value = place > 0 and args[place - 1] in take_values
            if not is_value and _is_dashed_file(argument, options):
                ctx.meta[_DASHED] = argument
                args = [*args[:place], f"./{argument}", *args[place + 1 :]]
                break
        return super().parse_args(ctx, args)


def _remove_prefix(ctx: click.Context, _param: click.Parameter, value: str) -> str:
    dashed: str | None = ctx.meta.get(_DASHED)
    return dashed if dashed is not None and value == f"./{dashed}" else value


def _is_dashed_file(argument: str, options: set[str]) -> bool:
    return (
        argument.startswith("-")
        and argument.partition("=")[0] not in options
        and (argument.lower().endswith(FILE_SUFFIXES) or os.path.isfile(argument))
    )


def together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Combine options into one decorator."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def collect(
    keyword: str, make: Callable[..., object], fields: Mapping[str, str], *options: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    """Make a decorator that gives a command options, and passes it their values as one object.

    Args:
        keyword: the command's parameter.
        make: makes the object.
        fields: the parameters of ``make``, by the names of the options.
        options: the options.
    """

    def decorate(function: Any) -> Any:
        @wraps(function)
        def command(**values: Any) -> Any:
            made = make(**{field: values.pop(option) for option, field in fields.items()})
            return function(**{keyword: made}, **values)

        return together(*options)(command)

    return decorate


def same_names(*names: str) -> dict[str, str]:
    """Map options to parameters of the same names."""
    return {name: name for name in names}


def video_argument(metavar: str = "VIDEO") -> Callable[[Any], Any]:
    """Make the argument of a video, or a packed video."""
    return click.argument("video", metavar=metavar, type=click.Path(), callback=_remove_prefix)


spending_options = together(
    click.option("--frames", type=int, metavar="N", help=f"Number of frames.  [default: {DEFAULT_NUM_FRAMES}, or all]"),
    click.option(
        "--budget",
        type=int,
        metavar="TOKENS",
        default=Budget.total_tokens,
        show_default=True,
        help="Limit on visual tokens, never exceeded.",
    ),
)
budget_options = together(
    spending_options,
    click.option("--start", type=Moment(), help="Start of the part to use: 90.5, 1:30 or 1:02:03."),
    click.option("--end", type=Moment(), help="End of the part to use."),
    click.option(
        "--snap-to-keyframes",
        "snap",
        is_flag=True,
        help="Move frames to nearby keyframes: faster on long videos, but not the exact frames.",
    ),
)


def _read_pairs(_ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Read ``KEY=VALUE``, each key once."""
    pairs: dict[str, str] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE, such as merge=mean", param=param)
        if key in pairs:
            raise click.BadParameter(f"{key} is given twice, as {pairs[key]!r} and {value!r}", param=param)
        pairs[key] = value
    return pairs


method_options = together(
    click.option(
        "--method",
        metavar="NAME",
        default=VideoSource.method,
        show_default=True,
        help="Compression method; 'vidzip methods' lists them.",
    ),
    click.option(
        "--method-option",
        metavar="KEY=VALUE",
        multiple=True,
        callback=_read_pairs,
        help="Option of the method, any number of times; 'vidzip methods NAME' lists them.",
    ),
)
takes_decoding = collect(
    "decoding",
    DecodeOptions,
    {"decoder": "backend", "time_limit": "time_limit_seconds", **same_names("workers", "strict")},
    click.option(
        "--decoder",
        type=click.Choice(["auto", *BACKENDS]),
        default=DecodeOptions.backend,
        show_default=True,
        help="Library that decodes the video.",
    ),
    click.option("--workers", type=int, metavar="N", help="Number of threads that decode.  [default: one per core]"),
    click.option("--strict", is_flag=True, help="Treat damage in the file as an error."),
    click.option(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        default=DecodeOptions.time_limit_seconds,
        show_default=True,
        help="Limit on the time to decode one file.",
    ),
)
device_option = click.option(
    "--device", metavar="NAME", default=ModelSettings.device, show_default=True, help="auto, cpu, cuda, cuda:N or mps."
)
dtype_option = click.option(
    "--dtype",
    metavar="NAME",
    default=ModelSettings.dtype,
    show_default=True,
    help="auto, float32, float16 or bfloat16. auto is half precision on a GPU; on a CPU bfloat16 for a large model "
    "stored in half precision, where that proves faster, else float32.",
)
takes_model = collect(
    "model",
    ModelSettings,
    {"model": "name", **same_names("revision", "device", "dtype", "quantize", "device_map", "compile_tower")},
    click.option("--model", metavar="NAME", help=f"Built-in name, folder or hub id.  [default: {DEFAULT_MODEL}]"),
    click.option("--revision", metavar="REV", help="Branch, tag or commit of a hub model."),
    device_option,
    dtype_option,
    click.option(
        "--quantize",
        type=click.Choice(["8bit", "4bit"]),
        help="Quantize the language model, on CUDA, with bitsandbytes.",
    ),
    click.option(
        "--device-map",
        type=click.Choice(["auto"]),
        help="Split the model over all devices, with accelerate.",
    ),
    click.option(
        "--compile",
        "compile_tower",
        is_flag=True,
        help="Compile the vision tower first, in about a minute; pays off with many frames or videos.",
    ),
)
answer_option = click.option(
    "--max-new-tokens", type=int, metavar="N", default=64, show_default=True, help="Limit on the tokens of an answer."
)
subset_options = together(
    click.option("--subset", metavar="firstN", help="The first N questions, in file order."),
    click.option("--limit", type=int, metavar="N", help="Questions about the first N videos."),
)
processes_option = click.option(
    "--processes", type=int, metavar="N", help="Number of processes that decode.  [default: one for two CPUs, up to 8]"
)


def _find_gpus(_ctx: click.Context, _param: click.Parameter, gpus: str | None) -> tuple[str, ...]:
    """Turn ``all``, or a number of GPUs, into the names of devices.

    Raises:
        BadArgument: this machine has fewer.
    """
    if gpus is None:
        return ()
    import torch

    available = torch.cuda.device_count()
    count = available if gpus == "all" else int(gpus) if gpus.isdecimal() else 0
    if not 1 <= count <= available:
        raise BadArgument(f"--gpus is {gpus!r}, and this machine has {available}", hint="give all, or a number")
    return tuple(f"cuda:{number}" for number in range(count))


gpus_option = click.option(
    "--gpus", "devices", metavar="all|N", callback=_find_gpus, help="GPUs that share the videos, one process each."
)
debug_option = click.option("--debug", is_flag=True, expose_value=False, help="Print the traceback of an error.")
output_options = together(
    click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per line."), debug_option
)


takes_questions = collect(
    "questions",
    QuestionSettings,
    {"question_set": "name", **same_names("data", "videos", "subset", "limit")},
    click.argument("question_set", metavar="SET"),
    click.option("--data", metavar="DIR", required=True, type=click.Path(), help="Folder, or file, of the questions."),
    click.option(
        "--videos", metavar="DIR", type=click.Path(), help="Folder of the videos.  [default: DATA/videos, or DATA]"
    ),
    subset_options,
)
takes_generation = collect(
    "generation",
    GenerationSettings,
    {"max_new_tokens": "max_new_tokens", "batch": "batch_questions"},
    click.option(
        "--batch",
        type=int,
        metavar="N",
        default=GenerationSettings.batch_questions,
        show_default=True,
        help="Questions about a video that are answered side by side.",
    ),
    answer_option,
)

_VIDEO_OPTIONS = (
    "frames", "budget", "start", "end", "snap", "method", "method_option", "decoder", "workers", "strict", "time_limit",
)  # fmt: skip
"""Options that a packed video does not take."""


def takes_source(metavar: str) -> Callable[[Any], Any]:
    """Give a command the video, its options and those of the model; it takes them as ``source``, a :class:`VideoSource`.

    Args:
        metavar: name of the file in the help text.
    """

    def make(frames: int | None, total_tokens: int, **others: Any) -> VideoSource:
        budget = Budget(total_tokens=total_tokens, num_frames=frames)
        return VideoSource(budget=budget, video_options=_named(_VIDEO_OPTIONS), **others)

    return collect(
        "source",
        make,
        {
            "video": "path",
            "budget": "total_tokens",
            "method_option": "method_options",
            **same_names("frames", "start", "end", "snap", "method", "decoding", "model"),
        },
        video_argument(metavar),
        budget_options,
        method_options,
        takes_model,
        takes_decoding,
    )


def _named(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the flags among some options that the command line names."""
    context = click.get_current_context()
    return tuple(
        param.opts[0]
        for param in context.command.params
        if param.name in names and context.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    )
