"""The file of a video, found by its name in a folder that was listed once. No name leads out of the folder."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eval.datasets.msr_qa import MAPPING, read_mapping
from eval.datasets.sample import DatasetError
from eval.datasets.sets import QuestionSet

CONTAINERS = {
    ".mp4": "mp4",
    ".mov": "mov",
    ".avi": "avi",
    ".mkv": "matroska",
    ".webm": "webm",
    ".gif": "gif",
}
"""The suffixes videos have, and what of a container's name must go with each."""

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
"""Where in a folder videos usually lie, first the folder itself."""


class BadVideoName(DatasetError):
    """A name that no file of a folder can have, such as one that leads out of it."""


class VideoMissing(DatasetError):
    """A folder holds no file of a video's name."""


@dataclass(frozen=True, kw_only=True)
class VideoFolder:
    """The videos of a folder, as they were when it was listed.

    Attributes:
        folder: as it was given.
        prefixes: what files' names may begin with, before the video's own name.
        paths: files by their name without suffix, composed as Unicode's NFC; the one to take first.
        aliases: another name of the same video, by name.
        elsewhere: files that links lead to outside of the folder, by name; they are not taken.
        others: files with no suffix of a video's, by name.
    """

    folder: str
    prefixes: tuple[str, ...] = ("",)
    paths: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)

    def find(self, video: str) -> str:
        """Return the path of a video's file; the folder is not looked into again.

        Raises:
            BadVideoName: the name is empty, or holds what no file's name can hold.
            VideoMissing: there is no such file; or a link leads out of the folder, or the suffix is of no video.
        """
        return self.find_all(video)[0]

    def find_all(self, video: str) -> tuple[str, ...]:
        """Return the paths of all files of a video's name, the one to take first; it raises as :meth:`find` does."""
        if video in {"", ".", ".."} or any(char in video for char in "/\\\0"):
            raise BadVideoName(
                f"{video!r:.80} is no video's name: it must name a file in {self.folder}, not lead elsewhere"
            )
        names = list(self._names(video))
        for name in names:
            if name in self.paths:
                return self.paths[name]
        for name in names:
            if name in self.elsewhere:
                raise VideoMissing(
                    f"{self.elsewhere[name]} is a link that leads out of {self.folder}",
                    hint="put the file itself there, or allow such links (--follow-links)",
                )
            if name in self.others:
                raise VideoMissing(
                    f"{self.others[name]} has no suffix of a video ({', '.join(CONTAINERS)})",
                    hint="rename or convert it",
                )
        raise VideoMissing(
            f"there is no file {names[0]}.* in {self.folder}", hint="fetch it, or give the folder that holds it"
        )

    def unused(self, videos: Iterable[str]) -> list[str]:
        """List the files that no video of those named takes, sorted."""
        wanted = {name for video in videos for name in self._names(video)}
        return sorted(path for name, paths in self.paths.items() if name not in wanted for path in paths)

    def _names(self, video: str) -> Iterator[str]:
        for known in (video, self.aliases.get(video)):
            if known is not None:
                yield from (_composed(prefix + known) for prefix in self.prefixes)


def list_videos(
    folder: str | os.PathLike[str],
    questions: QuestionSet | None = None,
    *,
    annotations: str | os.PathLike[str] | None = None,
    follow_links: bool = False,
) -> VideoFolder:
    """List a folder's videos, and those in its usual subfolders (:data:`FOLDERS`), each folder once.

    Args:
        folder: where the videos lie.
        questions: the set they are of, which knows how their files are named.
        annotations: the questions' folder or file. MSVD's ``youtube_mapping.txt`` is looked for there, in the videos'
            folder and above it: then videos are found under either name.
        follow_links: take files that links lead to outside of the folder.

    Raises:
        DatasetError: no such folder, it cannot be looked into, or the mapping is broken.
    """
    root = os.fspath(folder)
    if not os.path.isdir(root):
        raise DatasetError(f"{root} is no folder", hint="give one that holds the videos")
    suffixes = [*dict.fromkeys((*(questions.suffixes if questions else ()), *CONTAINERS))]
    paths: dict[str, list[tuple[int, str]]] = {}
    elsewhere: dict[str, str] = {}
    others: dict[str, str] = {}
    try:
        for entry, leads_out in _entries(root):
            stem, suffix = os.path.splitext(entry.name)
            name = _composed(stem)
            if suffix.lower() not in CONTAINERS:
                others.setdefault(name, entry.path)
            elif leads_out and not follow_links:
                elsewhere.setdefault(name, entry.path)
            elif entry.is_file():
                paths.setdefault(name, []).append((suffixes.index(suffix.lower()), entry.path))
    except OSError as error:
        raise DatasetError(f"{root} cannot be looked into: {error}") from error
    return VideoFolder(
        folder=root,
        prefixes=questions.prefixes if questions else ("",),
        paths={name: tuple(path for _, path in sorted(found, key=_rank)) for name, found in paths.items()},
        aliases=_aliases(root, annotations) if questions and questions.name == "msvd" else {},
        elsewhere=elsewhere,
        others=others,
    )


def expected_container(path: str, container: str) -> str | None:
    """Say what a file's suffix promises where its container is another; None where they agree or nothing is known."""
    wanted = CONTAINERS.get(os.path.splitext(path)[1].lower())
    return wanted if wanted is not None and wanted not in container.split(",") else None


def _entries(root: str) -> Iterator[tuple[os.DirEntry[str], bool]]:
    """List the files of a folder and of its usual subfolders, and whether a link leads out to them.

    What macOS leaves beside files is left out. Only links are looked into one by one.
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


def _rank(found: tuple[int, str]) -> int:
    return found[0]


def _aliases(root: str, annotations: str | os.PathLike[str] | None) -> dict[str, str]:
    """Read MSVD's two names of a video, each from the other."""
    if annotations is not None and os.path.isfile(annotations):
        annotations = os.path.dirname(annotations) or os.curdir
    for folder in (annotations, root, os.path.join(root, os.pardir)):
        if folder is not None and os.path.isfile(os.path.join(folder, MAPPING)):
            names = read_mapping(Path(folder, MAPPING))
            return {**names, **{name: number for number, name in names.items()}}
    return {}


def _composed(name: str) -> str:
    """Bring a name into one form, whichever way its accents were written."""
    return unicodedata.normalize("NFC", name)
