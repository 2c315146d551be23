"""Ask a judge about some answers, until it is done or interrupted.

python judge_some.py URL FILE HOW_MANY CONCURRENCY
"""

from __future__ import annotations

import asyncio
import json
import sys

from judge_server import answered

from eval.judging import Judge, judge_answers, open_replies


def main() -> None:
    """Print the verdicts by question id."""
    url, path, how_many, concurrency = sys.argv[1:]
    asked = [answered(number) for number in range(int(how_many))]
    with open_replies(path) as replies:
        found = asyncio.run(judge_answers(asked, Judge(model="m", base_url=url), replies, concurrency=int(concurrency)))
    print(json.dumps({key: one.verdict for key, one in found.items()}))  # noqa: T201 - a script


if __name__ == "__main__":
    main()
