from __future__ import annotations

import math

import pytest

from chatbot.knowledge import load_knowledge
from training.kneser_ney import UNKNOWN_BITS, KneserNey

LINES = ["안녕하세요", "안녕", "안녕 뭐 해", "뭐 먹지", "밥 먹자", "밥 먹었어"]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("context", ["", "안", "안녕", "안녕 뭐", "밥 먹자안"])
def test_probabilities_sum_to_one(order: int, context: str) -> None:
    found = KneserNey(LINES, order).distribution(context)
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) > 0


def test_bigrams_by_hand() -> None:
    """abab and ab: after a always b; the discount is n1 / (n1 + 2 n2), see Chen and Goodman."""
    model = KneserNey(["abab", "ab"], order=2)
    # Bigrams: <s>a 2, ab 3, ba 1, b</s> 2. n1 = 1, n2 = 2, so D = 1/5.
    # Continuations: a after {<s>, b}: 2 kinds, of which <s>a keeps its count 2; b after {a}; </s> after {b}.
    found = model.distribution("a")
    assert found["b"] > 0.9
    higher, rest = (3 - 0.2) / 3, 0.2 / 3
    lower = KneserNey(["abab", "ab"], order=2)._orders[0]
    d, total = lower.discount, lower.counts.sum()
    uniform = 1 / 3
    b = max(lower.counts[3] - d, 0) / total + d * (lower.counts > 0).sum() / total * uniform
    assert found["b"] == pytest.approx(higher + rest * b)


def test_more_context_helps_and_unknown_characters_cost_twenty_bits() -> None:
    intents = load_knowledge().intents
    training = [q for i in intents for q in i.questions]
    held_out = [q for i in intents for q in i.test_questions]
    per_character = []
    for order in (1, 3, 5):
        bits, characters = KneserNey(training, order).bits(held_out)
        per_character.append(bits / characters)
    assert per_character[0] > per_character[1] > per_character[2] - 0.1 > 1
    model = KneserNey(LINES)
    # After a character never seen nothing is known: what follows comes from the unigrams.
    alone = KneserNey(LINES, order=5)
    alone._orders[1:] = []
    end = -math.log2(alone.distribution("")[""])
    assert UNKNOWN_BITS == 20.0
    assert model.bits(["뷁"]) == (pytest.approx(20 + end), 1)
    assert model.bits(["뷁뷁뷁"]) == (pytest.approx(60 + end), 3)
