from __future__ import annotations

import csv
import shutil
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.datasets import DatasetError, Sample, find_sets, load, parse

ACTION = (
    "gif_name\tquestion\ta1\ta2\ta3\ta4\ta5\tanswer\tvid_id\tkey\r\n"
    "tumblr_a_250\tWhat does the cat do 3 times ?\trun\tlick\tstep\tturn\tnap\t1\tACTION4\t26\r\n"
    "tumblr_b_250\tWhat does the dog do 2 times ?\trun\tlick\tstep\tturn\tnap\t4\tACTION9\t26\r\n"
)
COUNT = "gif_name\tquestion\tanswer\tvid_id\tkey\ntumblr_a_250\tHow many times does the cat step ?\t3\tCOUNT12\t52\n"
FRAMEQA = (
    "gif_name\tquestion\tanswer\ttype\tvid_id\tkey\tdescription\n"
    "tumblr_a_400\twhat is the dog waving ?\ttail\t0\tFRAMEQA1\t7\ta dog is waving its tail .\n"
    "tumblr_a_400\thow many dogs are there ?\ttwo\t1\tFRAMEQA2\t7\ttwo dogs .\n"
    "tumblr_a_400\twhat is the color of the dog ?\tbrown\t2\tFRAMEQA3\t7\ta brown dog .\n"
    "tumblr_a_400\twhere is the dog ?\troom\t3\tFRAMEQA4\t7\ta dog in a room .\n"
)


def test_the_answer_to_a_choice_is_the_right_choices_text(write):
    assert load(write(Test_action_question__csv=ACTION)) == [
        Sample(
            id="ACTION4", video="tumblr_a_250", question="What does the cat do 3 times ?", answer="lick", kind="action"
        ),
        Sample(
            id="ACTION9", video="tumblr_b_250", question="What does the dog do 2 times ?", answer="nap", kind="action"
        ),
    ]


def test_transition_is_recognised_by_its_ids_or_its_wording(write):
    table = ACTION.replace("ACTION", "TRANS")
    assert [one.name for one in find_sets(write(Test_transition_question__csv=table))] == ["tgif-transition"]
    assert {one.kind for one in load(write())} == {"transition"}
    unmarked = table.replace("TRANS", "Q").replace("do 3 times", "do after nap")
    assert [one.name for one in find_sets(write(Test_transition_question__csv=unmarked))] == ["tgif-transition"]


def test_a_questions_id_is_vid_id_and_not_the_gifs_key(write):
    samples = load(write(Test_frameqa_question__csv=FRAMEQA))
    assert [(one.id, one.kind) for one in samples] == [
        ("FRAMEQA1", "object"), ("FRAMEQA2", "number"), ("FRAMEQA3", "color"), ("FRAMEQA4", "location"),
    ]  # fmt: skip


def test_the_named_one_of_several_tables_is_read(write):
    root = write(Test_action_question__csv=ACTION, Test_count_question__csv=COUNT, Test_frameqa_question__csv=FRAMEQA)
    assert [len(load(root, f"tgif-{kind}")) for kind in ("action", "count", "frameqa")] == [2, 1, 4]
    with pytest.raises(DatasetError, match="name tgif-action or tgif-count or tgif-frameqa"):
        load(root)
    with pytest.raises(DatasetError, match=r"tgif-mixture.*tgif-action"):
        load(root, "tgif-mixture")


def test_other_splits_are_ignored_and_the_original_name_wins(write):
    longer = COUNT + COUNT.split("\n")[1].replace("COUNT12", "COUNT13")
    root = write(Train_count_question__csv=longer, Total_count_question__csv=longer)
    with pytest.raises(DatasetError, match="known layout"):
        load(root)
    write(Test_count_question_1__csv=longer, test_count_question__TSV=COUNT)
    assert len(load(root)) == 1
    (root / "test_count_question.TSV").rename(root / "some.csv")
    with pytest.raises(DatasetError, match=r"tgif-count \(Test_count_question_1\.csv\), tgif-c"):
        load(root, "tgif-count")


@pytest.mark.parametrize(
    "content",
    [
        FRAMEQA.encode("utf-8-sig"),
        FRAMEQA.replace("\n", "\r\n").encode("utf-16"),
        FRAMEQA.replace("\t", ",").encode(),
        ("\n\n" + FRAMEQA).removeprefix("\n\n").replace("\n", "\n\n").encode(),
        FRAMEQA.replace("gif_name", '"Gif_Name"').encode(),
    ],
    ids=["byte-order mark", "utf-16", "commas", "empty lines", "quoted header"],
)
def test_tables_in_other_encodings_are_read(write, content):
    samples = load(write(anything__csv=content))
    assert [one.answer for one in samples] == ["tail", "two", "brown", "room"]


_ONE_LINE = st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"])


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('"write ""i love you"""', 'write "i love you"'),
        ('5" pipe', '5" pipe'),
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("one\u2028two\x0b", "one\u2028two\x0b"),
        ("gras", "gras"),
        (" ", " "),
    ],
)
def test_an_answer_is_not_changed(write, cell, text):
    assert load(write(t__csv=FRAMEQA.replace("\ttail\t", f"\t{cell}\t")))[0].answer == text


@given(
    st.lists(st.tuples(st.text(_ONE_LINE), st.text(_ONE_LINE)), min_size=1, max_size=5).map(
        lambda cells: [("tumblr_a_1", question, answer, f"COUNT{n}", "7") for n, (question, answer) in enumerate(cells)]
    )
)
def test_law_what_a_spreadsheet_writes_is_read_back(tmp_path_factory, rows):
    root = tmp_path_factory.mktemp("table")
    with (root / "t.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, dialect="excel-tab").writerows([COUNT.partition("\n")[0].split("\t"), *rows])
    assert [(one.video, one.question, one.answer, one.id) for one in load(root)] == [row[:4] for row in rows]


@pytest.mark.parametrize(
    ("line", "place"),
    [
        (b"g\tq\ta\t0\tF9\t7", "line 2: has 6 columns"),
        (b'g\tq\t"a\t0\tF9\t7\td', "line 2: "),
        (b'g\tq\t"no" he said\t0\tF9\t7\td', "line 2: "),
        (b"g\tq\tcaf\xe9\t0\tF9\t7\td", "line 2: .*0xe9 at position 7"),
        (b"g\tq\0\ta\t0\tF9\t7\td", r"line 2: question is 'q\\x00'"),
        (b"g\tq\ta\t9\tF9\t7\td", "line 2: type is '9', not 0 to 3"),
        (b"g\tq\ta\t0\tFRAMEQA2\t7\td", "line 4: .*'FRAMEQA2'"),
    ],
)
def test_broken_lines_are_reported_and_the_others_read(write, line, place):
    root = write(t__csv=FRAMEQA.encode().replace(b"\n", b"\n" + line + b"\n", 1))
    with pytest.raises(DatasetError, match=rf"t\.csv, {place}"):
        load(root)
    parsed = parse(root)
    assert (parsed.num_rows, len(parsed.samples), len(parsed.problems)) == (5, 4, 1)


@pytest.mark.parametrize("answer", ["5", "-1", "", "lick", "1.0", "\N{SUPERSCRIPT ONE}"])
def test_a_number_of_no_choice_is_reported(write, answer):
    root = write(Test_action_question__csv=ACTION.replace("\t4\tACTION9", f"\t{answer}\tACTION9"))
    with pytest.raises(DatasetError, match=r"Test_action_question\.csv, line 3: answer is '.*', not 0 to 4"):
        load(root)


@pytest.mark.parametrize(
    "content", ["", "a,b\n1,2\n", "gif_name\tquestion\n", b"\xff\xfe\x00", ACTION.partition("\n")[0]]
)
def test_other_tables_are_ignored(write, content):
    assert find_sets(write(t__csv=content)) == []


def test_real_rows_of_frameqa(data, tmp_path):
    shutil.copy(data / "tgif" / "Test_frameqa_question_300.csv", tmp_path)
    samples = load(tmp_path)
    assert samples[0] == Sample(
        id="FRAMEQA1159",
        video="tumblr_no73q2fm0I1uuf348o1_250",
        question="what is being placed in the white ice cream cone ?",
        answer="cookie",
        kind="object",
    )
    assert len({one.id for one in samples}) == len(samples) == 300
    assert set(Counter(one.kind for one in samples)) == {"object", "number", "color", "location"}


def test_real_rows_of_action_have_the_answers_of_video_llavas_file(data, tmp_path):
    shutil.copy(data / "tgif" / "Test_action_question_300.csv", tmp_path)
    samples = load(tmp_path, "tgif-action")
    assert len(samples) == 300
    assert (samples[0].video, samples[0].answer) == ("tumblr_nk172bbdPI1u1lr18o1_250", "flap wings")


def test_two_tables_of_one_kind_are_ambiguous(data):
    with pytest.raises(DatasetError, match=r"tgif-frameqa.*tgif-frameqa"):
        load(data / "tgif", "tgif-frameqa")
    assert len(load(data / "tgif", "tgif-action")) == 300
