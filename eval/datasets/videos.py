"""Files of videos by name, in a folder that is listed once. No name leads out of the folder."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from eval.datasets.msr_qa import MAPPING, read_mapping
from eval.datasets.samples import DatasetError
from eval.datasets.sets import QuestionSet

CONTAINERS = {
    ".mp4": "mp4",
    ".mov": "mov",
    ".avi": "avi",
    ".mkv": "matroska",
    ".webm": "webm",
    ".gif": "gif",
}
"""Suffixes of video files, each with the name of its container."""

FOLDERS = (
    "",
    "videos",
    "videos/all",
    "all",
    "all_test",
    "mp4",
    "gifs",
    "YouTubeClips",
    "TestVideo",
    "TrainValVideo",
)
"""Usual subfolders of videos, first the folder itself."""


class BadVideoName(DatasetError):
    """The name cannot be that of a file in the folder, such as one that leads out of it."""


class VideoMissing(DatasetError):
    """The folder holds no file of the video's name."""


@dataclass(frozen=True, kw_only=True)
class VideoFolder:
    """The videos in a folder, at the time when it was listed.

    Attributes:
        folder: the folder as it was given.
        prefixes: possible prefixes of file names.
        paths: files by their name without suffix, in Unicode NFC; the preferred one first.
        aliases: the other name of a video, by name.
        outside: links to files outside the folder, by name; they are not used.
        others: files with other suffixes, by name.
    """

    folder: str
    prefixes: tuple[str, ...] = ("",)
    paths: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, str] = field(default_factory=dict)
    outside: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)

    def find(self, video: str) -> str:
        """Return the path of a video's file, without listing the folder again.

        Raises:
            BadVideoName: the name is empty, or has characters that no file name can have.
            VideoMissing: there is no such file, it is a link out of the folder, or its suffix is not that of a video.
        """
        return self.find_all(video)[0]

    def find_all(self, video: str) -> tuple[str, ...]:
        """Return the paths of all files of a video's name, the preferred one first; raises as :meth:`find` does."""
        if video in {"", ".", ".."} or any(char in video for char in "/\\\0"):
            raise BadVideoName(f"{video!r:.80} is not a video's name: it must be that of a file in {self.folder}")
        names = list(self._names(video))
        for name in names:
            if name in self.paths:
                return self.paths[name]
        for name in names:
            if name in self.outside:
                raise VideoMissing(
                    f"{self.outside[name]} is a link out of {self.folder}",
                    hint="move the file there, or allow such links (--follow-links)",
                )
            if name in self.others:
                raise VideoMissing(
                    f"{self.others[name]} does not have the suffix of a video ({', '.join(CONTAINERS)})",
                    hint="rename or convert it",
                )
        raise VideoMissing(
            f"there is no file {names[0]}.* in {self.folder}", hint="download it, or give the folder that holds it"
        )

    def unused(self, videos: Iterable[str]) -> list[str]:
        """List the files that none of the videos uses, sorted."""
        wanted = {name for video in videos for name in self._names(video)}
        return sorted(path for name, paths in self.paths.items() if name not in wanted for path in paths)

    def _names(self, video: str) -> Iterator[str]:
        for known in (video, self.aliases.get(video)):
            if known is not None:
                yield from (_nfc(prefix + known) for prefix in self.prefixes)


def list_videos(
    folder: str | os.PathLike[str],
    questions: QuestionSet | None = None,
    *,
    annotations: str | os.PathLike[str] | None = None,
    follow_links: bool = False,
) -> VideoFolder:
    """List the videos in a folder and in its usual subfolders (:data:`FOLDERS`), each folder once.

    Args:
        folder: the folder.
        questions: their question set, which defines the names of their files.
        annotations: folder or file of the questions. With MSVD's ``youtube_mapping.txt`` there, in the folder of videos
            or above it, videos are found under either name.
        follow_links: use links to files outside the folder.

    Raises:
        DatasetError: the folder is missing or cannot be read, or the mapping is malformed.
    """
    root = os.fspath(folder)
    if not os.path.isdir(root):
        raise DatasetError(f"{root} is not a folder", hint="give one that holds the videos")
    suffixes = [*dict.fromkeys((*(questions.suffixes if questions else ()), *CONTAINERS))]
    paths: dict[str, list[tuple[int, str]]] = {}
    outside: dict[str, str] = {}
    others: dict[str, str] = {}
    try:
        for entry, is_outside in _entries(root):
            stem, suffix = os.path.splitext(entry.name)
            name = _nfc(stem)
            if suffix.lower() not in CONTAINERS:
                others.setdefault(name, entry.path)
            elif is_outside and not follow_links:
                outside.setdefault(name, entry.path)
            elif entry.is_file():
                paths.setdefault(name, []).append((suffixes.index(suffix.lower()), entry.path))
    except OSError as error:
        raise DatasetError(f"{root} cannot be read: {error}") from error
    return VideoFolder(
        folder=root,
        prefixes=questions.prefixes if questions else ("",),
        paths={name: tuple(path for _, path in sorted(found, key=itemgetter(0))) for name, found in paths.items()},
        aliases=_aliases(root, annotations) if questions and questions.name == "msvd" else {},
        outside=outside,
        others=others,
    )


def expected_container(path: str, container: str) -> str | None:
    """The container that a file's suffix stands for, if it is another than the given one; None if they agree."""
    wanted = CONTAINERS.get(os.path.splitext(path)[1].lower())
    return wanted if wanted is not None and wanted not in container.split(",") else None


def _entries(root: str) -> Iterator[tuple[os.DirEntry[str], bool]]:
    """Yield the files in a folder and its usual subfolders, and whether they are links out of the folder.

    The hidden files of macOS are skipped. Only links are resolved.
    """
    inside = os.path.join(os.path.realpath(root), "")
    seen: set[str] = set()
    for below in FOLDERS:
        folder = os.path.join(root, *below.split("/")) if below else root
        real = os.path.join(os.path.realpath(folder), "")
        if real in seen or not os.path.isdir(folder):
            continue
        seen.add(real)
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("._") and not entry.is_dir():
                    is_link_out = entry.is_symlink() and not os.path.realpath(entry.path).startswith(inside)
                    yield entry, is_link_out or not real.startswith(inside)


def _aliases(root: str, annotations: str | os.PathLike[str] | None) -> dict[str, str]:
    """Map MSVD's two names of each video to each other."""
    if annotations is not None and os.path.isfile(annotations):
        annotations = os.path.dirname(annotations) or os.curdir
    for folder in (annotations, root, os.path.join(root, os.pardir)):
        if folder is not None and os.path.isfile(os.path.join(folder, MAPPING)):
            names = read_mapping(Path(folder, MAPPING))
            return {**names, **{name: number for number, name in names.items()}}
    return {}


def _nfc(name: str) -> str:
    """Normalise the accents of a name."""
    return unicodedata.normalize("NFC", name)
