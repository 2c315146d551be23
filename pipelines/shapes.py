"""The synthetic set ``shapes`` in a folder: videos, and questions and answers in Video-LLaVA's layout.

``shapes.json`` says what the set is and comes first, then the videos one by one, the questions last: whatever ends a
run, the folder knows what it holds, every file in it is whole, and the same command goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
"""x264's settings for these videos: losses below the pictures' own grain, at 1 to 2 KB a frame."""

USUAL_VIDEOS = {"train": 200, "validation": 100}
"""Videos of a split where no number is asked for and none is frozen."""

_IDENTITY = {"schema": "", "version": "", "split": "--split", "seed": "--seed", "kinds": "", "codec": ""}
"""What must agree for two sets to be one, and the option that chooses it."""


class OtherFolder(VidzipError):
    """The folder holds something else than the set that was asked for, or more of it."""


class NotTheFrozenSet(SystemFault):
    """This machine makes other questions or draws other frames than those whose hashes are frozen."""


@dataclass(frozen=True, kw_only=True)
class SetRequest:
    """Which set to make, and where.

    Attributes:
        folder: new, empty, or holding a part of this very set.
        split: a name in :data:`eval.shapes.SPLITS`.
        videos: how many; None takes as many as are frozen, or :data:`USUAL_VIDEOS`.
        seed: 0 or more.
        workers: how many videos are written at a time; None takes as many as there are CPUs.
    """

    folder: str
    split: str = "test"
    videos: int | None = None
    seed: int = 7
    workers: int | None = None


@dataclass(frozen=True, kw_only=True)
class MadeSet:
    """What lies in the folder now.

    Attributes:
        request: what was asked for.
        num_videos: videos in it.
        num_written: those of them that this run wrote.
        num_frozen: those of them whose frames were equal to the frozen set's as they were written.
        num_questions: questions in it.
        duration_seconds: of all videos together.
        size_bytes: of all videos together.
    """

    request: SetRequest
    num_videos: int
    num_written: int
    num_frozen: int
    num_questions: int
    duration_seconds: float
    size_bytes: int


def make_set(request: SetRequest, progress: Progress) -> MadeSet:
    """Write a set into a folder, or what is missing of it.

    Raises:
        BadArgument: an unknown split, a negative seed, or fewer than 1 video or worker.
        OtherFolder: the folder holds something else, or more videos than were asked for; nothing in it is changed.
        NotTheFrozenSet: this machine makes another set than the frozen one.
        WriteError: the folder cannot be written; :class:`DiskFull` where there is no room.
        WorkerLost: a worker process was ended from outside.
    """
    count = _num_videos(request)
    described = _description(request, count)
    folder = request.folder
    videos = os.path.join(folder, VIDEOS)
    frozen = _frozen_frames(request)[:count]
    with _as_our_errors(request, count):
        _make_folder(folder)
        with lock_folder(folder):
            held = _description_in(folder, described)
            files = _list_files(request, count, progress)
            missing = [i for i in range(count) if not os.path.isfile(_video_file(request, i))]
            if missing or held != described or not _hold(folder, files.texts):
                os.makedirs(videos, exist_ok=True)
                remove_partials(videos)
                write_text(os.path.join(folder, DESCRIPTION), json.dumps(described, indent=1) + "\n")
                _write_videos(request, count, missing, progress)
                for name, text in files.texts.items():
                    write_text(os.path.join(folder, name), text)
    return MadeSet(
        request=request,
        num_videos=count,
        num_written=len(missing),
        num_frozen=len(frozen),
        num_questions=files.num_questions,
        duration_seconds=files.duration_seconds,
        size_bytes=sum(os.path.getsize(_video_file(request, i)) for i in range(count)),
    )


def summary(made: MadeSet) -> list[tuple[str, str]]:
    """Report a set in a short table."""
    minutes, seconds = divmod(round(made.duration_seconds), 60)
    if made.num_frozen == 0:
        frames = f"not compared: none are frozen for split {made.request.split}, seed {made.request.seed}"
    elif made.num_frozen == made.num_videos:
        frames = f"equal to the frozen set's in all {made.num_frozen:,} videos"
    else:
        frames = f"equal to the frozen set's in its {made.num_frozen:,} videos; no more are frozen"
    return [
        ("videos", f"{made.num_videos:,}   ({made.num_written:,} written now)"),
        ("questions", f"{made.num_questions:,}"),
        ("duration", f"{minutes:,} min {seconds} s"),
        ("size", f"{made.size_bytes / 1e6:,.1f} MB"),
        ("frames", frames),
    ]


def _num_videos(request: SetRequest) -> int:
    """Check what was asked for, and say how many videos that is."""
    if request.split not in SPLITS:
        raise BadArgument(f"there is no split {request.split!r}", hint=f"use one of {', '.join(SPLITS)}")
    if request.seed < 0:
        raise BadArgument(f"the seed is {request.seed}", hint="give 0 or more")
    check_workers(request.workers)
    if request.videos is None:
        frozen = frozen_splits().get(request.split)
        return frozen.num_videos if frozen else USUAL_VIDEOS[request.split]
    if request.videos < 1:
        raise BadArgument(f"the number of videos is {request.videos}", hint="give 1 or more")
    return request.videos


def _frozen_frames(request: SetRequest) -> tuple[str, ...]:
    """The hashes that videos' frames must have, from the first one on; none where nothing is frozen."""
    frozen = frozen_splits().get(request.split)
    return frozen.frames_sha256 if frozen and frozen.seed == request.seed else ()


def _description(request: SetRequest, count: int) -> dict[str, Any]:
    return {
        "schema": "vidzip/shapes/1",
        "version": VERSION,
        "split": request.split,
        "seed": request.seed,
        "num_videos": count,
        "num_questions": count * len(KINDS),
        "kinds": list(KINDS),
        "shares": dict.fromkeys(KINDS, f"1/{len(KINDS)}"),
        "codec": {"container": "mp4", "codec": "h264", "pixel_format": "yuv420p", "crf": CRF, "preset": PRESET},
    }


def _video_file(request: SetRequest, index: int) -> str:
    return os.path.join(request.folder, VIDEOS, clip_name(request.split, request.seed, index) + SUFFIX)


def _make_folder(folder: str) -> None:
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise WriteError(f"{folder!r} is no folder", hint="give a folder, new or empty")
    os.makedirs(folder, exist_ok=True)


def _description_in(folder: str, described: dict[str, Any]) -> dict[str, Any] | None:
    """Read what a folder says it holds; None where it is empty.

    Raises:
        OtherFolder: something else than what is described, or more of it.
    """
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    if not names:
        return None
    if DESCRIPTION not in names:
        shown = ", ".join(repr(name) for name in names[:3]) + (", …" if len(names) > 3 else "")
        raise OtherFolder(
            f"{folder!r} is not empty and holds no set shapes: there is {shown}", hint="give a new or an empty folder"
        )
    file = os.path.join(folder, DESCRIPTION)
    try:
        with open(file, encoding="utf-8") as opened:
            held = json.load(opened)
    except ValueError:
        held = None
    if not isinstance(held, dict) or type(held.get("num_videos")) is not int:
        raise OtherFolder(f"{file!r} does not describe a set shapes", hint="give a new or an empty folder")
    unlike = [key for key in _IDENTITY if held.get(key) != described[key]]
    if unlike:
        there = ", ".join(f"{key} {held.get(key)!r}" for key in unlike)
        asked = ", ".join(f"{key} {described[key]!r}" for key in unlike)
        options = " ".join(f"{_IDENTITY[key]} {held.get(key)}" for key in unlike)
        is_choice = all(_IDENTITY[key] for key in unlike)
        way = f"give another folder, or {options} to go on with this one" if is_choice else "give another folder"
        raise OtherFolder(f"{folder!r} holds another set: {there}; asked for was {asked}", hint=way)
    if held["num_videos"] > described["num_videos"]:
        raise OtherFolder(
            f"{folder!r} is a set of {held['num_videos']} videos, but {described['num_videos']} were asked for",
            hint=f"give another folder, or --videos {held['num_videos']} or more: none is taken away",
        )
    return held


@dataclass(frozen=True, kw_only=True)
class _Files:
    """What the set's files of text must hold, by name in the order they are written, and what that adds up to."""

    texts: dict[str, str]
    num_questions: int
    duration_seconds: float


def _list_files(request: SetRequest, count: int, progress: Progress) -> _Files:
    """Make every scene and ask its questions; no frame is drawn."""
    num_frozen = len(_frozen_frames(request))
    questions: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    frozen_clips: list[Clip] = []
    duration = 0.0
    for index in range(count):
        progress("list questions", index, count)
        clip = make_clip(request.split, request.seed, index)
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
    if 0 < num_frozen == len(frozen_clips):
        _check_questions(request, frozen_clips)
    return _Files(
        texts={ANSWERS: _as_text(answers), QUESTIONS: _as_text(questions)},
        num_questions=len(questions),
        duration_seconds=duration,
    )


def _check_questions(request: SetRequest, clips: list[Clip]) -> None:
    if questions_digest(clips) != frozen_splits()[request.split].questions_sha256:
        raise _not_frozen(f"this machine makes other questions than the frozen split {request.split} holds")


def _not_frozen(message: str) -> NotTheFrozenSet:
    return NotTheFrozenSet(
        message,
        hint=f"results would not compare with others'; report it with your processor and numpy {np.__version__}",
    )


def _as_text(rows: list[dict[str, Any]]) -> str:
    """A list as JSON, one row a line."""
    return "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"


def _hold(folder: str, texts: dict[str, str]) -> bool:
    """Whether the folder's files are these texts already."""
    return all(_text_of(os.path.join(folder, name)) == text.encode() for name, text in texts.items())


def _text_of(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


@dataclass(frozen=True, kw_only=True)
class _Video:
    """One video to be written; its frames must have the hash, where there is one."""

    path: str
    split: str
    seed: int
    index: int
    frames_sha256: str | None


def _write_videos(request: SetRequest, count: int, missing: list[int], progress: Progress) -> None:
    frozen = _frozen_frames(request)
    todo = [
        _Video(
            path=_video_file(request, index),
            split=request.split,
            seed=request.seed,
            index=index,
            frames_sha256=frozen[index] if index < len(frozen) else None,
        )
        for index in missing
    ]
    there = count - len(missing)

    def show(done: int) -> None:
        progress("write videos", there + done, count)

    show(0)
    for_each(_write_video, todo, request.workers, show)


def _write_video(video: _Video) -> None:
    clip = make_clip(video.split, video.seed, video.index)
    write(video.path, _pictures(clip, video.frames_sha256), clip.scene.fps, crf=CRF, preset=PRESET, reproducible=True)


def _pictures(clip: Clip, frames_sha256: str | None) -> Iterator[np.ndarray]:
    """Draw a video's frames; after the last one, say whether they were the frozen ones."""
    digest = hashlib.sha256()
    for picture in until_stopped(clip.renderer.render_all()):
        digest.update(picture.tobytes())
        yield picture
    if frames_sha256 is not None and digest.hexdigest() != frames_sha256:
        raise _not_frozen(f"this machine draws other frames of {clip.name} than the frozen split holds")


@contextmanager
def _as_our_errors(request: SetRequest, count: int) -> Iterator[None]:
    """Turn what the system says about the folder into errors of ours, which name it."""
    try:
        try:
            yield
        except OSError as error:
            raise write_error(str(error.filename or request.folder), error) from error
    except DiskFull as error:
        done = sum(os.path.isfile(_video_file(request, index)) for index in range(count))
        raise DiskFull(
            f"there is no room left for the set in {request.folder!r}: {done:,} of {count:,} videos are there",
            hint="free some space and run the same command again: it goes on from there",
        ) from error
