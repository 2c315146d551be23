"""A small question set in Video-LLaVA's layout: numbered clips with a few questions each."""

from __future__ import annotations

import json
from pathlib import Path

from clips import write_numbered

QUESTIONS = ("What is shown?", "Where?", "How many are there?", "Which way does it move?", "Why?")


def write_set(folder: Path, videos: int = 4, questions: int = 5, frames: int = 12) -> Path:
    """Write the set; the names of its videos match no published set."""
    (folder / "videos").mkdir(parents=True)
    asked, answers = [], []
    for number in range(videos):
        write_numbered(folder / "videos" / f"clip{number}.mp4", num_frames=frames + number)
        for one in range(questions):
            key = f"q{number}_{one}"
            asked.append({"question_id": key, "video_name": f"clip{number}", "question": QUESTIONS[one % 5]})
            answers.append({"question_id": key, "answer": "two", "type": "3"})
    (folder / "test_q.json").write_text(json.dumps(asked))
    (folder / "test_a.json").write_text(json.dumps(answers))
    return folder
