"""The hybrid backend: who speaks and why, what GPT is shown, how candidates are weighed."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chatbot.backends import open_backend, prepared
from chatbot.backends.hybrid import (
    KINDS,
    LOOKED_AT,
    PROPOSALS,
    SHOTS,
    Decision,
    HybridBackend,
    Proposal,
)
from chatbot.backends.retrieval import one_an_answer
from chatbot.dialogue import Conversation, Reply
from chatbot.errors import ChatbotError, UsageError
from chatbot.knowledge import labelled_lines
from chatbot.models.encoder import shipped_encoder
from chatbot.models.format import Exchange
from chatbot.session import Session
from chatbot.style import speech_level
from tests.tiny_models import write_ours
from training.decision import fit_decision
from training.rankings import Graded, GradedReply

SURE, UNSURE = "오늘 너무 피곤해", "현관 앞에 누가 무를 한 포대 두고 갔어"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_ours(tmp_path_factory.mktemp("models") / "tiny", n_positions=256))


@pytest.fixture(scope="module")
def opened(model: str, tmp_path_factory: pytest.TempPathFactory) -> HybridBackend:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATBOT_HOME", str(tmp_path_factory.mktemp("home")))
        return HybridBackend(model, device="cpu", seed=1, max_new_tokens=6)


@pytest.fixture
def backend(opened: HybridBackend) -> HybridBackend:
    """One that a test may change: the weights and the indexes are shared, nothing else."""
    mine = copy(opened)
    mine.gpt, mine.retrieval = copy(opened.gpt), copy(opened.retrieval)
    return mine


def talk(text: str, **settings: Any) -> Conversation:
    conversation = Conversation(id="talk", **settings)
    conversation.add("user", text)
    return conversation


def test_what_retrieval_is_sure_of_is_said_without_asking_gpt(
    backend: HybridBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.gpt, "propose", lambda *_: pytest.fail("asked GPT"))
    reply = backend.reply(talk(SURE))
    assert reply.text == backend.retrieval.reply(talk(SURE)).text
    assert reply.backend == "hybrid" and "바로" in (reply.reason or "")


def test_what_it_is_sure_of_is_answered_where_retrieval_by_itself_asks_back(backend: HybridBackend) -> None:
    lines = [text for text, label in labelled_lines("unseen", "dev") if label == "unseen"]
    found = backend.retrieval.search([talk(text) for text in lines])
    sure = [text for text, one in zip(lines, found, strict=True) if backend.sure(one)]
    back = [text for text in sure if "되물었어요" in (backend.retrieval.reply(talk(text)).reason or "")]
    assert back
    for text in back:
        reply = backend.reply(talk(text))
        assert reply.text == reply.candidates[0].text and "바로" in (reply.reason or "")


def test_else_all_kinds_are_weighed_and_the_best_speaks(backend: HybridBackend) -> None:
    reply = backend.reply(talk(UNSURE))
    assert reply.text == reply.candidates[0].text and reply.score == reply.candidates[0].score
    scores = [candidate.score for candidate in reply.candidates]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    for kind, most in (("검색한 답", LOOKED_AT), ("맞장구", LOOKED_AT), ("GPT", PROPOSALS)):
        assert 0 < sum(c.source.startswith(kind) for c in reply.candidates) <= most
    assert len({c.text for c in reply.candidates}) == len(reply.candidates)
    assert reply.reason and "골랐어요" in reply.reason


@pytest.mark.parametrize("shots", [0, 1, SHOTS, 5])
def test_gpt_is_shown_as_many_examples_as_wanted_the_nearest_last(
    backend: HybridBackend, monkeypatch: pytest.MonkeyPatch, shots: int
) -> None:
    shown: list[Sequence[Exchange]] = []
    propose = backend.gpt.propose

    def spy(conversations: Sequence[Conversation], examples: Any, count: int) -> Any:
        shown.extend(examples)
        return propose(conversations, examples, count)

    monkeypatch.setattr(backend.gpt, "propose", spy)
    backend.adjust("shots", str(shots))
    backend.reply(talk(UNSURE))
    assert [len(examples) for examples in shown] == [shots]
    if shots:
        (found,) = backend.retrieval.search([talk(UNSURE)])
        (plain,) = backend.plain([found], 1)
        assert shown[0][-1] == Exchange(plain[0].source, plain[0].text)
        prompt = backend.gpt._prompt(talk(UNSURE), shown[0])
        assert len(prompt) > len(backend.gpt._prompt(talk(UNSURE)))


def test_where_nothing_fits_the_bot_asks_back_or_says_that_it_does_not_know(backend: HybridBackend) -> None:
    never, always = (-9.0, 0.0, 0.0, 0.0), (9.0, 0.0, 0.0, 0.0)
    for kind, named in (("open", "되묻는"), ("admission", "모른다는")):
        backend.decision = Decision({each: always if each == kind else never for each in KINDS})
        reply = backend.reply(talk(UNSURE))
        assert named in (reply.reason or "") and named in reply.candidates[0].source
        (found,) = backend.retrieval.search([talk(UNSURE)])
        words = [p.text for p in backend.open_words(talk(UNSURE), found)]
        admission = backend.retrieval.admission(talk(UNSURE), found)
        assert reply.text in (words if kind == "open" else [admission])


def test_open_words_answer_questions_and_tales_in_both_speech_levels(backend: HybridBackend) -> None:
    said = {}
    for text in ("오늘 이사했어", "오늘 이사했어요", "어디로 이사할까?", "어디로 이사할까요?"):
        (found,) = backend.retrieval.search([talk(text)])
        said[text] = {p.text for p in backend.open_words(talk(text), found)}
        assert {speech_level(t) for t in said[text]} == {found.style}
    assert len(set.union(*said.values())) == sum(map(len, said.values()))


def test_many_at_once_say_what_they_say_one_by_one(model: str) -> None:
    backend = HybridBackend(model, device="cpu", temperature=0.0, max_new_tokens=6)
    lines = [SURE, UNSURE, "ㅋㅋㅋㅋ", "비행기에서 옆자리 아저씨가 내 팔걸이를 다 써"]
    together = backend.reply_many([talk(line) for line in lines])
    speakers = backend.speakers
    alone = [backend.reply(talk(line)) for line in lines]
    assert [reply.text for reply in together] == [reply.text for reply in alone]
    np.testing.assert_allclose([r.score for r in together], [r.score for r in alone], atol=1e-4)
    assert len(speakers) == len(lines) and backend.reply_many([]) == []


def test_a_reply_asked_for_again_is_another(backend: HybridBackend) -> None:
    session = Session(backend)
    first = session.ask(UNSURE)
    *_, again = session.retry()
    assert isinstance(again, Reply) and again.text != first.text


def test_a_seed_makes_proposals_that_differ_from_each_other(backend: HybridBackend) -> None:
    backend.adjust("temperature", "1.5")
    first, second = (backend.gpt.propose([talk(UNSURE)], None, PROPOSALS)[0] for _ in range(2))
    assert [g.text for g in first] == [g.text for g in second]
    assert len({g.text for g in first}) > 1


def test_settings_are_checked(backend: HybridBackend, model: str) -> None:
    assert backend.settings["shots"] == SHOTS
    backend.adjust("temperature", "0.3")
    assert backend.settings["temperature"] == 0.3
    backend.adjust("scorer", "dense")
    assert backend.settings["scorer"] == "dense"
    for name, value in (("shots", "9"), ("shots", "둘"), ("scorer", "bm25"), ("persona", "x")):
        with pytest.raises(UsageError):
            backend.adjust(name, value)
    with pytest.raises(UsageError, match="--shots"):
        open_backend("hybrid", model=model, shots=-1)
    with pytest.raises(UsageError, match="--shots"):
        open_backend("retrieval", shots=1)


def test_it_can_be_taught(backend: HybridBackend) -> None:
    backend.teach(UNSURE, "앵무새한테 인사 전해 줘.")
    assert backend.reply(talk(UNSURE)).text == "앵무새한테 인사 전해 줘."


def test_over_other_pairs_the_examples_are_those(tmp_path: Path, model: str) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("question,answer\n밥 먹었어?,난 전기를 먹어.\n뭐 해?,네 생각 해.\n", encoding="utf-8")
    backend = HybridBackend(model, data=str(pairs), device="cpu", seed=1, max_new_tokens=6)
    backend.retrieval.listening = None  # as over a personal dataset
    (proposals,) = backend.proposals(
        [talk("너 지금 뭐 하고 있어?")], backend.retrieval.search([talk("너 지금 뭐 하고 있어?")])
    )
    assert {p.kind for p in proposals} == {"nearest", "retrieved", "written", "open", "admission"}
    written = next(p for p in proposals if p.kind == "written")
    assert written.source.startswith("예시 2개") and "뭐 해?" in written.source


def test_the_grade_to_expect_grows_with_what_speaks_for_a_candidate() -> None:
    decision = Decision({kind: (-4, 8, 2, -3) if kind == "retrieved" else (0, 0, 0, 0) for kind in KINDS})
    assert decision.grade("plain", 0.3, 0.3, 0.3) == 0.5
    least = decision.grade("retrieved", 0.5, 0.5, 0.5)
    assert decision.grade("retrieved", 0.6, 0.5, 0.5) > least
    assert decision.grade("retrieved", 0.5, 0.6, 0.5) > least
    assert decision.grade("retrieved", 0.5, 0.5, 0.6) < least


def test_scores_of_another_index_are_moved_to_the_floor_that_was_fitted(backend: HybridBackend) -> None:
    (found,) = backend.retrieval.search([talk(UNSURE)])
    assert backend.decision.moved(0.6, found) == pytest.approx(0.6, abs=0.05)  # fitted on what ships
    lower = replace(found, floor=found.floor - 0.2)
    assert backend.decision.moved(0.6, lower) == pytest.approx(backend.decision.moved(0.6, found) + 0.2)
    assert not backend.sure(found) and backend.sure(replace(found, floor=found.floor - 0.5))


def test_gpt_is_opened_when_it_is_needed_and_a_wrong_one_at_once(backend: HybridBackend) -> None:
    lazy = HybridBackend(device="cpu")
    lazy.reply(talk(SURE))
    assert "gpt" not in vars(lazy) and "gpt" in vars(backend)
    assert prepared(lazy) is lazy and "gpt" in vars(lazy)
    with pytest.raises(ChatbotError, match="없는모델"):
        HybridBackend("없는모델", device="cpu")


def test_the_decision_is_learnt_from_grades(backend: HybridBackend) -> None:
    """Where people find good what is near and nothing that GPT writes, so does the backend."""
    lines = [
        "배고파",
        "심심해 죽겠네",
        UNSURE,
        "우리 집 화분에 버섯이 났어",
        "시험 끝났다",
        "버스에 우산 놓고 내렸어",
    ]
    rated = []
    for line in lines:
        conversation = talk(line)
        (found,) = backend.retrieval.search([conversation])
        replies = [
            GradedReply("retrieved", entry.answers.in_style(found.style)[0], float(score > 0.6))
            for score, entry in one_an_answer(found.ranked, 20)
        ]
        replies += [GradedReply("plain", p.text, 0.5) for p in backend.plain([found], 3)[0]]
        replies += [GradedReply("written", "음", grade, own=own) for own, grade in ((0.2, 0.0), (0.3, 0.1))]
        replies += [GradedReply("admission", "몰라", 0.25), GradedReply("open", "그랬구나.", 0.75)]
        rated.append(Graded(conversation.turns, replies))
    decision, counts = fit_decision(backend, rated)
    assert counts["admission"] == len(lines) and counts["retrieved"] > 40
    assert decision.grade("admission", 0.3, 0.3, 0.1) < 0.5 < decision.grade("open", 0.0, 0.3, 0.1)
    assert decision.grade("retrieved", 0.9, 0.3, 0.1) > 0.5 > decision.grade("retrieved", 0.3, 0.3, 0.1)
    assert decision.grade("plain", 0.5, 0.3, 0.1) == pytest.approx(0.5, abs=0.1)
    assert decision.grade("written", 0.3, 0.3, 0.1) < 0.2


def test_an_encoder_serves_as_reranker(model: str) -> None:
    backend = HybridBackend(model, device="cpu", reranker=str(shipped_encoder()))
    assert backend.decision == Decision()
    (found,) = backend.retrieval.search([talk(UNSURE)])
    graded = backend.weighed(talk(UNSURE), found, [Proposal("plain", "안녕", 0.9, "인사")])
    assert [proposal.text for _, proposal in graded] == ["안녕"]
