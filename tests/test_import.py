from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import zipfile
from datetime import datetime, timedelta
from pathlib import Path

import pexpect
import pytest

from chatbot.chatlogs.importing import Request, forget_speaker, import_exports, stored_messages
from chatbot.chatlogs.message import ExportError
from chatbot.datasets import datasets_dir, list_datasets, open_dataset
from chatbot.errors import ChatbotError, UsageError
from chatbot.knowledge import load_dialogues, load_knowledge
from chatbot.resources import data_dir
from tests.conftest import ROOT, Run

ANDROID = data_dir() / "samples" / "kakaotalk_android.txt"
WINDOWS = data_dir() / "samples" / "kakaotalk_windows.txt"
# What is planted in the samples: (pattern, how often at least, in both together)
PLANTED = re.compile(r"010-0000-\d{4}|\d{3}-\d{3}-\d{6}|[\w.]+@example\.\w+|\d+동 \d+호")


def android(*lines: tuple[str, str, str], day: str = "2024년 5월 1일") -> bytes:
    """An export of (clock, speaker, text) on one day."""
    head = "방 님과 카카오톡 대화\r\n저장한 날짜 : 2024년 6월 2일 오후 9:14\n\n\r\n"
    return (head + "".join(f"{day} {clock}, {who} : {text}\r\n" for clock, who, text in lines)).encode()


TALK = (
    ("오후 8:02", "나", "저녁 먹었어?"), ("오후 8:03", "다빈", "응 김치찌개"), ("오후 8:03", "다빈", "너는?"),
    ("오후 8:05", "나", "아직"), ("오후 8:06", "다빈", "얼른 먹어"), ("오후 8:06", "나", "ㅋㅋ"), ("오후 8:06", "나", "ㅋㅋ"),
    ("오후 8:07", "다빈", "웃지 말고"),
)  # fmt: skip


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "대화.txt"
    path.write_bytes(android(*TALK))
    return path


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def terminal(home: Path, *arguments: str) -> pexpect.spawn:
    """Start ``chatbot`` in a pseudo-terminal."""
    return pexpect.spawn(
        sys.executable,
        ["-m", "chatbot", *arguments],
        env={**os.environ, "CHATBOT_HOME": str(home), "TERM": "xterm-256color"},
        encoding="utf-8",
        dimensions=(40, 100),
        timeout=60,
        cwd=ROOT,
    )


def test_an_import_holds_messages_dialogues_and_pairs(talk: Path) -> None:
    dataset = import_exports([talk], Request("친구", ("나",)))
    assert [m.text for m in stored_messages(dataset.messages)] == [text for _, _, text in TALK]
    (dialogue,) = lines(dataset.dialogues)
    assert [(m["role"], m["name"], m["content"]) for m in dialogue["messages"]] == [
        ("user", "나", "저녁 먹었어?"), ("assistant", "다빈", "응 김치찌개\n너는?"), ("user", "나", "아직"),
        ("assistant", "다빈", "얼른 먹어"), ("user", "나", "ㅋㅋ\nㅋㅋ"), ("assistant", "다빈", "웃지 말고"),
    ]  # fmt: skip
    assert lines(dataset.pairs)[0] == {
        "question": "저녁 먹었어?", "answer": "응 김치찌개\n너는?", "time": "2024-05-01T20:03:00", "split": "train",
    }  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in dataset.folder.iterdir()} == {0o600}
    assert stat.S_IMODE(dataset.folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in datasets_dir().iterdir()) == ["친구"]


def test_files_of_one_room_merge_without_duplicates(tmp_path: Path, talk: Path) -> None:
    later = tmp_path / "나중.txt"
    # the same room from the other one's telephone: it begins earlier, ends later, and calls its owner otherwise
    renamed = [(clock, {"나": "지호", "다빈": "다빈"}[who], text) for clock, who, text in TALK]
    later.write_bytes(android(("오후 8:01", "다빈", "있어?"), *renamed, ("오후 9:00", "지호", "잘 자")))
    dataset = import_exports([talk, later], Request("친구", ("나", "지호")))
    texts = [m.text for m in stored_messages(dataset.messages)]
    assert texts == ["있어?", *(text for _, _, text in TALK), "잘 자"]
    assert dataset.facts["report"]["speakers"].keys() == {"나", "다빈"}


def test_the_split_is_by_time_and_by_whole_sessions(tmp_path: Path) -> None:
    path, start = tmp_path / "chat.csv", datetime(2024, 1, 1, 9)
    rows = ["Date,User,Message"]
    for session in range(100):
        for n in range(6):
            time = start + timedelta(days=session, minutes=n)
            rows.append(
                f'{time:%Y-%m-%d %H:%M:%S},"{"나다빈"[n % 2 :][:1] if n % 2 == 0 else "다빈"}","말{session} {n}"'
            )
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    dataset = import_exports([path], Request("친구", bot="다빈"))
    splits = [(d["meta"]["started"], d["meta"]["split"]) for d in lines(dataset.dialogues)]
    assert [split for _, split in sorted(splits)] == ["train"] * 80 + ["valid"] * 10 + ["test"] * 10
    by_day: dict[str, set[str]] = {}
    for pair in lines(dataset.pairs):
        by_day.setdefault(pair["time"][:10], set()).add(pair["split"])
    assert all(len(found) == 1 for found in by_day.values())


@pytest.mark.parametrize("sample", [ANDROID, WINDOWS])
def test_what_is_planted_in_the_samples_appears_nowhere(run: Run, home: Path, sample: Path) -> None:
    assert PLANTED.search(sample.read_text(encoding="utf-8"))
    speaker = {"android": "서연", "windows": "한결"}[sample.stem.split("_")[1]]
    imported = run("import", str(sample), "--name", "견본", "--bot", speaker)
    assert imported.returncode == 0, imported.stderr
    asked = "".join(f"{row['question']}\n" for row in lines(home / "datasets" / "견본" / "pairs.jsonl")[:40])
    talked = run("talk", "--data", "견본", stdin=asked)
    printed = run("import", str(sample), "--json")
    everything = imported.stdout + imported.stderr + talked.stdout + talked.stderr + printed.stdout
    for path in home.rglob("*"):
        if path.is_file():
            everything += path.read_bytes().decode("utf-8", "replace")
    assert PLANTED.findall(everything) == []
    assert "[전화번호]" in everything


def test_from_export_to_talk_in_two_commands(run: Run) -> None:
    imported = run("import", str(ANDROID), "--name", "서연", "--me", "회원님")
    assert (
        imported.returncode == 0
        and "서연" in imported.stdout
        and "chatbot talk --data 서연" in imported.stderr
    )
    pairs = load_knowledge("서연").entries
    question = next(e for e in pairs if len(e.question) > 15)
    done = run("ask", question.question, "--data", "서연", "--json")
    reply = json.loads(done.stdout)
    assert (
        reply["candidates"][0]["source"].startswith("서연 2026-")
        and reply["text"] in question.answers.casual[0]
    )
    # nothing of theirs is near: the shipped set answers
    fallback = json.loads(run("ask", "너는 이름이 뭐야?", "--data", "서연", "--json").stdout)
    assert not fallback["candidates"][0]["source"].startswith("서연 ")
    turns = [json.loads(line) for line in run("history", "show", "--json").stdout.splitlines()]
    assert turns[1]["name"] is None


def test_a_reply_of_the_dataset_is_stored_under_the_speakers_name(run: Run) -> None:
    run("import", str(ANDROID), "--name", "서연", "--me", "회원님")
    question = next(e for e in load_knowledge("서연").entries if len(e.question) > 15).question
    run("ask", question, "--data", "서연")
    turns = [json.loads(line) for line in run("history", "show", "--json").stdout.splitlines()]
    assert [turn["name"] for turn in turns] == [None, "서연"]


def test_json_prints_messages_and_nothing_else(run: Run, talk: Path) -> None:
    done = run("import", str(talk), "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert (
        rows[0] == {"time": "2024-05-01T20:02:00", "speaker": "나", "text": "저녁 먹었어?"} and len(rows) == 8
    )
    assert json.loads(done.stderr) == {"format": "kakaotalk-android", "encoding": "utf-8"}


def test_a_recognised_file_without_messages(run: Run, tmp_path: Path, home: Path) -> None:
    path = tmp_path / "빈방.txt"
    path.write_bytes(android())
    done = run("import", str(path), "--json")
    assert (done.returncode, done.stdout) == (0, "") and json.loads(done.stderr)["format"].startswith(
        "kakaotalk"
    )
    assert run("import", str(path), "--name", "빈방").returncode == 1
    assert list((home / "datasets").iterdir()) == []


def test_what_json_prints_can_be_imported(run: Run, tmp_path: Path, talk: Path) -> None:
    again = tmp_path / "messages.jsonl"
    again.write_text(run("import", str(talk), "--json").stdout, encoding="utf-8")
    assert run("import", str(again), "--json").stdout == again.read_text(encoding="utf-8")


def bad_files(folder: Path) -> dict[str, bytes | None]:
    broken = json.dumps({"name": "방", "type": "personal_chat", "id": 1, "messages": [{"id": 1}] * 3})[:-20]
    zipped = folder / "made.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("readme.md", "대화가 없어요")
    return {
        "folder": None,
        "image.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20,
        "empty.txt": b"",
        "broken.json": broken.encode(),
        "nothing.zip": zipped.read_bytes(),
        "poem.txt": "아무 형식도 아닌\n그냥 글이에요\n".encode(),
    }


@pytest.mark.parametrize(
    "name", ["folder", "image.png", "empty.txt", "broken.json", "nothing.zip", "poem.txt", "none.txt"]
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    run: Run, tmp_path: Path, home: Path, name: str
) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name != "none.txt":
        path.write_bytes(bad_files(tmp_path)[name] or b"")
    done = run("import", str(path), "--name", "친구", "--me", "나")
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(r"오류: .*" + re.escape(name) + r".*요\.\n", done.stderr), done.stderr
    assert not (home / "datasets").exists() or list((home / "datasets").iterdir()) == []


def test_an_unknown_me_lists_who_is_there(run: Run, talk: Path, home: Path) -> None:
    done = run("import", str(talk), "--name", "친구", "--me", "철수")
    assert done.returncode == 2 and "나(4마디)" in done.stderr and "다빈(4마디)" in done.stderr
    assert list((home / "datasets").iterdir()) == []
    assert run("import", str(talk), "--name", "친구").returncode == 2  # in a pipe nobody can be asked


@pytest.mark.parametrize("name", ["../밖", "", "taught", ".숨김", "a/b"])
def test_a_name_cannot_lead_out_of_the_folder(run: Run, talk: Path, name: str) -> None:
    assert run("import", str(talk), "--name", name, "--me", "나").returncode == 2


def test_a_failed_import_leaves_the_dataset_that_was_there(talk: Path, tmp_path: Path) -> None:
    import_exports([talk], Request("친구", ("나",)))
    empty = tmp_path / "빈방.txt"
    empty.write_bytes(android())
    with pytest.raises(ExportError):
        import_exports([empty], Request("친구", ("나",)))
    assert len(lines(open_dataset("친구").pairs)) == 3
    assert sorted(path.name for path in datasets_dir().iterdir()) == ["친구"]


def test_a_group_answers_as_the_one_chosen(tmp_path: Path) -> None:
    path = tmp_path / "모임.txt"
    path.write_bytes(
        android(
            ("오후 8:00", "민서", "언제 봐?"),
            ("오후 8:01", "다빈", "토요일"),
            ("오후 8:02", "나", "몇 시?"),
            ("오후 8:03", "다빈", "세 시"),
            ("오후 8:04", "민서", "다빈아 고마워"),
            ("오후 8:05", "나", "나도"),
        )
    )
    with pytest.raises(UsageError, match="--bot"):
        import_exports([path], Request("모임", ("나",)))
    dataset = import_exports([path], Request("모임", ("나",), "다빈"))
    assert [(p["question"], p["answer"]) for p in lines(dataset.pairs)] == [
        ("언제 봐?", "토요일"),
        ("몇 시?", "세 시"),
    ]
    turns, _ = load_dialogues("모임")[0]
    assert [turn.name for turn in turns] == ["민서", "다빈", "나", "다빈", "민서", "나"]

    forgotten = forget_speaker(dataset, "민서")
    assert "민서" not in forgotten.messages.read_text(encoding="utf-8")
    assert [(p["question"], p["answer"]) for p in lines(forgotten.pairs)] == [("몇 시?", "세 시")]
    assert forgotten.facts["report"]["dropped"]["forgotten"] == 2
    with pytest.raises(ChatbotError, match="data delete"):
        forget_speaker(forgotten, "다빈")


def test_a_speaker_without_a_saved_name_keeps_apart_from_another(tmp_path: Path) -> None:
    path = tmp_path / "방.txt"
    path.write_bytes(
        android(
            ("오후 8:00", "나", "누구세요?"),
            ("오후 8:01", "010-1234-9999", "응"),
            ("오후 8:02", "010-1234-5678", "안녕"),
        )
    )
    dataset = import_exports([path], Request("방", ("나",), "[전화번호] 2"))
    assert set(dataset.facts["report"]["speakers"]) == {"[전화번호]", "[전화번호] 2", "나"}


def test_no_mask_keeps_numbers_and_says_so(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "방.txt"
    path.write_bytes(android(("오후 8:00", "나", "번호 뭐야?"), ("오후 8:01", "다빈", "010-1234-5678이야")))
    assert "010-1234-5678" not in run("import", str(path), "--json").stdout
    assert "010-1234-5678" in run("import", str(path), "--json", "--no-mask").stdout
    run("import", str(path), "--name", "방", "--me", "나", "--no-mask")
    assert "--no-mask" in run("data", "show", "방").stdout


def test_preview_shows_before_and_after_and_keeps_nothing(run: Run, home: Path) -> None:
    done = run("import", str(ANDROID), "--preview")
    assert done.returncode == 0 and re.search(r"- .*010-0000-\d{4}.*\n\+ .*\[전화번호\]", done.stdout)
    assert not (home / "datasets").exists()


def test_names_of_others_are_hidden_on_request(tmp_path: Path) -> None:
    path = tmp_path / "방.txt"
    path.write_bytes(android(("오후 8:00", "나", "문지호 봤어?"), ("오후 8:01", "다빈", "지호는 집에 갔어")))
    dataset = import_exports([path], Request("방", ("나",), hidden_names=("문지호",)))
    assert [m.text for m in stored_messages(dataset.messages)] == ["[이름] 봤어?", "[이름]는 집에 갔어"]


def test_show_list_and_delete(run: Run, home: Path, talk: Path) -> None:
    run("import", str(ANDROID), "--name", "서연", "--me", "회원님")
    run("ask", "뭐해?", "--data", "서연")
    model = home / "models" / "서연-gpt"
    model.mkdir(parents=True)
    (model / "chatbot.json").write_text(json.dumps({"dataset": "서연"}), encoding="utf-8")
    assert "기간\t2026-03-02" in run("data", "show", "서연").stdout
    assert json.loads(run("data", "list", "--json").stdout)["name"] == "서연"
    assert [d.name for d in list_datasets()[0]] == ["서연"]
    assert run("data", "delete", "서연").returncode == 2  # not without asking
    done = run("data", "delete", "서연", "--yes")
    assert done.returncode == 0
    assert not (home / "datasets" / "서연").exists() and not model.exists()
    assert list((home / "indexes").iterdir()) == []
    assert run("data", "show", "서연").returncode == 1


def test_forget_lists_the_checkpoints_trained_before(run: Run, home: Path, tmp_path: Path) -> None:
    path = tmp_path / "모임.txt"
    path.write_bytes(
        android(
            ("오후 8:00", "민서", "안녕"), ("오후 8:01", "나", "언제 봐?"), ("오후 8:02", "다빈", "토요일")
        )
    )
    run("import", str(path), "--name", "모임", "--me", "나", "--bot", "다빈")
    model = home / "models" / "모임-gpt"
    model.mkdir(parents=True)
    (model / "chatbot.json").write_text(json.dumps({"dataset": "모임"}), encoding="utf-8")
    done = run("data", "forget", "모임", "--speaker", "민서", "--yes")
    assert done.returncode == 0 and str(model) in done.stderr
    assert run("data", "forget", "모임", "--speaker", "철수", "--yes").returncode == 2


def test_pairs_of_a_table_need_no_names(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("question,answer\n뭐해?,밥 먹어\n어디야?,집이야\n", encoding="utf-8")
    dataset = import_exports([path], Request("표"))
    assert [(p["question"], p["answer"]) for p in lines(dataset.pairs)] == [
        ("뭐해?", "밥 먹어"),
        ("어디야?", "집이야"),
    ]


def test_on_a_terminal_it_asks_who_is_who_and_draws_the_report(home: Path, talk: Path) -> None:
    child = terminal(home, "import", str(talk), "--name", "친구")
    child.expect("나는 누구인가요")
    child.sendline("철수")
    child.expect("목록에 있는")
    child.sendline("2")
    child.expect("존댓말.*반말")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert open_dataset("친구").speaker == "나"  # the second of the list is 다빈, so 나 is imitated


def table(folder: Path, name: str, *rows: tuple[str, str, str]) -> Path:
    """A KakaoTalk table of (time, speaker, text)."""
    path = folder / name
    path.write_text(
        "Date,User,Message\n" + "".join(f'{time},"{who}","{text}"\n' for time, who, text in rows),
        encoding="utf-8",
    )
    return path


def test_a_zip_of_several_rooms_is_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rooms.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for room in ("alice", "bob"):
            archive.writestr(f"inbox/{room}/chat.txt", android(*TALK))
    done = run("import", str(path), "--json")
    assert done.returncode == 1 and "대화방이 2개" in done.stderr


def test_dialogues_of_two_files_do_not_mix(tmp_path: Path) -> None:
    paths = []
    for n in range(2):
        paths.append(tmp_path / f"pairs{n}.csv")
        paths[-1].write_text(f"question,answer\n질문{n},대답{n}\n또{n},또 대답{n}\n", encoding="utf-8")
    dataset = import_exports(paths, Request("표"))
    assert sorted(len(d["messages"]) for d in lines(dataset.dialogues)) == [2, 2, 2, 2]


def test_two_names_of_mine_are_one_in_a_single_file_as_well(tmp_path: Path) -> None:
    path = table(
        tmp_path, "c.csv", ("2024-05-01 20:02:11", "옛이름", "안녕"), ("2024-05-01 20:03:11", "다빈", "응 안녕"),
        ("2024-05-05 20:02:11", "새이름", "자?"), ("2024-05-05 20:03:11", "다빈", "아니"),
    )  # fmt: skip
    dataset = import_exports([path], Request("t", ("새이름", "옛이름")))
    assert set(dataset.facts["report"]["speakers"]) == {"새이름", "다빈"}
    assert [p["question"] for p in lines(dataset.pairs)] == ["안녕", "자?"]


def test_a_masked_name_is_the_same_in_every_file_and_can_be_chosen(tmp_path: Path) -> None:
    one = table(
        tmp_path,
        "1.csv",
        ("2024-05-01 20:02:11", "010-1111-1111", "일번"),
        ("2024-05-01 20:03:11", "010-2222-2222", "이번"),
    )
    two = table(
        tmp_path,
        "2.csv",
        ("2024-05-01 20:04:11", "010-2222-2222", "둘"),
        ("2024-05-01 20:05:11", "010-1111-1111", "하나"),
    )
    dataset = import_exports([one, two], Request("t", ("010-1111-1111",)))
    by_speaker: dict[str, list[str]] = {}
    for message in stored_messages(dataset.messages):
        by_speaker.setdefault(message.speaker, []).append(message.text)
    assert list(by_speaker.values()) == [["일번", "하나"], ["이번", "둘"]]
    assert "1111-1111" not in dataset.messages.read_text(encoding="utf-8")


def test_forgetting_makes_no_pair_across_the_hole(tmp_path: Path) -> None:
    path = table(
        tmp_path, "g.csv", ("2024-05-01 20:02:00", "나", "밥 먹었어?"), ("2024-05-01 20:03:00", "수다", "나 이사했어"),
        ("2024-05-01 20:04:00", "친구", "헐 수다야 축하해"), ("2024-05-01 20:05:00", "나", "어디로?"), ("2024-05-01 20:06:00", "친구", "옆 동네래"),
    )  # fmt: skip
    dataset = forget_speaker(import_exports([path], Request("g", ("나",), "친구")), "수다")
    assert [(p["question"], p["answer"]) for p in lines(dataset.pairs)] == [("어디로?", "옆 동네래")]
    assert "수다" not in dataset.messages.read_text(encoding="utf-8")
    alone = forget_speaker(import_exports([path], Request("g", ("나",), "친구")), "나")
    assert alone.facts["roles"]["me"] == ["수다"] and [p["answer"] for p in lines(alone.pairs)] == [
        "헐 수다야 축하해"
    ]


def test_bot_alone_takes_the_owner_for_me(tmp_path: Path) -> None:
    path = tmp_path / "모임.txt"
    path.write_bytes(
        android(
            ("오후 8:00", "수다", "가"), ("오후 8:01", "수다", "나"), ("오후 8:02", "회원님", "다"), ("오후 8:03", "친구", "라"),
        )
    )  # fmt: skip
    assert import_exports([path], Request("모임", bot="친구")).facts["roles"]["me"] == ["회원님"]


def test_what_a_killed_import_left_is_swept_away(talk: Path) -> None:
    left = datasets_dir() / ".옛것.999999999.part"
    left.mkdir(parents=True)
    (left / "staging.db").write_text("비밀", encoding="utf-8")
    import_exports([talk], Request("친구", ("나",)))
    assert sorted(path.name for path in datasets_dir().iterdir()) == ["친구"]


def test_being_told_to_stop_leaves_nothing_behind(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "큰.txt"
    clock = [f"오후 {h}:{m:02d}" for h in range(1, 12) for m in range(60)]
    path.write_bytes(android(*((clock[n % len(clock)], "나다"[n % 2], f"말{n}") for n in range(300_000))))
    child = subprocess.Popen(
        [sys.executable, "-m", "chatbot", "import", str(path), "--name", "큰", "--me", "나"],
        env={**os.environ, "CHATBOT_HOME": str(home)}, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list((home / "datasets").glob(".*.part/*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    child.wait(60)
    assert list((home / "datasets").iterdir()) == []


def test_importing_again_drops_the_index_over_what_was_there(run: Run, home: Path, talk: Path) -> None:
    run("import", str(ANDROID), "--name", "친구", "--me", "회원님")
    run("ask", "뭐해?", "--data", "친구")
    assert len(list((home / "indexes").iterdir())) == 1
    run("import", str(talk), "--name", "친구", "--me", "나")
    assert list((home / "indexes").iterdir()) == []


def test_a_damaged_dataset_is_named_and_can_be_deleted(run: Run, home: Path, talk: Path) -> None:
    run("import", str(talk), "--name", "친구", "--me", "나")
    (home / "datasets" / "친구" / "dataset.json").write_text('{"report": {}}', encoding="utf-8")
    listed = run("data", "list")
    assert listed.returncode == 0 and "'친구'이(가) 깨졌어요" in listed.stderr
    assert (
        run("data", "delete", "친구", "--yes").returncode == 0 and list((home / "datasets").iterdir()) == []
    )


def test_what_the_shipped_set_knows_far_better_it_answers(run: Run, talk: Path) -> None:
    run("import", str(talk), "--name", "친구", "--me", "나")
    reply = json.loads(run("ask", "안녕하세요", "--data", "친구", "--json").stdout)
    assert not reply["candidates"][0]["source"].startswith("친구 ")


def test_what_was_taught_is_not_put_in_the_persons_mouth(run: Run, talk: Path) -> None:
    run("import", str(talk), "--name", "친구", "--me", "나")
    run("talk", "--data", "친구", stdin="파이썬 배우고 싶어\n/teach 같이 배우자\n")
    run("ask", "파이썬 배우고 싶어", "--data", "친구")
    turns = [json.loads(line) for line in run("history", "show", "--json").stdout.splitlines()]
    assert turns[-1]["text"] == "같이 배우자" and turns[-1]["name"] is None


def test_a_wrong_format_says_so(run: Run, talk: Path) -> None:
    done = run("import", str(talk), "--json", "--format", "telegram")
    assert done.returncode == 1 and "--format" in done.stderr and "telegram" in done.stderr
    assert run("import", str(talk), "--json", "--format", "없는것").returncode == 2


def test_a_dataset_goes_before_a_folder_of_its_name(run: Run, talk: Path) -> None:
    import_exports([talk], Request("tests", ("나",)))  # there is a folder of that name where we are
    assert load_knowledge("tests").speaker == "다빈"


def test_a_talk_over_a_dataset_says_whom_it_imitates(home: Path, talk: Path) -> None:
    import_exports([talk], Request("친구", ("나",)))
    child = terminal(home, "talk", "--data", "친구")
    child.expect("다빈처럼 대답해요")
    child.sendline("저녁 먹었어?")
    child.expect("다빈.*› ")
    child.sendline("/why")
    child.expect("2024-05-01 20:03")  # when it was said
    child.sendline("/quit")
    child.expect(pexpect.EOF)


@pytest.mark.parametrize("masked", [True, False])
def test_forgetting_knows_several_names_for_oneself_and_what_was_not_masked(
    tmp_path: Path, masked: bool
) -> None:
    path = tmp_path / "모임.txt"
    path.write_bytes(
        android(
            ("오후 8:00", "지우", "언제 봐?"), ("오후 8:01", "하람", "전화해 010-1234-5678"),
            ("오후 8:02", "지우2", "나 바꿨어"), ("오후 8:03", "하람", "응"), ("오후 8:04", "민수", "나도 가"),
        )
    )  # fmt: skip
    dataset = import_exports([path], Request("별명", ("지우", "지우2"), "하람", None, masked))
    forgotten = forget_speaker(dataset, "민수")
    text = forgotten.messages.read_text(encoding="utf-8")
    assert "민수" not in text and ("010-1234-5678" in text) != masked


def test_a_path_that_can_be_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="읽을 수 없어요"):
        import_exports([tmp_path / f"{'가' * 100}.csv"], Request("길다"))


def test_the_bar_is_gone_while_the_terminal_asks(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "room.csv"
    rows = [
        f"2024-05-{1 + n // 500:02d} 20:{n % 60:02d}:11,{('하람', '지우')[n % 2]},{n}" for n in range(6000)
    ]
    path.write_text("\n".join(["Date,User,Message", *rows]) + "\n", encoding="utf-8")
    child = terminal(home, "import", str(path), "--name", "방")
    child.expect("나는 누구인가요")
    with pytest.raises(pexpect.TIMEOUT):
        child.expect("읽는 중", timeout=1)
    child.sendline("지우")
    child.expect("chatbot talk --data 방")
    child.expect(pexpect.EOF)
    assert child.wait() == 0
