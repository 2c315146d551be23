from __future__ import annotations

import shutil

import pytest

from eval.datasets import DatasetError, Sample, load, parse

MSVD = [
    {"answer": "someone", "id": 37348, "question": "who opened the box?", "video_id": 1451},
    {"answer": "gras", "id": 37349, "question": "what is eaten?", "video_id": 1452},
    {"answer": "wildernes", "id": 37350, "question": "what is eaten?", "video_id": 1452},
]
MSRVTT = [{**row, "video_id": row["video_id"] + 7000, "category_id": 3} for row in MSVD]
MAPPING = "-4wsuPCjDBc_5_15 vid1451\r\n-7KMZQEsJW4_205_208 vid1452"


def test_video_numbers_become_names(write):
    assert load(write(test_qa__json=MSRVTT))[0] == Sample(
        id="37348", video="video8451", question="who opened the box?", answer="someone", kind="who"
    )
    assert [one.video for one in load(write(test_qa__json=MSVD))] == ["vid1451", "vid1452", "vid1452"]


def test_msvds_videos_have_their_youtube_names_with_the_mapping(write):
    root = write(test_qa__json=MSVD, youtube_mapping__txt=MAPPING)
    assert [one.video for one in load(root, "msvd")] == [
        "-4wsuPCjDBc_5_15", "-7KMZQEsJW4_205_208", "-7KMZQEsJW4_205_208",
    ]  # fmt: skip


def test_a_video_that_is_not_in_the_mapping_is_reported(write):
    root = write(test_qa__json=MSVD, youtube_mapping__txt=MAPPING.partition("\r\n")[0])
    with pytest.raises(DatasetError, match=r"test_qa\.json, row 1: video_id is 1452.*youtube_mapping\.txt"):
        load(root)
    assert [one.id for one in parse(root).samples] == ["37348"]


@pytest.mark.parametrize("mapping", ["name vid1\nname2 vid1\n", "name vid1\nalone\n", "name vid1\na b vid2"])
def test_a_malformed_mapping_is_reported_with_its_line(write, mapping):
    with pytest.raises(DatasetError, match=r"youtube_mapping\.txt, line 2"):
        load(write(test_qa__json=MSVD, youtube_mapping__txt=mapping))


def test_stemmed_answers_and_repeated_questions_are_kept(write):
    assert [(one.question, one.answer) for one in load(write(test_qa__json=MSVD))][1:] == [
        ("what is eaten?", "gras"),
        ("what is eaten?", "wildernes"),
    ]


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ({"id": 37348}, "repeats the id '37348'"),
        ({"id": True}, "id is True"),
        ({"video_id": None}, "video_id is None"),
        ({"video_id": 1.5}, "video_id is 1.5"),
        ({"answer": 2}, "answer is 2"),
        ({"question": ["who?"]}, r"question is \['who\?'\]"),
    ],
)
def test_broken_rows_are_reported(write, broken, problem):
    root = write(test_qa__json=[MSVD[0], {**MSVD[1], **broken}, MSVD[2]])
    with pytest.raises(DatasetError, match=rf"test_qa\.json, row 1: {problem}"):
        load(root)
    assert [one.id for one in parse(root).samples] == ["37348", "37350"]


@pytest.mark.parametrize("content", ["{}", "[", '"test"'])
def test_another_file_is_refused(write, content):
    with pytest.raises(DatasetError, match=r"test_qa\.json"):
        load(write(test_qa__json=content))


def test_real_rows(data, tmp_path):
    shutil.copy(data / "msvd" / "original_test_qa_300.json", tmp_path / "test_qa.json")
    assert load(tmp_path)[0].video == "vid1451"
    shutil.copy(data / "msvd" / "youtube_mapping.txt", tmp_path)
    samples = load(tmp_path)
    assert len(samples) == 300
    assert (samples[0].video, samples[0].kind) == ("jfrrO5K_vKM_55_65", "who")


def test_both_layouts_have_the_same_kinds(data, tmp_path):
    shutil.copy(data / "msvd" / "original_test_qa_300.json", tmp_path / "test_qa.json")
    original = {one.question: one.kind for one in load(tmp_path)}
    again = [one for one in load(data / "msvd") if one.question in original]
    assert all(one.kind == original[one.question] for one in again)
    assert {one.kind for one in load(data / "msvd")} == {"who", "what", "how"}
