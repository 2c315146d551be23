"""Arguments and options that several commands share, and how they are read."""

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
from pipelines.source import Source
from vidzip import Budget, DecodeOptions
from vidzip.errors import BadArgument
from vidzip.planner import DEFAULT_NUM_FRAMES
from vidzip.video.backends import BACKENDS

FILE_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif", ".ts", ".mpg", ".flv", ".wmv", ".ogv", ".vidzip",
)  # fmt: skip
"""What the names of videos end in, and of packed ones."""

_DASHED = "pipelines.options.dashed"


class Moment(click.ParamType):  # type: ignore[type-arg] # generic from click 8.5 on only
    """A moment of a video: seconds, minutes:seconds or hours:minutes:seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Turn it into seconds."""
        if isinstance(value, float):
            return value
        if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", value):
            self.fail(f"{value!r} is no moment; write seconds (90.5), 1:30 or 1:02:03", param, ctx)
        seconds = 0.0
        for part in value.split(":"):
            seconds = seconds * 60 + float(part)
        return seconds


class VideoCommand(click.Command):
    """A command whose video may have a name that begins with a dash: it is parsed under another, then given back."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse arguments, the first of them that is such a file under a name that does not begin so."""
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


def _as_written(ctx: click.Context, _param: click.Parameter, value: str) -> str:
    dashed: str | None = ctx.meta.get(_DASHED)
    return dashed if dashed is not None and value == f"./{dashed}" else value


def _is_dashed_file(argument: str, options: set[str]) -> bool:
    return (
        argument.startswith("-")
        and argument.partition("=")[0] not in options
        and (argument.lower().endswith(FILE_SUFFIXES) or os.path.isfile(argument))
    )


def together(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def video_argument(metavar: str = "VIDEO") -> Callable[[Any], Any]:
    """The file that a command is about."""
    return click.argument("video", metavar=metavar, type=click.Path(), callback=_as_written)


spending_options = together(
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
)
budget_options = together(
    spending_options,
    click.option("--start", type=Moment(), help="Where to begin: 90.5, 1:30 or 1:02:03."),
    click.option("--end", type=Moment(), help="Where to stop."),
    click.option("--snap", is_flag=True, help="Move frames to nearby keyframes: faster on long videos, other frames."),
)


def _as_pairs(_ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Read ``KEY=VALUE``, each key once."""
    pairs: dict[str, str] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise click.BadParameter(f"{text!r} is no KEY=VALUE, such as merge=mean", param=param)
        if key in pairs:
            raise click.BadParameter(f"{key} is given twice, as {pairs[key]!r} and {value!r}", param=param)
        pairs[key] = value
    return pairs


method_options = together(
    click.option(
        "--method",
        metavar="NAME",
        default=Source.method,
        show_default=True,
        help="How frames are compressed; 'vidzip methods' lists the ways.",
    ),
    click.option(
        "--method-option",
        metavar="KEY=VALUE",
        multiple=True,
        callback=_as_pairs,
        help="Option of the method, any number of times; 'vidzip methods NAME' lists them.",
    ),
)
decoding_options = together(
    click.option(
        "--decoder",
        type=click.Choice(["auto", *BACKENDS]),
        default=DecodeOptions.backend,
        show_default=True,
        help="Library that decodes.",
    ),
    click.option("--workers", type=int, metavar="N", help="Threads that decode.  [default: one a core]"),
    click.option("--strict", is_flag=True, help="Damage in the file is an error."),
    click.option(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        default=DecodeOptions.time_limit_seconds,
        show_default=True,
        help="How long one file may take to decode.",
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
model_options = together(
    click.option("--model", metavar="NAME", help=f"Built-in name, folder or hub id.  [default: {DEFAULT_MODEL}]"),
    click.option("--revision", metavar="REV", help="Branch, tag or commit of a hub model."),
    device_option,
    dtype_option,
    click.option(
        "--quantize",
        type=click.Choice(["8bit", "4bit"]),
        help="Keep the language model in fewer bits, on CUDA, through bitsandbytes.",
    ),
    click.option(
        "--device-map",
        type=click.Choice(["auto"]),
        help="Spread the model over all devices, through accelerate.",
    ),
    click.option(
        "--compile",
        "compile_tower",
        is_flag=True,
        help="Compile the vision tower first, which takes a minute or so; for many frames or videos.",
    ),
)
answer_option = click.option(
    "--max-new-tokens", type=int, metavar="N", default=64, show_default=True, help="Longest answer."
)
subset_options = together(
    click.option("--subset", metavar="firstN", help="The first N questions, in file order."),
    click.option("--limit", type=int, metavar="N", help="Questions about the first N videos."),
)
processes_option = click.option(
    "--processes", type=int, metavar="N", help="Processes that decode.  [default: one for two CPUs, up to 8]"
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
debug_option = click.option("--debug", is_flag=True, expose_value=False, help="Show where an error happened.")
output_options = together(
    click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line."), debug_option
)


def takes_model(function: Any) -> Any:
    """Give a command the options that name a model; it takes them as ``model``, a :class:`ModelSettings`."""

    @wraps(function)
    def command(
        *,
        model: str | None,
        revision: str | None,
        device: str,
        dtype: str,
        quantize: str | None,
        device_map: str | None,
        compile_tower: bool,
        **others: Any,
    ) -> Any:
        settings = ModelSettings(
            name=model,
            revision=revision,
            device=device,
            dtype=dtype,
            quantize=quantize,
            device_map=device_map,
            compile_tower=compile_tower,
        )
        return function(model=settings, **others)

    return model_options(command)


def takes_decoding(function: Any) -> Any:
    """Give a command the options of decoding; it takes them as ``decoding``, a :class:`vidzip.DecodeOptions`."""

    @wraps(function)
    def command(*, decoder: str, workers: int | None, strict: bool, time_limit: float, **others: Any) -> Any:
        decoding = DecodeOptions(backend=decoder, workers=workers, strict=strict, time_limit_seconds=time_limit)
        return function(decoding=decoding, **others)

    return decoding_options(command)


def takes_questions(function: Any) -> Any:
    """Give a command the set that it asks, and the options that select questions.

    It takes them as ``questions``, a :class:`QuestionSettings`.
    """

    @wraps(function)
    def command(
        *, question_set: str, data: str, videos: str | None, subset: str | None, limit: int | None, **others: Any
    ) -> Any:
        settings = QuestionSettings(name=question_set, data=data, videos=videos, subset=subset, limit=limit)
        return function(questions=settings, **others)

    options = together(
        click.argument("question_set", metavar="SET"),
        click.option(
            "--data", metavar="DIR", required=True, type=click.Path(), help="Folder, or file, of the questions."
        ),
        click.option(
            "--videos", metavar="DIR", type=click.Path(), help="Folder of the videos.  [default: DATA/videos, or DATA]"
        ),
        subset_options,
    )
    return options(command)


def takes_generation(function: Any) -> Any:
    """Give a command the options of answers; it takes them as ``generation``, a :class:`GenerationSettings`."""

    @wraps(function)
    def command(*, batch: int, max_new_tokens: int, **others: Any) -> Any:
        settings = GenerationSettings(max_new_tokens=max_new_tokens, batch_questions=batch)
        return function(generation=settings, **others)

    options = together(
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
    return options(command)


_OF_VIDEOS = (
    "frames", "budget", "start", "end", "snap", "method", "method_option", "decoder", "workers", "strict", "time_limit",
)  # fmt: skip
"""Options that say how a video is looked at."""


def takes_source(metavar: str) -> Callable[[Any], Any]:
    """Give a command the arguments and options that say what is looked at and who looks; it takes them as ``source``.

    Args:
        metavar: what the help calls the file.
    """

    def decorate(function: Any) -> Any:
        @wraps(function)
        def command(
            *,
            video: str,
            frames: int | None,
            budget: int,
            start: float | None,
            end: float | None,
            snap: bool,
            method: str,
            method_option: Mapping[str, str],
            decoding: DecodeOptions,
            model: ModelSettings,
            **others: Any,
        ) -> Any:
            source = Source(
                path=video,
                budget=Budget(total_tokens=budget, num_frames=frames),
                start=start,
                end=end,
                snap=snap,
                method=method,
                method_options=method_option,
                decoding=decoding,
                video_options=_named(_OF_VIDEOS),
                model=model,
            )
            return function(source=source, **others)

        options = together(video_argument(metavar), budget_options, method_options, takes_model, takes_decoding)
        return options(command)

    return decorate


def _named(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of some options that the command line names, as it writes them."""
    context = click.get_current_context()
    return tuple(
        param.opts[0]
        for param in context.command.params
        if param.name in names and context.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
    )
