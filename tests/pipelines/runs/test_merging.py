from __future__ import annotations

import pytest

from pipelines.runs.merging import ShardMismatch, merge
from pipelines.runs.run_log import RunMismatch, open_run_log, read_run
from pipelines.runs.settings import parse_shard
from vidzip.errors import BadArgument

RUN = {"set": "msvd", "model": "tiny", "questions": {"count": 4, "fingerprint": "abc"}}


def make_shard(folder, shard, ids, **changes):
    with open_run_log(str(folder), {**RUN, **changes, "shard": shard}) as log:
        log.add([{"id": key, "prediction": key, "failure": None} for key in ids])
    return str(folder)


def test_shards_are_merged(tmp_path):
    parts = [make_shard(tmp_path / "b", "2/2", ["c", "d"]), make_shard(tmp_path / "a", "1/2", ["a", "b"])]
    assert merge(parts, str(tmp_path / "whole"))["set"] == "msvd"
    run, rows = read_run(str(tmp_path / "whole"))
    assert sorted(rows) == ["a", "b", "c", "d"]
    assert (run["shard"], run["parts"], run["model"]) == (None, 2, "tiny")


def test_shards_of_different_runs_are_refused(tmp_path):
    first = make_shard(tmp_path / "1", "1/2", ["a", "b"])
    second = make_shard(tmp_path / "2", "2/2", ["c", "d"])
    out = str(tmp_path / "out")
    with pytest.raises(ShardMismatch, match="2/2"):
        merge([first], out)
    with pytest.raises(ShardMismatch, match="1/2"):
        merge([first, first], out)
    with pytest.raises(ShardMismatch, match="model"):
        merge([first, make_shard(tmp_path / "3", "2/2", ["c", "d"], model="other")], out)
    with pytest.raises(ShardMismatch, match="number of shards"):
        merge([first, make_shard(tmp_path / "4", "2/3", ["c", "d"])], out)
    with pytest.raises(ShardMismatch, match="'b'"):
        merge([first, make_shard(tmp_path / "5", "2/2", ["b", "c"])], out)
    with pytest.raises(ShardMismatch, match="3 of 4"):
        merge([first, make_shard(tmp_path / "6", "2/2", ["c"])], out)
    with pytest.raises(ShardMismatch, match="7"):
        merge([make_shard(tmp_path / "7", None, ["a"]), second], out)
    with pytest.raises(RunMismatch, match="nothing"):
        merge([str(tmp_path / "nothing"), second], out)
    with pytest.raises(RunMismatch, match="1"):
        merge([first, second], first)


def test_a_shard_that_does_not_exist_is_refused():
    assert parse_shard("2/3") == (2, 3)
    for bad in ("0/3", "4/3", "a/b", "3", "1/", "-1/2"):
        with pytest.raises(BadArgument):
            parse_shard(bad)
