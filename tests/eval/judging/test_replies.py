from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from unittest.mock import Mock

import pytest
from judge_server import answered

from eval.judging import Judge, RepliesError, Reply, open_replies, read_replies, replay

JUDGE, OTHER = Judge(model="m"), Judge(model="n")


def reply(text='{"pred": "yes", "score": 4}', **fields) -> Reply:
    return Reply(**{"text": text, "model": "m", "finish": "stop", "at": "2026-01-01T00:00:00Z", **fields})


def texts(replies, judge, *triple):
    return [one.text for one in replies.find(judge.fingerprint, *triple)]


def test_replies_are_found_by_judge_and_texts(tmp_path):
    path = str(tmp_path / "judge.jsonl")
    hostile = 'zwölf 🎬\u2028 \x00 \ud800 "}\n{"by": "x"}'
    with open_replies(path) as replies:
        replies.add(JUDGE, hostile, "a", "p", reply(hostile))
        replies.add(JUDGE, hostile, "a", "p", reply("second"))
        replies.add(OTHER, hostile, "a", "p", reply("other"))
        before = texts(replies, JUDGE, hostile, "a", "p")
    again = read_replies(path)
    assert texts(again, JUDGE, hostile, "a", "p") == before == [hostile, "second"]
    assert texts(again, OTHER, hostile, "a", "p") == ["other"]
    assert texts(again, JUDGE, "a", hostile, "p") == []
    assert again.judges == {
        JUDGE.fingerprint: again.judges[JUDGE.fingerprint],
        OTHER.fingerprint: {**OTHER.describe()},
    }
    assert again.judges[JUDGE.fingerprint] == JUDGE.describe()
    assert again.find(JUDGE.fingerprint, hostile, "a", "p")[0] == reply(hostile)


def test_the_file_has_the_judges_prompt(tmp_path):
    path = tmp_path / "judge.jsonl"
    with open_replies(str(path)) as replies:
        replies.add(JUDGE, "q", "a", "p", reply())
        replies.add(JUDGE, "q2", "a", "p", reply())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 3
    assert "paraphrases" in lines[0]["messages"][0]["content"]


def test_an_interrupted_line_is_skipped_in_reading_and_removed_in_opening(tmp_path):
    path = tmp_path / "judge.jsonl"
    with open_replies(str(path)) as replies:
        for name in ("a", "ü"):
            replies.add(JUDGE, name, "a", "p", reply())
    complete = path.read_bytes()
    interrupted = complete[:-7]
    path.write_bytes(interrupted)
    read = read_replies(str(path))
    assert path.read_bytes() == interrupted, "reading changes nothing"
    assert [texts(read, JUDGE, name, "a", "p") != [] for name in ("a", "ü")] == [True, False]
    with open_replies(str(path)) as replies:
        replies.add(JUDGE, "ü", "a", "p", reply())
    assert path.read_bytes() == complete


def test_a_missing_file_holds_nothing_and_is_not_created(tmp_path):
    path = tmp_path / "judge.jsonl"
    assert read_replies(str(path)).judges == {}
    assert not path.exists()


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        "{}",
        '{"judge": 7}',
        '{"judge": {"model": "m"}}',
        '{"by": "x", "question": "q", "answer": "a", "prediction": "p", "text": 7, "model": "m", "finish": "", "at": ""}',
        '{"by": "x", "question": [], "answer": "a", "prediction": "p", "text": "", "model": "m", "finish": "", "at": ""}',
        '{"by": "x", "question": "q", "answer": "a", "prediction": "p", "text": "", "model": "m", "finish": "", "at": ""}',
    ],
)
def test_lines_that_are_not_replies_are_refused_by_number(tmp_path, line):
    path = tmp_path / "judge.jsonl"
    with open_replies(str(path)) as replies:
        replies.add(JUDGE, "q", "a", "p", reply())
    with path.open("a") as file:
        file.write(line + "\n")
    content = path.read_bytes()
    for opening in (lambda: read_replies(str(path)), lambda: open_replies(str(path)).__enter__()):
        with pytest.raises(RepliesError, match="line 3"):
            opening()
    assert path.read_bytes() == content


def test_a_second_process_is_refused(tmp_path):
    path = str(tmp_path / "judge.jsonl")
    code = f"from eval.judging import open_replies\nwith open_replies({path!r}): print('in')"
    with open_replies(path):
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "RepliesError" in second.stderr
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout == "in\n"


def test_a_reply_that_cannot_be_written_is_not_kept(tmp_path, monkeypatch):
    path = str(tmp_path / "judge.jsonl")
    with open_replies(path) as replies:
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", Mock(side_effect=OSError(28, "No space left on device")))
            with pytest.raises(RepliesError):
                replies.add(JUDGE, "q", "a", "p", reply())
        assert texts(replies, JUDGE, "q", "a", "p") == []
        replies.add(JUDGE, "q", "a", "p", reply())
    assert texts(read_replies(path), JUDGE, "q", "a", "p") != []


@pytest.mark.parametrize("name", ["no/such/folder/x", ".", "nul\x00l"])
def test_paths_that_cannot_be_files_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RepliesError), open_replies(name):
        pass


def test_nothing_is_added_to_replies_that_are_open_for_reading(tmp_path):
    with pytest.raises(ValueError, match=r"judge\.jsonl"):
        read_replies(str(tmp_path / "judge.jsonl")).add(JUDGE, "q", "a", "p", reply())


def test_replay_uses_the_first_readable_reply(tmp_path):
    path = str(tmp_path / "judge.jsonl")
    asked = [answered(number) for number in range(4)]
    failed = answered(4, prediction=None, failure="Crashed")
    with open_replies(path) as replies:
        for text in ("nonsense", "{'pred': 'no', 'score': 1}", "{'pred': 'yes', 'score': 5}"):
            replies.add(JUDGE, asked[0].question, "a dog", "a puppy", reply(text))
        replies.add(JUDGE, asked[1].question, "a dog", "a puppy", reply("{'pred': 'y", finish="length"))
        replies.add(JUDGE, asked[2].question, "a dog", "another", reply())
    found = replay([*asked, failed], None, read_replies(path))
    assert list(found) == ["id0", "id1", "id2", "id3"]
    assert (found["id0"].verdict, found["id0"].rating) == (False, 1)
    assert found["id1"].verdict is None
    assert found["id1"].reply == "{'pred': 'y"
    assert "cut off" in found["id1"].reason
    assert found["id2"].reason == found["id3"].reason == "no reply is kept"


def test_replay_of_several_judges_needs_one_to_be_named(tmp_path):
    path = str(tmp_path / "judge.jsonl")
    one = answered(0)
    with open_replies(path) as replies:
        replies.add(JUDGE, one.question, one.answer, one.prediction, reply("{'pred': 'no', 'score': 1}"))
        replies.add(OTHER, one.question, one.answer, one.prediction, reply())
    kept = read_replies(path)
    with pytest.raises(RepliesError, match=JUDGE.fingerprint) as caught:
        replay([one], None, kept)
    assert OTHER.fingerprint in str(caught.value)
    assert replay([one], OTHER.fingerprint, kept)["id0"].verdict is True
    assert replay([one], "m", kept)["id0"].verdict is False
    with pytest.raises(RepliesError, match="'x'"):
        replay([one], "x", kept)
    with pytest.raises(RepliesError):
        replay([one], None, read_replies(str(tmp_path / "none")))


def test_20_000_replies_are_read_and_judged_in_seconds(tmp_path):
    path = tmp_path / "judge.jsonl"
    with open_replies(str(path)) as replies:
        replies.add(JUDGE, "q", "a", "p", reply())
    line = {"by": JUDGE.fingerprint, "answer": "a dog", "prediction": "a puppy", "text": "{'pred': 'yes', 'score': 4}",
            "model": "m", "finish": "stop", "at": ""}  # fmt: skip
    asked = [answered(number) for number in range(20_000)]
    with path.open("a") as file:
        file.writelines(json.dumps({**line, "question": one.question}) + "\n" for one in asked)
    began = time.process_time()
    found = replay(asked, None, read_replies(str(path)))
    seconds = time.process_time() - began
    assert sum(one.verdict is True for one in found.values()) == 20_000
    assert seconds < 8  # about 0.5 on an idle CPU
