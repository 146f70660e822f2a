from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chatbot.knowledge import DataError, load_knowledge, load_listening, load_taught, taught_path, teach


def test_shipped_set_is_large_enough() -> None:
    shipped = load_knowledge()
    assert len(shipped.intents) >= 400
    assert len({intent.topic for intent in shipped.intents}) >= 30
    assert len({e.answers.source.split("#")[0] for e in shipped.entries if e.context}) >= 60
    assert all(len(i.questions) >= 3 and i.dev_questions and i.test_questions for i in shipped.intents)


def test_held_out_wordings_are_not_indexed() -> None:
    shipped = load_knowledge()
    indexed = {entry.question for entry in shipped.entries if not entry.context}
    held_out = {text for half in ("dev", "test") for text, _ in shipped.held_out(half)}
    assert held_out and not indexed & held_out


def test_what_a_listener_hears_once_is_one_entry_in_both_speech_levels() -> None:
    entries = load_listening().entries
    assert len({(e.context, e.question) for e in entries}) == len(entries)
    both = [e for e in entries if e.answers.polite and e.answers.casual]
    assert len(both) > 0.9 * len(entries)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize("header", ["question,answer", "Q,A,label"])
def test_csv(tmp_path: Path, encoding: str, header: str) -> None:
    label = ",0" if "label" in header else ""
    file = tmp_path / "pairs.csv"
    file.write_bytes(f'{header}\n안녕?,"친구야, 반가워"{label}\n안녕?,어서 와요{label}\n'.encode(encoding))
    entries = load_knowledge(file).entries
    assert [entry.question for entry in entries] == ["안녕?"]
    assert entries[0].answers.casual == ("친구야, 반가워",)
    assert entries[0].answers.polite == ("어서 와요",)


def test_jsonl_pairs_and_dialogues(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    messages = [
        {"role": "user", "content": "고양이 키워?"},
        {"role": "assistant", "content": "응, 두 마리."},
        {"role": "user", "content": "이름은?"},
        {"role": "assistant", "content": "콩이랑 팥이야."},
    ]
    rows = [
        {"question": "뭐해", "answer": "놀아"},
        {"id": "d", "messages": messages, "meta": {"style": "casual"}},
    ]
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    entries = load_knowledge(file).entries
    assert [(e.question, e.context) for e in entries] == [
        ("뭐해", ""),
        ("고양이 키워?", ""),
        ("이름은?", "고양이 키워? 응, 두 마리."),
    ]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "x,y\n1,2\n", "2번째 줄"),
        ("a.csv", "question,answer\n안녕,\n", "2번째 줄"),
        ("a.jsonl", '{"question": "안녕", "answer": "응"}\n{broken\n', "2번째 줄"),
        ("a.jsonl", '["목록"]\n', "1번째 줄"),
        ("a.csv", "question,answer\n", "하나도 없어요"),
    ],
)
def test_bad_files_name_the_line(tmp_path: Path, name: str, content: str, says: str) -> None:
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_knowledge(file)
    assert says in str(caught.value) and str(file) in str(caught.value)


def test_missing_data_is_explained() -> None:
    with pytest.raises(DataError, match="없는이름"):
        load_knowledge("없는이름")


def test_fingerprint_follows_the_content(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("question,answer\n안녕,응\n", encoding="utf-8")
    first = load_knowledge(file).fingerprint
    file.write_text("question,answer\n안녕,네\n", encoding="utf-8")
    assert load_knowledge(file).fingerprint != first


def test_a_folder_without_data_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="없어요"):
        load_knowledge(tmp_path)


def test_teaching_survives_odd_characters() -> None:
    teach("하이", "첫 줄\u2028둘째\x07 줄\x85")
    teach("??", "왜?")
    teach("...", "음.")
    assert [e.question for e in load_taught().entries] == ["하이", "??", "..."]
    for empty in (("", "답"), ("질문", " \x07")):
        with pytest.raises(DataError):
            teach(*empty)
    assert len(load_taught().entries) == 3


def test_teaching_replaces_the_older_answer_and_stays_private() -> None:
    assert load_taught().entries == []
    teach("점심 뭐 먹지?", "김밥!")
    teach("점심뭐먹지", "국수!")
    assert [e.answers.casual for e in load_taught().entries] == [("국수!",)]
    assert taught_path().stat().st_mode & 0o077 == 0


def test_what_a_system_says_and_what_is_empty_is_no_part_of_a_dialogue(tmp_path: Path) -> None:
    said = (("system", "친절하게 답하세요"), ("user", "배송은 언제 와?"), ("assistant", "내일 가요."))
    mute = (("user", "안녕"), ("assistant", ""))
    rows = [{"messages": [{"role": role, "content": text} for role, text in each]} for each in (said, mute)]
    file = tmp_path / "tuning.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert [(e.question, e.context) for e in load_knowledge(file).entries] == [("배송은 언제 와?", "")]


def test_taught_words_that_were_all_taken_out_again_are_none() -> None:
    teach("이름이 뭐야?", "마루")
    taught_path().write_text("", encoding="utf-8")
    assert load_taught().entries == []


@pytest.mark.parametrize("name", ["가" * 300, "~nobody12/pairs.csv"])
def test_a_name_that_can_be_no_file_is_not_found(name: str) -> None:
    with pytest.raises(DataError, match="그런 파일이나 데이터셋이 없어요"):
        load_knowledge(name)


@pytest.mark.parametrize("text", ["안녕", "[1]", "3"])
def test_errors_speak_of_the_file_and_not_of_python(tmp_path: Path, text: str) -> None:
    for name, written in (("own.csv", f"question,answer\n{text}\n"), ("own.jsonl", f"{text}\n")):
        (tmp_path / name).write_text(written, encoding="utf-8")
        with pytest.raises(DataError, match="번째") as caught:
            load_knowledge(tmp_path / name)
        said = str(caught.value).replace(str(tmp_path), "")
        assert not [word for word in ("object", "attribute", "iterable", "Expecting") if word in said]


def test_a_part_of_the_answers_has_all_that_leads_to_them() -> None:
    whole = load_knowledge()
    part = whole.thinned(20)
    kept = {entry.answers.source for entry in part.entries}
    assert {i.id for i in part.intents} <= kept and part.fingerprint != whole.fingerprint
    assert part.entries == [entry for entry in whole.entries if entry.answers.source in kept]
    assert 0.03 < len(part.entries) / len(whole.entries) < 0.08 and whole.thinned(1) is whole


def test_what_several_talks_teach_at_once_is_all_kept(home: Path) -> None:
    script = (
        "import sys\nfrom chatbot.knowledge import teach\nfor n in '0123456789': teach(sys.argv[1] + n, '응')"
    )
    taught = [subprocess.Popen([sys.executable, "-c", script, f"말{n}"]) for n in range(3)]
    assert [child.wait(60) for child in taught] == [0, 0, 0]
    assert len(load_taught().entries) == 30 and taught_path().stat().st_mode & 0o777 == 0o600
