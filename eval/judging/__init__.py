"""Judges: models that decide whether a free-form answer means the correct one.

:func:`judge_answers` asks a judge behind any OpenAI-compatible server and keeps its replies; :func:`replay` judges from
kept replies only.
"""

from __future__ import annotations

from eval.judging.asking import Prompt, judge_answers, pending_prompts, replay
from eval.judging.cost import PRICES, PRICES_OF, CostEstimate, estimate_cost
from eval.judging.errors import JudgeError, JudgeUnreachable, RepliesError
from eval.judging.judge import DEFAULT_MODEL, HOSTED_URL, Judge
from eval.judging.parsing import Judgement, UnreadableReply, parse_reply
from eval.judging.replies import Reply, ReplyStore, open_replies, read_replies

__all__ = [
    "DEFAULT_MODEL",
    "HOSTED_URL",
    "PRICES",
    "PRICES_OF",
    "CostEstimate",
    "Judge",
    "JudgeError",
    "JudgeUnreachable",
    "Judgement",
    "Prompt",
    "RepliesError",
    "Reply",
    "ReplyStore",
    "UnreadableReply",
    "estimate_cost",
    "judge_answers",
    "open_replies",
    "parse_reply",
    "pending_prompts",
    "read_replies",
    "replay",
]
