"""Measure a model of Video-LLaVA-7B's size: time of each stage, peak memory, and lower bounds from operation counts.

    python -m benchmarks.full_size --kind port original --markdown

Weights and frames (360x640 pixels, in host memory) are random: no checkpoint, video or decoder is needed. Configurations
run in a random order within each round, after one round to warm up; values are medians. The device is synchronised before
and after each stage.

    python -m benchmarks.full_size --precision --dtype float16

compares answers in a session with those of full prompts instead.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import platform
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from pipelines.bench import settings
from pipelines.bench.measuring import in_rounds
from pipelines.bench.tables import describe_machine, format_milliseconds, format_number
from pipelines.bench.variants import HEIGHT, WIDTH, random_frames
from pipelines.settings import BASELINE_FRAMES
from pipelines.terminal import format_bytes, print_line, print_markdown_table, print_message, print_table, progress_bar
from vidzip import Budget, Frames, PackedVideo, Plan, VideoModel, VidzipError, zip_frames
from vidzip.models.full_size import QUESTIONS, build
from vidzip.models.placing import find_device
from vidzip.models.timing import Stopwatch
from vidzip.packing import pack_zipped
from vidzip.planner import split_evenly

STAGES = settings.STAGES[1:]  # frames are decoded already
ASKED_QUESTIONS = 8
ANSWER_TOKENS = 16
"""Number of questions compared at a precision, and tokens per answer."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A number of frames and their total tokens."""

    frames: int
    tokens: int
    is_uncompressed: bool

    @property
    def title(self) -> str:
        """Title in tables."""
        return f"{self.frames} {'uncompressed' if self.is_uncompressed else 'packed'} frames, {self.tokens:,} tokens"

    def plan(self, frames_per_clip: int) -> Plan:
        """Return a plan for a video at one frame per second; with more frames than tokens, some frames keep none."""
        return Plan(
            video_identity=None,
            budget=Budget(total_tokens=self.tokens, num_frames=self.frames),
            timestamps_seconds=tuple(float(second) for second in range(self.frames)),
            tokens_per_frame=tuple(split_evenly(self.tokens, self.frames)),
            frames_per_clip=frames_per_clip,
        )


def configurations(model: VideoModel, counts: Sequence[int]) -> list[Configuration]:
    """Return the model's own uncompressed frames, then the packed ones."""
    uncompressed = Configuration(
        frames=BASELINE_FRAMES, tokens=BASELINE_FRAMES * model.tokens_per_frame, is_uncompressed=True
    )
    return [
        uncompressed,
        *(Configuration(frames=count, tokens=Budget.total_tokens, is_uncompressed=False) for count in counts),
    ]


# Operation counts ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Work:
    """Necessary work of a stage: floating-point operations, and bytes of weights read."""

    flop: float
    read_bytes: float = 0.0


def frame_flop(config: Any) -> float:
    """Count operations of a frame up to the feature layer; the tower's last layer is not needed."""
    vision = config.vision_config
    width, inner = vision.hidden_size, vision.intermediate_size
    patches = (vision.image_size // vision.patch_size) ** 2
    token = 2 * (4 * width**2 + 2 * width * inner) + 4 * (patches + 1) * width
    if getattr(vision, "add_time_attn", False):
        token += 2 * 4 * width**2 + 4 * vision.num_frames * width
    layers = vision.num_hidden_layers + 1 + config.vision_feature_layer
    return float(layers * (patches + 1) * token + 2 * patches * 3 * vision.patch_size**2 * width)


def projector_flop(config: Any) -> float:
    """Count operations of a visual token in the projector."""
    wide = config.text_config.hidden_size
    return float(2 * (config.vision_config.hidden_size * wide + wide**2))


def language_parameters(config: Any) -> float:
    """Count the weights of the layers, which every token is multiplied with."""
    text = config.text_config
    width, shared = text.hidden_size, text.num_key_value_heads / text.num_attention_heads
    layer = (2 + 2 * shared) * width**2 + 3 * width * text.intermediate_size
    return float(text.num_hidden_layers * layer)


def prompt_flop(config: Any, tokens: int, before: int = 0) -> float:
    """Count operations of prompt tokens after cached ones, and of the head for the next token."""
    text = config.text_config
    seen = tokens * before + tokens * (tokens + 1) / 2  # a token attends to itself and all before
    attention: float = 4 * text.num_hidden_layers * text.hidden_size * seen
    head: int = text.hidden_size * text.vocab_size
    return 2 * language_parameters(config) * tokens + attention + 2 * head


def read_bytes(config: Any, itemsize: int) -> float:
    """Return the bytes of the language model's weights, which each step reads once."""
    head: int = config.text_config.hidden_size * config.text_config.vocab_size
    return (language_parameters(config) + head) * itemsize


def work_of(model: VideoModel, configuration: Configuration) -> dict[str, Work]:
    """Return the necessary work of each stage; stages that only move bytes are left out."""
    config, itemsize = model.config, model.dtype.itemsize
    first, second = (model.family.prompt(question) for question in QUESTIONS)
    weights = read_bytes(config, itemsize)
    return {
        "encode": Work(flop=configuration.frames * frame_flop(config)),
        "project": Work(flop=configuration.tokens * projector_flop(config)),
        "prefill": Work(flop=prompt_flop(config, configuration.tokens + first.num_tokens), read_bytes=weights),
        "generate": Work(flop=prompt_flop(config, 1, configuration.tokens + first.num_tokens), read_bytes=weights),
        "without": Work(
            flop=configuration.tokens * projector_flop(config)
            + prompt_flop(config, configuration.tokens + second.num_tokens),
            read_bytes=weights,
        ),
        "with": Work(
            flop=prompt_flop(config, len(second.after), configuration.tokens + len(second.before)), read_bytes=weights
        ),
    }


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Rates of a device per second: operations in a large matrix product, and bytes read."""

    flop: float
    read_bytes: float

    def or_faster(self, other: Rates) -> Rates:
        """Return the faster of two measurements, each rate on its own; other load only slows a device down."""
        return Rates(flop=max(self.flop, other.flop), read_bytes=max(self.read_bytes, other.read_bytes))

    def seconds(self, work: Work) -> float:
        """Return a lower bound of the time: that of computing or of reading, whichever is longer."""
        return max(work.flop / self.flop, work.read_bytes / self.read_bytes)


def measure_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """Measure a device's rates; reading by a copy and by a matrix-vector product, whichever is faster."""
    side, rows = (8192, 65536) if device.type == "cuda" else (2048, 16384)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    matrix = torch.randn(rows, side, device=device).to(dtype)
    vector, target = matrix[0].clone(), torch.empty_like(matrix)
    product = _fastest(lambda: a @ b, device)
    copied, multiplied = _fastest(lambda: target.copy_(matrix), device), _fastest(lambda: matrix @ vector, device)
    return Rates(flop=2 * side**3 / product, read_bytes=max(2 * matrix.nbytes / copied, matrix.nbytes / multiplied))


def _fastest(work: Any, device: torch.device, runs: int = 5) -> float:
    watch = Stopwatch(device)
    seconds = []
    for _ in range(runs):
        began = watch.now()
        work()
        seconds.append(watch.now() - began)
    return min(seconds)


# Measuring -----------------------------------------------------------------------------------------------------------


def pack(model: VideoModel, configuration: Configuration, pixels: Tensor) -> PackedVideo:
    """Encode, compress and pack frames, (F, 3, H, W) uint8 on the host, as ``model.pack`` does after decoding."""
    stopwatch = Stopwatch(model.device)
    plan = configuration.plan(model.frames_per_clip)
    frames = Frames(pixels=pixels[: configuration.frames], timestamps_seconds=(0.0,) * configuration.frames)
    features = model.encode(frames, stopwatch)
    with stopwatch.stage("compress"):
        zipped = zip_frames(features, plan.tokens_per_frame)
    return pack_zipped(
        zipped,
        plan,
        timestamps_seconds=plan.timestamps_seconds,
        method="visionzip",
        tower=model.tower_fingerprint,
        stage_seconds=stopwatch.seconds,
    )


def run(model: VideoModel, configuration: Configuration, pixels: Tensor) -> dict[str, float]:
    """Run a configuration; return seconds of each stage and of the second question's first token, and peak memory."""
    is_cuda = model.device.type == "cuda"
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(model.device)
    packed = pack(model, configuration, pixels)
    first, second = QUESTIONS
    measured = dict(model.ask(packed, first, max_new_tokens=2).stage_seconds)
    if is_cuda:
        measured["peak_bytes"] = float(torch.cuda.max_memory_allocated(model.device))
    alone = model.ask(packed, second, max_new_tokens=2).stage_seconds
    session = model.session(packed)
    session.ask(first, max_new_tokens=2)
    later = session.ask(second, max_new_tokens=2).stage_seconds
    return {
        **measured,
        "all": sum(measured[stage] for stage in STAGES),
        "without": alone["project"] + alone["prefill"],
        "with": later["prefill"],
        "prefix": later["prefix"],
    }


Runs = dict[Configuration, list[dict[str, float]]]


def measure(model: VideoModel, chosen: Sequence[Configuration], rounds: int) -> tuple[Runs, Rates]:
    """Measure all configurations in interleaved rounds after a warm-up, and the device's rates before each round."""
    pixels = _frames(chosen)
    runs: Runs = {configuration: [] for configuration in chosen}
    rates = measure_rates(model.device, model.dtype)
    with progress_bar() as show:
        for turn, count, configuration in in_rounds(chosen, rounds):
            if count % len(chosen) == 0:
                rates = rates.or_faster(measure_rates(model.device, model.dtype))
            show(model.name, count, (rounds + 1) * len(chosen))
            measured = run(model, configuration, pixels)
            if turn:
                runs[configuration].append(measured)
    return runs, rates


def _frames(chosen: Sequence[Configuration]) -> Tensor:
    return random_frames(max(configuration.frames for configuration in chosen), HEIGHT, WIDTH)


# Tables --------------------------------------------------------------------------------------------------------------


def stage_rows(
    runs: Runs, works: dict[Configuration, dict[str, Work]], rates: Rates, *, ratios: bool
) -> list[list[str]]:
    """Return two rows per configuration: times, and each stage's lower bound with its share of the time."""
    base = next(iter(runs))
    rows = []
    for configuration, measured in runs.items():
        cells = [
            _format_times(_series(runs, configuration, stage, base if ratios else None), ratios)
            for stage in (*STAGES, "all")
        ]
        peaks = [one["peak_bytes"] for one in measured if "peak_bytes" in one]
        rows.append([configuration.title, *cells, format_bytes(round(max(peaks))) if peaks else "not measured"])
        work = works[configuration]
        bounds = {stage: rates.seconds(work[stage]) for stage in STAGES if stage in work}
        bounds["all"] = sum(bounds.values())
        work = {**work, "all": Work(flop=sum(work[stage].flop for stage in STAGES if stage in work))}
        bound_cells = (
            _format_bound(work[stage], bounds[stage], _median(measured, stage), ratios=ratios)
            if stage in bounds
            else ""
            for stage in (*STAGES, "all")
        )
        rows.append(["lower bound", *bound_cells, ""])
    return rows


def session_rows(
    runs: Runs, works: dict[Configuration, dict[str, Work]], rates: Rates, *, ratios: bool
) -> list[list[str]]:
    """Return a row per configuration: the second question's first token with and without a session."""
    rows = []
    for configuration, measured in runs.items():
        row = [configuration.title]
        for name in ("without", "with"):
            work = works[configuration][name]
            if not ratios:
                row.append(_format_times(_series(runs, configuration, name, None), ratios))
            row.append(_format_bound(work, rates.seconds(work), _median(measured, name), ratios=ratios))
        shares = [one["with"] / one["without"] for one in measured]
        rows.append([*row, _format_times(shares, is_ratio=True)])
    return rows


def _series(runs: Runs, configuration: Configuration, stage: str, base: Configuration | None) -> list[float]:
    """Return a stage's seconds in each round, or their ratios to the total of a base configuration in the same round."""
    seconds = [one[stage] for one in runs[configuration]]
    if base is None:
        return seconds
    return [own / other["all"] for own, other in zip(seconds, runs[base], strict=True)]


def _median(measured: Sequence[dict[str, float]], stage: str) -> float:
    return statistics.median(one[stage] for one in measured)


def _format_times(values: Sequence[float], is_ratio: bool) -> str:
    median = statistics.median(values)
    spread = (max(values) - min(values)) / median if median else 0.0
    return f"{format_number(median) if is_ratio else format_milliseconds(median)} ({spread:.0%})"


def _format_bound(work: Work, bound_seconds: float, seconds: float, *, ratios: bool) -> str:
    time = "" if ratios else f", {format_milliseconds(bound_seconds)}"
    return f"{format_number(work.flop / 1e9)} GFLOP{time}: {bound_seconds / seconds:.0%}"


# Precision -----------------------------------------------------------------------------------------------------------


def ask_full_prompts(model: VideoModel, packed: PackedVideo, questions: Sequence[str]) -> Tensor:
    """Ask with full prompts; return the logits of every step in float32, (questions, steps, vocabulary)."""
    with logits_of(model) as steps:
        for question in questions:
            model.ask(packed, question, ANSWER_TOKENS)
    return torch.cat(steps).view(len(questions), -1, steps[0].shape[-1])


def ask_in_session(model: VideoModel, packed: PackedVideo, questions: Sequence[str]) -> Tensor:
    """Ask one after the other in a session."""
    session = model.session(packed)
    with logits_of(model) as steps:
        for question in questions:
            session.ask(question, ANSWER_TOKENS)
    return torch.cat(steps).view(len(questions), -1, steps[0].shape[-1])


def ask_batched(model: VideoModel, packed: PackedVideo, questions: Sequence[str]) -> Tensor:
    """Ask in one batch of a session."""
    session = model.session(packed)
    with logits_of(model) as steps:
        session.ask_many(questions, ANSWER_TOKENS, batch_questions=len(questions))
    return torch.stack(steps, dim=1)


@contextmanager
def logits_of(model: VideoModel) -> Iterator[list[Tensor]]:
    """Collect the logits of each step, (rows, vocabulary)."""
    steps: list[Tensor] = []
    head = model.network.get_output_embeddings()
    handle = head.register_forward_hook(lambda *call: steps.append(call[2][:, -1].float()))
    try:
        yield steps
    finally:
        handle.remove()


def precision_rows(model: VideoModel, chosen: Sequence[Configuration]) -> Iterator[list[str]]:
    """Compare sessions with full prompts: logits of the first new token, and answers."""
    pixels = _frames(chosen)
    words = " ".join(QUESTIONS).replace("?", "").replace(",", "").split()
    order = random.Random(0)
    questions = [" ".join(order.sample(words, 8)) + "?" for _ in range(ASKED_QUESTIONS)]
    packs = {configuration: pack(model, configuration, pixels) for configuration in chosen}
    alone = {configuration: ask_full_prompts(model, packed, questions) for configuration, packed in packs.items()}
    for configuration, packed in packs.items():
        for name, ask in {"in a session": ask_in_session, "batched": ask_batched}.items():
            yield [configuration.title, name, *_difference(ask(model, packed, questions), alone[configuration])]
    if model.dtype != torch.float32:
        wide = replace(model, family=replace(model.family, network=copy.deepcopy(model.network).float()))
        for configuration, packed in packs.items():
            same = replace(packed, tower=wide.tower_fingerprint)
            yield [
                configuration.title,
                "the same weights in float32",
                *_difference(ask_full_prompts(wide, same, questions), alone[configuration]),
            ]


def _difference(logits: Tensor, reference: Tensor) -> tuple[str, str]:
    """Format the largest difference of a first token's logit in standard deviations, and the differing answers."""
    first, other = logits[:, 0], reference[:, 0]
    largest = float((first - other).abs().max() / other.std())
    differ = (logits.argmax(-1) != reference.argmax(-1)).any(-1)
    return f"{largest:.1e}", f"{int(differ.sum())} of {len(differ)}"


# The command ---------------------------------------------------------------------------------------------------------


def describe_environment(device: torch.device) -> str:
    """Return the machine and library versions as text."""
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers"))
    return f"{describe_machine(device)}; {versions}, Python {platform.python_version()}"


def report(model: VideoModel, options: argparse.Namespace) -> dict[str, Any]:
    """Measure a model, print its tables, and return the measurements."""
    draw = print_markdown_table if options.markdown else print_table
    chosen = configurations(model, options.frames)
    if options.precision:
        header = ("configuration", "variant", "largest logit difference", "differing answers")
        rows = list(precision_rows(model, chosen[:2]))
        draw(rows, header=header)
        return {"precision": rows}
    works = {configuration: work_of(model, configuration) for configuration in chosen}
    runs, rates = measure(model, chosen, options.rounds)
    print_line(f"{format_bytes(_weight_bytes(model))} of weights, {model.batch_frames} frames per tower batch;")
    print_line(
        f"{rates.flop / 1e12:.3g} TFLOP/s in a large matrix product, {rates.read_bytes / 1e9:,.0f} GB/s read or written\n"
    )
    titles = [*(settings.TITLES[stage] for stage in STAGES), "all"]
    draw(stage_rows(runs, works, rates, ratios=options.ratios), header=("configuration", *titles, "peak memory"))
    print_line()
    columns = ("without", "with") if options.ratios else ("without", "lower bound", "with", "lower bound")
    draw(
        session_rows(runs, works, rates, ratios=options.ratios),
        header=("second question's first token, session", *columns, "with / without"),
    )
    return {
        "rates": asdict(rates),
        "weights_bytes": _weight_bytes(model),
        "configurations": [
            {
                "title": configuration.title,
                "rounds": measured,
                "work": {stage: asdict(work) for stage, work in works[configuration].items()},
            }
            for configuration, measured in runs.items()
        ],
    }


def _weight_bytes(model: VideoModel) -> int:
    return sum(weight.nbytes for weight in model.network.parameters())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument(
        "--dtype", nargs="+", default=["auto"], help="precisions, one after another (default: the device's)"
    )
    parser.add_argument("--kind", nargs="+", choices=("port", "original"), default=["port"], help="(default: port)")
    parser.add_argument("--depth", type=float, default=1.0, help="share of the layers (default: all)")
    parser.add_argument(
        "--frames",
        nargs="+",
        type=int,
        default=[8, 64, 128, 256],
        help=f"packed frame counts, with {Budget.total_tokens} tokens in total (default: 8 64 128 256)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds (default: %(default)s)")
    parser.add_argument("--precision", action="store_true", help="compare answers in a session with full prompts")
    parser.add_argument(
        "--ratios", action="store_true", help="print times relative to the total of uncompressed frames"
    )
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    parser.add_argument("--json", metavar="OUT", help="write the measurements of every round")
    options = parser.parse_args(arguments)
    if min(options.frames) < 1 or options.rounds < 1:
        parser.error("--frames and --rounds must be 1 or more")
    if "original" in options.kind and any(count % BASELINE_FRAMES for count in options.frames):
        parser.error(f"the original encodes clips of {BASELINE_FRAMES} frames: give multiples of {BASELINE_FRAMES}")
    results = []
    try:
        device = find_device(options.device)
        print_line(
            f"{describe_environment(device)}; depth {options.depth:g}; frames of {WIDTH}x{HEIGHT}; {options.rounds} rounds"
        )
        for kind in options.kind:
            for dtype in options.dtype:
                model = build(kind, options.depth, device, dtype)
                print_line(f"\n{model.name}, {str(model.dtype).removeprefix('torch.')}:\n")
                figures = report(model, options)
                results.append({"kind": kind, "dtype": str(model.dtype).removeprefix("torch."), **figures})
                del model
                gc.collect()
                torch.cuda.empty_cache()
    except VidzipError as error:
        print_message("error", str(error))
        return 2
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(
                {"device": describe_environment(device), "depth": options.depth, "results": results}, file, indent=1
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
