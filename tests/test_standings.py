from __future__ import annotations

import io
import json
import math
import random
import time
from itertools import combinations

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console
from scipy.optimize import minimize

from chatbot.comparison import Vote
from chatbot.screens.standings import print_standings, standings_json, standings_lines
from chatbot.standings import SHORT, _strengths, splits, standings, standings_by_split

TRUTHS = (
    {"hybrid": 60.0, "retrieval": -60.0},
    {"hybrid": 120.0, "retrieval": 0.0, "gpt": -120.0},
    {"hybrid": 200.0, "retrieval": 50.0, "gpt": 0.0, "gpt:서연-gpt": -100.0, "remote": -150.0},
)


def expected_score(ahead: float) -> float:
    return 1 / (1 + 10 ** (-ahead / 400))


def voted(truth: dict[str, float], votes: int, seed: int, ties: float = 0.4) -> list[Vote]:
    """Draw votes on all pairs in turn; ties take as much from either side, so scores stay as they are."""
    rng, pairs, found = random.Random(seed), list(combinations(truth, 2)), []
    for number in range(votes):
        left, right = rng.sample(pairs[number % len(pairs)], 2)
        score = expected_score(truth[left] - truth[right])
        tie = 2 * min(score, 1 - score) * ties
        outcome = rng.choices(
            ("left", "right", "both_good", "both_bad"),
            (score - tie / 2, 1 - score - tie / 2, tie / 2, tie / 2),
        )[0]
        found.append(Vote("안녕", left, right, outcome))
    return found


def many(a: str, b: str, /, **outcomes: int) -> list[Vote]:
    return [Vote("안녕", a, b, name) for name, n in outcomes.items() for _ in range(n)]  # type: ignore[arg-type]


@pytest.mark.parametrize("truth", TRUTHS, ids=len)
@pytest.mark.parametrize("votes", [150, 600])
@pytest.mark.parametrize("ties", [0.0, 0.5])
def test_known_strengths_lie_in_the_intervals(truth: dict[str, float], votes: int, ties: float) -> None:
    inside, nets = [], []
    for seed in range(100):
        found = standings(voted(truth, votes, seed, ties), resamples=400, seed=seed)
        for one in found.contenders:
            inside.append(one.strength.low <= truth[one.label] <= one.strength.high)
        for pair in found.pairs:
            true_net = 2 * expected_score(truth[pair.label] - truth[pair.against]) - 1
            nets.append(pair.net.low <= true_net <= pair.net.high)
    assert 0.88 <= np.mean(inside) <= 0.99  # intervals that hold everything say nothing
    assert 0.88 <= np.mean(nets) <= 0.99


def test_many_votes_find_the_strengths_themselves_in_their_order() -> None:
    truth = TRUTHS[2]
    found = standings(voted(truth, 40_000, 5))
    assert [one.label for one in found.contenders] == list(truth)
    for one in found.contenders:
        assert one.strength.value == pytest.approx(truth[one.label], abs=12)
        assert one.strength.high - one.strength.low < 25


def test_strengths_are_the_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(0)
    for trial in range(24):
        size = int(rng.integers(2, 8))
        wins = rng.integers(0, (2, 4, 50, 2000)[trial % 4], size=(size, size)).astype(float)
        wins *= rng.random((size, size)) < 0.6  # some never meet, some never win
        np.fill_diagonal(wins, 0)

        def misfit(x: np.ndarray, wins: np.ndarray = wins) -> float:
            drawn_once = (np.logaddexp(0, -x) + np.logaddexp(0, x)).sum() / 2
            return float((wins * np.logaddexp(0, x[None] - x[:, None])).sum() + drawn_once)

        best = minimize(misfit, np.zeros(size), options={"gtol": 1e-8}).x
        ours = _strengths(wins[None], np.zeros(size, dtype=int))[0]
        assert ours == pytest.approx(best - best.mean(), abs=1e-3)


def test_two_contenders_have_the_odds_of_their_votes() -> None:
    found = standings(many("a", "b", left=300, right=100))
    first, second = found.contenders
    assert first.strength.value - second.strength.value == pytest.approx(400 * math.log10(3), abs=1.5)
    assert first.strength.value == pytest.approx(-second.strength.value)


def test_counts_and_net() -> None:
    votes = many("a", "b", left=5, right=2, both_good=3) + many("b", "a", left=1, right=4, both_bad=5)
    random.Random(0).shuffle(votes)
    found = standings(votes)
    first, second = found.contenders
    assert (first.label, first.wins, first.losses, first.both_good, first.both_bad) == ("a", 9, 3, 3, 5)
    assert (second.label, second.wins, second.losses, second.both_good, second.both_bad) == ("b", 3, 9, 3, 5)
    (pair,) = found.pairs
    assert (pair.label, pair.against, pair.wins, pair.losses, pair.both_good, pair.both_bad) == (
        "a", "b", 9, 3, 3, 5,
    )  # fmt: skip
    assert found.votes == 20 and pair.net.value == pytest.approx(0.3)
    deviation = math.sqrt((12 / 20 - 0.3**2) / 20)  # of a mean of +1, -1 and 0
    assert pair.net.low == pytest.approx(0.3 - 1.96 * deviation, abs=0.06)
    assert pair.net.high == pytest.approx(0.3 + 1.96 * deviation, abs=0.06)


def test_only_ties_leave_everybody_average() -> None:
    found = standings(many("a", "b", both_good=10, both_bad=7))
    for one in found.contenders:
        assert (one.strength.value, one.strength.low, one.strength.high) == pytest.approx((0, 0, 0))
    assert found.pairs[0].net.value == 0


def test_the_order_of_votes_and_the_names_change_nothing() -> None:
    votes = voted(TRUTHS[1], 200, 3)
    assert standings(votes) == standings(votes[::-1]) == standings(votes, seed=0)
    assert standings(votes, seed=1) != standings(votes)


def test_one_who_never_lost_stays_finite() -> None:
    found = standings(many("a", "b", left=30) + many("b", "c", left=10, right=10))
    strengths = {one.label: one.strength for one in found.contenders}
    assert found.contenders[0].label == "a"
    assert 300 < strengths["a"].value < 2000
    assert strengths["b"].value == pytest.approx(strengths["c"].value, abs=10)
    assert math.isfinite(strengths["a"].low) and math.isfinite(strengths["a"].high)


def test_those_who_never_met_are_groups_of_their_own() -> None:
    found = standings(many("a", "b", left=8, right=2) + many("c", "d", left=2, right=8, both_bad=3))
    assert [(one.label, one.group) for one in found.contenders] == [("a", 0), ("b", 0), ("d", 1), ("c", 1)]
    for group in (0, 1):
        assert sum(one.strength.value for one in found.contenders if one.group == group) == pytest.approx(0)
    assert [(pair.label, pair.against) for pair in found.pairs] == [("a", "b"), ("d", "c")]
    alone = standings(many("a", "b", left=8, right=2)).contenders[0].strength.value
    assert found.contenders[0].strength.value == pytest.approx(alone)


def test_a_pair_that_seldom_met_has_no_made_up_resamples() -> None:
    """A resample without a vote on the pair says nothing about it, not that it is even."""
    found = standings(many("a", "b", left=1) + many("b", "c", left=50, right=50))
    (pair,) = (p for p in found.pairs if {p.label, p.against} == {"a", "b"})
    assert (pair.net.value, pair.net.low, pair.net.high) == (1, 1, 1)


def test_no_votes() -> None:
    found = standings_by_split([])
    assert found["all"].votes == 0 and found["all"].contenders == () and found["all"].pairs == ()
    assert shown(found, 80) and standings_lines(found)


def test_two_thousand_resamples_of_a_thousand_votes_take_no_time() -> None:
    votes = voted(TRUTHS[2], 1000, 1)
    started = time.perf_counter()
    standings(votes, resamples=2000)
    assert time.perf_counter() - started < 2


def test_splits() -> None:
    def vote(text: str) -> Vote:
        return Vote(text, "a", "b", "left")

    votes = [
        vote("안녕"), vote("뭐 먹었어요?"), vote("ㅋㅋ"), vote("ㅋ" * SHORT), vote("ㅋ" * (SHORT + 1)),
        vote("오늘 많이 힘들었어요\n그래도 끝까지 다 했어요"),
    ]  # fmt: skip
    found = {name: [votes.index(one) for one in part] for name, part in splits(votes).items()}
    assert found["all"] == [0, 1, 2, 3, 4, 5]
    assert found["short"] == [0, 1, 2, 3] and found["long"] == [4, 5]
    assert found["question"] == [1] and found["statement"] == [0, 2, 3, 4, 5]
    assert found["polite"] == [1, 5] and found["casual"] == [0]


def shown(found: object, width: int) -> str:
    file = io.StringIO()
    print_standings(Console(file=file, width=width, markup=False, highlight=False, soft_wrap=True), found)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_tables_fit_the_terminal_and_lose_nothing(width: int) -> None:
    found = standings_by_split(voted(TRUTHS[2], 300, 1))
    lines = shown(found, width).splitlines()
    assert max(map(cell_len, lines)) <= width
    squeezed = "".join("".join(lines).split())
    assert "…" not in squeezed and "Bradley-Terry" in squeezed and "bootstrap" in squeezed
    if width == 120:
        for one in found["all"].contenders:
            assert f"{round(one.strength.value):+d}" in squeezed and one.label in squeezed


def test_notes_say_what_the_figures_cannot() -> None:
    even = shown(standings_by_split(many("a", "b", left=3, right=3)), 80)
    assert "좁아요" not in even and "견줄 수 없어요" not in even
    assert "좁아요" in shown(standings_by_split(many("a", "b", left=3)), 80)
    assert "좁아요" in shown(standings_by_split(many("a", "b", both_good=2, both_bad=1)), 80)
    apart = many("a", "b", left=3, right=3) + many("c", "d", left=2, right=1)
    assert "견줄 수 없어요" in shown(standings_by_split(apart), 80)


def test_lines_for_a_pipe() -> None:
    found = standings_by_split(many("a", "b", left=3, both_bad=1))
    rows = [line.split("\t") for line in standings_lines(found)]
    assert rows[0][1:] == ["세기", "95 % 구간", "이김", "짐", "둘 다 좋음", "둘 다 나쁨"]
    assert rows[1][0] == "a" and rows[1][3:] == ["3", "0", "0", "1"]
    assert rows[2][0] == "b" and rows[2][3:] == ["0", "3", "0", "1"]
    assert rows[4][:5] == ["a : b", "3", "0", "1", "+0.75"]


def test_json_has_the_names_of_the_fields() -> None:
    found = json.loads(json.dumps(standings_json(standings_by_split(many("a", "b", left=3, right=1)))))
    assert set(found) == {"all", "short", "long", "question", "statement", "polite", "casual"}
    first = found["all"]["contenders"][0]
    assert (first["label"], first["wins"], first["losses"], first["group"]) == ("a", 3, 1, 0)
    assert set(first["strength"]) == {"value", "low", "high"}
    assert found["all"]["pairs"][0]["net"]["value"] == 0.5 and found["long"]["votes"] == 0
