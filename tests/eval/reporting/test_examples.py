from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from reports import answered, judged, run

from eval.reporting import choose_examples, score_run
from eval.reporting.examples import CATEGORIES

DIFFER, FAILED, WRONG, RIGHT = CATEGORIES


def choose(*runs, number=10):
    return choose_examples([score_run(one) for one in runs], number)


def categories(examples):
    return {example.question.question_id: example.category for example in examples}


def test_every_question_has_one_category():
    first = run(
        "a", [answered("v-1"), answered("v-2"), answered("v-3", "no"), answered("v-4", None), answered("v-5", "no")]
    )
    second = run(
        "b", [answered("v-1"), answered("v-2", "no"), answered("v-3", "no"), answered("v-4"), answered("v-5", "no")]
    )
    chosen = choose(first, second)
    assert categories(chosen) == {"v-1": RIGHT, "v-2": DIFFER, "v-3": WRONG, "v-4": FAILED, "v-5": WRONG}
    assert [example.category for example in chosen] == [DIFFER, FAILED, WRONG, WRONG, RIGHT]
    answers = next(example for example in chosen if example.question.question_id == "v-4").answers
    assert [(answer.verdict, answer.reason) for answer in answers] == [
        ("failed", "VideoMissing: there is no such file"), ("right", ""),
    ]  # fmt: skip


def test_a_run_that_was_not_asked():
    (example,) = choose(run("a", [answered("v-1")]), run("b", [], num_questions=0))
    assert [answer.verdict for answer in example.answers] == ["right", "not asked"]


def test_verdicts_are_the_judges_if_one_judged_all_runs():
    questions = [answered("v-1", "perhaps"), answered("v-2"), answered("v-3")]
    verdicts = judged(v_1=True, v_2=False, v_3="RateLimited: no reply")
    both = [score_run(run("a", questions), verdicts), score_run(run("b", questions), verdicts)]
    assert categories(choose_examples(both, 5)) == {"v-1": RIGHT, "v-2": WRONG, "v-3": FAILED}
    unjudged = next(one for one in choose_examples(both, 5) if one.question.question_id == "v-3").answers[0]
    assert (unjudged.verdict, unjudged.reason) == ("unjudged", "RateLimited: no reply")
    other = score_run(run("b", questions), judged("another", v_1=True, v_2=True, v_3=True))
    assert categories(choose_examples([both[0], other], 5)) == {"v-1": WRONG, "v-2": RIGHT, "v-3": RIGHT}


def test_kinds_and_videos_take_turns():
    questions = [answered(f"v{number % 3}-{number}", kind="what" if number % 10 else "who") for number in range(60)]
    chosen = choose(run("a", questions), number=4)
    assert Counter(example.question.kind for example in chosen) == {"what": 2, "who": 2}
    assert max(Counter(example.question.video for example in chosen).values()) == 2


@given(st.lists(st.sampled_from(["yes", "no", None]), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_law_the_order_of_lines_changes_nothing(predictions, shuffler):
    questions = [answered(f"v{number % 3}-{number}", prediction) for number, prediction in enumerate(predictions)]
    mixed = questions.copy()
    shuffler.shuffle(mixed)
    assert choose(run("a", mixed), number=2) == choose(run("a", questions), number=2)
    assert len(choose(run("a", mixed), number=len(questions))) == len(questions)
    assert choose(run("a", mixed), number=0) == ()
