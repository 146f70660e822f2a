"""Which situations share the replies of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from chatbot.knowledge import Answers, Entry
from training.shared_answers import answers_of, shared_answers

# Where the wordings lie, in degrees.
SAID = {
    "hungry": {"배고파": 0, "밥 먹고 싶어": 4},
    "starving": {"배고파 죽겠어": 15, "굶었어": 19},
    "snack": {"과자 먹고 싶어": 30, "군것질할래": 34},
    "tired": {"피곤해": 90, "지쳤어": 94},
    "single": {"졸려": 92},
    "far": {"기운이 없어": 63, "축 처져": 67},
}
ALIKE = ("hungry", "starving", "snack", "tired", "single")


class Compass:
    """An encoder that knows a direction for every wording."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors, float32 ``(n, 2)``."""
        degrees = {text: angle for wordings in SAID.values() for text, angle in wordings.items()}
        angles = np.radians([degrees[text] for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def entries(*names: str) -> list[Entry]:
    return [Entry(text, Answers(name, (f"{name}요.",), ())) for name in names for text in SAID[name]]


def cosine(degrees: float) -> float:
    return float(np.cos(np.radians(degrees)))


def shared(
    *groups: Sequence[str], degrees: float, fewest: int = 2, known: Sequence[str] = ()
) -> dict[str, str]:
    encoder: Any = Compass()
    return shared_answers([entries(*names) for names in groups], encoder, cosine(degrees), fewest, known)


def test_who_has_most_near_it_leads() -> None:
    found = shared(ALIKE, degrees=20)
    assert found == {"hungry": "starving", "starving": "starving", "snack": "starving", "tired": "tired"}


@pytest.mark.parametrize(("degrees", "leaders"), [(1, 4), (20, 2), (91, 1)])
def test_the_wider_the_fewer(degrees: float, leaders: int) -> None:
    assert len(set(shared(ALIKE, degrees=degrees).values())) == leaders


def test_each_goes_to_the_leader_that_is_nearest() -> None:
    # "starving" leads first and is near enough to "far" (48 degrees), but "tired" is nearer (27)
    found = shared(["starving", "tired"], ["hungry", "snack", "far"], degrees=50)
    assert found == {
        "starving": "starving",
        "tired": "tired",
        "hungry": "starving",
        "snack": "starving",
        "far": "tired",
    }


def test_an_earlier_group_leads_a_later_one() -> None:
    assert shared(["snack"], ["starving", "hungry"], degrees=20) == {
        "snack": "snack",
        "starving": "snack",
        "hungry": "hungry",
    }


def test_whose_replies_are_known_leads_all_others() -> None:
    found = shared(["hungry", "starving"], ["snack", "tired"], degrees=20, known=["snack"])
    assert found == {"hungry": "hungry", "starving": "snack", "snack": "snack", "tired": "tired"}


def test_small_sets_are_left_as_they_are() -> None:
    assert "single" not in shared(ALIKE, degrees=20)
    found = shared(ALIKE, degrees=20, fewest=1)
    assert found["tired"] == found["single"]
    assert shared(["single"], degrees=20) == {}


def test_the_answers_are_those_of_the_leader() -> None:
    known = entries("hungry", "starving")
    found = answers_of({"hungry": "starving", "tired": "gone"}, known)
    assert {name: answers.polite for name, answers in found.items()} == {"hungry": ("starving요.",)}
