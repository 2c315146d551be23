"""Measure accuracy on the synthetic question set ``shapes`` for different frames and tokens.

    vidzip shapes OUT --split test && python -m benchmarks.shapes OUT
    vidzip shapes LONG --split long && python -m benchmarks.shapes OUT --long LONG --markdown

Every question is asked in every setting: without the video, with 8 uncompressed frames (in order and shuffled), and with
one budget spent on few tokens of many frames or many tokens of few. Each video is decoded once, and each frame encoded
once. Accuracy is the exact match of normalised answers, with 95 % intervals clustered by video. The ceiling of a row is the
accuracy of answering correctly if the frames show the answer, and guessing otherwise. Answers are appended to a file; run
again to resume.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import vidzip
from eval.datasets import DatasetError, Sample
from eval.datasets import load as load_samples
from eval.metrics import Score, exact_match
from eval.reporting.formatting import format_interval
from eval.shapes import KINDS, SPLITS, VERSION, Clip, Question, make_clip
from eval.statistics import QuestionScore, mean_score, paired_difference
from pipelines.terminal import Progress, print_line, print_markdown_table, print_message, print_table, progress_bar
from vidzip import Budget, Frames, PackedVideo, VideoModel, VidzipError, zip_frames
from vidzip.compress import describe, make_method
from vidzip.packing import pack_zipped
from vidzip.planner import drop_repeated_frames
from vidzip.video.sampling import check_count

RESULTS = "results.jsonl"
"""Default name of the answers file, in the set's folder."""

MAX_NEW_TOKENS = 6
"""Enough for answers of one or two words."""


class BadSet(VidzipError):
    """The folder holds no set ``shapes`` of this version."""


class RunMismatch(VidzipError):
    """The answers file is of another model or set, or is invalid."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A row of the table: frames and tokens.

    Attributes:
        key: name on the command line and in the answers file.
        title: title in the table.
        frames: number of frames; 0 asks without the video.
        is_uncompressed: whether every token is kept, instead of the default budget.
        is_shuffled: whether frames are in random order.
        method: a name in :data:`vidzip.compress.METHODS`.
        options: the method's options.
    """

    key: str
    title: str
    frames: int
    is_uncompressed: bool = False
    is_shuffled: bool = False
    method: str = "visionzip"
    options: Mapping[str, Any] = field(default_factory=dict)

    def budget(self, model: VideoModel) -> Budget:
        """Return the budget for a model."""
        if self.is_uncompressed:
            return Budget(total_tokens=self.frames * model.tokens_per_frame, num_frames=self.frames)
        return Budget(num_frames=self.frames)


NO_VIDEO, UNCOMPRESSED, SHUFFLED, SUM, STRIDE = "no-video", "uncompressed-8", "shuffled-8", "zip-8", "stride-8"
MORE_FRAMES = {f"zip-{frames}": frames for frames in (17, 34, 68, 136)}

SETTINGS = (
    Setting(key=NO_VIDEO, title="no video", frames=0),
    Setting(key=UNCOMPRESSED, title="8 uncompressed frames", frames=8, is_uncompressed=True),
    Setting(key=SUM, title="VisionZip, 8 frames", frames=8),
    Setting(key="zip-8-mean", title="VisionZip, 8 frames, mean", frames=8, options={"merge": "mean"}),
    *(Setting(key=key, title=f"VisionZip, {frames} frames", frames=frames) for key, frames in MORE_FRAMES.items()),
    Setting(key=STRIDE, title="even patches, 8 frames", frames=8, method="stride"),
    Setting(key=SHUFFLED, title="8 uncompressed frames, shuffled", frames=8, is_uncompressed=True, is_shuffled=True),
)


@dataclass(frozen=True, kw_only=True)
class SetQuestion:
    """A question of the set and its id in the folder's files."""

    id: str
    question: Question


@dataclass(frozen=True, kw_only=True)
class ShapesSet:
    """A set in a folder.

    Attributes:
        folder: the folder.
        identity: the generator's version, the split and the seed.
        clips: the videos, as made by the generator.
        questions: questions by name of the video.
    """

    folder: Path
    identity: Mapping[str, Any]
    clips: tuple[Clip, ...]
    questions: Mapping[str, tuple[SetQuestion, ...]]

    def video(self, clip: Clip) -> str:
        """Return the path of a video."""
        return str(self.folder / "videos" / f"{clip.name}.mp4")


def read_set(folder: Path, num_videos: int | None = None) -> ShapesSet:
    """Read a set written by ``vidzip shapes``, or its first videos, and check it against the generator.

    Raises:
        BadSet: the folder holds no set, or one of another version of the generator.
        DatasetError: the question and answer files cannot be read.
        BadArgument: the number of videos is below 1.
    """
    file = folder / "shapes.json"
    try:
        described = json.loads(file.read_text(encoding="utf-8"))
        identity: dict[str, Any] = {
            "version": int(described["version"]),
            "split": str(described["split"]),
            "seed": int(described["seed"]),
        }
        count = int(described["num_videos"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadSet(
            f"{str(file)!r} does not describe a set: {error!r}", hint="write one with 'vidzip shapes'"
        ) from error
    if identity["version"] != VERSION or identity["split"] not in SPLITS:
        raise BadSet(
            f"{str(folder)!r} holds split {identity['split']!r} of version {identity['version']}, expected {VERSION}",
            hint="write it again with 'vidzip shapes'",
        )
    if num_videos is not None and check_count(num_videos, "the number of videos") > count:
        raise BadSet(f"{str(folder)!r} holds {count} videos, not {num_videos}", hint="lower --videos")
    samples: dict[str, list[Sample]] = {}
    for sample in load_samples(folder):
        samples.setdefault(sample.video, []).append(sample)
    clips = [make_clip(identity["split"], identity["seed"], index) for index in range(num_videos or count)]
    questions = {clip.name: _match(clip, samples.get(clip.name, []), folder) for clip in clips}
    return ShapesSet(folder=folder, identity=identity, clips=tuple(clips), questions=questions)


def _match(clip: Clip, samples: list[Sample], folder: Path) -> tuple[SetQuestion, ...]:
    """Match the folder's questions about a video with the generator's."""
    known = {(question.text, question.answer): question for question in clip.questions}
    if sorted((sample.question, sample.answer) for sample in samples) != sorted(known):
        raise BadSet(
            f"the questions about {clip.name} in {str(folder)!r} are not the generator's",
            hint="write the set again with 'vidzip shapes'",
        )
    return tuple(SetQuestion(id=sample.id, question=known[sample.question, sample.answer]) for sample in samples)


def pack_all(model: VideoModel, video: str, settings: Sequence[Setting], seed: str) -> dict[str, PackedVideo]:
    """Pack a video in every setting with frames; it is decoded once, and each frame encoded once.

    Args:
        model: the model.
        video: the file.
        settings: the settings; those without frames are skipped.
        seed: seed of shuffling.

    Returns:
        Packed videos by key of the setting.

    Raises:
        VideoError: the file cannot be decoded.
    """
    with_frames = [setting for setting in settings if setting.frames]
    if not with_frames:
        return {}
    info = vidzip.probe(video)
    plans = {s.key: vidzip.plan(info, s.budget(model), model.tokens_per_frame) for s in with_frames}
    moments = sorted({moment for plan in plans.values() for moment in plan.timestamps_seconds})
    decoded = vidzip.decode(video, moments)
    appears = dict(zip(moments, decoded.timestamps_seconds, strict=True))
    place = {seconds: at for at, seconds in enumerate(dict.fromkeys(decoded.timestamps_seconds))}
    firsts = [decoded.timestamps_seconds.index(seconds) for seconds in place]
    features = model.encode(Frames(pixels=decoded.pixels[firsts], timestamps_seconds=tuple(place)))
    packed = {}
    for setting in with_frames:
        shown_seconds = [appears[moment] for moment in plans[setting.key].timestamps_seconds]
        plan = drop_repeated_frames(plans[setting.key], shown_seconds, model.tokens_per_frame)
        times = list(dict.fromkeys(shown_seconds))
        if setting.is_shuffled:
            random.Random(seed).shuffle(times)
        chosen = features[[place[seconds] for seconds in times]]
        method = make_method(setting.method, setting.options)
        packed[setting.key] = pack_zipped(
            zip_frames(chosen, plan.tokens_per_frame, method),
            plan,
            timestamps_seconds=tuple(times),
            method=describe(method),
            tower=model.tower_fingerprint,
        )
    return packed


@dataclass(frozen=True, kw_only=True)
class Row:
    """An answer in a setting: a line of the answers file.

    ``score`` is 1 or 0; ``ceiling`` is the probability of a right answer given everything that the frames show.
    """

    setting: str
    id: str
    video: str
    kind: str
    form: str
    question: str
    answer: str
    prediction: str
    finish_reason: str
    frames: int
    visual_tokens: int
    score: float | None
    ceiling: float


class Results:
    """An answers file, to which rows are appended."""

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        """Read or create the file.

        Raises:
            RunMismatch: the file is of another run, or invalid.
        """
        self._path = path
        self._run = {"schema": "vidzip/shapes-results/1", **run}
        self.rows: dict[tuple[str, str], Row] = {}
        if path.exists():
            self._read()
        else:
            self._write([self._run])

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows to the file."""
        new = list(rows)
        self._write([asdict(row) for row in new])
        self.rows.update(((row.setting, row.id), row) for row in new)

    def _write(self, lines: Iterable[Mapping[str, Any]]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))

    def _read(self) -> None:
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        try:
            run, *rows = (json.loads(line) for line in whole.splitlines())
            self.rows = {(row["setting"], row["id"]): Row(**row) for row in rows}
        except (ValueError, TypeError, KeyError) as error:
            raise RunMismatch(
                f"{str(self._path)!r} is not an answers file: {error!r}",
                hint="give another file with --out, or delete it",
            ) from error
        differing = [key for key, value in self._run.items() if not isinstance(run, dict) or run.get(key) != value]
        if differing:
            found = run.get(differing[0]) if isinstance(run, dict) else run
            raise RunMismatch(
                f"{str(self._path)!r} is of another run: its {differing[0]} is {found!r}, not {self._run[differing[0]]!r}",
                hint="give another file with --out",
            )
        if whole != content:  # the last line is incomplete
            os.truncate(self._path, len(whole))


def answer_all(
    shapes: ShapesSet, model: VideoModel, settings: Sequence[Setting], results: Results, show: Progress
) -> None:
    """Ask all remaining questions.

    Raises:
        VideoError: a video is missing or cannot be decoded.
    """
    for number, clip in enumerate(shapes.clips):
        show(f"{shapes.identity['split']} videos", number, len(shapes.clips))
        missing = {
            setting.key: [one for one in shapes.questions[clip.name] if (setting.key, one.id) not in results.rows]
            for setting in settings
        }
        todo = [setting for setting in settings if missing[setting.key]]
        packed = pack_all(model, shapes.video(clip), todo, clip.name)
        for setting in todo:
            results.add(_rows(clip, setting, packed.get(setting.key), missing[setting.key], model))


def _rows(
    clip: Clip, setting: Setting, packed: PackedVideo | None, questions: Sequence[SetQuestion], model: VideoModel
) -> Iterable[Row]:
    frames: list[int] = []
    if packed is not None:
        frames = sorted(clip.scene.frame_at(seconds) for seconds in packed.timestamps_seconds)
    answers = model.session(packed).ask_many([one.question.text for one in questions], MAX_NEW_TOKENS)
    for one, answer in zip(questions, answers, strict=True):
        question = one.question
        yield Row(
            setting=setting.key,
            id=one.id,
            video=clip.name,
            kind=question.kind,
            form=question.form,
            question=question.text,
            answer=question.answer,
            prediction=answer.text,
            finish_reason=answer.finish_reason,
            frames=len(frames),
            visual_tokens=answer.visual_tokens,
            score=exact_match(answer.text, question.answer).value,
            ceiling=question.ceiling(clip.scene, frames, in_order=not setting.is_shuffled),
        )


Rows = Mapping[str, Sequence[Row]]
"""Rows by setting, all of the same questions."""

COLUMNS = ("all", *KINDS, "count, colour", "count, shape", "order, lasting", "order, flash")


def _of(rows: Sequence[Row], column: str) -> list[Row]:
    """Return the rows of a column."""
    kind, _, form = column.partition(", ")
    return [row for row in rows if column == "all" or (row.kind == kind and form in ("", row.form))]


def accuracies(rows: Rows) -> list[list[str]]:
    """Return the table of accuracy by setting and kind, with each row's ceiling below it."""
    lines = []
    for setting in SETTINGS:
        if setting.key in rows:
            mine = rows[setting.key]
            cells = [format_interval(mean_score(_graded(_of(mine, column)))) for column in COLUMNS]
            cut = sum(row.finish_reason == "length" for row in mine)
            counts = [_span(row.frames for row in mine), _span(row.visual_tokens for row in mine)]
            lines.append([setting.title, *counts, *cells, str(cut)])
            lines.append(["  ceiling", "", "", *(_ceiling(_of(mine, column)) for column in COLUMNS), ""])
    return lines


def retention(rows: Rows) -> list[list[str]]:
    """Return the accuracy relative to 8 uncompressed frames, in total and above the accuracy without a video."""
    if UNCOMPRESSED not in rows:
        return []
    shares = {key: mean_score(_graded(mine)).value or 0.0 for key, mine in rows.items()}
    uncompressed, no_video = shares[UNCOMPRESSED], shares.get(NO_VIDEO)
    return [
        [
            setting.title,
            _ratio(shares[setting.key], uncompressed),
            "" if no_video is None else _ratio(shares[setting.key] - no_video, uncompressed - no_video),
        ]
        for setting in SETTINGS
        if setting.key in rows and setting.key != NO_VIDEO
    ]


def differences(rows: Rows) -> list[list[str]]:
    """Return paired differences between settings."""
    spread = (SUM, *MORE_FRAMES)
    wanted = [
        *((key, UNCOMPRESSED, "flash") for key in spread),
        (SUM, STRIDE, "all"),
        (UNCOMPRESSED, SHUFFLED, "direction"),
        (UNCOMPRESSED, SHUFFLED, "order"),
    ]
    flashes = {key: mean_score(_graded(_of(rows[key], "flash"))).value or 0.0 for key in spread if key in rows}
    best = max(flashes, key=lambda key: flashes[key], default=None)
    titles = {setting.key: setting.title for setting in SETTINGS}
    lines = []
    for ours, theirs, column in wanted:
        if ours in rows and theirs in rows:
            estimate = paired_difference(_graded(_of(rows[ours], column)), _graded(_of(rows[theirs], column)))
            is_best = ours == best and column == "flash" and len(flashes) > 1
            note = " (the best of these, chosen by these questions)" if is_best else ""
            lines.append([f"{titles[ours]} - {titles[theirs]}{note}", column, format_interval(estimate, sign=True)])
    return lines


def _graded(rows: Sequence[Row]) -> list[QuestionScore]:
    return [
        QuestionScore(
            question_id=row.id,
            video=row.video,
            score=Score(value=row.score, reason="" if row.score is not None else "it could not be scored"),
        )
        for row in rows
    ]


def _ceiling(rows: Sequence[Row]) -> str:
    """Return the mean ceiling in percent."""
    return f"{100 * sum(row.ceiling for row in rows) / len(rows):.1f}" if rows else ""


def _ratio(share: float, whole: float) -> str:
    return f"{100 * share / whole:.1f}" if whole > 0 else ""


def _span(counts: Iterable[int]) -> str:
    different = sorted(set(counts))
    return " to ".join(f"{count:,}" for count in dict.fromkeys((different[0], different[-1])))


def report(shapes: ShapesSet, model: str, rows: Rows, *, as_markdown: bool) -> None:
    """Print all tables."""
    draw = print_markdown_table if as_markdown else print_table
    questions = sum(map(len, shapes.questions.values()))
    identity = shapes.identity
    print_line(
        f"shapes version {identity['version']}, split {identity['split']}, seed {identity['seed']}: "
        f"{len(shapes.clips)} videos, {questions:,} questions, answered by {model}. Exact match in percent, with 95 % "
        "intervals clustered by video; below, the ceiling: accuracy with full knowledge of what the frames show, and "
        "guesses otherwise.\n"
    )
    draw(accuracies(rows), ("setting", "frames", "tokens", *COLUMNS, "cut answers"))
    if kept := retention(rows):
        print_line("\nRetention, in percent of 8 uncompressed frames:\n")
        draw(kept, ("setting", "accuracy", "accuracy above no video"))
    if pairs := differences(rows):
        print_line("\nPaired differences in percentage points:\n")
        draw(pairs, ("settings", "questions", "difference"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask the remaining questions and print the tables; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", type=Path, help="a folder written by 'vidzip shapes'")
    parser.add_argument("--long", type=Path, help="another such folder, for separate tables")
    parser.add_argument("--model", default="tiny", help="built-in name, folder or hub id (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--out", type=Path, help=f"the answers file (default: {RESULTS} in the set's folder)")
    parser.add_argument("--videos", type=int, help="use the first videos of the set only")
    parser.add_argument("--settings", nargs="+", choices=[s.key for s in SETTINGS], help="measure these rows only")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    options = parser.parse_args(arguments)
    chosen = [setting for setting in SETTINGS if not options.settings or setting.key in options.settings]
    try:
        files: dict[Path, ShapesSet] = {options.out or options.set / RESULTS: read_set(options.set, options.videos)}
        if options.long:
            file = options.out.with_stem(f"{options.out.stem}-long") if options.out else options.long / RESULTS
            files[file] = read_set(options.long)
        model = vidzip.load(options.model, device=options.device)
        about = {
            "model": model.name,
            "weights": model.fingerprint,
            "dtype": str(model.dtype).removeprefix("torch."),
            "max_new_tokens": MAX_NEW_TOKENS,
        }
        for number, (file, shapes) in enumerate(files.items()):
            results = Results(file, {**about, **shapes.identity})
            with progress_bar() as show:
                answer_all(shapes, model, chosen, results, show)
            ids = [one.id for clip in shapes.clips for one in shapes.questions[clip.name]]
            rows = {setting.key: [results.rows[setting.key, key] for key in ids] for setting in chosen}
            if number:
                print_line()
            report(shapes, model.name, rows, as_markdown=options.markdown)
    except (VidzipError, DatasetError) as error:
        print_message("error", str(error))
        return 2
    except OSError as error:
        print_message("error", str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
