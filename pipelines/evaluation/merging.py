"""Runs of parts of a set, made on several machines, joined into the run of the whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from pipelines.evaluation.journal import ANSWERS, RUN, OtherRun, open_journal, read_run
from vidzip.errors import BadArgument, VidzipError


class PartsDiffer(VidzipError):
    """The runs are not the parts of one run."""


def shard_of(number: int, shard: str | None) -> bool:
    """Whether the video of a number, counted from 0 in file order, is of a shard such as ``"2/4"``.

    Raises:
        BadArgument: the shard is none.
    """
    if shard is None:
        return True
    part, of = read_shard(shard)
    return number % of == part - 1


def read_shard(shard: str) -> tuple[int, int]:
    """Read which part of how many is meant.

    Raises:
        BadArgument: it is not such as ``"2/4"``.
    """
    part, slash, of = shard.partition("/")
    if not (slash and part.isdecimal() and of.isdecimal() and 1 <= int(part) <= int(of)):
        raise BadArgument(f"unknown shard {shard!r}", hint="write i/n: 1/4, 2/4, 3/4 and 4/4 for four machines")
    return int(part), int(of)


def merge(folders: Sequence[str], out: str) -> dict[str, Any]:
    """Join the runs of all parts.

    Args:
        folders: the parts' folders, in any order.
        out: a new folder.

    Returns:
        What the whole run is.

    Raises:
        PartsDiffer: a part is missing, there twice or not finished, or they are parts of different runs.
        OtherRun: a folder holds no run, or ``out`` holds something.
    """
    if os.path.isdir(out) and os.listdir(out):
        raise OtherRun(f"{out!r} is not empty", hint="give a new folder")
    parts: dict[int, str] = {}
    whole: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {}
    of = 0
    for folder in folders:
        run, held = read_run(folder)
        shard = run.pop("shard", None)
        if shard is None:
            raise PartsDiffer(f"{folder!r} holds no part, but a whole run", hint="only runs with --shard are joined")
        part, count = read_shard(shard)
        if part in parts:
            raise PartsDiffer(f"{parts[part]!r} and {folder!r} are both part {shard}", hint="give each part once")
        if parts and (run != whole or count != of):
            unlike = [key for key in {**run, **whole} if run.get(key) != whole.get(key)] or ["number of parts"]
            raise PartsDiffer(
                f"{folder!r} is a part of another run: its {unlike[0]} differs", hint="give the parts of one run"
            )
        doubled = sorted(held.keys() & rows.keys())
        if doubled:
            raise PartsDiffer(f"{folder!r} holds {doubled[0]!r}, which another part holds too", hint="run them anew")
        parts[part], whole, of = folder, run, count
        rows |= held
    missing = [f"{part}/{of}" for part in range(1, of + 1) if part not in parts]
    if missing:
        raise PartsDiffer(f"there is no part {', '.join(missing)}", hint="give the folders of all parts")
    count = int(whole["questions"]["count"])
    if len(rows) != count:
        raise PartsDiffer(
            f"the parts hold {len(rows)} of {count} questions",
            hint="finish every part with the command it was begun by",
        )
    whole.pop("schema", None)
    with open_journal(out, {**whole, "shard": None, "parts": of}) as journal:
        journal.add(list(rows.values()))
    return whole


__all__ = ["ANSWERS", "RUN", "PartsDiffer", "merge", "read_shard", "shard_of"]
