from __future__ import annotations

import pytest
from questions import write_set

from eval.datasets import DatasetError
from pipelines.runs.questions import by_video, read_questions, take_shard
from pipelines.runs.settings import QuestionSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set") / "set", videos=7, questions=2)


def test_shards_split_the_videos(folder):
    samples = read_questions(QuestionSettings(name="shapes", data=str(folder)))
    shards = [take_shard(samples, f"{part}/3") for part in (1, 2, 3)]
    assert [list(by_video(shard)) for shard in shards] == [
        ["clip0", "clip3", "clip6"], ["clip1", "clip4"], ["clip2", "clip5"],
    ]  # fmt: skip
    assert sorted(one.id for shard in shards for one in shard) == sorted(one.id for one in samples)
    assert take_shard(samples, None) == samples


def test_subset_and_limit_select_the_first(folder):
    settings = QuestionSettings(name="shapes", data=str(folder), subset="first5", limit=2)
    assert [one.id for one in read_questions(settings)] == ["q0_0", "q0_1", "q1_0", "q1_1"]


def test_a_folder_without_questions_is_refused(tmp_path):
    with pytest.raises(DatasetError):
        read_questions(QuestionSettings(name="msvd", data=str(tmp_path)))
