"""Merge the shards of a run, made on several machines, into one run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from pipelines.runs.run_log import Row, RunMismatch, open_run_log, read_run
from pipelines.runs.settings import parse_shard
from vidzip.errors import VidzipError


class ShardMismatch(VidzipError):
    """The runs are not the shards of one run."""


def merge(folders: Sequence[str], out: str) -> dict[str, Any]:
    """Merge the runs of all shards.

    Args:
        folders: the folders of the shards, in any order.
        out: a new folder.

    Returns:
        The description of the merged run.

    Raises:
        ShardMismatch: a shard is missing, given twice or not finished, or they belong to different runs.
        RunMismatch: a folder holds no run, or ``out`` is not empty.
    """
    if os.path.isdir(out) and os.listdir(out):
        raise RunMismatch(f"{out!r} is not empty", hint="give a new folder")
    shards: dict[str, str] = {}
    merged: dict[str, Any] = {}
    rows: dict[str, Row] = {}
    num_shards = 0
    for folder in folders:
        run, new_rows = read_run(folder)
        shard = run.pop("shard", None)
        if shard is None:
            raise ShardMismatch(f"{folder!r} is not a shard, but a whole run", hint="give runs made with --shard")
        run["number of shards"] = num_shards = parse_shard(shard)[1]
        if shard in shards:
            raise ShardMismatch(f"{shards[shard]!r} and {folder!r} are both shard {shard}", hint="give each shard once")
        if shards and run != merged:
            key = next(key for key in {**run, **merged} if run.get(key) != merged.get(key))
            raise ShardMismatch(
                f"{folder!r} is a shard of another run: its {key} differs", hint="give the shards of one run"
            )
        repeated = sorted(new_rows.keys() & rows.keys())
        if repeated:
            raise ShardMismatch(
                f"{folder!r} holds question {repeated[0]!r}, which another shard also holds", hint="run both again"
            )
        shards[shard], merged = folder, run
        rows |= new_rows
    missing = [shard for i in range(num_shards) if (shard := f"{i + 1}/{num_shards}") not in shards]
    if missing:
        raise ShardMismatch(f"shards {', '.join(missing)} are missing", hint="give the folders of all shards")
    count = int(merged["questions"]["count"])
    if len(rows) != count:
        raise ShardMismatch(
            f"the shards hold {len(rows)} of {count} questions", hint="finish each shard with the command that began it"
        )
    del merged["schema"], merged["number of shards"]
    with open_run_log(out, {**merged, "shard": None, "parts": num_shards}) as log:
        log.add(list(rows.values()))
    return merged
