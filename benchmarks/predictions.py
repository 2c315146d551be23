"""Compare predictions of calibrated cost models with measurements of other videos, frames and tokens.

    python -m benchmarks.predictions $VIDZIP_TEST_DATA --markdown

Two models, the built-in one and a wider one with random weights, are calibrated as by ``vidzip calibrate``. Then real files
of the test data and synthetic clips, with other sizes, codecs and keyframe intervals, are packed, and the first token of an
answer is generated. Measurements are warm and interleaved; values are medians of a few rounds. Stages are also measured on
their own, since decoding and encoding overlap in a full run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, VideoLlavaForConditionalGeneration

import vidzip
from pipelines.terminal import print_line, print_markdown_table, print_message, print_table, progress_bar
from vidzip import Budget, VideoInfo, VideoModel, VidzipError
from vidzip.errors import BadArgument
from vidzip.models.calibrating import fit_costs
from vidzip.models.fitting import Measurement
from vidzip.models.measuring import (
    QUESTION,
    ROUNDS,
    AnswerTask,
    DecodeTask,
    EncodeTask,
    Task,
    measure_interleaved,
    pack_random,
    prepare,
)
from vidzip.models.placing import find_device
from vidzip.models.small import PREPROCESSOR, build_config, build_word_tokenizer
from vidzip.models.video_llava import VideoLlava
from vidzip.planner.costs import GENERATE, STAGES, CostModel
from vidzip.video.synthetic import SyntheticClip, can_encode, write_synthetic_clip

TOTAL = "file to first token"
WORST = 5


@dataclass(frozen=True, kw_only=True)
class Case:
    """A video with a number of frames and tokens.

    Attributes:
        video: a file in the test data, or a synthetic clip.
        frames: number of frames.
        tokens: total tokens.
    """

    video: str | SyntheticClip
    frames: int
    tokens: int


def _h264(width: int, height: int, num_frames: int, keyframe_interval: int, grain: float) -> SyntheticClip:
    return SyntheticClip(
        codec="h264",
        width=width,
        height=height,
        num_frames=num_frames,
        keyframe_interval=keyframe_interval,
        grain=grain,
        preset="faster",
        seed=1,
    )


def _other(codec: str, width: int, height: int) -> SyntheticClip:
    return SyntheticClip(
        codec=codec, width=width, height=height, num_frames=60, keyframe_interval=20, grain=4, preset="veryfast", seed=1
    )


_HD, _FULL_HD = _h264(1280, 720, 80, 40, 2), _h264(1920, 1080, 36, 12, 3)
_SMALL, _LONG_GOP = _h264(480, 270, 160, 32, 5), _h264(854, 480, 100, 100, 3)

CASES = (
    Case(video="videos/bikes.mp4", frames=8, tokens=136),
    Case(video="videos/bikes.mp4", frames=34, tokens=136),
    Case(video="videos/cockatoo.mp4", frames=10, tokens=136),
    Case(video="videos/cockatoo.mp4", frames=32, tokens=272),
    Case(video="videos/flipping_a_pancake.mkv", frames=20, tokens=136),
    Case(video="videos/nasa_13013.mp4", frames=34, tokens=136),
    Case(video="videos/sample_demo_1.mp4", frames=8, tokens=680),
    Case(video="videos/sample_demo_1.mp4", frames=48, tokens=136),
    Case(video="videos/sample_demo_3.mp4", frames=16, tokens=544),
    Case(video="videos/scene_cuts.mp4", frames=6, tokens=102),
    Case(video="videos/scene_cuts.mp4", frames=34, tokens=136),
    Case(video="videos/test.avi", frames=12, tokens=204),
    Case(video="videos/av1_video.mkv", frames=16, tokens=136),
    Case(video="videos/no_duration.webm", frames=8, tokens=64),
    Case(video="msvd/videos/rlQ2kW-FvMk_66_79.mp4", frames=8, tokens=1028),
    Case(video="msvd/videos/rlQ2kW-FvMk_66_79.mp4", frames=34, tokens=136),
    Case(video="tgif/gifs/tumblr_nbsdx5f0Gm1rb71dxo1_400.gif", frames=10, tokens=170),
    Case(video=_HD, frames=4, tokens=68),
    Case(video=_HD, frames=24, tokens=136),
    Case(video=_FULL_HD, frames=6, tokens=136),
    Case(video=_FULL_HD, frames=18, tokens=90),
    Case(video=_SMALL, frames=3, tokens=51),
    Case(video=_SMALL, frames=40, tokens=160),
    Case(video=_LONG_GOP, frames=5, tokens=85),
    Case(video=_LONG_GOP, frames=28, tokens=476),
    Case(video=_other("hevc", 854, 480), frames=14, tokens=136),
    Case(video=_other("vp9", 480, 270), frames=10, tokens=340),
    Case(video=_other("mpeg4", 854, 480), frames=26, tokens=136),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Configuration:
    """A case with a model."""

    model: VideoModel
    case: Case
    decode: DecodeTask

    @property
    def title(self) -> str:
        """Title in tables."""
        return f"{self.model.name}, {os.path.basename(self.decode.info.path)}, {self.case.frames} frames, {self.case.tokens} tokens"

    def run(self) -> Measurement:
        """Measure the full run and every stage on its own."""
        full = self.decode.run()
        sizes = {"num_frames": full.workload.num_frames, "total_tokens": full.workload.total_tokens}
        encode = EncodeTask(model=self.model, **sizes).run()
        answer = AnswerTask(model=self.model, packed=pack_random(self.model, **sizes)).run()
        return Measurement(
            workload=full.workload,
            stage_seconds={**full.stage_seconds, **encode.stage_seconds, **answer.stage_seconds},
            total_seconds=full.total_seconds,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """Predicted and measured seconds of a configuration, by stage and in total."""

    title: str
    codec: str
    predicted: Mapping[str, float]
    measured: Mapping[str, float]

    @property
    def errors(self) -> dict[str, float]:
        """Relative errors (predicted / measured - 1) by stage."""
        return {name: self.predicted[name] / seconds - 1 for name, seconds in self.measured.items()}

    @property
    def decoding_share(self) -> float:
        """Share of decoding in the time of all stages."""
        return self.measured["decode"] / sum(self.measured[stage] for stage in STAGES)

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "title": self.title,
            "codec": self.codec,
            "decoding_share": self.decoding_share,
            "predicted_seconds": dict(self.predicted),
            "measured_seconds": dict(self.measured),
        }


def compare(title: str, run: Measurement, costs: CostModel) -> Outcome:
    """Compare a measurement with its prediction."""
    predicted = costs.predict(run.workload)
    if run.total_seconds is None or run.workload.video is None:
        raise ValueError(f"{title} was not measured from its file")
    return Outcome(
        title=title,
        codec=run.workload.video.codec,
        predicted={
            **{stage: cost.seconds for stage, cost in predicted.stages.items()},
            GENERATE: predicted.seconds_per_new_token.seconds,
            TOTAL: predicted.seconds,
        },
        measured={**run.stage_seconds, TOTAL: run.total_seconds},
    )


def wide(device: torch.device, seed: int = 0) -> VideoModel:
    """Build a model about six times as wide as the smallest, with random weights."""
    tokenizer = build_word_tokenizer(QUESTION.lower().strip("?").split())
    config = build_config(
        tokenizer,
        vision={"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 8},
        text={"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = VideoLlavaForConditionalGeneration(config)
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, do_sample=False)
    return VideoModel(
        name="wide",
        family=VideoLlava(network=model.to(device).eval(), tokenizer=tokenizer, preprocessor=PREPROCESSOR),
    )


def find_videos(cases: Sequence[Case], data: str | None, folder: str) -> dict[str | SyntheticClip, VideoInfo]:
    """Write the synthetic clips into a folder, and find the real files; return those available."""
    found: dict[str | SyntheticClip, VideoInfo] = {}
    for video in dict.fromkeys(case.video for case in cases):
        if isinstance(video, SyntheticClip):
            if not can_encode(video.codec):
                print_message("warning", f"no encoder for {video.codec}: {video.name} is skipped")
                continue
            path = os.path.join(folder, video.name)
            write_synthetic_clip(video, path)
        elif data is None:
            continue
        else:
            path = os.path.join(data, video)
        found[video] = vidzip.probe(path)
    return found


def configurations(
    models: Sequence[VideoModel], cases: Sequence[Case], videos: Mapping[str | SyntheticClip, VideoInfo]
) -> Iterator[Configuration]:
    """Yield every case whose video is available, with every model."""
    for model in models:
        for case in cases:
            if case.video in videos:
                info = videos[case.video]
                plan = model.plan(info, Budget(total_tokens=case.tokens, num_frames=case.frames))
                yield Configuration(
                    model=model, case=case, decode=DecodeTask(model=model, info=info, plan=plan, is_end_to_end=True)
                )


def summary_rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Return rows of the errors of the total and of each stage."""
    mostly_decoding = [one for one in outcomes if one.decoding_share > 0.5]
    rows = [_row(TOTAL, [one.errors[TOTAL] for one in outcomes])]
    if mostly_decoding:
        rows.append(_row(f"{TOTAL}, mostly decoding", [one.errors[TOTAL] for one in mostly_decoding]))
    return [*rows, *(_row(stage, [one.errors[stage] for one in outcomes]) for stage in (*STAGES, GENERATE))]


def _row(name: str, errors: Sequence[float]) -> list[str]:
    sizes = [abs(error) for error in errors]
    return [
        name,
        str(len(errors)),
        f"{statistics.median(sizes):.0%}",
        f"{percentile_90(sizes):.0%}",
        f"{max(sizes):.0%}",
        f"{statistics.median(errors):+.0%}",
    ]


def percentile_90(values: Sequence[float]) -> float:
    """Return the 90th percentile, interpolated."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=10, method="inclusive")[-1]


def describe_worst(outcomes: Sequence[Outcome], count: int = WORST) -> str:
    """Describe the worst predictions compared with all."""
    worst = by_error(outcomes)[:count]
    too_high = sum(one.errors[TOTAL] > 0 for one in worst)
    codecs = ", ".join(sorted({one.codec for one in worst}))
    share, of_all = (statistics.mean(one.decoding_share for one in some) for some in (worst, outcomes))
    return (
        f"of the {len(worst)} worst predictions, {too_high} are too high and {len(worst) - too_high} too low; codecs: "
        f"{codecs}; decoding takes {share:.0%} of their stages, and {of_all:.0%} of those of all configurations"
    )


def by_error(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Sort by error of the total, largest first."""
    return sorted(outcomes, key=lambda one: -abs(one.errors[TOTAL]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", help="the folder of test data; without it, synthetic clips only")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument(
        "--models", nargs="+", choices=("tiny", "wide"), default=["tiny", "wide"], help="(default: both)"
    )
    parser.add_argument("--cases", type=int, help="use the first cases only; the last if negative")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="measured rounds (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="calibrate with fewer measurements")
    parser.add_argument(
        "--together",
        action="store_true",
        help="interleave calibration and measurements, so that other load affects both alike",
    )
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    parser.add_argument("--json", metavar="OUT", help="write all measurements here")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    cases = CASES if options.cases is None else CASES[options.cases :] if options.cases < 0 else CASES[: options.cases]
    try:
        device = find_device(options.device)
        models = [
            vidzip.load("tiny", device=device, dtype="float32") if name == "tiny" else wide(device)
            for name in options.models
        ]
        outcomes, calibrations = measure(models, cases, options)
    except VidzipError as error:
        print_message("error", str(error))
        return 2
    draw = print_markdown_table if options.markdown else print_table
    header = ("", "configurations", "median error", "90th percentile", "worst", "median of predicted / measured - 1")
    print_line(f"{next(iter(calibrations.values())).device}; {options.rounds} rounds\n")
    draw(summary_rows(outcomes), header=header)
    print_line("\nworst:\n")
    rows = [
        [
            one.title,
            f"{one.predicted[TOTAL]:.3f} s",
            f"{one.measured[TOTAL]:.3f} s",
            f"{one.errors[TOTAL]:+.0%}",
            f"{one.decoding_share:.0%}",
        ]
        for one in by_error(outcomes)[:WORST]
    ]
    draw(rows, header=("configuration", "predicted", "measured", "error", "share of decoding"))
    print_line(f"\n{describe_worst(outcomes)}")
    if options.json:
        record = {
            "calibrations": {name: _as_record(costs) for name, costs in calibrations.items()},
            "configurations": [one.record() for one in outcomes],
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)
    return 0


def _as_record(costs: CostModel) -> dict[str, Any]:
    return {
        "device": costs.device,
        "dtype": costs.dtype,
        "rates": {stage: dict(rates) for stage, rates in costs.rates.items()},
        "errors": dict(costs.errors),
        "total_error": costs.total_error,
        "overlap": costs.overlap,
    }


def measure(
    models: Sequence[VideoModel], cases: Sequence[Case], options: argparse.Namespace
) -> tuple[list[Outcome], dict[str, CostModel]]:
    """Calibrate the models, and measure all configurations."""
    with tempfile.TemporaryDirectory(prefix="vidzip-") as folder, progress_bar() as show:
        show("write videos", 0, 1)
        chosen = list(configurations(models, cases, find_videos(cases, options.data, folder)))
        if not chosen:
            raise BadArgument("no video of these cases is available", hint="give the folder of test data")
        ready: dict[str, list[Task]] = {
            model.name: prepare(model, os.path.join(folder, model.name), quick=options.quick, show=show)
            for model in models
        }
        for number, one in enumerate(chosen):
            show("warm up", number, len(chosen))
            one.run()
        groups: list[Sequence[Task]] = [*ready.values(), chosen]
        if options.together:
            groups = [[task for group in groups for task in group]]
        runs = [
            run
            for group in groups
            for run in measure_interleaved(group, rounds=options.rounds, max_seconds=float("inf"), show=show)
        ]
    calibrations = {}
    for model in models:
        own, runs = runs[: len(ready[model.name])], runs[len(ready[model.name]) :]
        calibrations[model.name] = fit_costs(model, own)
    outcomes = [compare(one.title, run, calibrations[one.model.name]) for one, run in zip(chosen, runs, strict=True)]
    return outcomes, calibrations


if __name__ == "__main__":
    sys.exit(main())
