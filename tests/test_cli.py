from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chatbot.history import History
from chatbot.knowledge import load_knowledge
from chatbot.resources import data_dir
from chatbot.style import speech_level
from tests.conftest import ROOT, Run


def test_ask_answers(run: Run) -> None:
    done = run("ask", "오늘 너무 피곤해")
    assert done.returncode == 0 and done.stderr == ""
    answers = {i.id: i.answers for i in load_knowledge().intents}["fatigue-tired-01"]
    assert done.stdout.strip() in answers.casual


def test_ask_reads_standard_input_and_prints_candidates(run: Run) -> None:
    done = run("ask", "-k", "3", stdin="오늘 기분이 좋아\n")
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert lines[1].split("\t")[1] == lines[0]


def test_ask_json_is_one_value_with_the_field_names_of_reply(run: Run) -> None:
    done = run("ask", "오늘 기분이 좋아", "--json", "-k", "2")
    reply = json.loads(done.stdout)
    assert set(reply) == {"text", "backend", "model", "score", "candidates", "seconds", "tokens", "reason"}
    assert reply["backend"] == "hybrid" and 0 <= reply["score"] <= 1
    assert [set(c) for c in reply["candidates"]] == [{"text", "score", "source"}] * 2


def test_talk_in_a_pipe_and_history(run: Run) -> None:
    done = run("talk", stdin="안녕\n\n오늘 기분이 좋아\n")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2 and done.stderr == ""
    shown = run("history", "show", "--json")
    turns = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [t["role"] for t in turns] == ["user", "assistant"] * 2
    assert [t["text"] for t in turns[1::2]] == done.stdout.splitlines()
    assert "골랐어요" in turns[1]["reason"] and turns[0]["reason"] is None
    assert turns[1]["backend"] == "hybrid" and turns[1]["candidates"] and turns[1]["seconds"] > 0
    assert len(run("history", "show").stdout.splitlines()) == 4


def test_talk_continues_and_resumes(run: Run) -> None:
    run("talk", stdin="안녕\n")
    run("talk", "--continue", stdin="오늘 기분이 좋아\n")
    summaries = [json.loads(line) for line in run("history", "list", "--json").stdout.splitlines()]
    assert [s["turns"] for s in summaries] == [4]
    run("ask", "비 오네")
    run("talk", "--resume", summaries[0]["id"][:6], stdin="또 왔어\n")
    summaries = [json.loads(line) for line in run("history", "list", "--json").stdout.splitlines()]
    assert [s["turns"] for s in summaries] == [2, 6]


def test_commands_in_a_pipe_print_to_standard_error(run: Run) -> None:
    done = run("talk", stdin="안녕\n/why\n/style 반말\n/오늘 뭐 먹지\n/hlep\n/nothing\n/quit\n안녕\n")
    assert len(done.stdout.splitlines()) == 3  # 안녕, /오늘 뭐 먹지 and /nothing are utterances
    assert "점수" in done.stderr and "반말" in done.stderr and "/help" in done.stderr


def test_teach_save_undo_retry_set_search_in_a_pipe(run: Run, tmp_path: Path) -> None:
    saved = tmp_path / "대화.jsonl"
    lines = [
        "안녕",
        "/retry",
        "/teach 어서 오시게",
        "/retry",
        "/set scorer dense",
        "/set scorer nothing",
        f"/save {saved}",
        f"/save {saved}",
        "/undo",
        "/search 어서",
        "/new",
        "/backend retrieval",
        "/backend nothing",
        "안녕",
    ]
    done = run("talk", stdin="\n".join(lines) + "\n")
    replies = done.stdout.splitlines()
    assert len(replies) == 4 and replies[0] != replies[1]
    assert replies[2] == replies[3] == "어서 오시게"
    messages = json.loads(saved.read_text(encoding="utf-8"))["messages"]
    assert messages[-1] == {"role": "assistant", "name": None, "content": "어서 오시게"}
    assert saved.stat().st_mode & 0o077 == 0
    for said in (
        "scorer dense",
        "fused, dense, tfidf",
        "이미 있어요",
        "되돌렸어요",
        "어서 오시게",
        "nothing",
    ):
        assert said in done.stderr, said


def test_history_search_export_delete(run: Run, tmp_path: Path) -> None:
    run("talk", stdin="오늘날씨가 좋다 ㅋㅋㅋ\n")
    for needle in ("날씨", "ㅋㅋ", "좋"):
        assert "날씨" in run("history", "search", needle).stdout
    found = [json.loads(line) for line in run("history", "search", "날씨", "--json").stdout.splitlines()]
    assert found[-1]["text"] == "오늘날씨가 좋다 ㅋㅋㅋ"  # newest first, and a reply may speak of it too
    assert run("history", "search", "날씬").stdout.startswith("'날씬'")
    number = json.loads(run("history", "list", "--json").stdout)["id"]
    out = tmp_path / "talk.jsonl"
    assert run("history", "export", number, "--out", str(out)).returncode == 0
    assert json.loads(out.read_text(encoding="utf-8"))["messages"][0]["content"] == "오늘날씨가 좋다 ㅋㅋㅋ"
    assert "오늘날씨가" in run("history", "export", number).stdout
    assert run("history", "delete", number).returncode == 2
    assert run("history", "delete", number, "--yes").returncode == 0
    assert run("history", "search", "날씨", "--json").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["ask", "안녕", "--backend", "nothing"], 2, "nothing"),
        (["ask", "안녕", "--backend", "retrieval", "--temperature", "1"], 2, "--temperature"),
        (["talk", "--backend", "retrieval", "--seed", "1"], 2, "--seed"),
        (["ask", "안녕", "--shots", "9"], 2, "--shots"),
        (["ask", "안녕", "--encoder", "없는것"], 1, "없는것"),
        (["ask", "안녕", "--data", "없는것.csv"], 1, "없는것.csv"),
        (["ask", "안녕", "--device", "tpu"], 2, "--device"),
        (["ask", "안녕", "--scorer", "bm25"], 2, "scorer"),
        (["ask"], 2, "chatbot ask"),
        (["talk", "--no-history", "--continue"], 2, "--no-history"),
        (["talk", "--continue"], 1, "저장된 대화가 없어요"),
        (["history", "show"], 1, "저장된 대화가 없어요"),
        (["history", "show", "zzz"], 1, "zzz"),
        (["data", "check", "없는파일"], 1, "없는파일"),
        (["evaluate", "--data", "없는파일"], 1, "없는파일"),
        (["evaluate", "--backend", "gpt", "--encoder", "x"], 2, "--encoder"),
        (["ask", "안녕", "--backend", "gpt", "--top-p", "2"], 2, "--top-p"),
        (["ask", "안녕", "--backend", "gpt", "--model", "없는것"], 1, "없는것"),
        (["ask", "안녕", "--backend", "gpt", "--encoder", "x"], 2, "--encoder"),
    ],
)
def test_wrong_use_gets_one_sentence_and_a_code(run: Run, arguments: list[str], code: int, says: str) -> None:
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_a_history_in_trouble_does_not_stop_a_talk(run: Run, home: Path) -> None:
    home.mkdir()
    (home / "history.db").write_bytes(b"no database at all" * 300)
    done = run("talk", stdin="안녕\n오늘 기분이 좋아\n")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2
    assert "손상" in done.stderr and "저장되지 않아요" in done.stderr
    assert run("history", "list").returncode == 1


def test_no_history_writes_nothing(run: Run, home: Path) -> None:
    assert run("ask", "안녕", "--no-history").returncode == 0
    assert not (home / "history.db").exists()


def test_output_is_utf8_whatever_the_locale(run: Run) -> None:
    done = run("ask", "안녕", LC_ALL="C", PYTHONIOENCODING="cp949", PYTHONUTF8="0")
    assert done.returncode == 0 and any("가" <= c <= "힣" for c in done.stdout)


def test_a_reader_that_leaves_is_no_error(home: Path) -> None:
    command = f"{sys.executable} -m chatbot history list --json | head -n 1; echo ${{PIPESTATUS[0]}}"
    history = History()
    from chatbot.dialogue import Conversation, Turn

    for n in range(3000):
        talk = Conversation(id=f"talk{n}")
        history.start(talk)
        history.add_turn(talk, Turn("user", "가" * 50))
    history.close()
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "CHATBOT_HOME": str(home)},
    )
    assert "Traceback" not in done.stderr and "Error" not in done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_doctor_and_help(run: Run) -> None:
    facts = json.loads(run("doctor", "--json").stdout)
    assert facts["missing"] == [] and facts["torch"] and facts["백엔드"].startswith("retrieval")
    for command in ([], ["talk"], ["ask"], ["history"], ["data"], ["evaluate"], ["doctor"]):
        done = run(*command, "--help")
        assert done.returncode == 0 and any("가" <= c <= "힣" for c in done.stdout)


def test_data_check_of_what_ships(run: Run) -> None:
    done = run("data", "check", "--no-encoder")
    assert done.returncode == 0, done.stderr
    counts = dict(line.split("\t") for line in done.stdout.splitlines())
    assert int(counts["의도"]) >= 400 and int(counts["주제"]) >= 30 and int(counts["대화"]) >= 60
    done = run("data", "check", str(data_dir() / "qa" / "fatigue.jsonl"))
    assert done.returncode == 0 and "다른 의도와 뜻이 겹치는 질문\t" in done.stdout


def test_markup_in_texts_is_printed_as_it_is(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text("question,answer\n대괄호,[bold red]빨강[/] :smile: \x1b[31m\n", encoding="utf-8")
    assert run("ask", "대괄호", "--data", str(file)).stdout.strip() == "[bold red]빨강[/] :smile:"
    run("talk", "--data", str(file), stdin="대괄호\n")
    assert "[bold red]빨강[/] :smile:" in run("history", "show").stdout


def test_a_line_that_cannot_be_answered_does_not_end_the_talk(run: Run, home: Path) -> None:
    home.mkdir()
    (home / "datasets").write_text("a file where a folder should be")
    done = run("talk", stdin="안녕\n/teach 반가워\n\x07\n안녕\n")
    assert len(done.stdout.splitlines()) == 2 and done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "taught" in done.stderr


def test_another_backend_keeps_the_options_it_can_use(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text("question,answer\n학식 뭐야,돈까스래\n", encoding="utf-8")
    done = run("talk", "--data", str(file), stdin="/backend retrieval\n학식 뭐야\n")
    assert done.stdout.strip() == "돈까스래"


def test_a_question_is_stored_even_if_the_backend_cannot_be_opened(run: Run) -> None:
    done = run("ask", "이건 남아야 해", "--encoder", "없는것")
    assert done.returncode == 1 and "없는것" in done.stderr
    assert "이건 남아야 해" in run("history", "show").stdout


def test_ask_json_has_all_candidates(run: Run) -> None:
    assert len(json.loads(run("ask", "오늘 기분이 좋아", "--json").stdout)["candidates"]) == 5


def test_data_check_takes_pairs_and_names_broken_rows(run: Run, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("question,answer\n안녕,반가워\n", encoding="utf-8")
    assert run("data", "check", str(pairs)).stdout == "질문과 답\t1\n"
    odd = tmp_path / "odd.jsonl"
    row = {
        "id": "a",
        "topic": 3,
        "questions": "글",
        "dev_questions": ["나"],
        "test_questions": ["다"],
        "answers": ["라"],
    }
    odd.write_text(json.dumps(row) + "\n" + json.dumps({"question": "\x1b[31m나", "answer": "가"}) + "\n")
    done = run("data", "check", str(odd))
    assert done.returncode == 1 and "Traceback" not in done.stderr and "\x1b" not in done.stderr
    assert "1번째 줄" in done.stderr and "2번째 줄" in done.stderr


def test_gpt_answers_in_the_style_asked_for(run: Run) -> None:
    for style in ("polite", "casual"):
        done = run("ask", "오늘 너무 피곤해", "--backend", "gpt", "--style", style, "--seed", "3", "--json")
        reply = json.loads(done.stdout)
        assert done.returncode == 0 and reply["backend"] == "gpt" and reply["model"] == "gpt"
        assert speech_level(reply["text"]) in (style, None) and 0 < reply["score"] < 1
    again = run("ask", "오늘 너무 피곤해", "--backend", "gpt", "--style", "casual", "--seed", "3")
    assert again.stdout.strip() == reply["text"]


def test_another_backend_hears_what_was_said_before(run: Run) -> None:
    done = run("talk", stdin="안녕\n/backend gpt\n오늘 너무 피곤해\n/why\n/retry\n")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3
    assert "대화는 이어져요" in done.stderr and "백엔드 gpt" in done.stderr
    records = [json.loads(line) for line in run("history", "show", "--json").stdout.splitlines()]
    shown = [r for r in records if not r.get("undone")]
    assert [r["text"] for r in shown][0::2] == ["안녕", "오늘 너무 피곤해"]
    assert [r["backend"] for r in shown if r["role"] == "assistant"] == ["hybrid", "gpt"]


def test_evaluate_gpt_reports_as_json(run: Run, tmp_path: Path) -> None:
    out, data = tmp_path / "figures.json", tmp_path / "pairs.csv"
    data.write_text("question,answer\n배고파,밥 먹어요\n졸려,얼른 자요\n", encoding="utf-8")
    done = run("evaluate", "--backend", "gpt", "--data", str(data), "--json", "--out", str(out))
    figures = json.loads(done.stdout)
    assert figures == json.loads(out.read_text(encoding="utf-8"))
    assert figures["replies"]["ended"] >= 0.95 and figures["replies"]["loops"] <= 0.02
    assert figures["replies"]["empty"] == figures["replies"]["broken"] == 0


def test_models_that_ship_and_ones_own_are_listed_and_shown(run: Run, home: Path) -> None:
    own = home / "models" / "서연-gpt"
    own.mkdir(parents=True)
    described = {"kind": "gpt", "base_model": "skt/kogpt2-base-v2", "dataset": ["서연"]}
    (own / "chatbot.json").write_text(json.dumps(described), encoding="utf-8")
    (own / "README.md").write_text("---\nlicense: cc-by-nc-sa-4.0\n---\n# 서연\n", encoding="utf-8")
    (home / "models" / "깨짐").mkdir()
    (home / "models" / "깨짐" / "chatbot.json").write_text("{", encoding="utf-8")
    listed = run("models", "list", "--json")
    found = {row["name"]: row for row in map(json.loads, listed.stdout.splitlines())}
    assert list(found) == ["gpt", "encoder", "reranker", "서연-gpt"] and "깨짐" in listed.stderr
    assert found["서연-gpt"]["licence"] == "CC BY-NC-SA 4.0" and found["서연-gpt"]["datasets"] == ["서연"]
    assert found["gpt"]["ships"] and found["gpt"]["licence"] == "CC BY-SA 4.0"
    shown = run("models", "show", "서연-gpt")
    assert "skt/kogpt2-base-v2" in shown.stdout and "--model 서연-gpt" in shown.stdout
    assert run("models", "show", "서연-gpt", "--card").stdout.endswith("# 서연\n")
    card = run("models", "show", "gpt", "--card").stdout
    assert "Kneser-Ney" in card and "CC BY" in card
    nothing = run("models", "show", "없는것")
    assert nothing.returncode == 2 and "서연-gpt" in nothing.stderr
