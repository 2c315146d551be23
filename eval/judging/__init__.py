"""Judges: models that say whether a free answer means the right one.

:func:`judge_answers` asks one, behind any OpenAI-compatible server, and keeps what it replies; :func:`replay` judges
from kept replies alone.
"""

from __future__ import annotations

from eval.judging.asking import judge_answers, missing, replay
from eval.judging.cost import PRICES, PRICES_OF, Estimate, estimate_cost
from eval.judging.errors import JudgeError, JudgeUnreachable, RepliesError
from eval.judging.judge import DEFAULT_MODEL, HOSTED_URL, Judge
from eval.judging.parsing import Judgement, UnreadableReply, parse_reply
from eval.judging.replies import Reply, ReplyStore, open_replies, read_replies

__all__ = [
    "DEFAULT_MODEL",
    "HOSTED_URL",
    "PRICES",
    "PRICES_OF",
    "Estimate",
    "Judge",
    "JudgeError",
    "JudgeUnreachable",
    "Judgement",
    "RepliesError",
    "Reply",
    "ReplyStore",
    "UnreadableReply",
    "estimate_cost",
    "judge_answers",
    "missing",
    "open_replies",
    "parse_reply",
    "read_replies",
    "replay",
]
