"""The frames that runs passed to the model for an example: small pictures, and the patches from packed videos."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, TypeVar

import vidzip
from eval.datasets import SETS, DatasetError, VideoFolder, list_videos
from eval.reporting import Chapter, InputFrames, PatchMap, Picture, map_patches, read_input_frames
from pipelines.terminal import Progress
from vidzip import PackedVideo, VidzipError
from vidzip.errors import BadPack, NotInstalled, VideoError
from vidzip.packing import SUFFIX
from vidzip.video.probing import identify

SHORT_SIDE = 112
"""Pixels of a picture's shorter side."""

MAX_PICTURES = 40
"""Limit on the pictures of one run's frames; of more frames, evenly spaced ones are shown."""

_QUALITY = 80

T = TypeVar("T")
Key = tuple[int, str]
"""A run's index and a question id."""


class NoPacks(VidzipError):
    """The folder of packed videos does not exist."""


@dataclass(frozen=True, kw_only=True)
class _Target:
    """A run's frames of one video, the hash of its content (empty if unknown), and the tower's fingerprint."""

    run: int
    video: str
    identity: str
    tower: str
    selection: InputFrames

    def with_note(self, note: str) -> _Target:
        """Add a note."""
        return replace(self, selection=replace(self.selection, notes=(*self.selection.notes, note)))


def check_pillow() -> None:
    """Raise NotInstalled if Pillow, which writes pictures, is missing."""
    if find_spec("PIL") is None:
        raise NotInstalled("showing frames needs Pillow, which is not installed", hint="pip install 'vidzip[report]'")


def find_input_frames(
    chapter: Chapter, videos: str | None, packs: str | None, show: Progress
) -> dict[Key, InputFrames]:
    """Find the frames that runs passed to the model for the examples of a chapter.

    Args:
        chapter: a chapter with examples.
        videos: folder of the videos; None leaves out pictures.
        packs: folder of packed videos, such as the one of ``vidzip eval --pack-cache``; None leaves out patches.
        show: receives the progress.

    Returns:
        The frames, by run and question. Their notes say why pictures or patches are missing.

    Raises:
        DatasetError: the folder of videos cannot be read.
        NoPacks: the folder of packed videos does not exist.
        NotInstalled: pictures need Pillow.
    """
    targets, target_of = _targets(chapter)
    if packs is not None:
        targets = _with_patches(targets, packs, show)
    if videos is not None:
        check_pillow()
        targets = _with_pictures(targets, list_videos(videos, SETS.get(chapter.set_name)), show)
    return {key: targets[place].selection for key, place in target_of.items()}


def _targets(chapter: Chapter) -> tuple[list[_Target], dict[Key, int]]:
    """List each run's frames of each video once, and the index in this list of each run and question."""
    targets: list[_Target] = []
    places: dict[tuple[int, str, InputFrames], int] = {}
    target_of = {}
    for example in chapter.examples:
        for answer in example.answers:
            selection = _read(answer.result.trace) if answer.result else None
            if answer.result is None or selection is None:
                continue
            video = answer.result.video
            place = places.setdefault((answer.run, video, selection), len(targets))
            if place == len(targets):
                plan = answer.result.trace["plan"]
                identity = str(plan.get("video_identity") or "") if selection.frames else ""
                tower = str(chapter.runs[answer.run].run.settings.get("tower"))
                targets.append(
                    _Target(run=answer.run, video=video, identity=identity, tower=tower, selection=selection)
                )
            target_of[answer.run, example.question.question_id] = place
    return targets, target_of


def _read(trace: Mapping[str, Any]) -> InputFrames | None:
    try:
        return read_input_frames(trace)
    except ValueError as error:
        return InputFrames(method="unknown", frames=(), notes=(str(error),))


def _with_pictures(targets: Sequence[_Target], folder: VideoFolder, show: Progress) -> list[_Target]:
    """Decode each video once, at the frames of all runs; if that fails, add a note."""
    result = list(targets)
    videos = list(dict.fromkeys(one.video for one in targets))
    for number, video in enumerate(videos):
        show("decode examples", number, len(videos))
        places = [place for place, one in enumerate(targets) if one.video == video]
        try:
            path = folder.find(video)
            identity = identify(path)
            same = [place for place in places if targets[place].identity in {"", identity}]
            timestamps = sorted({one for place in same for one in _picture_timestamps(targets[place].selection)})
            pictures = _decode_pictures(path, timestamps) if timestamps else {}
        except (DatasetError, VideoError) as error:
            for place in places:
                result[place] = targets[place].with_note(f"its frames cannot be shown: {error}")
            continue
        for place in places:
            if place in same:
                result[place] = _add_pictures(targets[place], pictures)
            else:
                result[place] = targets[place].with_note(f"its frames are not shown: {path} is not the run's video")
    return result


def _picture_timestamps(selection: InputFrames) -> list[float]:
    return [frame.timestamp_seconds for frame in take_evenly(selection.frames, MAX_PICTURES)]


def _add_pictures(target: _Target, pictures: Mapping[float, Picture]) -> _Target:
    chosen = set(_picture_timestamps(target.selection))
    frames = tuple(
        replace(frame, picture=pictures[frame.timestamp_seconds]) if frame.timestamp_seconds in chosen else frame
        for frame in target.selection.frames
    )
    added = replace(target, selection=replace(target.selection, frames=frames))
    return added if len(chosen) == len(frames) else added.with_note(f"{len(chosen)} of its frames are shown")


def _decode_pictures(path: str, timestamps: Sequence[float]) -> dict[float, Picture]:
    from PIL import Image

    pixels = vidzip.decode(path, timestamps, size=SHORT_SIDE).pixels
    pictures = {}
    for timestamp, frame in zip(timestamps, pixels, strict=True):
        file = io.BytesIO()
        Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()).save(file, "JPEG", quality=_QUALITY)
        height, width = frame.shape[-2:]
        pictures[timestamp] = Picture(content=file.getvalue(), media_type="image/jpeg", width=width, height=height)
    return pictures


def take_evenly(items: Sequence[T], limit: int) -> list[T]:
    """Take up to ``limit`` evenly spaced items."""
    if len(items) <= limit:
        return list(items)
    return [items[(2 * place + 1) * len(items) // (2 * limit)] for place in range(limit)]


def _with_patches(targets: Sequence[_Target], folder: str, show: Progress) -> list[_Target]:
    """Find the packed video of each target in a folder, and read its patches."""
    if not os.path.isdir(folder):
        raise NoPacks(f"{folder!r} is not a folder", hint="give the folder of 'vidzip eval --pack-cache'")
    found: dict[tuple[object, ...], list[PackedVideo]] = {_fingerprint(one): [] for one in targets}
    paths = sorted(_pack_files(folder))
    for number, path in enumerate(paths):
        show("read packs", number, len(paths))
        try:
            packed = PackedVideo.load(path)
        except BadPack:
            continue  # 'vidzip eval' replaces such a file
        found.get(_pack_fingerprint(packed), []).append(packed)
    return [_add_patches(one, found[_fingerprint(one)], folder) for one in targets]


def _pack_files(folder: str) -> Iterable[str]:
    for below, _, names in os.walk(folder):
        yield from (os.path.join(below, name) for name in names if name.endswith(SUFFIX))


def _fingerprint(target: _Target) -> tuple[object, ...]:
    """The values that a target and its packed video have in common."""
    frames = target.selection.frames
    timestamps = tuple(frame.timestamp_seconds for frame in frames)
    tokens = tuple(frame.num_tokens for frame in frames)
    return target.identity, target.tower, target.selection.method, timestamps, tokens


def _pack_fingerprint(packed: PackedVideo) -> tuple[object, ...]:
    timestamps = tuple(round(timestamp, 6) for timestamp in packed.timestamps_seconds)
    return packed.plan.video_identity, packed.tower, packed.method, timestamps, packed.tokens_per_frame


def _add_patches(target: _Target, packs: Sequence[PackedVideo], folder: str) -> _Target:
    if not packs:
        return target.with_note(f"its patches are not shown: {folder} holds no packed video of these frames")
    maps = [tuple(_patch_maps(packed)) for packed in packs]
    if any(other != maps[0] for other in maps):
        return target.with_note(f"its patches are not shown: {folder} holds different packed videos of these frames")
    frames = tuple(
        replace(frame, patches=patches) for frame, patches in zip(target.selection.frames, maps[0], strict=True)
    )
    return replace(target, selection=replace(target.selection, frames=frames))


def _patch_maps(packed: PackedVideo) -> Iterator[PatchMap]:
    anchors: list[dict[int, int]] = [{} for _ in range(packed.num_frames)]
    for token, (frame, anchor) in enumerate(zip(packed.frame_of.tolist(), packed.anchor_of.tolist(), strict=True)):
        anchors[frame][token] = anchor
    for frame, (grid, of_frame) in enumerate(zip(packed.grids, anchors, strict=True)):
        yield map_patches(packed.source_of(frame).tolist(), of_frame, grid=grid, has_cls=packed.has_cls)
