"""``vidzip eval`` and ``vidzip merge``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from pipelines.options import (
    answer_option,
    debug_option,
    decoding_options,
    method_options,
    model_options,
    spending_options,
)
from pipelines.settings import BASELINE_FRAMES, DEFAULT_MODEL
from pipelines.terminal import print_line, print_message, print_table, progress_bar
from vidzip import Budget, Decoding, split_budget
from vidzip.errors import BadArgument, VidzipError

if TYPE_CHECKING:
    from eval.datasets import Sample, VideoFolder
    from pipelines.evaluation.running import Look
    from vidzip import VideoLlava


class BadSetFolder(VidzipError):
    """The questions cannot be read."""


@click.command(name="eval")
@click.argument("name", metavar="SET")
@click.option("--data", metavar="DIR", required=True, type=click.Path(), help="Folder, or file, of the questions.")
@click.option(
    "--videos", metavar="DIR", type=click.Path(), help="Folder of the videos.  [default: DATA/videos, or DATA]"
)
@click.option(
    "--out", metavar="RUN", required=True, type=click.Path(), help="Folder of the run; a second start goes on."
)
@spending_options
@method_options
@click.option("--full", is_flag=True, help=f"{BASELINE_FRAMES} whole frames, uncompressed: the baseline.")
@click.option("--blind", is_flag=True, help="Ask without the videos: the floor.")
@click.option("--subset", metavar="firstN", help="The first N questions, in file order.")
@click.option("--limit", type=int, metavar="N", help="The first N videos only.")
@click.option("--shard", metavar="I/N", help="One of N parts, for N machines; 'vidzip merge' joins them.")
@click.option("--gpus", metavar="all|N", help="Devices that share the work, a process each.")
@click.option("--pack-cache", metavar="DIR", type=click.Path(), help="Keep packed videos, for runs to come.")
@click.option("--retry-failed", is_flag=True, help="Ask again what failed before, such as for want of a video.")
@click.option("--batch", type=int, metavar="N", default=16, show_default=True, help="Questions of a video at once.")
@click.option("--processes", type=int, metavar="N", help="Processes that decode.  [default: one for two CPUs, up to 8]")
@model_options
@decoding_options
@answer_option
@debug_option
def eval_command(**options: Any) -> int:
    """Ask a question set's questions of a model.

    SET is a name such as msvd or tgif-frameqa ('vidzip data where' lists them). Each video is decoded, packed and read
    once. Started again, the run goes on where it was ended.
    """
    with progress_bar() as show:
        report = evaluate(options, show)
    for kind, count in report["failures"].items():
        print_message("warning", f"{count} questions have no answer: {kind}")
    if report["failures"]:
        print_message("hint", "the same command with --retry-failed asks them again")
    rows = [
        ("questions", f"{report['questions']:,}"),
        ("answered", f"{report['answered']:,}"),
        ("failed", f"{report['failed']:,}"),
        *((f"exact match, {name}", value) for name, value in report["accuracies"]),
    ]
    print_table(rows)
    print_line(f"{options['out']} holds the run")
    return 0


def evaluate(options: dict[str, Any], show: Any, loaded: VideoLlava | None = None) -> dict[str, Any]:
    """Run what the command line asks for.

    Args:
        options: as :data:`eval_command` takes them.
        show: told how far it is.
        loaded: the model that the options name, where it is there already.

    Returns:
        What became of the questions.
    """
    from pipelines.evaluation.answering import Answerer
    from pipelines.evaluation.crew import usual_processes
    from pipelines.evaluation.devices import Loading, run_on
    from pipelines.evaluation.journal import open_journal
    from pipelines.evaluation.merging import read_shard
    from pipelines.evaluation.running import Look, Work, by_video, run, summary

    look, decoding = _look(options, Look), decoding_of(options)
    shard = options["shard"]
    if shard is not None:
        read_shard(shard)
    chosen, folder = read_questions(options, with_videos=look.budget is not None)
    parts = by_video(chosen)
    mine = [one for number, video in enumerate(parts) if _is_mine(number, shard) for one in parts[video]]

    devices = _devices(options["gpus"])
    loading = Loading(
        load=_load,
        options=_model_options(options),
        max_new_tokens=options["max_new_tokens"],
        batch_questions=_count(options["batch"], "--batch"),
    )
    model = loaded or load_model(options, show, devices[0] if devices else None)
    if options["full"]:
        look = full_look(model)
    work = Work(
        samples=mine,
        videos=folder,
        look=look,
        decoding=decoding,
        processes=usual_processes() if options["processes"] is None else _count(options["processes"], "--processes"),
        cache=options["pack_cache"],
    )
    described = describe_run(options, chosen, look, model)
    with open_journal(options["out"], described, retry_failed=options["retry_failed"]) as journal:
        if len(devices) > 1 and look.budget is not None:
            del model
            run_on(devices, work, loading, journal, show)
        else:
            answerer = Answerer(
                model=model, max_new_tokens=loading.max_new_tokens, batch_questions=loading.batch_questions
            )
            run(work, answerer, journal, show)
        return {**summary(mine, journal.rows), "accuracies": accuracies(mine, journal.rows)}


def read_questions(options: Mapping[str, Any], *, with_videos: bool) -> tuple[Sequence[Sample], VideoFolder | None]:
    """Read the questions that options name, and list their videos.

    Raises:
        BadSetFolder: either cannot be read.
    """
    from eval.datasets import SETS, DatasetError, list_videos, load, subset

    data, folder = options["data"], None
    try:
        chosen: Sequence[Sample] = load(data, options["name"])
        if options["subset"]:
            chosen = subset(chosen, options["subset"])
        if with_videos:
            folder = list_videos(videos_of(data, options["videos"]), SETS[options["name"]], annotations=data)
    except DatasetError as error:
        raise BadSetFolder(error.message, hint=error.hint) from error
    return limited(chosen, options["limit"]), folder


def describe_run(
    options: Mapping[str, Any], samples: Sequence[Sample], look: Look, model: VideoLlava
) -> dict[str, Any]:
    """All that a run's answers depend on, as its folder keeps it."""
    from pipelines.evaluation.running import describe_model

    return {
        "set": options["name"],
        "questions": {"count": len(samples), "fingerprint": _fingerprint(samples)},
        "subset": options["subset"],
        "limit": options["limit"],
        "shard": options["shard"],
        **look.described(),
        **describe_model(model, options["revision"]),
        "quantize": options["quantize"],
        "max_new_tokens": options["max_new_tokens"],
        "batch_questions": options["batch"],
        "decoder": options["decoder"],
        "strict": options["strict"],
    }


def accuracies(samples: Sequence[Sample], rows: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Exact match in percent: of the questions that were answered, and of all; with intervals clustered by video."""
    from eval.metrics import Score, exact_match
    from eval.reporting.texts import interval
    from eval.statistics import Graded, mean_score

    graded, strict = [], []
    for sample in samples:
        row = rows.get(sample.id)
        score = exact_match(row["prediction"] if row else None, sample.answer)
        graded.append(Graded(question_id=sample.id, video=sample.video, score=score))
        counted = score if row and row["failure"] is None else Score(value=0.0)
        strict.append(Graded(question_id=sample.id, video=sample.video, score=counted))
    return [
        (name, f"{interval(estimate)} %" if estimate.value is not None else "-")
        for name, estimate in (("of the answered", mean_score(graded)), ("of all", mean_score(strict)))
    ]


def full_look(model: VideoLlava) -> Look:
    """The baseline: whole frames, uncompressed, chosen as the model's own code does."""
    from pipelines.evaluation.running import Look

    whole = Budget(total_tokens=BASELINE_FRAMES * model.tokens_per_frame, num_frames=BASELINE_FRAMES)
    return Look(budget=whole, policy=model.policy, method="none")


def load_model(options: Mapping[str, Any], show: Any, device: str | None = None) -> VideoLlava:
    """Load the model that options name, or the one that ships, and say so; onto another device where one is named."""
    if options["model"] is None:
        print_message("note", f"no --model was named: {DEFAULT_MODEL} answers, which knows coloured shapes only")
    wanted = _model_options(options)
    show(f"load {wanted['name']}", 0, 1)
    return _load(device=device or options["device"], **wanted)


def _model_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What loading takes beside the device."""
    return {
        "name": options["model"] or DEFAULT_MODEL,
        **{key: options[key] for key in ("revision", "dtype", "quantize", "device_map", "compile_tower")},
    }


def _load(*, device: str, name: str, **options: Any) -> VideoLlava:
    """Load a model; a new process can import this."""
    from vidzip import load

    return load(name, device=device, **options)


def _look(options: dict[str, Any], kind: Any) -> Any:
    named = [flag for flag in ("full", "blind") if options[flag]]
    if len(named) > 1 or (named and options["frames"] is not None):
        raise BadArgument(
            f"--{named[0]} comes with {'--' + named[1] if len(named) > 1 else '--frames'}", hint="give one of them"
        )
    from vidzip.compress import read_method

    method = read_method(options["method"], options["method_option"])
    if options["blind"]:
        return kind(budget=None)
    if options["full"]:
        return kind(budget=Budget(num_frames=BASELINE_FRAMES))  # the model says how many tokens that is
    budget = Budget(total_tokens=options["budget"], num_frames=options["frames"])
    if budget.num_frames is not None:
        split_budget(budget.total_tokens, budget.num_frames)  # refuses what no video could be planned by
    return kind(budget=budget, method=options["method"], options=method.changed())


def decoding_of(options: Mapping[str, Any]) -> Decoding:
    """How options have videos decoded."""
    return Decoding(
        backend=options["decoder"],
        workers=2 if options["workers"] is None else options["workers"],
        strict=options["strict"],
        time_limit_seconds=options["time_limit"],
    )


def videos_of(data: str, videos: str | None = None) -> str:
    """The folder of the videos: the one that is named, else ``videos`` beside the questions, else that of the questions."""
    if videos is not None:
        return videos
    folder = os.path.dirname(data) or os.curdir if os.path.isfile(data) else data
    inside = os.path.join(folder, "videos")
    return inside if os.path.isdir(inside) else folder


def limited(samples: Sequence[Sample], limit: int | None) -> Sequence[Sample]:
    """The questions about the first videos, as many as ``limit`` says; all of them when it is None."""
    if limit is None:
        return samples
    wanted = set(list(dict.fromkeys(sample.video for sample in samples))[: _count(limit, "--limit")])
    return [sample for sample in samples if sample.video in wanted]


def _is_mine(number: int, shard: str | None) -> bool:
    from pipelines.evaluation.merging import shard_of

    return shard_of(number, shard)


def _devices(gpus: str | None) -> list[str]:
    """Which devices share the work; none where there is one."""
    if gpus is None:
        return []
    import torch

    there = torch.cuda.device_count()
    count = there if gpus == "all" else int(gpus) if gpus.isdecimal() else -1
    if count < 1 or count > there:
        raise BadArgument(f"--gpus is {gpus!r}, and this machine has {there}", hint="give all, or how many")
    return [f"cuda:{number}" for number in range(count)]


def _count(value: int, name: str) -> int:
    if value < 1:
        raise BadArgument(f"{name} is {value}", hint="give 1 or more")
    return value


def _fingerprint(samples: Iterable[Sample]) -> str:
    """Hash a question list: a run is of this one, in this order."""
    digest = hashlib.blake2b(digest_size=16)
    for sample in samples:
        digest.update(json.dumps([sample.id, sample.video, sample.question, sample.answer]).encode() + b"\n")
    return digest.hexdigest()


@click.command(name="merge")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path())
@click.option("--out", metavar="RUN", required=True, type=click.Path(), help="Folder of the whole run.")
@debug_option
def merge_command(*, runs: tuple[str, ...], out: str) -> None:
    """Join the parts of a run that were made with --shard."""
    from pipelines.evaluation.merging import merge

    whole = merge(runs, out)
    print_line(f"{out} holds the whole run: {whole['questions']['count']:,} questions of {len(runs)} parts")
