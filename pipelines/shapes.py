"""Writing of the synthetic set ``shapes``: videos, and questions and answers in Video-LLaVA's layout.

``shapes.json``, which describes the set, is written first, then the videos one by one, the questions last: an
interrupted set is described, all its files are complete, and the same command resumes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.datasets.video_llava import ANSWERS, QUESTIONS
from eval.shapes import KINDS, SPLITS, VERSION, Clip, clip_name, frozen_splits, make_clip, questions_digest
from pipelines.terminal import Progress
from pipelines.workers import check_workers, for_each, until_stopped
from vidzip.errors import BadArgument, DiskFull, SystemFault, VidzipError, WriteError
from vidzip.files import lock_folder, remove_partials, write_error, write_text
from vidzip.video.writing import write

DESCRIPTION, VIDEOS, SUFFIX = "shapes.json", "videos", ".mp4"

CRF, PRESET = 28, "veryfast"
"""x264's settings: losses are below the frames' own grain, at 1 to 2 KB per frame."""

DEFAULT_VIDEOS = {"train": 200, "validation": 100}
"""Default number of videos of the splits that are not frozen."""

_OPTIONS = {"schema": "", "version": "", "split": "--split", "seed": "--seed", "kinds": "", "codec": ""}
"""The fields of the description that identify a set, and the options that choose them."""


class OtherFolder(VidzipError):
    """The folder holds something else than the set, or more of it."""


class NotTheFrozenSet(SystemFault):
    """This machine makes other questions or frames than those of the frozen set."""


@dataclass(frozen=True, kw_only=True)
class ShapesSettings:
    """Which set is written, and where.

    Attributes:
        folder: new, empty, or with a part of the same set.
        split: a name in :data:`eval.shapes.SPLITS`.
        videos: number of videos; that of the frozen split, or :data:`DEFAULT_VIDEOS`, when None.
        seed: 0 or more.
        workers: number of videos written at a time; the number of CPUs when None.

    Raises:
        BadArgument: the split is unknown, the seed is negative, or there are fewer than 1 videos or workers.
    """

    folder: str
    split: str = "test"
    videos: int | None = None
    seed: int = 7
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise BadArgument(f"unknown split {self.split!r}", hint=f"use one of {', '.join(SPLITS)}")
        if self.seed < 0:
            raise BadArgument(f"the seed is {self.seed}", hint="give 0 or more")
        if self.videos is not None and self.videos < 1:
            raise BadArgument(f"the number of videos is {self.videos}", hint="give 1 or more")
        check_workers(self.workers)

    @property
    def num_videos(self) -> int:
        """Number of videos of the set."""
        if self.videos is not None:
            return self.videos
        frozen = frozen_splits().get(self.split)
        return frozen.num_videos if frozen else DEFAULT_VIDEOS[self.split]

    @property
    def frozen_frames(self) -> tuple[str, ...]:
        """The hashes of the frames of the set's videos, from the first on; empty if the set is not frozen."""
        frozen = frozen_splits().get(self.split)
        return frozen.frames_sha256[: self.num_videos] if frozen and frozen.seed == self.seed else ()

    def video_file(self, index: int) -> str:
        """Path of a video."""
        return os.path.join(self.folder, VIDEOS, clip_name(self.split, self.seed, index) + SUFFIX)

    def describe(self) -> dict[str, Any]:
        """Describe the set, as JSON data."""
        return {
            "schema": "vidzip/shapes/1",
            "version": VERSION,
            "split": self.split,
            "seed": self.seed,
            "num_videos": self.num_videos,
            "num_questions": self.num_videos * len(KINDS),
            "kinds": list(KINDS),
            "shares": dict.fromkeys(KINDS, f"1/{len(KINDS)}"),
            "codec": {"container": "mp4", "codec": "h264", "pixel_format": "yuv420p", "crf": CRF, "preset": PRESET},
        }


@dataclass(frozen=True, kw_only=True)
class WrittenSet:
    """A set in its folder.

    Attributes:
        num_written: videos written by this call.
        num_frozen: videos whose frames equalled those of the frozen set when they were written.
    """

    settings: ShapesSettings
    num_videos: int
    num_written: int
    num_frozen: int
    num_questions: int
    duration_seconds: float
    size_bytes: int


def write_set(settings: ShapesSettings, progress: Progress) -> WrittenSet:
    """Write a set into a folder, or its missing part.

    Raises:
        OtherFolder: the folder holds something else, or more videos; nothing in it is changed.
        NotTheFrozenSet: this machine makes another set than the frozen one.
        WriteError: the folder cannot be written; :class:`DiskFull` if there is no space left.
        WorkerLost: a worker process was ended from outside.
    """
    folder, count = settings.folder, settings.num_videos
    description = settings.describe()
    with _named_write_errors(settings):
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise WriteError(f"{folder!r} is not a folder", hint="give a folder, new or empty")
        os.makedirs(folder, exist_ok=True)
        with lock_folder(folder):
            existing = _read_description(folder, description)
            files = _make_files(settings, progress)
            missing = [index for index in range(count) if not os.path.isfile(settings.video_file(index))]
            if missing or existing != description or not _are_written(folder, files.texts):
                videos = os.path.join(folder, VIDEOS)
                os.makedirs(videos, exist_ok=True)
                remove_partials(videos)
                write_text(os.path.join(folder, DESCRIPTION), json.dumps(description, indent=1) + "\n")
                _write_videos(settings, missing, progress)
                for name, text in files.texts.items():
                    write_text(os.path.join(folder, name), text)
    return WrittenSet(
        settings=settings,
        num_videos=count,
        num_written=len(missing),
        num_frozen=len(settings.frozen_frames),
        num_questions=files.num_questions,
        duration_seconds=files.duration_seconds,
        size_bytes=sum(os.path.getsize(settings.video_file(index)) for index in range(count)),
    )


def _read_description(folder: str, expected: dict[str, Any]) -> dict[str, Any] | None:
    """Read the description of the set in a folder; None if the folder is empty.

    Raises:
        OtherFolder: the folder holds something else than expected, or more videos.
    """
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    if not names:
        return None
    if DESCRIPTION not in names:
        present = ", ".join(repr(name) for name in names[:3]) + (", …" if len(names) > 3 else "")
        raise OtherFolder(
            f"{folder!r} is not empty, and holds no set shapes but {present}", hint="give a new or an empty folder"
        )
    file = os.path.join(folder, DESCRIPTION)
    try:
        found = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or type(found.get("num_videos")) is not int:
        raise OtherFolder(f"{file!r} does not describe a set shapes", hint="give a new or an empty folder")
    different = [key for key in _OPTIONS if found.get(key) != expected[key]]
    if different:
        present = ", ".join(f"{key} {found.get(key)!r}" for key in different)
        requested = ", ".join(f"{key} {expected[key]!r}" for key in different)
        options = " ".join(f"{_OPTIONS[key]} {found.get(key)}" for key in different)
        has_options = all(_OPTIONS[key] for key in different)
        raise OtherFolder(
            f"{folder!r} holds another set: {present}, not {requested}",
            hint=f"give another folder, or {options} to resume this one" if has_options else "give another folder",
        )
    if found["num_videos"] > expected["num_videos"]:
        raise OtherFolder(
            f"{folder!r} is a set of {found['num_videos']} videos, more than {expected['num_videos']}",
            hint=f"give another folder, or --videos {found['num_videos']} or more: no video is removed",
        )
    return found


@dataclass(frozen=True, kw_only=True)
class _Files:
    """The texts of the set's files, by name in the order of writing, and their totals."""

    texts: dict[str, str]
    num_questions: int
    duration_seconds: float


def _make_files(settings: ShapesSettings, progress: Progress) -> _Files:
    """Make all scenes and their questions, without rendering frames."""
    count = settings.num_videos
    frozen = frozen_splits().get(settings.split)
    num_frozen = frozen.num_videos if frozen and frozen.seed == settings.seed else 0
    questions: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    frozen_clips: list[Clip] = []
    duration = 0.0
    for index in range(count):
        progress("list questions", index, count)
        clip = make_clip(settings.split, settings.seed, index)
        duration += clip.scene.duration_seconds
        if index < num_frozen:
            frozen_clips.append(clip)
        for number, question in enumerate(clip.questions):
            key = f"v_{clip.name}_{number}"
            questions.append({"question_id": key, "video_name": clip.name, "question": question.text})
            answers.append(
                {
                    "question_id": key,
                    "answer": question.answer,
                    "type": question.kind,
                    "kind": question.kind,
                    "form": question.form,
                    "num_choices": question.num_choices,
                    "seconds": question.seconds(clip.scene),
                }
            )
    if frozen and 0 < num_frozen == len(frozen_clips) and questions_digest(frozen_clips) != frozen.questions_sha256:
        raise _not_frozen(f"this machine makes other questions than those of the frozen split {settings.split}")
    return _Files(
        texts={ANSWERS: _json_rows(answers), QUESTIONS: _json_rows(questions)},
        num_questions=len(questions),
        duration_seconds=duration,
    )


def _not_frozen(message: str) -> NotTheFrozenSet:
    return NotTheFrozenSet(
        message,
        hint=f"results would not be comparable; report it with your processor and numpy {np.__version__}",
    )


def _json_rows(rows: list[dict[str, Any]]) -> str:
    """Write a JSON list with one row per line."""
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


def _are_written(folder: str, texts: dict[str, str]) -> bool:
    """Whether the files have these texts already."""
    try:
        return all(Path(folder, name).read_bytes() == text.encode() for name, text in texts.items())
    except FileNotFoundError:
        return False


@dataclass(frozen=True, kw_only=True)
class _Video:
    """A video to be written; its frames must have the hash, if there is one."""

    path: str
    split: str
    seed: int
    index: int
    frames_sha256: str | None


def _write_videos(settings: ShapesSettings, missing: list[int], progress: Progress) -> None:
    frozen, count = settings.frozen_frames, settings.num_videos
    videos = [
        _Video(
            path=settings.video_file(index),
            split=settings.split,
            seed=settings.seed,
            index=index,
            frames_sha256=frozen[index] if index < len(frozen) else None,
        )
        for index in missing
    ]

    def on_done(done: int) -> None:
        progress("write videos", count - len(missing) + done, count)

    on_done(0)
    for_each(_write_video, videos, settings.workers, on_done)


def _write_video(video: _Video) -> None:
    clip = make_clip(video.split, video.seed, video.index)
    frames = _checked_frames(clip, video.frames_sha256)
    write(video.path, frames, clip.scene.fps, crf=CRF, preset=PRESET, reproducible=True)


def _checked_frames(clip: Clip, frames_sha256: str | None) -> Iterator[np.ndarray]:
    """Render a video's frames; after the last one, check their hash."""
    digest = hashlib.sha256()
    for frame in until_stopped(clip.renderer.render_all()):
        digest.update(frame.tobytes())
        yield frame
    if frames_sha256 is not None and digest.hexdigest() != frames_sha256:
        raise _not_frozen(f"this machine renders other frames of {clip.name} than those of the frozen split")


@contextmanager
def _named_write_errors(settings: ShapesSettings) -> Iterator[None]:
    """Turn errors of the operating system into vidzip's, with the folder's name."""
    try:
        try:
            yield
        except OSError as error:
            raise write_error(str(error.filename or settings.folder), error) from error
    except DiskFull as error:
        count = settings.num_videos
        done = sum(os.path.isfile(settings.video_file(index)) for index in range(count))
        raise DiskFull(
            f"no space left for the set in {settings.folder!r}: {done:,} of {count:,} videos are written",
            hint="free some space and run the same command again: it resumes",
        ) from error
