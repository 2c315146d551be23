from __future__ import annotations

import pytest

from pipelines.evaluation.journal import OtherRun, open_journal, read_run
from pipelines.evaluation.merging import PartsDiffer, merge, shard_of
from vidzip.errors import BadArgument

RUN = {"set": "msvd", "model": "tiny", "questions": {"count": 4, "fingerprint": "abc"}}


def part(folder, shard, ids, **changes):
    with open_journal(str(folder), {**RUN, **changes, "shard": shard}) as journal:
        journal.add([{"id": key, "prediction": key, "failure": None} for key in ids])
    return str(folder)


def test_parts_make_the_whole(tmp_path):
    parts = [part(tmp_path / "b", "2/2", ["c", "d"]), part(tmp_path / "a", "1/2", ["a", "b"])]
    assert merge(parts, str(tmp_path / "whole"))["set"] == "msvd"
    run, rows = read_run(str(tmp_path / "whole"))
    assert sorted(rows) == ["a", "b", "c", "d"]
    assert (run["shard"], run["parts"], run["model"]) == (None, 2, "tiny")


def test_parts_that_do_not_fit_are_refused(tmp_path):
    first = part(tmp_path / "1", "1/2", ["a", "b"])
    second = part(tmp_path / "2", "2/2", ["c", "d"])
    out = str(tmp_path / "out")
    with pytest.raises(PartsDiffer, match="there is no part 2/2"):
        merge([first], out)
    with pytest.raises(PartsDiffer, match="are both part 1/2"):
        merge([first, first], out)
    with pytest.raises(PartsDiffer, match="its model differs"):
        merge([first, part(tmp_path / "3", "2/2", ["c", "d"], model="other")], out)
    with pytest.raises(PartsDiffer, match="its number of parts differs"):
        merge([first, part(tmp_path / "4", "2/3", ["c", "d"])], out)
    with pytest.raises(PartsDiffer, match="which another part holds too"):
        merge([first, part(tmp_path / "5", "2/2", ["b", "c"])], out)
    with pytest.raises(PartsDiffer, match="hold 3 of 4 questions"):
        merge([first, part(tmp_path / "6", "2/2", ["c"])], out)
    with pytest.raises(PartsDiffer, match="holds no part, but a whole run"):
        merge([part(tmp_path / "7", None, ["a"]), second], out)
    with pytest.raises(OtherRun, match="describes no run"):
        merge([str(tmp_path / "nothing"), second], out)
    with pytest.raises(OtherRun, match="is not empty"):
        merge([first, second], first)


def test_shards_share_all_videos_out(tmp_path):
    owners = [[shard for shard in ("1/3", "2/3", "3/3") if shard_of(number, shard)] for number in range(10)]
    assert all(len(one) == 1 for one in owners)
    for bad in ("0/3", "4/3", "a/b", "3", "1/", "-1/2"):
        with pytest.raises(BadArgument, match="unknown shard"):
            shard_of(0, bad)
