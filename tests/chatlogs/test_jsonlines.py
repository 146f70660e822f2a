from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.chatlogs import ExportError, Message
from tests.chatlogs.generic_exports import TIMES, names, texts
from tests.chatlogs.json_exports import as_json, damaged, read_back

ROOT = Path(__file__).resolve().parents[2]
EVENING = datetime(2024, 5, 1, 20, 2, 11)


def _lines(*values: Any) -> bytes:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()


DIALOGUE = {
    "messages": [
        {"role": "system", "content": "너는 친구야"},
        {"role": "user", "content": "안녕"},
        {"role": "assistant", "content": "응\n안녕"},
    ]
}
SHAREGPT = {
    "id": "1",
    "conversations": [
        {"from": "system", "value": "너는 친구야"},
        {"from": "human", "value": "안녕"},
        {"from": "gpt", "value": "응\n안녕"},
    ],
}
GEMINI = {
    "contents": [
        {"role": "user", "parts": [{"text": "안"}, {"text": "녕"}]},
        {"role": "model", "parts": [{"text": "응\n안녕"}]},
        {"role": "user", "parts": [{"inlineData": {"data": "AA=="}}]},
    ]
}
OURS = {
    "id": "dialogue-food-01",
    "messages": [
        {"role": "user", "name": None, "content": "안녕"},
        {"role": "assistant", "name": "다온", "content": [{"type": "text", "text": "응"}, "\n안녕"]},
    ],
    "meta": {"topic": "food"},
}
FLAT = (
    {"time": "2024-05-01T20:02:11", "speaker": "다온", "text": "안녕"},
    {"time": None, "speaker": "민호", "text": "응"},
)
EXAMPLES: dict[str, bytes] = {
    "messages": _lines(DIALOGUE, DIALOGUE),
    "conversations": _lines(SHAREGPT, SHAREGPT),
    "Gemini": _lines(GEMINI),
    "our dialogues": _lines(OURS),
    "our dataset": _lines(FLAT[0], {**FLAT[1], "part": 3}),
    "chatbot import --json": _lines(*FLAT),
    "timestamp,user,message": _lines({"timestamp": 1714561331, "user": 7, "message": "안녕"}),
    "date,time,name,content": _lines(
        {"date": "2024.5.1", "time": "오후 8:02:11", "name": "다온", "content": "안녕"}
    ),
    "date,author,text": _lines({"date": "2024-05-01T20:02:11.5Z", "author": "다온", "text": "안\r\n녕"}),
    "role,content": _lines({"role": "user", "content": "안녕"}, {"role": "assistant", "content": "응"}),
    "a list of messages a line": _lines(DIALOGUE["messages"], DIALOGUE["messages"]),
    "one pretty dialogue": as_json(DIALOGUE),
    "one pretty message": as_json(FLAT[0]),
    "an array of dialogues": as_json([DIALOGUE, SHAREGPT]),
    "an array of messages": json.dumps([*FLAT]).encode("utf-16"),
    "an array of lists": as_json([DIALOGUE["messages"], DIALOGUE["messages"]]),
    "no messages": b'{"messages": []}',
    "odd": _lines({"role": "assistant", "content": None})
    + b'{"role": "user", "content": "\\uc548\\ud800\\ub155"}\n\n{"role": "user", "content": \n[1]\n7\n'
    + _lines({"role": "user"}, {"content": "누구"}, {"role": "user", "content": "언제", "time": "어제"})
    + _lines({"role": "user", "content": 3}, {"role": "tool", "content": "3"})
    + '{"role": "user", "content": "잘린 마지'.encode(),
    "question,answer": _lines({"question": "안녕?", "answer": "응"}, {"question": "뭐 해", "answer": " "}),
    "Instruction,input,output": _lines(
        {"Instruction": "높여 줘", "Input": "밥 먹어", "Output": "드세요"},
        {"instruction": "인사해", "input": "", "output": "안녕"},
    ),
    "prompt,response": _lines({"prompt": "안녕?", "response": "응"}, {"prompt": "?", "response": ["응"]}),
    "prompt,completion": _lines({"prompt": "안녕?", "completion": " 응\n"}),
    "질문,답변": "\ufeff".encode() + _lines({"질문": "안녕?", "답변": "응"}),
    "an array of pairs": as_json([{"q": "안녕?", "a": "응"}, {"q": "잘 가", "a": "너도"}]),
}
PAIR_LABELS = tuple(EXAMPLES)[-6:]


def _dialogues(*parts: tuple[tuple[str, str], ...]) -> list[Message]:
    return [Message(None, *said, part) for part, found in enumerate(parts, start=1) for said in found]


def _pairs(*found: tuple[str, str]) -> list[Message]:
    return _dialogues(*((("user", question), ("assistant", answer)) for question, answer in found))


GREETING = (("user", "안녕"), ("assistant", "응\n안녕"))
EXPECTED: dict[str, tuple[list[Message], dict[str, int]]] = {
    "messages": (_dialogues(GREETING, GREETING), {"system": 2}),
    "conversations": (_dialogues(GREETING, GREETING), {"system": 2}),
    "Gemini": (_dialogues(GREETING), {"media": 1}),
    "our dialogues": (_dialogues((("user", "안녕"), ("다온", "응\n안녕"))), {}),
    "our dataset": ([Message(EVENING, "다온", "안녕"), Message(None, "민호", "응", 3)], {}),
    "chatbot import --json": ([Message(EVENING, "다온", "안녕"), Message(None, "민호", "응")], {}),
    "timestamp,user,message": ([Message(EVENING, "7", "안녕")], {}),
    "date,time,name,content": ([Message(EVENING, "다온", "안녕")], {}),
    "date,author,text": ([Message(EVENING, "다온", "안\n녕")], {}),
    "role,content": ([Message(None, "user", "안녕"), Message(None, "assistant", "응")], {}),
    "a list of messages a line": (_dialogues(GREETING, GREETING), {"system": 2}),
    "one pretty dialogue": ([Message(None, *said) for said in GREETING], {"system": 1}),
    "one pretty message": ([Message(EVENING, "다온", "안녕")], {}),
    "an array of dialogues": (_dialogues(GREETING, GREETING), {"system": 2}),
    "an array of messages": ([Message(EVENING, "다온", "안녕"), Message(None, "민호", "응")], {}),
    "an array of lists": (_dialogues(GREETING, GREETING), {"system": 2}),
    "no messages": ([], {}),
    "odd": ([Message(None, "user", "안\ufffd녕")], {"empty": 2, "broken": 8, "system": 1}),
    "question,answer": (_pairs(("안녕?", "응")), {"empty": 1}),
    "Instruction,input,output": (_pairs(("높여 줘\n밥 먹어", "드세요"), ("인사해", "안녕")), {}),
    "prompt,response": (_pairs(("안녕?", "응")), {"broken": 1}),
    "prompt,completion": (_pairs(("안녕?", " 응")), {}),
    "질문,답변": (_pairs(("안녕?", "응")), {}),
    "an array of pairs": (_pairs(("안녕?", "응"), ("잘 가", "너도")), {}),
}


def _format(label: str) -> str:
    return "pairs-json" if label in PAIR_LABELS else "messages-json"


@pytest.mark.parametrize("label", EXAMPLES)
def test_an_example_is_read_exactly(label: str) -> None:
    assert read_back(EXAMPLES[label]) == (_format(label), *EXPECTED[label])


@pytest.mark.parametrize("label", EXAMPLES)
@pytest.mark.parametrize("name", ["자료.jsonl", "대화.txt", "a.csv", "이름"])
def test_the_name_of_the_file_does_not_matter(label: str, name: str) -> None:
    assert read_back(EXAMPLES[label], name)[0] == _format(label)


@pytest.mark.parametrize("label", EXAMPLES)
def test_a_truncated_file_gives_messages_or_an_export_error(label: str) -> None:
    for end in range(1, len(EXAMPLES[label]), 5):
        try:
            read_back(EXAMPLES[label][:end])
        except ExportError as error:
            assert "요." in str(error)


@pytest.mark.parametrize(
    "record", [DIALOGUE, SHAREGPT, GEMINI, OURS, FLAT[0], {"question": "?", "answer": "응"}]
)
@pytest.mark.parametrize(
    "write", [_lines, as_json, lambda value: as_json([value])], ids=["line", "one", "array"]
)
def test_a_damaged_record_is_counted_and_hides_no_other(write: Callable[[Any], bytes], record: Any) -> None:
    for value in damaged(record):
        data = write(value)
        try:
            read_back(data, format_name="messages-json")
        except ExportError as error:
            assert "형식이 아니에요" in str(error), f"not JSON any more: {data!r}"
        _, messages, _ = read_back(_lines(value, FLAT[0]), format_name="messages-json")
        assert messages[-1] == Message(EVENING, "다온", "안녕")


@pytest.mark.parametrize("opening", ["[", '{"messages":[', '{"a":'])
def test_junk_nested_deeply_is_an_export_error(opening: str) -> None:
    with pytest.raises(ExportError):
        read_back((opening * 20_000).encode())
    with pytest.raises(ExportError):
        read_back(f'{{"messages": [{opening * 20_000}'.encode(), format_name="messages-json")


def test_a_line_that_json_cannot_hold_is_counted() -> None:
    digits = '{"question": 1' + "0" * 5000 + ', "answer": "응"}\n'
    deep = '{"question": ' + "[" * 900 + "]" * 900 + ', "answer": "응"}\n'
    data = _lines({"question": "?", "answer": "응"}) + digits.encode() + deep.encode()
    assert read_back(data) == ("pairs-json", _pairs(("?", "응")), {"broken": 2})


def test_a_line_longer_than_the_sample_is_still_a_line() -> None:
    long = {"messages": [{"role": "user", "content": "가" * 300_000}, {"role": "assistant", "content": "응"}]}
    found, messages, _ = read_back(_lines(long, DIALOGUE))
    assert found == "messages-json" and [message.part for message in messages] == [1, 1, 2, 2]


def test_lines_after_a_broken_first_one_are_read() -> None:
    _, messages, dropped = read_back(b'{"messages": [{"ro\n' + _lines(DIALOGUE, DIALOGUE))
    assert (messages, dropped) == (_dialogues(GREETING, GREETING), {"system": 2, "broken": 1})


@pytest.mark.parametrize("text", ['{"a": 1}', "[1, 2]", '{"name": "x"}', '"안녕"', "{}", "[]"])
def test_other_json_is_not_taken(text: str) -> None:
    with pytest.raises(ExportError):
        read_back(text.encode())


@pytest.mark.parametrize("path", sorted(ROOT.glob("data/dialogues/**/*.jsonl")), ids=lambda path: path.stem)
def test_the_dialogues_that_ship_are_read_whole(path: Path) -> None:
    _, messages, dropped = read_back(path.read_bytes())
    written = [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(m.part, m.speaker, m.text) for m in messages] == [
        (part, turn["name"] or turn["role"], turn["content"])
        for part, turns in enumerate(written, start=1)
        for turn in turns
    ]
    assert not dropped


LOOKALIKES = ('{"question": "?", "answer": "!"}\n', '"}]}\n', "\\", "\\ud800", "\\x0B", "다온 : 응\n")
WORDS = texts(*LOOKALIKES)
FLAT_MESSAGES = st.lists(
    st.builds(Message, st.none() | TIMES, names(*LOOKALIKES), WORDS, st.just(0)), min_size=1, max_size=6
)
# A name that is a role's would be read as the role.
PEOPLE = names(*LOOKALIKES).filter(lambda name: re.search("[가-힣]", name) is not None)


def _row(message: Message) -> dict[str, str | None]:
    time = message.time.isoformat() if message.time else None
    return {"time": time, "speaker": message.speaker, "text": message.text}


def _import_json(messages: list[Message]) -> bytes:
    return _lines(*map(_row, messages))


def _array(messages: list[Message]) -> bytes:
    return as_json([_row(message) for message in messages])


def _document(messages: list[Message]) -> bytes:
    return as_json({"title": "방", "messages": [_row(message) for message in messages]})


@pytest.mark.parametrize("write", [_import_json, _array, _document])
@settings(max_examples=50, deadline=None)
@given(messages=FLAT_MESSAGES)
def test_messages_written_are_read_back(
    write: Callable[[list[Message]], bytes], messages: list[Message]
) -> None:
    assert read_back(write(messages)) == ("messages-json", messages, {})


def _openai(turns: list[tuple[str, str]]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "name": name, "content": text} for name, text in turns]}


def _sharegpt(turns: list[tuple[str, str]]) -> dict[str, Any]:
    return {"conversations": [{"from": name, "value": text} for name, text in turns]}


def _gemini(turns: list[tuple[str, str]]) -> dict[str, Any]:
    return {"contents": [{"role": name, "parts": [{"text": text}]} for name, text in turns]}


@pytest.mark.parametrize("dialogue", [_openai, _sharegpt, _gemini])
@settings(max_examples=50, deadline=None)
@given(
    found=st.lists(st.lists(st.tuples(PEOPLE, WORDS), min_size=1, max_size=4), min_size=1, max_size=3),
    ascii_only=st.booleans(),
)
def test_dialogues_written_are_read_back(
    dialogue: Callable[[list[tuple[str, str]]], dict[str, Any]],
    found: list[list[tuple[str, str]]],
    ascii_only: bool,
) -> None:
    lines = (json.dumps(dialogue(turns), ensure_ascii=ascii_only) for turns in found)
    expected = _dialogues(*map(tuple, found))
    assert read_back("\n".join(lines).encode()) == ("messages-json", expected, {})


@pytest.mark.parametrize(
    "keys", [("question", "answer"), ("instruction", "output"), ("prompt", "completion")]
)
@settings(max_examples=50, deadline=None)
@given(found=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
def test_pairs_written_are_read_back(keys: tuple[str, str], found: list[tuple[str, str]]) -> None:
    lines = _lines(*(dict(zip(keys, pair, strict=True)) for pair in found))
    assert read_back(lines) == ("pairs-json", _pairs(*found), {})
