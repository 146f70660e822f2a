from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatbot.backends.retrieval import RetrievalBackend
from chatbot.dialogue import Conversation, Reply
from chatbot.errors import UsageError
from chatbot.knowledge import Answers, Entry, labelled_lines, load_knowledge
from chatbot.questions import asks
from chatbot.stock_replies import stock_replies
from chatbot.style import speech_level


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> RetrievalBackend:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHATBOT_HOME", str(tmp_path_factory.mktemp("home")))
        return RetrievalBackend()


def ask(backend: RetrievalBackend, text: str, talk: Conversation | None = None) -> Reply:
    talk = talk or Conversation()
    talk.add("user", text)
    reply = backend.reply(talk)
    talk.add("assistant", reply.text)
    return reply


def test_an_indexed_question_gets_one_of_its_answers(backend: RetrievalBackend) -> None:
    intents = {intent.id: intent for intent in load_knowledge().intents}
    for question, source in [("오늘 너무 피곤해", "fatigue-tired-01"), ("오늘 기분이 좋아", "joy-mood-01")]:
        reply = ask(backend, question)
        assert reply.text in intents[source].answers.casual
        assert reply.score == pytest.approx(1.0, abs=0.02)
        assert reply.candidates[0].text == reply.text and reply.candidates[0].source.startswith(source)
        assert reply.seconds is not None and reply.seconds > 0
        assert all(0 <= c.score <= 1.5 for c in reply.candidates)


def test_answers_vary_and_are_not_repeated_until_all_were_said(backend: RetrievalBackend) -> None:
    talk = Conversation()
    said = [ask(backend, "오늘 너무 피곤해", talk).text for _ in range(3)]
    assert len(set(said)) == 3
    first_words = {ask(backend, "오늘 너무 피곤해", Conversation(id=str(n))).text for n in range(20)}
    assert len(first_words) > 1


def test_a_listener_speaks_where_no_question_is_in_the_same_words(
    backend: RetrievalBackend, tmp_path: Path
) -> None:
    assert backend.listening is not None
    heard = {entry.question: entry.answers for entry in backend.listening.entries if not entry.context}
    indexed = {entry.question for entry in backend.knowledge.entries}
    alone = [question for question in heard if question not in indexed]
    spoken = 0
    for question in alone[:: len(alone) // 40]:
        (found,) = backend.search([talking(question)])
        reply = backend.answer(talking(question), found)
        if found.score >= 0.9:
            assert reply.text not in heard[question].in_style(found.style)
        elif reply.text in heard[question].in_style(found.style):
            spoken += 1
            assert reply.candidates[0].text == reply.text and reply.score == pytest.approx(1.0, abs=0.05)
            assert reply.candidates[0].source.endswith(f"← {question}")
    assert spoken > 10

    pairs = tmp_path / "pairs.csv"
    pairs.write_text("question,answer\n밥 먹었어?,난 전기를 먹어.\n뭐 해?,네 생각 해.\n", encoding="utf-8")
    own = RetrievalBackend(data=str(pairs))
    texts = {text for answers in heard.values() for text in (*answers.polite, *answers.casual)}
    assert not any(own.reply(talking(question)).text in texts for question in alone[:20])


def test_a_reply_that_takes_up_what_was_not_said_stands_back(
    backend: RetrievalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert backend.listening is not None
    lines = [
        Entry(
            "면접에서 세 번이나 떨어졌어",
            Answers("a", ("세 번이나요?",), ("세 번이나 떨어지다니 속상하겠다.",)),
        ),
        Entry("면접에서 네 번이나 떨어졌어", Answers("b", ("속상하시죠.",), ("면접이 참 어렵지.",))),
    ]
    monkeypatch.setattr(backend, "listening", backend.listening.beside(lines))

    def plain(said: str) -> str:
        return backend.search([talking(said)])[0].plain[0][1].answers.source

    assert plain("면접에서 또 떨어졌어") == "b"
    assert plain("면접에서 세 번이나 떨어졌어") == "a"


def talking(text: str) -> Conversation:
    talk = Conversation()
    talk.add("user", text)
    return talk


def test_what_is_told_and_near_nothing_is_asked_back_about_but_never_twice_in_a_row(
    backend: RetrievalBackend, tmp_path: Path
) -> None:
    words = stock_replies("unsure")
    either = {text for kind in words.values() for by_style in kind.values() for text in by_style}
    lines = [text for text, label in labelled_lines("unseen", "dev") if label == "unseen"]
    asked = [text for text in lines if ask(backend, text).text in either]
    assert len(lines) / 20 < len(asked) < len(lines) / 2
    for text in asked:
        talk = Conversation(style="polite")
        first, second = ask(backend, text, talk), ask(backend, text, talk)
        assert first.text in words["question" if asks(text) else "statement"]["polite"]
        assert first.reason and "되물었어요" in first.reason and first.candidates
        assert second.text not in either and second.reason is None
        again = talking(text)
        again.rejected.append(backend.reply(again).text)
        assert backend.reply(again).text not in either
    strange = [text for text, label in labelled_lines("unseen", "dev") if label == "ood"]
    assert not any(ask(backend, text).text in either for text in strange)

    pairs = tmp_path / "pairs.csv"
    pairs.write_text("question,answer\n밥 먹었어?,난 전기를 먹어.\n뭐 해?,네 생각 해.\n", encoding="utf-8")
    own = RetrievalBackend(data=str(pairs))
    assert not any(ask(own, text).text in either for text in asked)


def test_what_is_near_nothing_as_a_whole_is_answered_by_the_part_that_is_near_something(
    backend: RetrievalBackend,
) -> None:
    said = "괜찮은 척 출근했는데 화장실에서 울었어"
    reply = ask(backend, said)
    assert reply.reason and "'화장실에서 울었어'에는" in reply.reason
    found = backend.search([talking(said)])[0]
    assert reply.text == reply.candidates[0].text
    assert reply.candidates[0].source.split(" ← ")[0] != found.ranked[0][1].answers.source
    assert reply.score is not None
    assert backend.says(found)[0] < found.floor + 0.06 <= reply.score < 1
    assert len({one.text for one in reply.candidates}) == len(reply.candidates)
    assert backend.answer(talking(said), found, asks_back=False).reason is None
    with_a_comma = ask(backend, said.replace("했는데", "했는데,"))
    assert with_a_comma.reason and "'화장실에서 울었어'에는" in with_a_comma.reason
    # What is near as a whole is not taken apart.
    assert ask(backend, "화장실에서 울었어").reason is None


def test_style_mirrors_the_user_unless_set(backend: RetrievalBackend) -> None:
    assert speech_level(ask(backend, "오늘 너무 피곤해요").text) == "polite"
    assert speech_level(ask(backend, "오늘 너무 피곤해").text) != "polite"
    assert speech_level(ask(backend, "오늘 너무 피곤해", Conversation(style="polite")).text) == "polite"
    assert speech_level(ask(backend, "오늘 너무 피곤해요", Conversation(style="casual")).text) != "polite"


def test_it_says_in_varied_words_that_it_does_not_know_and_offers_questions(
    backend: RetrievalBackend,
) -> None:
    talk = Conversation()
    strange = [text for text, label in labelled_lines("unseen", "dev") if label == "ood"]
    floor = backend.index.calibration.floor("fused")
    lowest = floor - 0.15  # down to which a listener speaks
    replies = [
        r for text in strange if (r := ask(backend, text, talk)).score is not None and r.score < lowest
    ]
    assert len(replies) > len(strange) / 2
    indexed = {entry.question for entry in backend.knowledge.entries}
    for reply in replies:
        assert sum(f"'{q}'" in reply.text for q in indexed) >= 2, reply.text
    assert len({reply.text.split("'")[0] for reply in replies}) >= 5


def test_a_follow_up_depends_on_what_came_before(backend: RetrievalBackend) -> None:
    entries = [e for e in backend.knowledge.entries if e.question == "왜?" and e.context][:4]
    assert len(entries) == 4
    dialogues = backend.knowledge.entries
    replies = []
    for entry in entries:
        index = dialogues.index(entry)
        assert dialogues[index].context
        talk = Conversation(style="casual" if entry.answers.casual else "polite")
        # The context is one text; give it back as the exchange it was.
        talk.add("user", entry.context.split(" ", 1)[0])
        talk.add("assistant", entry.context.split(" ", 1)[1])
        replies.append(ask(backend, "왜?", talk).text)
    assert len(set(replies)) >= 3


def test_every_scorer_answers(backend: RetrievalBackend) -> None:
    try:
        for scorer in ("dense", "tfidf", "fused"):
            backend.adjust("scorer", scorer)
            assert backend.settings == {"scorer": scorer}
            assert ask(backend, "오늘 너무 피곤해").model == f"encoder/{scorer}"
    finally:
        backend.adjust("scorer", "fused")
    with pytest.raises(UsageError):
        backend.adjust("scorer", "bm25")
    with pytest.raises(UsageError):
        backend.adjust("temperature", "1")


def test_taught_answers_win_at_once_and_last() -> None:
    backend = RetrievalBackend()
    backend.teach("오늘 너무 피곤해", "그럼 마루 등에 기대!")
    assert ask(backend, "오늘 너무 피곤해").text == "그럼 마루 등에 기대!"
    assert ask(backend, "오늘 너무 피곤해요").text == "그럼 마루 등에 기대!"
    assert ask(RetrievalBackend(), "오늘 너무 피곤해").text == "그럼 마루 등에 기대!"
    assert ask(backend, "비 오네").text != "그럼 마루 등에 기대!"


def test_pairs_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text("Q,A,label\n학식 뭐야?,돈까스래,0\n시험 언제야?,다음 주 화요일,0\n", encoding="utf-8")
    backend = RetrievalBackend(data=str(file))
    assert ask(backend, "학식 뭐야").text == "돈까스래"


def test_pairs_without_second_wordings_still_have_a_floor(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text("question,answer\n안녕,반가워\n오늘 날씨 어때,맑아\n", encoding="utf-8")
    backend = RetrievalBackend(data=str(file))
    assert ask(backend, "오늘 날씨 어때").text == "맑아"
    assert "맑아" not in ask(backend, "양자역학의 불확정성 원리를 증명해 줘").text


def test_asked_again_it_admits_in_other_words(backend: RetrievalBackend) -> None:
    talk = Conversation()
    talk.add("user", "콰과광 뷁뷁 슉슈슉")
    first = backend.reply(talk).text
    talk.rejected.append(first)
    assert backend.reply(talk).text.split("'")[0] != first.split("'")[0]


def test_style_set_serves_pairs_that_have_only_one(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text("question,answer\n뭐해,그냥 누워 있어\n", encoding="utf-8")
    talk = Conversation(style="polite")
    assert ask(RetrievalBackend(data=str(file)), "뭐해", talk).text == "그냥 누워 있어"


def test_where_nothing_can_be_offered_it_only_admits(tmp_path: Path) -> None:
    said = [
        {"role": "assistant", "content": "어서 오세요."},
        {"role": "user", "content": "커피 주세요."},
        {"role": "assistant", "content": "네, 금방 드릴게요."},
    ]
    file = tmp_path / "cafe.jsonl"
    file.write_text(json.dumps({"messages": said}, ensure_ascii=False), encoding="utf-8")
    text = ask(RetrievalBackend(data=str(file)), "양자역학의 다세계 해석을 설명해 봐").text
    assert text == text.strip() and "  " not in text and "이야기라면" not in text
