"""The command line.

``vidzip ask``, ``pack`` and ``chat`` look at videos, ``plan`` and ``probe`` say what there is to look at, ``eval``,
``merge`` and ``grid`` run question sets, ``score``, ``compare``, ``agree`` and ``report`` tell what came of it, ``data``
and ``methods`` list what there is, ``bench`` and ``calibrate`` measure this machine, ``convert``
converts models, ``shapes`` makes videos and questions, ``demo`` shows what it is all for.

Nothing here loads torch or transformers before a command needs a model.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

import pipelines.ask
import pipelines.pack
import vidzip
from pipelines.ask import Answered
from pipelines.ask import ask as ask_video
from pipelines.import_path import check_eval_package, exclude_current_folder
from pipelines.options import (
    VideoCommand,
    answer_option,
    debug_option,
    device_option,
    dtype_option,
    output_options,
    takes_source,
    video_argument,
)
from pipelines.settings import DEFAULT_MODEL, note_default_model
from pipelines.source import Opened, Source, open_source
from pipelines.terminal import (
    Progress,
    configure_output,
    format_bytes,
    print_line,
    print_message,
    print_table,
    progress_bar,
)
from vidzip import VidzipError
from vidzip.errors import SystemFault

if TYPE_CHECKING:
    from vidzip import Answer, VideoModel

SAMPLE_QUESTION = "What is the color of the star?"
"""One that :data:`DEFAULT_MODEL` was trained on."""

BAD_INPUT, FAILURE, INTERRUPTED = 2, 1, 130


def main(arguments: list[str] | None = None) -> int:
    """Run ``vidzip`` and return its exit code."""
    return run(cli, "vidzip", arguments)


def run(command: click.Command, name: str, arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code.

    0 is success, 2 bad input, 130 an interruption, 1 everything else: a bug in vidzip or a system failure.

    Args:
        command: the command.
        name: the program name in usage and error messages.
        arguments: command line arguments; those of this process when left out.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    is_debugging = "--debug" in arguments
    configure_output()
    try:
        check_eval_package()
        exclude_current_folder()
        code = command.main(args=arguments, prog_name=name, standalone_mode=False, obj=is_debugging)
        if sys.stdout is not None:  # it is None where the caller closed it
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, click.Abort):
        print_message("error", "interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: not worth a word
        return FAILURE
    except Exception as error:
        return _report(error, is_debugging=is_debugging)


def _report(error: Exception, *, is_debugging: bool) -> int:
    """Say in one line what is wrong, in another what to do; return the exit code."""
    if is_debugging:
        traceback.print_exception(error)
    if isinstance(error, VidzipError):
        print_message("error", error.message)
        if error.hint:
            print_message("hint", error.hint)
        return FAILURE if isinstance(error, SystemFault) else BAD_INPUT
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return BAD_INPUT
    if isinstance(error, click.ClickException):
        print_message("error", error.format_message())
        context = getattr(error, "ctx", None)
        print_message("hint", f"see '{context.command_path if context else 'vidzip'} --help'")
        return BAD_INPUT
    if isinstance(error, OSError):
        print_message("error", f"the system refused: {error}")
        print_message("hint", "check the folder, its permissions and the space left; --debug shows where it happened")
        return FAILURE
    print_message("error", f"{type(error).__name__}: {error}")
    print_message("hint", "this is a fault of vidzip's own; --debug shows where it happened")
    return FAILURE


@contextmanager
def _progress_that_stays(what: str) -> Iterator[Progress]:
    """Show progress; where it is interrupted, say what of it stays."""
    try:
        with progress_bar() as show:
            yield show
    except KeyboardInterrupt:
        print_message("note", f"{what}: the same command goes on from there")
        raise


_ELSEWHERE = {
    "agree": ("pipelines.scoring.command", "agree_command"),
    "bench": ("pipelines.bench.command", "bench_command"),
    "calibrate": ("pipelines.calibrate", "calibrate_command"),
    "compare": ("pipelines.scoring.command", "compare_command"),
    "data": ("pipelines.data", "data"),
    "eval": ("pipelines.commands.eval", "eval_command"),
    "grid": ("pipelines.commands.grid", "grid_command"),
    "merge": ("pipelines.commands.merge", "merge_command"),
    "methods": ("pipelines.methods", "methods"),
    "plan": ("pipelines.planning.command", "plan_command"),
    "report": ("pipelines.scoring.report", "report_command"),
    "reproduce-table3": ("pipelines.commands.reproduce_table3", "table3_command"),
    "score": ("pipelines.scoring.command", "score_command"),
}
"""Commands that live in modules of their own, loaded when they are asked for: the packages they need may be hidden."""


class _Commands(click.Group):
    """The commands of this module, and those that live elsewhere."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all of them, in order."""
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find one by its name."""
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, name = _ELSEWHERE[cmd_name]
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(vidzip.__version__, "-V", "--version", prog_name="vidzip")
def cli() -> None:
    """Let a video LLM see many more frames at the price of few."""


@cli.command(cls=VideoCommand)
@takes_source("VIDEO|PACK")
@click.argument("questions", metavar="QUESTION...", nargs=-1, required=True)
@answer_option
@output_options
def ask(*, source: Source, questions: tuple[str, ...], max_new_tokens: int, as_json: bool) -> None:
    """Answer questions about a video.

    It is decoded, compressed and packed once for all of them. What 'vidzip pack' wrote is asked without the video.
    """
    request = pipelines.ask.Request(source=source, questions=questions, max_new_tokens=max_new_tokens)
    with progress_bar() as show:
        answered = ask_video(request, show)
    opened = answered[0].opened
    note_default_model(source.model, "answers")
    _print_notes(opened)
    _warn(warning for one in answered for warning in one.answer.warnings)
    if any(_is_beyond_tiny(opened.model, question) for question in questions):
        _hint_at_tiny()
    for one in answered:
        _print_answer(one, as_json=as_json)
    if not as_json:
        print_line()
        print_table(pipelines.ask.summary(answered))


def _print_answer(answered: Answered, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(pipelines.ask.record(answered)))
        return
    print_line(f"Q: {answered.question}")
    print_line(f"A: {_shown_answer(answered.answer)}")


def _shown_answer(answer: Answer) -> str:
    return answer.text + ("" if answer.finish_reason == "stop" else " …")


def _print_notes(opened: Opened) -> None:
    for note in opened.notes:
        print_message("note", note)


def _warn(warnings: Iterable[str]) -> None:
    for warning in dict.fromkeys(warnings):
        print_message("warning", warning)


def _is_beyond_tiny(model: VideoModel, question: str) -> bool:
    return model.name == DEFAULT_MODEL and bool(model.language.unknown_words(question))


def _hint_at_tiny() -> None:
    print_message(
        "hint",
        f"{DEFAULT_MODEL} was trained on videos of coloured shapes, to be asked such as {SAMPLE_QUESTION!r}; "
        "name a --model for all else",
    )


@cli.command(cls=VideoCommand)
@click.option("-o", "--output", type=click.Path(), required=True, metavar="FILE", help="File to write: NAME.vidzip.")
@takes_source("VIDEO")
@click.option(
    "--pack-dtype",
    type=click.Choice(["auto", "float16", "bfloat16", "float32"]),
    default=pipelines.pack.PackRequest.dtype,
    show_default=True,
    help="Precision of the tokens in the file; auto keeps half precision, and rounds float32 to float16.",
)
@output_options
def pack(*, source: Source, output: str, pack_dtype: str, as_json: bool) -> None:
    """Pack a video into a small file.

    'vidzip ask' and 'vidzip chat' take the file in the video's place, with the same --model.
    """
    request = pipelines.pack.PackRequest(source=source, file=output, dtype=pack_dtype)
    with progress_bar() as show:
        packed = pipelines.pack.pack(request, show)
    note_default_model(source.model, "packs")
    _print_notes(packed.opened)
    _warn(packed.opened.packed.warnings)
    if as_json:
        click.echo(json.dumps(pipelines.pack.record(packed)))
        return
    model = [] if source.model.name is None else ["--model", source.model.name]
    print_line(f"{output} holds the packed video: {shlex.join(['vidzip', 'ask', *model, output])} …")
    print_table(pipelines.pack.summary(packed))


@cli.command(cls=VideoCommand)
@takes_source("VIDEO|PACK")
@answer_option
@output_options
def chat(*, source: Source, max_new_tokens: int, as_json: bool) -> int:
    """Talk about a video.

    It is packed once, or read from what 'vidzip pack' wrote; every question is put behind what was said before.

    On a terminal, /new starts a new conversation, /quit or Ctrl-D ends it. Ctrl-C ends an answer, or drops what was
    typed, and the conversation goes on as it was.

    From a pipe, every line is a question, and every answer is printed on one. What is wrong with a question is said on
    standard error, and the next one is answered; the exit code is 2 then.
    """
    from pipelines.chat import COMMANDS, Listener, converse, is_typed, lines_piped, lines_typed

    is_debugging, typed = bool(click.get_current_context().obj), is_typed()
    with progress_bar() as show:
        opened = open_source(source, show, lambda model, tokens: model.language.check_length(tokens, 0, max_new_tokens))
        session = opened.model.session(opened.packed)
    packed, hint_once = opened.packed, cache(_hint_at_tiny)
    note_default_model(source.model, "answers")
    _print_notes(opened)
    _warn(packed.warnings)
    if typed:
        print_message("note", f"{packed.num_frames} frames in {packed.num_tokens} tokens; {COMMANDS}")

    def tell(question: str, answer: Answer) -> None:
        _warn(warning for warning in answer.warnings if warning not in packed.warnings)
        if _is_beyond_tiny(opened.model, question):
            hint_once()
        if as_json:
            click.echo(json.dumps(pipelines.ask.record(Answered(opened=opened, question=question, answer=answer))))
        else:
            shown = _shown_answer(answer)
            print_line(shown if typed else " ".join(shown.splitlines()))

    @contextmanager
    def answering() -> Iterator[None]:
        with progress_bar() as show:
            show("answer", 0, 1)
            yield

    listener = Listener(
        tell=tell,
        refuse=lambda error: _report(error, is_debugging=is_debugging),
        answering=answering,
        is_typed=typed,
    )
    is_well = converse(session, lines_typed() if typed else lines_piped(), listener, max_new_tokens)
    return 0 if is_well or typed else BAD_INPUT


@cli.command(cls=VideoCommand)
@video_argument()
@click.option("--count", is_flag=True, help="Decode every frame, and count those that can be.")
@output_options
def probe(*, video: str, count: bool, as_json: bool) -> None:
    """Show what is in a video file; no model is needed."""
    info = asdict(vidzip.probe(video, count=count))
    del info["frame_times_seconds"]
    if as_json:
        click.echo(json.dumps({"schema": "vidzip/probe/1", **info}))
        return
    for warning in info.pop("warnings"):
        print_message("warning", warning)
    notes = info.pop("notes")
    print_table([(name, "unknown" if value is None else _shown(value)) for name, value in info.items()])
    for note in notes:
        print_message("note", note)


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
@debug_option
def shapes(*, folder: str, split: str, videos: int | None, seed: int, workers: int | None) -> None:
    """Write the synthetic question set into a folder.

    A second run goes on where the first was ended.
    """
    from pipelines.shapes import SetRequest, make_set
    from pipelines.shapes import summary as summary_of_set

    request = SetRequest(folder=folder, split=split, videos=videos, seed=seed, workers=workers)
    with _progress_that_stays("the videos that are finished stay") as show:
        made = make_set(request, show)
    if made.num_written == 0:
        print_line(f"{folder} holds this set already: no video was missing")
    print_table(summary_of_set(made))


@cli.command()
@click.argument("folder", metavar="FOLDER", type=click.Path())
@click.argument("out", metavar="OUT", type=click.Path())
@device_option
@dtype_option
@debug_option
def convert(*, folder: str, out: str, device: str, dtype: str) -> None:
    """Write the original Video-LLaVA as safetensors.

    FOLDER holds the original, such as a snapshot of LanguageBind/Video-LLaVA-7B; OUT is new or empty, and holds all of
    it in the end, or nothing. Both are asked the same question, and their logits have to be equal.
    """
    from vidzip.models.converting import convert as convert_folder

    with progress_bar() as show:
        made = convert_folder(folder, out, device=device, dtype=dtype, on_progress=show)
    print_line(f"{out} holds the converted model: {shlex.join(['vidzip', 'ask', '--model', out])} …")
    print_table(
        [
            ("tensors", f"{made.num_weights:,}, bit by bit the original's"),
            ("of attention over time", f"{made.num_temporal_weights:,}"),
            ("size", format_bytes(made.size_bytes)),
            ("logits compared", f"{made.num_logits:,}, equal to the original's"),
        ]
    )


@cli.command()
@debug_option
def demo() -> None:
    """Write a video of shapes and ask about it.

    It is looked at twice: with 8 full frames, and with packed ones.
    """
    import contextlib
    import tempfile

    from pipelines.demo import run_demo

    with tempfile.TemporaryDirectory(prefix="vidzip-demo-") as folder, contextlib.chdir(folder):
        with progress_bar() as show:
            shown = run_demo(show)
        for line in shown.lines:
            print_line(line)
        print_line()
        print_table(shown.answers, header=shown.columns)
        print_line()
        print_table(shown.costs, header=shown.cost_columns)
