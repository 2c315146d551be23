"""Video-LLaVA at its full size: seconds a stage, peak memory, and what the arithmetic alone would take.

    python -m benchmarks.full_size --kind port original --markdown

Random weights in the shape of Video-LLaVA-7B, random frames of 360x640 pixels in the host's memory as a decoder leaves
them: neither a checkpoint nor a video nor a decoder is needed. The configurations run round after round, in an order
drawn anew each time, after one round that does not count; figures are medians. A stage begins and ends with the
device at rest.

    python -m benchmarks.full_size --precision --dtype float16

measures instead how far answers out of a session are from those of whole prompts.
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
from pipelines.bench.tables import machine, milliseconds, short
from pipelines.bench.ways import HEIGHT, WIDTH, random_frames
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
"""How many questions are compared at a precision, and how long the answers are."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Frames, and what they may keep together."""

    frames: int
    tokens: int
    is_full: bool

    @property
    def title(self) -> str:
        """What it is called in tables."""
        return f"{self.frames} {'full' if self.is_full else 'packed'} frames, {self.tokens:,} tokens"

    def plan(self, frames_per_clip: int) -> Plan:
        """A plan as the planner would make it of a video at one frame a second; past the budget, some keep nothing."""
        return Plan(
            video_identity=None,
            budget=Budget(total_tokens=self.tokens, num_frames=self.frames),
            timestamps_seconds=tuple(float(second) for second in range(self.frames)),
            tokens_per_frame=tuple(split_evenly(self.tokens, self.frames)),
            frames_per_clip=frames_per_clip,
        )


def setups(model: VideoModel, counts: Sequence[int]) -> list[Setup]:
    """Whole frames as the model's own code takes them, then the packed ones."""
    full = Setup(frames=BASELINE_FRAMES, tokens=BASELINE_FRAMES * model.tokens_per_frame, is_full=True)
    return [full, *(Setup(frames=count, tokens=Budget.total_tokens, is_full=False) for count in counts)]


# What the arithmetic takes -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Work:
    """What cannot be left out of a stage: products and sums, and weights that are read once."""

    flop: float
    read_bytes: float = 0.0


def frame_flop(config: Any) -> float:
    """Products and sums of one frame on its way to the tokens that are used: the tower's last layer is not needed."""
    vision = config.vision_config
    width, inner = vision.hidden_size, vision.intermediate_size
    patches = (vision.image_size // vision.patch_size) ** 2
    token = 2 * (4 * width**2 + 2 * width * inner) + 4 * (patches + 1) * width
    if getattr(vision, "add_time_attn", False):
        token += 2 * 4 * width**2 + 4 * vision.num_frames * width
    layers = vision.num_hidden_layers + 1 + config.vision_feature_layer
    return float(layers * (patches + 1) * token + 2 * patches * 3 * vision.patch_size**2 * width)


def projector_flop(config: Any) -> float:
    """Products and sums of one visual token."""
    wide = config.text_config.hidden_size
    return float(2 * (config.vision_config.hidden_size * wide + wide**2))


def language_parameters(config: Any) -> float:
    """Weights that every token is multiplied with, and those of the head, which only the last one is."""
    text = config.text_config
    width, shared = text.hidden_size, text.num_key_value_heads / text.num_attention_heads
    layer = (2 + 2 * shared) * width**2 + 3 * width * text.intermediate_size
    return float(text.num_hidden_layers * layer)


def prompt_flop(config: Any, tokens: int, before: int = 0) -> float:
    """Products and sums of a prompt's tokens behind others that are in the cache, and of the word that follows."""
    text = config.text_config
    seen = tokens * before + tokens * (tokens + 1) / 2  # a token attends to itself and to what stands before it
    attention: float = 4 * text.num_hidden_layers * text.hidden_size * seen
    head: int = text.hidden_size * text.vocab_size
    return 2 * language_parameters(config) * tokens + attention + 2 * head


def read_bytes(config: Any, itemsize: int) -> float:
    """Bytes of the language model's weights, of which a step needs each once."""
    head: int = config.text_config.hidden_size * config.text_config.vocab_size
    return (language_parameters(config) + head) * itemsize


def work_of(model: VideoModel, setup: Setup) -> dict[str, Work]:
    """What each stage cannot do without; nothing is said of those that only move bytes."""
    config, itemsize = model.config, model.dtype.itemsize
    first, second = (model.family.prompt(question) for question in QUESTIONS)
    weights = read_bytes(config, itemsize)
    return {
        "encode": Work(flop=setup.frames * frame_flop(config)),
        "project": Work(flop=setup.tokens * projector_flop(config)),
        "prefill": Work(flop=prompt_flop(config, setup.tokens + first.num_tokens), read_bytes=weights),
        "generate": Work(flop=prompt_flop(config, 1, setup.tokens + first.num_tokens), read_bytes=weights),
        "without": Work(
            flop=setup.tokens * projector_flop(config) + prompt_flop(config, setup.tokens + second.num_tokens),
            read_bytes=weights,
        ),
        "with": Work(
            flop=prompt_flop(config, len(second.after), setup.tokens + len(second.before)), read_bytes=weights
        ),
    }


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a device does a second: products and sums of a large matrix product, bytes that it reads."""

    flop: float
    read_bytes: float

    def or_faster(self, other: Rates) -> Rates:
        """The faster of two measurements, each by itself: what else a machine does slows it down, and nothing speeds it."""
        return Rates(flop=max(self.flop, other.flop), read_bytes=max(self.read_bytes, other.read_bytes))

    def seconds(self, work: Work) -> float:
        """The least time that some work takes: it computes, or it reads, whichever takes longer."""
        return max(work.flop / self.flop, work.read_bytes / self.read_bytes)


def measure_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """Measure a device on random numbers; reading, by copying and by a product with a vector, the faster of the two."""
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


# What is measured ----------------------------------------------------------------------------------------------------


def pack(model: VideoModel, setup: Setup, pixels: Tensor) -> PackedVideo:
    """Encode, compress and pack frames, (F, 3, H, W) uint8 on the host, as ``model.pack`` does what it has decoded."""
    stopwatch = Stopwatch(model.device)
    plan = setup.plan(model.frames_per_clip)
    shown = pixels[: setup.frames]
    features = model.encode(Frames(pixels=shown, timestamps_seconds=(0.0,) * len(shown)), stopwatch)
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


def run(model: VideoModel, setup: Setup, pixels: Tensor) -> dict[str, float]:
    """Run one configuration: seconds of each stage, of the second question's first token, and the peak of memory."""
    is_cuda = model.device.type == "cuda"
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(model.device)
    packed = pack(model, setup, pixels)
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


Runs = dict[Setup, list[dict[str, float]]]


def measure(model: VideoModel, chosen: Sequence[Setup], rounds: int) -> tuple[Runs, Rates]:
    """Run all configurations, round after round, in an order drawn anew each time; a first round does not count.

    The device's rates are measured before every round.
    """
    pixels = _frames(chosen)
    runs: Runs = {setup: [] for setup in chosen}
    rates = measure_rates(model.device, model.dtype)
    with progress_bar() as show:
        for turn, count, setup in in_rounds(chosen, rounds):
            if count % len(chosen) == 0:
                rates = rates.or_faster(measure_rates(model.device, model.dtype))
            show(model.name, count, (rounds + 1) * len(chosen))
            measured = run(model, setup, pixels)
            if turn:
                runs[setup].append(measured)
    return runs, rates


def _frames(chosen: Sequence[Setup]) -> Tensor:
    return random_frames(max(setup.frames for setup in chosen), HEIGHT, WIDTH)


# Tables --------------------------------------------------------------------------------------------------------------


def stage_rows(runs: Runs, works: dict[Setup, dict[str, Work]], rates: Rates, *, ratios: bool) -> list[list[str]]:
    """Two rows a configuration: what was measured, and the floor of each stage with the share of it in the time."""
    base = next(iter(runs))
    rows = []
    for setup, measured in runs.items():
        said = [_figure(_series(runs, setup, stage, base if ratios else None), ratios) for stage in (*STAGES, "all")]
        peaks = [one["peak_bytes"] for one in measured if "peak_bytes" in one]
        rows.append([setup.title, *said, format_bytes(round(max(peaks))) if peaks else "not measured"])
        work = works[setup]
        floors = {stage: rates.seconds(work[stage]) for stage in STAGES if stage in work}
        floors["all"] = sum(floors.values())
        work = {**work, "all": Work(flop=sum(work[stage].flop for stage in STAGES if stage in work))}
        cells = (
            _floor(work[stage], floors[stage], _median(measured, stage), ratios=ratios) if stage in floors else ""
            for stage in (*STAGES, "all")
        )
        rows.append(["its floor", *cells, ""])
    return rows


def session_rows(runs: Runs, works: dict[Setup, dict[str, Work]], rates: Rates, *, ratios: bool) -> list[list[str]]:
    """One row a configuration: the second question's first token, with and without the session."""
    rows = []
    for setup, measured in runs.items():
        row = [setup.title]
        for way in ("without", "with"):
            work = works[setup][way]
            if not ratios:
                row.append(_figure(_series(runs, setup, way, None), ratios))
            row.append(_floor(work, rates.seconds(work), _median(measured, way), ratios=ratios))
        shares = [one["with"] / one["without"] for one in measured]
        rows.append([*row, _figure(shares, is_ratio=True)])
    return rows


def _series(runs: Runs, setup: Setup, stage: str, base: Setup | None) -> list[float]:
    """A stage's seconds, round by round; or their ratio to all of another configuration's in the same round."""
    seconds = [one[stage] for one in runs[setup]]
    if base is None:
        return seconds
    return [own / whole["all"] for own, whole in zip(seconds, runs[base], strict=True)]


def _median(measured: Sequence[dict[str, float]], stage: str) -> float:
    return statistics.median(one[stage] for one in measured)


def _figure(values: Sequence[float], is_ratio: bool) -> str:
    middle = statistics.median(values)
    spread = (max(values) - min(values)) / middle if middle else 0.0
    return f"{short(middle) if is_ratio else milliseconds(middle)} ({spread:.0%})"


def _floor(work: Work, floor_seconds: float, seconds: float, *, ratios: bool) -> str:
    time = "" if ratios else f", {milliseconds(floor_seconds)}"
    return f"{short(work.flop / 1e9)} GFLOP{time}: {floor_seconds / seconds:.0%}"


# Precision -----------------------------------------------------------------------------------------------------------


def asked_alone(model: VideoModel, packed: PackedVideo, questions: Sequence[str]) -> Tensor:
    """Ask with whole prompts; the logits of every step, (questions, steps, vocabulary), in float32."""
    with logits_of(model) as steps:
        for question in questions:
            model.ask(packed, question, ANSWER_TOKENS)
    return torch.cat(steps).view(len(questions), -1, steps[0].shape[-1])


def in_a_session(model: VideoModel, packed: PackedVideo, questions: Sequence[str]) -> Tensor:
    """Ask one by one in a session."""
    session = model.session(packed)
    with logits_of(model) as steps:
        for question in questions:
            session.ask(question, ANSWER_TOKENS)
    return torch.cat(steps).view(len(questions), -1, steps[0].shape[-1])


def side_by_side(model: VideoModel, packed: PackedVideo, questions: Sequence[str]) -> Tensor:
    """Ask all at once in a session."""
    session = model.session(packed)
    with logits_of(model) as steps:
        session.ask_many(questions, ANSWER_TOKENS, batch_questions=len(questions))
    return torch.stack(steps, dim=1)


@contextmanager
def logits_of(model: VideoModel) -> Iterator[list[Tensor]]:
    """Collect what the language model gives for each next word: (rows, vocabulary) a step."""
    steps: list[Tensor] = []
    head = model.network.get_output_embeddings()
    handle = head.register_forward_hook(lambda *call: steps.append(call[2][:, -1].float()))
    try:
        yield steps
    finally:
        handle.remove()


def precision_rows(model: VideoModel, chosen: Sequence[Setup]) -> Iterator[list[str]]:
    """Compare ways of asking the same: the first new word's logits, and the answers."""
    pixels = _frames(chosen)
    words = " ".join(QUESTIONS).replace("?", "").replace(",", "").split()
    order = random.Random(0)
    questions = [" ".join(order.sample(words, 8)) + "?" for _ in range(ASKED_QUESTIONS)]
    packs = {setup: pack(model, setup, pixels) for setup in chosen}
    alone = {setup: asked_alone(model, packed, questions) for setup, packed in packs.items()}
    for setup, packed in packs.items():
        for name, way in {"in a session": in_a_session, "side by side": side_by_side}.items():
            yield [setup.title, name, *_apart(way(model, packed, questions), alone[setup])]
    if model.dtype != torch.float32:
        wide = replace(model, family=replace(model.family, network=copy.deepcopy(model.network).float()))
        for setup, packed in packs.items():
            same = replace(packed, tower=wide.tower_fingerprint)
            yield [
                setup.title,
                "the same weights in float32",
                *_apart(asked_alone(wide, same, questions), alone[setup]),
            ]


def _apart(ours: Tensor, theirs: Tensor) -> tuple[str, str]:
    """The largest difference of a first word's logit, in their standard deviations; answers that differ."""
    first, other = ours[:, 0], theirs[:, 0]
    largest = float((first - other).abs().max() / other.std())
    differ = (ours.argmax(-1) != theirs.argmax(-1)).any(-1)
    return f"{largest:.1e}", f"{int(differ.sum())} of {len(differ)}"


# The command ---------------------------------------------------------------------------------------------------------


def described(device: torch.device) -> str:
    """The machine and what runs on it."""
    versions = ", ".join(f"{package} {version(package)}" for package in ("torch", "transformers"))
    return f"{machine(device)}; {versions}, Python {platform.python_version()}"


def report(model: VideoModel, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one model, print its tables, and return the figures."""
    draw = print_markdown_table if options.markdown else print_table
    chosen = setups(model, options.frames)
    if options.precision:
        header = ("configuration", "way", "largest difference of a logit", "answers that differ")
        rows = list(precision_rows(model, chosen[:2]))
        draw(rows, header=header)
        return {"precision": rows}
    works = {setup: work_of(model, setup) for setup in chosen}
    runs, rates = measure(model, chosen, options.rounds)
    print_line(f"{format_bytes(_held(model))} of weights, {model.batch_frames} frames at once in the tower;")
    print_line(
        f"{rates.flop / 1e12:.3g} TFLOP/s in a large product, {rates.read_bytes / 1e9:,.0f} GB/s read or written\n"
    )
    titles = [*(settings.TITLES[stage] for stage in STAGES), "all"]
    draw(stage_rows(runs, works, rates, ratios=options.ratios), header=("configuration", *titles, "peak memory"))
    print_line()
    columns = ("without", "with") if options.ratios else ("without", "its floor", "with", "its floor")
    draw(
        session_rows(runs, works, rates, ratios=options.ratios),
        header=("second question's first token, session", *columns, "with / without"),
    )
    return {
        "rates": asdict(rates),
        "weights_bytes": _held(model),
        "configurations": [
            {
                "title": setup.title,
                "rounds": measured,
                "floors": {stage: asdict(work) for stage, work in works[setup].items()},
            }
            for setup, measured in runs.items()
        ],
    }


def _held(model: VideoModel) -> int:
    return sum(weight.nbytes for weight in model.network.parameters())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument(
        "--dtype", nargs="+", default=["auto"], help="one after another (default: the model's on that device)"
    )
    parser.add_argument("--kind", nargs="+", choices=("port", "original"), default=["port"], help="(default: port)")
    parser.add_argument("--depth", type=float, default=1.0, help="share of the layers (default: all)")
    parser.add_argument(
        "--frames",
        nargs="+",
        type=int,
        default=[8, 64, 128, 256],
        help=f"packed frames; {Budget.total_tokens} tokens are theirs together (default: 8 64 128 256)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is taken (default: %(default)s)")
    parser.add_argument("--precision", action="store_true", help="compare answers in a session with whole prompts'")
    parser.add_argument("--ratios", action="store_true", help="times as ratios to all of the full frames', no seconds")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    parser.add_argument("--json", metavar="OUT", help="write every round's figures, too")
    options = parser.parse_args(arguments)
    if min(options.frames) < 1 or options.rounds < 1:
        parser.error("give 1 frame or more, and 1 round or more")
    if "original" in options.kind and any(count % BASELINE_FRAMES for count in options.frames):
        parser.error(f"the original encodes clips of {BASELINE_FRAMES} frames: give multiples of it")
    results = []
    try:
        device = find_device(options.device)
        print_line(f"{described(device)}; depth {options.depth:g}; frames of {WIDTH}x{HEIGHT}; {options.rounds} rounds")
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
            json.dump({"device": described(device), "depth": options.depth, "results": results}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
