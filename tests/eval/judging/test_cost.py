from __future__ import annotations

import pytest
from judge_server import answered

from eval.judging import DEFAULT_MODEL, PRICES, Judge, Reply, estimate_cost, open_replies, read_replies

REPLY = Reply(text="{'pred': 'yes', 'score': 4}", model="m", finish="stop", at="")


def test_a_thousand_answers_cost_tens_of_cents(tmp_path):
    asked = [answered(n, question=f"what is the man in the video doing with it? {n}") for n in range(1200)]
    estimate = estimate_cost(asked, Judge(), read_replies(str(tmp_path / "none")))
    assert estimate.num_prompts == estimate.num_answers == 1200
    assert 250_000 < estimate.input_tokens < 450_000  # about 300 each
    assert estimate.output_tokens == 1200 * 16
    assert 0.2 < estimate.dollars < 0.5


def test_a_cost_by_hand(tmp_path):
    judge = Judge(model="m", base_url="http://localhost/v1")
    one = answered(0)
    characters = sum(
        len(part["content"]) for part in judge.request(one.question, one.answer, one.prediction)["messages"]
    )
    estimate = estimate_cost([one], judge, read_replies(str(tmp_path / "none")), price=(2.0, 10.0))
    assert estimate.input_tokens == round(characters / 4) + 12
    assert estimate.dollars == pytest.approx((estimate.input_tokens * 2 + 16 * 10) / 1e6)


def test_kept_equal_and_failed_answers_cost_nothing(tmp_path):
    path, judge = str(tmp_path / "judge.jsonl"), Judge()
    asked = [answered(0), answered(0, question_id="same"), answered(1), answered(2, prediction=None, failure="x")]
    with open_replies(path) as replies:
        assert estimate_cost(asked, judge, replies).num_prompts == 2
        replies.add(judge, asked[2].question, "a dog", "a puppy", REPLY)
        estimate = estimate_cost(asked, judge, replies)
        assert (estimate.num_prompts, estimate.num_answers) == (1, 3)
        replies.add(judge, asked[0].question, "a dog", "a puppy", REPLY)
        estimate = estimate_cost(asked, judge, replies)
        assert (estimate.num_prompts, estimate.input_tokens, estimate.dollars) == (0, 0, 0.0)
        assert estimate_cost(asked, Judge(temperature=1.0), replies).num_prompts == 2, "another judge has not replied"


def test_an_unknown_price(tmp_path):
    kept = read_replies(str(tmp_path / "none"))
    assert estimate_cost([answered(0)], Judge(model="my-own"), kept).dollars is None
    assert estimate_cost([answered(0)], Judge(base_url="https://elsewhere.example/v1"), kept).dollars is None
    assert DEFAULT_MODEL in PRICES
    for price in ((-1.0, 1.0), (1.0, float("nan")), (float("inf"), 1.0)):
        with pytest.raises(ValueError, match="prices"):
            estimate_cost([answered(0)], Judge(), kept, price=price)
