from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from chatbot.datacheck import check, merged
from chatbot.errors import ChatbotError
from chatbot.models.encoder import load_encoder
from chatbot.resources import data_dir


def intent(**changes: Any) -> dict[str, Any]:
    return {
        "id": "t-1",
        "topic": "t",
        "questions": ["하나", "둘", "셋"],
        "dev_questions": ["넷"],
        "test_questions": ["다섯"],
        "answers": {"polite": ["좋아요.", "그래요."], "casual": ["좋아.", "그래."]},
        **changes,
    }


def problems(folder: Path, *rows: dict[str, Any], name: str = "t") -> str:
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return "\n".join(check(file).problems)


def test_lines_of_a_situation_have_replies_and_stand_in_no_other(tmp_path: Path) -> None:
    def situation(name: str, *said: str, polite: str = "참 힘드셨겠어요.") -> dict[str, Any]:
        answers = {"polite": [polite], "casual": ["참 힘들었겠다."]}
        return {"id": name, "topic": "listening", "questions": said, "answers": answers}

    assert problems(tmp_path, situation("s-1", "버스 놓쳤어"), situation("s-2", "지갑 잃어버렸어")) == ""
    assert "s-1에도" in problems(tmp_path, situation("s-1", "버스 놓쳤어"), situation("s-2", "버스  놓쳤어!"))
    assert "두 번" in problems(tmp_path, situation("s-1", "버스 놓쳤어"), situation("s-1", "지갑 잃어버렸어"))
    assert "반말" in problems(tmp_path, situation("s-1", "버스 놓쳤어", polite="참 힘들었겠다."))
    assert "answers" in problems(tmp_path, {"id": "s-1", "topic": "listening", "questions": ["버스 놓쳤어"]})
    only = {**situation("s-1", "버스 놓쳤어"), "answers": {"formal": ["참 힘드셨겠어요."]}}
    assert "polite 답이 없어요" in problems(tmp_path, only)


def test_a_good_file_has_no_problems(tmp_path: Path) -> None:
    assert (
        problems(
            tmp_path,
            intent(),
            intent(id="t-2", questions=["가", "나", "다"], dev_questions=["라"], test_questions=["마"]),
        )
        == ""
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"questions": ["하나", "둘"]}, "3개보다"),
        ({"dev_questions": []}, "dev_questions"),
        ({"test_questions": ["하 나!"]}, "하 나!"),
        ({"answers": {"polite": ["좋아요."], "casual": ["좋아.", "그래."]}}, "polite"),
        ({"answers": {"polite": ["좋아요.", "밥 먹어."], "casual": ["좋아.", "그래."]}}, "반말"),
        ({"answers": {"polite": ["좋아요.", "그래요."], "casual": ["좋아.", "그래요."]}}, "존댓말"),
        (
            {"answers": {"polite": ["010-1234-5678로 전화해요.", "그래요."], "casual": ["좋아.", "그래."]}},
            "개인정보",
        ),
        ({"answers": {"polite": ["좋아요.", "그래요."], "casual": ["이 병신아", "그래."]}}, "안 되는 말"),
        ({"questions": [" 하나", "둘", "셋"]}, "빈칸"),
        ({"topic": "other"}, "파일 이름"),
    ],
)
def test_every_fault_is_found_with_its_line(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    found = problems(tmp_path, intent(**changes))
    assert says in found and "1번째 줄" in found


def test_faults_across_lines(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        intent(),
        intent(questions=["여섯", "일곱", "둘"], dev_questions=["여덟"], test_questions=["아홉"]),
    )
    assert "두 번 쓰였어요" in found and "'둘'" in found


def test_evaluation_lines(tmp_path: Path) -> None:
    assert "label" in problems(tmp_path, {"text": "가", "label": "x", "half": "dev"}, name="unseen")
    assert "half" in problems(tmp_path, {"text": "가", "label": "ood", "half": "train"}, name="unseen")
    twice = {"text": "가", "label": "ood", "half": "dev"}
    assert "두 번" in problems(tmp_path, twice, twice, name="unseen")


def test_follow_ups_must_point_at_a_reply(tmp_path: Path) -> None:
    dialogue = {
        "id": "d",
        "messages": [{"role": "user", "content": "가"}, {"role": "assistant", "content": "좋아."}],
        "meta": {"style": "casual"},
    }
    item = {"id": "f", "half": "dev", "messages": [], "target": "d#3"}
    assert "d#3" in problems(tmp_path, dialogue, item)
    assert problems(tmp_path, dialogue, {**item, "target": "d#1"}) == ""


def test_broken_lines(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"a": 1}\n{broken\n[]\n', encoding="utf-8")
    found = check(file).problems
    assert len(found) == 3 and "2번째 줄" in found[1] and "3번째 줄" in found[2]


def test_near_copies_within_an_intent_count_once(tmp_path: Path) -> None:
    assert (
        merged(
            ["오늘 저녁 뭐 먹지", "오늘 저녁 뭐 먹지?!", "오늘 저녁은 뭐 먹지", "배고픈데 메뉴 좀 골라 줘"]
        )
        == 2
    )
    assert merged(["ㅋㅋ", "?", "!!"]) == 3
    copies = ["저녁에 뭐 먹을까요", "저녁에 뭐 먹을까요?", "저녁엔 뭐 먹을까요", "점심은 걸렀어"]
    assert "서로 다른 질문이" in problems(tmp_path, intent(questions=copies))
    file = tmp_path / "t.jsonl"
    assert check(file).counts["질문"] == 4
    assert check(file).counts["질문(비슷한 것을 합치면)"] == 2


def warnings(folder: Path, *rows: dict[str, Any]) -> str:
    problems(folder, *rows)
    return "\n".join(check(folder / "t.jsonl").warnings)


def another(n: int, **changes: Any) -> dict[str, Any]:
    questions = [f"{n}번째 {word}" for word in ("사과", "바다 여행", "겨울 아침 산책")]
    own = {"id": f"t-{n}", "questions": questions, "dev_questions": [f"{n}d"], "test_questions": [f"{n}t"]}
    return intent(**{**own, **changes})


def test_an_answer_that_fits_everything_is_warned_of(tmp_path: Path) -> None:
    answers = {
        "polite": ["정말 그렇군요.", "참 좋네요, 그래요."],
        "casual": ["그렇구나, 그래.", "참 좋네, 그래."],
    }
    few = warnings(tmp_path, *(another(n, answers=answers) for n in range(3)))
    many = warnings(tmp_path, *(another(n, answers=answers) for n in range(4)))
    assert "쓰인 답" not in few and "4가지 질문에 쓰인 답" in many


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"questions": ["하나", "둘", "길" * 61]}, "60자보다"),
        ({"answers": {"polite": ["좋아요" * 40, "그래요."], "casual": ["좋아.", "그래."]}}, "90자"),
        (
            {"answers": {"polite": ["그건 좋아. 저도 그래요.", "그래요."], "casual": ["좋아.", "그래."]}},
            "섞인",
        ),
        ({"answers": {"polite": ["그건 좋아요ㅋㅋ", "그래요."], "casual": ["좋아.", "그래."]}}, "ㅋㅋ"),
    ],
)
def test_outliers_are_warned_of(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    assert says in warnings(tmp_path, intent(**changes))


def test_topics_out_of_balance_are_warned_of(tmp_path: Path) -> None:
    def topic(name: str, first: int, count: int) -> None:
        rows = [another(n, topic=name) for n in range(first, first + count)]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")

    topic("even", 0, 4)
    topic("balanced", 10, 5)
    assert not any("크게 달라요" in warning for warning in check(tmp_path).warnings)
    topic("huge", 100, 30)
    assert next(w for w in check(tmp_path).warnings if "크게 달라요" in w).startswith("huge")


def test_the_encoder_finds_questions_of_two_intents_that_mean_the_same(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    rows = [
        another(1, questions=["오늘 너무 피곤해요", "하나", "강아지가 아파요"]),
        another(2, questions=["오늘 진짜 피곤해요", "기차를 놓쳤어", "라면 먹고 싶다"]),
    ]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    report = check(file, encoder=load_encoder)
    assert report.counts["다른 의도와 뜻이 겹치는 질문"] == 1
    assert any("오늘 진짜 피곤해요" in warning for warning in report.warnings)


def test_sentences_that_stand_in_other_text_are_found(tmp_path: Path) -> None:
    corpora = tmp_path / "corpora"
    (corpora / "deep").mkdir(parents=True)
    with gzip.open(corpora / "deep" / "chat.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps({"turns": [{"text": "어제는 비가 와서. 우산을 쓰고 학교에 갔답니다!"}]}) + "\n")
    (corpora / "pairs.csv").write_text("q,a\n밥 먹었어,우리 집 고양이는 창밖만 봐요\n", encoding="utf-8")
    (corpora / "photo.png").write_bytes(b"\x89PNG")
    file = tmp_path / "t.jsonl"
    row = intent(
        questions=["우산을 쓰고 학교에 갔답니다", "밥먹었어?", "아무 데도 없는 말이라 괜찮아요"],
        answers={"polite": ["우리집 고양이는 창밖만 봐요.", "그래요."], "casual": ["좋아.", "그래."]},
    )
    file.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    report = check(file, against=corpora)
    assert len(report.problems) == 2
    assert "pairs.csv" in report.problems[0] and "chat.jsonl.gz" in report.problems[1]
    assert report.counts["다른 말뭉치에도 있는 10음절 미만의 말"] == 1
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ChatbotError, match="empty"):
        check(file, against=empty)


def test_graded_pairs_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "graded.jsonl"
    file.write_text(
        '{"a": "비가 온다", "b": "비 내린다", "score": 5}\n{"a": "비가 온다", "b": "눈", "score": 6}\n',
        "utf-8",
    )
    report = check(file)
    assert report.counts == {"뜻이 얼마나 같은지 매긴 짝": 2}
    assert len(report.problems) == 1 and "score 6" in report.problems[0]


def test_the_readme_of_the_data_counts_what_is_there() -> None:
    report = check()
    assert report.problems == []
    text = (data_dir() / "README.md").read_text(encoding="utf-8")
    table = text.split("<!-- counts -->")[1].split("<!-- /counts -->")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[3:]]
    assert {name: int(count.replace(",", "")) for name, count in rows} == report.counts


def test_what_ships_is_as_large_as_it_says() -> None:
    counts = check().counts
    assert counts["의도"] >= 2500 and counts["주제"] >= 40
    assert counts["질문(비슷한 것을 합치면)"] >= 12_000 and counts["답"] >= 10_000
    assert counts["대화"] >= 800 and counts["이름 있는 사람들의 대화"] >= 150


@pytest.mark.parametrize("name", ["own.csv", "own.tsv", "own.jsonl"])
def test_a_table_is_checked_as_json_lines_are(tmp_path: Path, name: str) -> None:
    row = ("번호 뭐야?", "010-1234-5678이야")
    mark = "," if name.endswith("csv") else "\t"
    text = f"question{mark}answer\n{mark.join(row)}\n{mark}빈칸\n"
    if name.endswith("jsonl"):
        text = "\ufeff" + json.dumps(dict(zip(("question", "answer"), row, strict=True)), ensure_ascii=False)
    (tmp_path / name).write_text(text, encoding="utf-8")
    report = check(tmp_path / name)
    assert "2번째 줄: 개인정보" in report.problems[0].replace("1번째", "2번째")
    assert len(report.problems) == (1 if name.endswith("jsonl") else 2)
