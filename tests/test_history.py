from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from chatbot.dialogue import Candidate, Conversation, Reply, Turn
from chatbot.history import History, HistoryError, bigram_query, bigrams, default_path


@pytest.fixture
def history(home: Path) -> History:
    return History()


def say(history: History, talk: Conversation, *texts: str) -> list[int]:
    history.start(talk)
    return [
        history.add_turn(talk, talk.add("user" if i % 2 == 0 else "assistant", t))
        for i, t in enumerate(texts)
    ]


def test_only_the_owner_may_read(history: History, home: Path) -> None:
    say(history, Conversation(), "비밀이야")
    for path in home.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_turns_and_replies_come_back_whole(history: History) -> None:
    talk = Conversation()
    say(history, talk, "안녕\n반가워")
    reply = Reply("응!", "retrieval", "encoder/fused", 0.75, (Candidate("응!", 0.75, "a ← b"),), 0.01, 3)
    row = history.open_reply(talk, "응")
    history.grow_reply(talk, row, "응!")
    history.finish_reply(talk, row, reply)
    first, second = history.records(talk.id)
    assert first.turn.text == "안녕\n반가워" and first.turn == talk.turns[0] and first.reply is None
    assert second.reply == reply and second.turn.role == "assistant"
    assert [t.text for t in history.load(talk.id).turns] == ["안녕\n반가워", "응!"]


def test_search_finds_inside_words_and_exactly(history: History) -> None:
    say(
        history,
        Conversation(),
        "오늘날씨가좋다",
        "날씬한 고양이",
        "아하ㅋㅋㅋ",
        "우리나라 만세",
        "Hello 하나",
    )
    found = {
        q: [r.turn.text for r in history.search(q)]
        for q in ("날씨", "ㅋㅋ", "나", "hello", "씬한 고", "없음")
    }
    assert found["날씨"] == ["오늘날씨가좋다"]
    assert found["ㅋㅋ"] == ["아하ㅋㅋㅋ"]
    assert found["나"] == ["Hello 하나", "우리나라 만세"]
    assert found["hello"] == ["Hello 하나"]
    assert found["씬한 고"] == ["날씬한 고양이"]
    assert found["없음"] == []
    assert history.search("  ") == []


def test_search_agrees_with_looking_at_every_turn(history: History) -> None:
    rng = random.Random(3)
    alphabet = "가나다ㅋㅠ ab\"*-😀'날씨"
    texts = [
        "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 8))).strip() or "가" for _ in range(300)
    ]
    say(history, Conversation(), *texts)
    for _ in range(200):
        needle = "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 3))).strip()
        if needle:
            expected = [t for t in reversed(texts) if needle in t]
            assert [r.turn.text for r in history.search(needle, limit=1000)] == expected, needle


def test_bigrams_overlap_and_a_single_letter_is_a_prefix() -> None:
    assert bigrams("ab") == "0006100062 00062"
    assert bigram_query("a") == '"00061"*'
    assert bigram_query("abc") == '"0006100062 0006200063"'


def test_delete_leaves_no_trace_in_the_file(history: History, home: Path) -> None:
    secret, kept = Conversation(), Conversation()
    say(history, secret, "아무도몰라야하는말")
    say(history, kept, "남아도 되는 말")
    row = history.open_reply(secret, "쓰다 만 비밀대답")
    assert row
    history.delete(secret.id)
    history.close()
    everything = b"".join(p.read_bytes() for p in home.rglob("*") if p.is_file())
    assert "아무도몰라야하는말".encode() not in everything and "비밀대답".encode() not in everything
    assert bigrams("모르").encode() not in everything
    again = History()
    assert again.search("몰라야") == [] and len(again.search("남아도")) == 1
    assert [s.id for s in again.conversations()] == [kept.id]


def test_undone_turns_stay_marked(history: History) -> None:
    talk = Conversation()
    ids = say(history, talk, "하나", "둘")
    history.mark_undone(talk, ids)
    assert [r.undone for r in history.records(talk.id)] == [True, True]
    assert history.load(talk.id).turns == []


def test_a_text_without_letters_has_no_terms(history: History) -> None:
    assert bigrams("") == ""
    say(history, Conversation(), "")


def test_a_looser_mode_is_tightened(home: Path) -> None:
    History().close()
    default_path().chmod(0o644)
    History().close()
    assert default_path().stat().st_mode & 0o077 == 0


def test_find_by_prefix(history: History) -> None:
    say(history, Conversation(id="abc1"), "가")
    say(history, Conversation(id="abd2"), "나")
    assert history.find("abc") == "abc1"
    for wrong in ("ab", "zz", ""):
        with pytest.raises(HistoryError, match="chatbot history list"):
            history.find(wrong)
    with pytest.raises(HistoryError):
        history.find("%")


def test_list_is_ordered_by_last_use(history: History) -> None:
    old, new = Conversation(id="old"), Conversation(id="new")
    say(history, old, "먼저")
    say(history, new, "나중", "그래")
    say(history, old, "다시 먼저")
    listed = history.conversations()
    assert [(s.id, s.turns, s.first_words) for s in listed] == [("new", 2, "나중"), ("old", 2, "먼저")]
    assert history.last_id() == "old"


WRITER = """
import sys
from chatbot.history import History
from chatbot.dialogue import Conversation, Reply
history, talk = History(), Conversation()
history.start(talk)
for i in range(60):
    history.add_turn(talk, talk.add("user", f"{sys.argv[1]} {i}"))
    row = history.open_reply(talk, "응")
    history.grow_reply(talk, row, "응, 그")
    history.finish_reply(talk, row, Reply("응, 그래", "x"))
"""


def test_several_chats_write_to_one_new_file(home: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, f"글{n}"],
            env={**os.environ, "CHATBOT_HOME": str(home)},
            stderr=subprocess.PIPE,
        )
        for n in range(4)
    ]
    for writer in writers:
        assert writer.wait(60) == 0, writer.stderr and writer.stderr.read().decode()
    history = History()
    assert sum(s.turns for s in history.conversations()) == 480
    assert len(history.search("글2", limit=100)) == 60


def test_a_damaged_file_is_explained(home: Path) -> None:
    home.mkdir()
    default_path().write_bytes(b"this is no database, however long it may be" * 100)
    with pytest.raises(HistoryError, match="손상"):
        History()


def test_a_folder_in_the_way_is_explained(home: Path) -> None:
    default_path().mkdir(parents=True)
    with pytest.raises(HistoryError, match=r"history\.db"):
        History()


def test_a_full_disk_is_explained(history: History) -> None:
    talk = Conversation()
    history.start(talk)
    history._db.execute(f"pragma max_page_count = {history._db.execute('pragma page_count').fetchone()[0]}")
    with pytest.raises(HistoryError, match="가득"):
        for _ in range(1000):
            history.add_turn(talk, Turn("user", "가나다라" * 200))


def test_a_reply_cut_off_is_found_by_search(history: History) -> None:
    talk = Conversation()
    say(history, talk, "질문")
    history.open_reply(talk, "대답하던 중")
    assert [r.turn.text for r in history.search("하던")] == ["대답하던 중"]


def test_only_known_tables_are_made(history: History) -> None:
    names = {
        row[0]
        for row in sqlite3.connect(history.path).execute("select name from sqlite_master where type='table'")
    }
    assert {"conversations", "turns", "_sqlite_migrations"} <= names


def test_a_talk_that_was_deleted_meanwhile_writes_into_nobody_elses(history: History) -> None:
    talk, other = Conversation(), Conversation()
    ids = say(history, talk, "지울 말")
    row = history.open_reply(talk, "지운 비밀")
    history.delete(talk.id)
    again = say(history, other, "남의 말", "남의 대답")
    assert set(again) & {*ids, row}  # numbers are given out again
    history.grow_reply(talk, row, "지운 비밀이야")
    history.finish_reply(talk, row, Reply("지운 비밀이야", "x"))
    history.mark_undone(talk, [*ids, row])
    assert [r.turn.text for r in history.records(other.id)] == ["남의 말", "남의 대답"]
    assert not any(r.undone for r in history.records(other.id)) and history.search("비밀") == []
