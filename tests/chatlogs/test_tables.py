from __future__ import annotations

import csv
import io
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.chatlogs import ExportError, Message
from chatbot.chatlogs.generic import common_time
from tests.chatlogs.generic_exports import TIMES, names, texts
from tests.chatlogs.json_exports import read_back

EXAMPLES: dict[str, bytes] = {
    "q,a": 'q,a\n잘 잤어?,응 푹 잤어\n뭐 먹지,"김밥, 라면\n아니면 둘 다"\n'.encode(),
    "Q,A,label": "Q,A,label\n심심해,산책 어때요?,0\n,답만,1\n질문만,,1\n \n졸려,주무세요,2\n".encode(),
    "question,answer": '\ufeffid,"Question","Answer"\r\n1,안녕,"반가워 ""친구"""\r\n2,뭐 해\r\n'.encode(),
    "질문,답변": "질문,답변\n비 와?,네 와요\n".encode("cp949"),
    "질문,답 with semicolons": "질문;답\n비 와?;네, 와요\n".encode(),
    "input,output with tabs": "input\toutput\n안녕?\t안녕, 친구\n하나\t둘\t셋\n".encode("utf-16"),
    "user_input,completion": "user_input,completion\n배고파,밥 먹자\n".encode(),
    "user,bot": "user,bot\n배고파,밥 먹자\n".encode(),
    "prompt,response": "prompt,response,score\n배고파,밥 먹자,3\n안녕,응, 안녕,3\n".encode(),
    "instruction,input,output": "instruction,input,output\n높여 줘,밥 먹어,드세요\n인사해,,안녕\n".encode(),
    "time,speaker,text": """\
time,speaker,text
2024-05-01T20:02:11,다온,저녁 먹었어?
2024-05-01T20:03:11.250+09:00,민호,"응,
많이"
,다온,좋겠다
어제쯤,다온,언제?
2024-05-01T20:05:00,,누구?
2024-05-01T20:05:00,다온,
2024-05-01T20:02:00,다빈,안녕, 잘 지내?
""".encode(),
    "Date;Author;Content": (
        "Date;Author;Content\r\n1.5.2024 20:02;다온;안녕\r\n5/1/2024, 8:03:11\u202fPM;민호;응\r\n"
    ).encode(),
    "날짜,시간,이름,내용": (
        "날짜,시간,이름,내용\n2024.5.1,오후 8:02,다온,안녕\n2024-05-01,20:03,민호,응\n"
    ).encode(),
    "timestamp,user,message": (
        "timestamp,user,message\n1714561331,다온,안녕\n1714561331999,민호,응\n"
    ).encode(),
    "role,content": "role,content\nsystem,너는 친구다\nuser,안녕\nassistant,응\n".encode(),
    "role,name,content": "role,name,content\nuser,다온,안녕\nassistant,,응\n".encode(),
    "header alone": b"time,speaker,text\n",
}
PAIR_LABELS = tuple(EXAMPLES)[:10]
EVENING = datetime(2024, 5, 1, 20, 2)


def _pairs(*found: tuple[str, str]) -> list[Message]:
    """The messages of questions with their answers, each pair a dialogue of its own."""
    return [
        Message(None, speaker, text, part)
        for part, pair in enumerate(found, start=1)
        for speaker, text in zip(("user", "assistant"), pair, strict=True)
    ]


EXPECTED: dict[str, tuple[list[Message], dict[str, int]]] = {
    "q,a": (_pairs(("잘 잤어?", "응 푹 잤어"), ("뭐 먹지", "김밥, 라면\n아니면 둘 다")), {}),
    "Q,A,label": (_pairs(("심심해", "산책 어때요?"), ("졸려", "주무세요")), {"empty": 3}),
    "question,answer": (_pairs(("안녕", '반가워 "친구"')), {"empty": 1}),
    "질문,답변": (_pairs(("비 와?", "네 와요")), {}),
    "질문,답 with semicolons": (_pairs(("비 와?", "네, 와요")), {}),
    "input,output with tabs": (_pairs(("안녕?", "안녕, 친구"), ("하나", "둘\t셋")), {}),
    "user_input,completion": (_pairs(("배고파", "밥 먹자")), {}),
    "user,bot": (_pairs(("배고파", "밥 먹자")), {}),
    "prompt,response": (_pairs(("배고파", "밥 먹자")), {"broken": 1}),
    "instruction,input,output": (_pairs(("높여 줘\n밥 먹어", "드세요"), ("인사해", "안녕")), {}),
    "time,speaker,text": (
        [
            Message(EVENING.replace(second=11), "다온", "저녁 먹었어?"),
            Message(EVENING.replace(minute=3, second=11), "민호", "응,\n많이"),
            Message(None, "다온", "좋겠다"),
            Message(EVENING, "다빈", "안녕, 잘 지내?"),
        ],
        {"broken": 2, "empty": 1},
    ),
    "Date;Author;Content": (
        [Message(EVENING, "다온", "안녕"), Message(EVENING.replace(minute=3, second=11), "민호", "응")],
        {},
    ),
    "날짜,시간,이름,내용": (
        [Message(EVENING, "다온", "안녕"), Message(EVENING.replace(minute=3), "민호", "응")],
        {},
    ),
    "timestamp,user,message": (
        [
            Message(EVENING.replace(second=11), "다온", "안녕"),
            Message(EVENING.replace(second=11), "민호", "응"),
        ],
        {},
    ),
    "role,content": ([Message(None, "user", "안녕"), Message(None, "assistant", "응")], {"system": 1}),
    "role,name,content": ([Message(None, "다온", "안녕"), Message(None, "assistant", "응")], {}),
    "header alone": ([], {}),
}


def _format(label: str) -> str:
    return "pairs-csv" if label in PAIR_LABELS else "messages-csv"


@pytest.mark.parametrize("label", EXAMPLES)
def test_an_example_is_read_exactly(label: str) -> None:
    assert read_back(EXAMPLES[label]) == (_format(label), *EXPECTED[label])


@pytest.mark.parametrize("label", EXAMPLES)
@pytest.mark.parametrize("name", ["표.csv", "대화.txt", "a.json", "이름"])
def test_the_name_of_the_file_does_not_matter(label: str, name: str) -> None:
    assert read_back(EXAMPLES[label], name)[0] == _format(label)


@pytest.mark.parametrize("label", EXAMPLES)
def test_a_truncated_file_gives_messages_or_an_export_error(label: str) -> None:
    for end in range(1, len(EXAMPLES[label])):
        try:
            read_back(EXAMPLES[label][:end])
        except ExportError as error:
            assert "요." in str(error)


@pytest.mark.parametrize(
    "header",
    [
        "AuthorID,Author,Date,Content,Attachments,Reactions",
        '"AuthorID","Author","Date","Content","Attachments","Reactions"',
        "Date,User,Message",
        '\ufeff"Date","User","Message"',
        "Date\tUser\tMessage",
    ],
)
def test_a_messengers_own_header_is_left_to_its_reader(header: str) -> None:
    file = f"{header}\n1,다온,2024-05-01 20:02,안녕,,\n".encode()
    try:
        found = read_back(file)[0]
    except ExportError:
        return
    assert found not in ("pairs-csv", "messages-csv")


@pytest.mark.parametrize("text", ["안녕, 뭐 해\n그냥, 있어\n", "이름,전화\n다온,없음\n", "name\n다온\n"])
def test_other_tables_are_not_taken(text: str) -> None:
    with pytest.raises(ExportError):
        read_back(text.encode())
    with pytest.raises(ExportError, match="형식이 아니에요"):
        read_back(text.encode(), format_name="pairs-csv")


def test_a_quote_that_nobody_closes_ends_in_messages() -> None:
    rows = "".join(f"질문 {n},답 {n}\n" for n in range(20_000))
    _, messages, dropped = read_back(f'q,a\n안녕,"헐\n{rows}'.encode())
    assert messages[-1] == Message(None, "assistant", "답 19999", messages[-2].part)
    assert len(messages) > 20_000 and dropped == {"broken": 1}


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-05-01T20:02:11Z", EVENING.replace(second=11)),
        ("2024-05-01 20:02:11.4820000+0900", EVENING.replace(second=11)),
        ("2024-05-01 20:02 KST", EVENING),
        ("2024/5/1 오후 8:02", EVENING),
        ("2024. 5. 1. 오후 8:02", EVENING),
        ("2024년 5월 1일 수요일 오후 8:02", EVENING),
        ("2024-05-01 08:02 p.m.", EVENING),
        ("5/1/24", datetime(2024, 5, 1)),
        ("5/1/24 20:02", EVENING),
        ("5/1/24, 8:02 PM", EVENING),
        ("13/05/2024 20:02", EVENING.replace(day=13)),
        ("13/05/24", datetime(2024, 5, 13)),
        ("05/13/2024 20:02", EVENING.replace(day=13)),
        ("13/13/2024", None),
        ("5/1/124", None),
        ("20240501 20:02", EVENING),
        ("20240501T20:02:11", EVENING.replace(second=11)),
        ("20240501", datetime(2024, 5, 1)),
        ("20241301", None),
        ("202405011", datetime(1976, 6, 1, 0, 36, 51)),  # nine digits are seconds since 1970
        ("2024-05-01", datetime(2024, 5, 1)),
        ("2024-05-01 오전 12:00", datetime(2024, 5, 1)),
        ("2024-05-01 25:00", None),
        ("2024-02-30", None),
        ("99999999999999999999", None),
        ("20:02", None),
        ("-1", None),
    ],
)
def test_common_forms_of_a_time(text: str, time: datetime | None) -> None:
    if time is None:
        with pytest.raises(ValueError):
            common_time(text)
    else:
        assert common_time(text) == time


LOOKALIKES = ("q,a\n", "2024-05-01,다온,안녕\n", '","', '"\n', "\t;,", "2024. 5. 1. 오후 8:02, 다온 : 응\n")
WORDS = texts(*LOOKALIKES)
MESSAGES = st.lists(st.builds(Message, st.none() | TIMES, names(*LOOKALIKES), WORDS, st.just(0)), max_size=6)


@pytest.mark.parametrize("delimiter", ",;\t")
@settings(max_examples=50, deadline=None)
@given(found=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
def test_pairs_written_are_read_back(delimiter: str, found: list[tuple[str, str]]) -> None:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows([("question", "answer"), *found])
    assert read_back(file.getvalue().encode())[1:] == (_pairs(*found), {})


@pytest.mark.parametrize("delimiter", ",;\t")
@settings(max_examples=50, deadline=None)
@given(messages=MESSAGES)
def test_messages_written_are_read_back(delimiter: str, messages: list[Message]) -> None:
    file = io.StringIO()
    rows = [(time.isoformat() if time else "", speaker, text) for time, speaker, text, _ in messages]
    csv.writer(file, delimiter=delimiter).writerows([("time", "speaker", "text"), *rows])
    assert read_back(file.getvalue().encode()) == ("messages-csv", messages, {})
