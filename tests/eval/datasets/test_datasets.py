from __future__ import annotations

import copy
import shutil

import pytest

from eval.datasets import LAYOUTS, SETS, Counts, DatasetError, Sample, find_sets, load, parse
from eval.shapes import KINDS, frozen_splits

QUESTIONS = [
    {"question_id": "v_b_1", "video_name": "b", "question": "who?"},
    {"question_id": "v_a_0", "video_name": "a", "question": "what?"},
]
ANSWERS = [
    {"question_id": "v_a_0", "answer": "dog", "type": 3},
    {"question_id": "v_b_1", "answer": "man"},
]


def test_answers_join_by_id_and_questions_keep_their_order(write):
    assert load(write(test_q__json=QUESTIONS, test_a__json=ANSWERS)) == [
        Sample(id="v_b_1", video="b", question="who?", answer="man", kind=None),
        Sample(id="v_a_0", video="a", question="what?", answer="dog", kind="3"),
    ]


@pytest.mark.parametrize(
    ("questions", "answers", "place"),
    [
        ("[", ANSWERS, r"test_q\.json"),
        ("{}", ANSWERS, r"test_q\.json"),
        ([*QUESTIONS, 5], ANSWERS, r"test_q\.json, row 2: .* 5"),
        ([{**QUESTIONS[0], "question": None}], ANSWERS, r"test_q\.json, row 0: question .*None"),
        (QUESTIONS, [*ANSWERS, {"question_id": "v_c_0"}], r"test_a\.json, row 2: answer .*None"),
        ([*QUESTIONS, QUESTIONS[0]], ANSWERS, "row 2: .*'v_b_1'"),
        (QUESTIONS[:1], ANSWERS, "'v_a_0'"),
        (QUESTIONS, ANSWERS[:1], "'v_b_1'"),
    ],
)
def test_broken_files_are_named_with_their_row(write, questions, answers, place):
    with pytest.raises(DatasetError, match=place):
        load(write(test_q__json=questions, test_a__json=answers))


def test_folders_without_a_set_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="missing"):
        load(tmp_path / "missing")
    with pytest.raises(DatasetError, match="video-llava"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "suffix", "count"), [("msvd", "", 26), ("msrvtt", "_400", 400), ("activitynet", "_400", 400)]
)
def test_real_rows(data, tmp_path, name, suffix, count):
    for part in ("q", "a"):
        shutil.copy(data / name / f"test_{part}{suffix}.json", tmp_path / f"test_{part}.json")
    samples = load(tmp_path)
    assert len(samples) == count
    assert all(sample.id.startswith(f"v_{sample.video}_") for sample in samples)


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_layout_claims_an_empty_folder(tmp_path, name):
    assert LAYOUTS[name].find(tmp_path) == []


def row(video: str, question: str = "what?", number: int = 0) -> dict[str, str]:
    return {"question_id": f"v_{video}_{number}", "video_name": video, "question": question}


def answers_to(questions, **more) -> list[dict[str, object]]:
    return [{"question_id": row["question_id"], "answer": "yes", **more} for row in questions]


@pytest.mark.parametrize(
    ("videos", "question", "name"),
    [
        (["tumblr_nk172bbdPI1u1lr18o1_250"], "What does the butterfly do 10 or more than 10 times ?", "tgif-action"),
        (["tumblr_nezfs4uELd1u1a7cmo1_250"], "How many times does the man adjust waistband ?", "tgif-count"),
        (["tumblr_n9y2jhq01L1rts5xfo1_250"], "What does the man do beforehand down ?", "tgif-transition"),
        (["tumblr_no73q2fm0I1uuf348o1_250"], "what is being placed in the white cone ?", "tgif-frameqa"),
        (["rlQ2kW-FvMk_66_79", "-4wsuPCjDBc_5_15"], "who is it?", "msvd"),
        (["video7010"], "who is it?", "msrvtt"),
        (["1QIUV7WYKXg", "-1IBHYS3L-Y"], "is it a man", "activitynet"),
        (["test_7_00000", "long_11_00003"], "What shape is the red object?", "shapes"),
        (["caf\N{LATIN SMALL LETTER E WITH ACUTE}"], "who is it?", None),
        (["video7010", "café", "thé"], "who is it?", None),
        ([], "", None),
    ],
)
def test_a_set_is_recognised_by_its_content(write, videos, question, name):
    questions = [row(video, question) for video in videos]
    root = write(test_q__json=questions, test_a__json=answers_to(questions))
    assert [found.name for found in find_sets(root)] == [name]
    assert parse(root).name == name


def test_tgif_in_video_llavas_layout_is_a_mixture_if_kinds_are_mixed(write):
    gif = "tumblr_nk172bbdPI1u1lr18o1_250"
    questions = [
        row(gif, "What does the man do 3 times ?", 0),
        row(gif, "How many times does the man rub his hand ?", 1),
        row(gif, "what is the white dog waving ?", 2),
        row(gif, "What does the man do after sing passionately ?", 3),
    ]
    root = write(test_q__json=questions, test_a__json=answers_to(questions, type=3))
    assert [(one.id[-1], one.kind) for one in load(root)] == [
        ("0", "action"), ("1", "count"), ("2", "frameqa"), ("3", "transition"),
    ]  # fmt: skip
    assert parse(root).name == "tgif-mixture"
    with pytest.raises(DatasetError, match=r"tgif-frameqa.*tgif-mixture \(test_q\.json"):
        load(root, "tgif-frameqa")


def test_the_constant_type_in_video_llavas_files_is_no_kind(write):
    questions = [row("tumblr_no73q2fm0I1uuf348o1_250", "what is being placed in the white cone ?")]
    root = write(test_q__json=questions, test_a__json=answers_to(questions, type=3))
    assert [one.kind for one in load(root, "tgif-frameqa")] == [None]


def test_activitynets_codes_have_their_published_names(write):
    questions = [row("1QIUV7WYKXg", number=number) for number in range(3)]
    answers = [{**one, "type": code} for one, code in zip(answers_to(questions), (3, 0, 12), strict=True)]
    root = write(test_q__json=questions, test_a__json=answers)
    assert [one.kind for one in load(root)] == ["yes/no", "motion", "12"]


def test_content_of_no_published_set_may_have_any_name(write):
    questions = [row("-caf\N{LATIN SMALL LETTER E WITH ACUTE}")]
    root = write(test_q__json=questions, test_a__json=answers_to(questions, type=4))
    assert [(one.video, one.kind) for one in load(root, "activitynet")] == [("-café", "color")]
    assert [(one.video, one.kind) for one in load(root)] == [("-café", "4")]


def test_another_set_than_the_named_one_is_refused(write):
    questions = [row("video7010")]
    root = write(test_q__json=questions, test_a__json=answers_to(questions))
    with pytest.raises(DatasetError, match=r"msvd.*msrvtt"):
        load(root, "msvd")
    with pytest.raises(DatasetError, match=r"'tgif'.*tgif-frameqa, tgif-action"):
        load(root, "tgif")


def test_one_set_in_two_layouts_is_ambiguous(write):
    questions = [row("video7010")]
    original = [{"id": 1, "video_id": 7010, "category_id": 3, "question": "what?", "answer": "man"}]
    root = write(test_q__json=questions, test_a__json=answers_to(questions), test_qa__json=original)
    for name in (None, "msrvtt"):
        with pytest.raises(DatasetError, match=r"msrvtt.*msrvtt"):
            load(root, name)


def test_an_unknown_set_next_to_a_known_one_is_ambiguous_unless_that_is_named(write):
    questions = [row("café")]
    original = [{"id": 1, "video_id": 7010, "category_id": 3, "question": "what?", "answer": "man"}]
    root = write(test_q__json=questions, test_a__json=answers_to(questions), test_qa__json=original)
    with pytest.raises(DatasetError, match=r"unknown.*; name msrvtt"):
        load(root)
    assert [one.video for one in load(root, "msrvtt")] == ["video7010"]


@pytest.mark.parametrize(
    ("broken", "place"),
    [
        ({"question": "who\0?"}, r"row 1: question is 'who\\x00\?'"),
        ({"video_name": "\ud800"}, r"row 1: video_name is '\\ud800'"),
        ({"question_id": 5}, "row 1: question_id is 5"),
        ({"question": True}, "row 1: question is True"),
    ],
)
def test_unusable_text_is_reported_with_its_place(write, broken, place):
    root = write(test_q__json=[QUESTIONS[0], {**QUESTIONS[1], **broken}], test_a__json=ANSWERS)
    with pytest.raises(DatasetError, match=rf"test_q\.json, {place}"):
        load(root)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
def test_json_may_have_a_byte_order_mark_or_be_utf_16(write, encoding):
    text = '[{"question_id": "1", "video_name": "café", "question": "who?"}]'
    root = write(test_q__json=text.encode(encoding), test_a__json=[{"question_id": "1", "answer": "man"}])
    assert [one.video for one in load(root)] == ["café"]


@pytest.mark.parametrize("content", [b"\xff[]", b"[" * 100_000, b""])
def test_malformed_json_is_refused(write, content):
    with pytest.raises(DatasetError, match=r"test_q\.json"):
        load(write(test_q__json=content, test_a__json=ANSWERS))


def test_parsing_continues_after_broken_rows(write):
    questions = [5, QUESTIONS[0], {**QUESTIONS[0], "question": "again?"}, row("c"), QUESTIONS[1]]
    root = write(test_q__json=questions, test_a__json=[*ANSWERS, {"question_id": "x", "answer": "?"}, None])
    parsed = parse(root)
    assert parsed.num_rows == 5
    assert [one.id for one in parsed.samples] == ["v_b_1", "v_a_0"]
    assert [(one.place, one.kind) for one in parsed.problems] == [
        ("row 0", "broken"), ("row 2", "duplicate"), ("row 3", "broken"),
    ]  # fmt: skip
    assert (parsed.unanswered, parsed.unasked) == (("v_c_0",), ("x",))
    with pytest.raises(DatasetError, match=r"test_q\.json, row 0: .*\(2 more"):
        load(root)


@pytest.mark.parametrize(
    ("description", "declared"),
    [
        ({"num_questions": 7, "num_videos": 1}, Counts(questions=7, videos=1)),
        ({"num_questions": "7", "num_videos": 1}, None),
        ([], None),
        ("{", None),
    ],
)
def test_a_set_of_shapes_declares_its_size(write, description, declared):
    questions = [row("test_7_00000")]
    root = write(test_q__json=questions, test_a__json=answers_to(questions), shapes__json=description)
    assert parse(root, "shapes").declared == declared


def test_errors_cross_process_boundaries():
    error = copy.copy(DatasetError("no", hint="do"))  # copies as pickle does
    assert (type(error), error.message, error.hint, str(error)) == (DatasetError, "no", "do", "no; do")


def test_every_set_has_suffixes_and_sources():
    for name, one in SETS.items():
        assert one.name == name
        assert all(suffix.startswith(".") for suffix in one.suffixes)
        assert all(source.locations and source.terms for source in (*one.questions, *one.videos))


def test_published_counts_of_shapes_are_the_frozen_ones():
    frozen = frozen_splits()["test"]
    published = SETS["shapes"].published
    assert (published.videos, published.questions) == (frozen.num_videos, frozen.num_videos * len(KINDS))
    assert SETS["shapes"].kinds == KINDS


def test_the_mixture_is_the_four_kinds_together():
    kinds = [SETS[f"tgif-{kind}"].published.questions for kind in SETS["tgif-mixture"].kinds]
    assert sum(kinds) == SETS["tgif-mixture"].published.questions


@pytest.mark.parametrize(
    ("file", "name", "count"),
    [
        ("tgif/Test_frameqa_question_one_gif.csv", "tgif-frameqa", 5),
        ("tgif/Test_action_question_300.csv", "tgif-action", 300),
        ("msvd/original_test_qa_300.json", "msvd", 300),
        ("msvd/test_q.json", "msvd", 26),
    ],
)
def test_a_file_may_be_given_instead_of_its_folder(data, file, name, count):
    assert len(load(data / file, name)) == count
    (found,) = find_sets(data / file)
    assert found.name == name


def test_a_file_without_questions_is_refused(data, tmp_path):
    with pytest.raises(DatasetError, match="youtube_mapping"):
        load(data / "msvd" / "youtube_mapping.txt")
    with pytest.raises(DatasetError, match=r"none\.csv"):
        load(tmp_path / "none.csv")
