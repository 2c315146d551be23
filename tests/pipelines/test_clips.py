from __future__ import annotations

import json

import pytest

from pipelines.cli import main

NOTE = (
    "note: 34 frames are encoded in clips of 8, 5 in all: the last one is repeated 6 times to fill its clip, and the "
    "repeats get no tokens"
)


def test_plan_says_what_clips_cost(clip, capsys):
    assert main(["plan", str(clip), "--frames-per-clip", "8"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "34 frames, 136 of 136 tokens"
    assert err == f"{NOTE}\n"
    assert main(["plan", str(clip), "--frames-per-clip", "8", "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert (planned["frames"], planned["frames_per_clip"], planned["encoded_frames"]) == (34, 8, 40)
    assert [f"note: {note}" for note in planned["notes"]] == [NOTE]


@pytest.mark.parametrize("options", [[], ["--frames-per-clip", "1"]])
def test_without_clips_there_is_nothing_to_say(clip, capsys, options):
    assert main(["plan", str(clip), *options, "--json"]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert (planned["frames_per_clip"], planned["encoded_frames"], planned["notes"]) == (1, 34, [])


def test_a_clip_of_no_frames(clip, capsys):
    assert main(["plan", str(clip), "--frames-per-clip", "0"]) == 2
    assert "frames_per_clip is 0" in capsys.readouterr().err


def test_clips_are_noted_where_they_are_encoded(clip, original, tmp_path, capsys, monkeypatch):
    model, pack = ["--model", str(original)], str(tmp_path / "clip.vidzip")
    note = (
        "note: 6 frames are encoded in clips of 4, 2 in all: the last one is repeated 2 times to fill its clip, and "
        "the repeats get no tokens\n"
    )
    assert main(["ask", str(clip), "What?", "Where?", "--frames", "6", "--max-new-tokens", "1", *model]) == 0
    assert capsys.readouterr().err == note
    assert main(["pack", str(clip), "--frames", "6", *model, "-o", pack]) == 0
    assert capsys.readouterr().err == note
    assert main(["ask", pack, "What?", "--max-new-tokens", "1", *model]) == 0
    assert capsys.readouterr().err == ""
