"""The frames that runs were shown of an example's video, decoded again small, with what their packs say of them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, TypeVar

import vidzip
from eval.datasets import SETS, DatasetError, VideoFolder, list_videos
from eval.reporting import Chapter, Look, Patches, Picture, look_of, patches_of
from pipelines.terminal import Progress
from vidzip import PackedVideo, VidzipError
from vidzip.errors import BadPack, NotInstalled, VideoError
from vidzip.packing import SUFFIX
from vidzip.video.probing import identify

SHORT_SIDE = 112
"""Pixels of a picture's shorter side."""

MOST_PICTURES = 40
"""Frames of a look that are shown; of more, so many evenly."""

_QUALITY = 80

T = TypeVar("T")
Key = tuple[int, str]


class BadVideoFolder(VidzipError):
    """The folder of the videos cannot be looked into."""


class NoPacks(VidzipError):
    """There is no such folder of packed videos."""


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """A look of a run at a video.

    Attributes:
        run: the run's place in its chapter.
        video: the video's name.
        identity: the hash of its content; empty where the run noted none.
        tower: the fingerprint of the run's vision tower.
        look: frames and tokens.
    """

    run: int
    video: str
    identity: str
    tower: str
    look: Look


def check_drawing() -> None:
    """Make sure that pictures can be written, before videos are decoded.

    Raises:
        NotInstalled: they cannot.
    """
    if find_spec("PIL") is None:
        raise NotInstalled("showing frames needs Pillow, which is not installed", hint="pip install 'vidzip[report]'")


def looks_of(chapter: Chapter, videos: str | None, packs: str | None, show: Progress) -> dict[Key, Look]:
    """Find what runs were shown of the videos of a chapter's examples.

    Args:
        chapter: with its examples.
        videos: the folder of the videos; None shows no pictures.
        packs: a folder of packed videos, such as ``vidzip eval --pack-cache`` keeps; None shows no patches.
        show: told how far it is.

    Returns:
        The looks, by the run's place and the question's id. What a video or a pack is missing for, its notes say.

    Raises:
        BadVideoFolder: the videos' folder cannot be looked into.
        NoPacks: there is no folder of packs.
        NotInstalled: there are videos, and no Pillow.
    """
    wanted, of_question = _wanted(chapter)
    if packs is not None:
        wanted = _with_patches(wanted, packs, show)
    if videos is not None:
        check_drawing()
        try:
            folder = list_videos(videos, SETS.get(chapter.set_name))
        except DatasetError as error:
            raise BadVideoFolder(error.message, hint=error.hint) from error
        wanted = _with_pictures(wanted, folder, show)
    return {key: wanted[place].look for key, place in of_question.items()}


def _wanted(chapter: Chapter) -> tuple[list[_Wanted], dict[Key, int]]:
    """List what each run saw of each video once, and which of it is whose."""
    wanted: list[_Wanted] = []
    places: dict[tuple[int, str, Look], int] = {}
    of_question = {}
    for example in chapter.examples:
        for reply in example.replies:
            look = _look(reply.answered.trace) if reply.answered else None
            if reply.answered is None or look is None:
                continue
            video = reply.answered.video
            place = places.setdefault((reply.run, video, look), len(wanted))
            if place == len(wanted):
                identity = str(reply.answered.trace["plan"].get("video_identity") or "") if look.frames else ""
                tower = str(chapter.scored[reply.run].run.described.get("tower"))
                wanted.append(_Wanted(run=reply.run, video=video, identity=identity, tower=tower, look=look))
            of_question[reply.run, example.asked.question_id] = place
    return wanted, of_question


def _look(trace: Mapping[str, Any]) -> Look | None:
    try:
        return look_of(trace)
    except ValueError as error:
        return Look(method="unknown", frames=(), notes=(str(error),))


def _noted(one: _Wanted, note: str) -> _Wanted:
    return replace(one, look=replace(one.look, notes=(*one.look.notes, note)))


def _with_pictures(wanted: Sequence[_Wanted], folder: VideoFolder, show: Progress) -> list[_Wanted]:
    """Decode each video once, at the frames of all runs; where that fails, note why."""
    pictured = list(wanted)
    videos = list(dict.fromkeys(one.video for one in wanted))
    for number, video in enumerate(videos):
        show("decode examples", number, len(videos))
        places = [place for place, one in enumerate(wanted) if one.video == video]
        try:
            path = folder.find(video)
            found = identify(path)
            same = [place for place in places if wanted[place].identity in {"", found}]
            moments = sorted({moment for place in same for moment in _shown_moments(wanted[place].look)})
            pictures = _pictures(path, moments) if moments else {}
        except (DatasetError, VideoError) as error:
            for place in places:
                pictured[place] = _noted(wanted[place], f"its frames cannot be shown: {error}")
            continue
        for place in places:
            if place in same:
                pictured[place] = _pictured(wanted[place], pictures)
            else:
                pictured[place] = _noted(wanted[place], f"its frames are not shown: {path} is not the file it saw")
    return pictured


def _shown_moments(look: Look) -> list[float]:
    return [frame.timestamp_seconds for frame in evenly(look.frames, MOST_PICTURES)]


def _pictured(one: _Wanted, pictures: Mapping[float, Picture]) -> _Wanted:
    chosen = set(_shown_moments(one.look))
    frames = tuple(
        replace(frame, picture=pictures[frame.timestamp_seconds]) if frame.timestamp_seconds in chosen else frame
        for frame in one.look.frames
    )
    seen = replace(one, look=replace(one.look, frames=frames))
    return seen if len(chosen) == len(frames) else _noted(seen, f"{len(chosen)} of its frames are shown")


def _pictures(path: str, moments: Sequence[float]) -> dict[float, Picture]:
    from PIL import Image

    pixels = vidzip.decode(path, moments, size=SHORT_SIDE).pixels
    pictures = {}
    for moment, frame in zip(moments, pixels, strict=True):
        file = io.BytesIO()
        Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy()).save(file, "JPEG", quality=_QUALITY)
        height, width = frame.shape[-2:]
        pictures[moment] = Picture(content=file.getvalue(), media_type="image/jpeg", width=width, height=height)
    return pictures


def evenly(items: Sequence[T], most: int) -> list[T]:
    """Take so many items at most, evenly, each from the middle of its share."""
    if len(items) <= most:
        return list(items)
    return [items[(2 * place + 1) * len(items) // (2 * most)] for place in range(most)]


def _with_patches(wanted: Sequence[_Wanted], folder: str, show: Progress) -> list[_Wanted]:
    """Find the pack of each look in a folder, and read from it what became of the patches."""
    if not os.path.isdir(folder):
        raise NoPacks(f"{folder!r} is no folder", hint="give what 'vidzip eval --pack-cache' was given")
    fitting: dict[tuple[object, ...], list[PackedVideo]] = {_fingerprint(one): [] for one in wanted}
    paths = sorted(_packs(folder))
    for number, path in enumerate(paths):
        show("read packs", number, len(paths))
        try:
            packed = PackedVideo.load(path)
        except BadPack:
            continue  # as if it were not there: 'vidzip eval' makes such a one anew
        fitting.get(_fingerprint_of(packed), []).append(packed)
    return [_patched(one, fitting[_fingerprint(one)], folder) for one in wanted]


def _packs(folder: str) -> Iterable[str]:
    for below, _, names in os.walk(folder):
        yield from (os.path.join(below, name) for name in names if name.endswith(SUFFIX))


def _fingerprint(one: _Wanted) -> tuple[object, ...]:
    """What a look and its pack have in common."""
    frames = one.look.frames
    moments = tuple(frame.timestamp_seconds for frame in frames)
    return one.identity, one.tower, one.look.method, moments, tuple(frame.num_tokens for frame in frames)


def _fingerprint_of(packed: PackedVideo) -> tuple[object, ...]:
    moments = tuple(round(moment, 6) for moment in packed.timestamps_seconds)
    return packed.plan.video_identity, packed.tower, packed.method, moments, packed.tokens_per_frame


def _patched(one: _Wanted, packs: Sequence[PackedVideo], folder: str) -> _Wanted:
    if not packs:
        return _noted(one, f"its patches are not shown: {folder} holds no such pack")
    of_packs = [tuple(_patches(packed)) for packed in packs]
    if any(patches != of_packs[0] for patches in of_packs):
        return _noted(one, f"its patches are not shown: {folder} holds several packs of these frames, which differ")
    if None in of_packs[0]:
        return _noted(one, "its patches are not shown: they make no square")
    frames = tuple(replace(frame, patches=patches) for frame, patches in zip(one.look.frames, of_packs[0], strict=True))
    return replace(one, look=replace(one.look, frames=frames))


def _patches(packed: PackedVideo) -> Iterator[Patches | None]:
    anchors: list[dict[int, int]] = [{} for _ in range(packed.num_frames)]
    for token, (frame, anchor) in enumerate(zip(packed.frame_of.tolist(), packed.anchor_of.tolist(), strict=True)):
        anchors[frame][token] = anchor
    for source, of_frame in zip(packed.source.tolist(), anchors, strict=True):
        yield patches_of(source, of_frame)
