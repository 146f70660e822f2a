from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from chatbot.chatlogs.importing import Request, import_exports
from chatbot.dialogue import Turn
from chatbot.errors import ChatbotError
from chatbot.knowledge import held_out_dialogues, load_knowledge
from chatbot.models.checkpoint import load_model, load_tokenizer, save_checkpoint
from chatbot.models.format import MarkerFormat
from chatbot.models.generator import Generator
from chatbot.screens.evaluation import print_figures, report_lines
from tests.conftest import Run
from tests.tiny_models import write_kogpt2, write_ours
from training import ranking as ranking_module
from training.dialogues import Conversation
from training.evaluate_gpt import behaviour, dialogue_bits, evaluate_gpt, loops, repeats_user, reply_bits
from training.held_out import held_out, true_replies
from training.kneser_ney import UNKNOWN_BITS
from training.ranking import log_probabilities, ranking


@pytest.fixture(scope="module")
def talks() -> list[Conversation]:
    """A dozen exchanges that have nothing in common."""
    intents = load_knowledge().intents[::216][:12]
    return [
        Conversation([Turn("user", i.questions[0]), Turn("assistant", i.answers.polite[0])], None)
        for i in intents
    ]


@pytest.fixture
def file(tmp_path: Path, talks: list[Conversation]) -> Path:
    path = tmp_path / "talks.jsonl"
    rows = [{"messages": [{"role": t.role, "content": t.text} for t in c.turns]} for c in talks]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def learn_by_heart(folder: Path, talks: list[Conversation]) -> Path:
    """Train a small model of our own format until it knows the exchanges."""
    tokenizer = load_tokenizer(folder)
    form, model = MarkerFormat(tokenizer), load_model(folder, torch.float32, len(tokenizer))
    prompts = [form.prompt(r.before, r.style, 60) for r in true_replies(talks)]
    replies = [form.reply(r.text) for r in true_replies(talks)]
    longest = max(len(prompt + reply) for prompt, reply in zip(prompts, replies, strict=True))
    ids = torch.zeros((len(talks), longest), dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for n, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        ids[n, : len(prompt + reply)] = torch.tensor(prompt + reply)
        labels[n, len(prompt) : len(prompt + reply)] = torch.tensor(reply)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(110):
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    save_checkpoint(folder, model, tokenizer, {"base_model": None}, "card")
    return folder


def test_the_true_reply_is_found_by_who_knows_it_and_by_nobody_else(
    tmp_path: Path, talks: list[Conversation]
) -> None:
    folder, replies = write_ours(tmp_path / "base"), true_replies(talks)
    untrained = ranking(Generator(str(folder), "cpu"), replies, replies, seed=1)
    assert untrained and untrained["candidates"] == 12
    assert untrained["chance"] == pytest.approx(sum(1 / n for n in range(1, 13)) / 12)
    assert abs(untrained["mrr"] - untrained["chance"]) < 0.15 and untrained["top1"] < 0.3
    knows = ranking(Generator(str(learn_by_heart(folder, talks)), "cpu"), replies, replies, seed=1)
    assert knows and knows["mrr"] > 0.9 and knows["mrr_pmi"] > 0.8 and knows["top1"] > 0.9


@pytest.mark.parametrize("write", [write_ours, write_kogpt2])
@pytest.mark.parametrize("most", [100_000_000, 50_000])
def test_batched_scores_are_those_of_one_reply_after_the_other(
    tmp_path: Path, talks: list[Conversation], monkeypatch: pytest.MonkeyPatch, write: Any, most: int
) -> None:
    monkeypatch.setattr(ranking_module, "_SCORES", most)
    generator = Generator(str(write(tmp_path / "base")), "cpu")
    prompt = generator.prompt(talks[0].turns[:1], "casual", 40)
    replies = [generator.format.reply(c.turns[1].text) for c in talks] + [[5]]
    for ids, found in zip(replies, log_probabilities(generator, prompt, replies), strict=True):
        with torch.inference_mode():
            scores = (
                generator.model(input_ids=torch.tensor([prompt + ids])).logits[0].double().log_softmax(-1)
            )
        plain = sum(scores[len(prompt) - 1 + n, token].item() for n, token in enumerate(ids))
        assert found / len(ids) == pytest.approx(plain / len(ids), abs=1e-4)


def test_others_come_from_other_dialogues_in_other_words(tmp_path: Path, talks: list[Conversation]) -> None:
    generator = Generator(str(write_ours(tmp_path / "base")), "cpu")
    again = [*talks[:3], Conversation([Turn("user", "뭐라고?"), talks[0].turns[1]], None)]
    replies = true_replies(again)
    found = ranking(generator, replies, replies, seed=1)
    assert found and found["candidates"] == 3 and found["contexts"] == 4
    assert ranking(generator, replies[:1], replies[:1], seed=1) is None


def test_bits_are_those_of_the_tokens_and_lost_characters_cost_twenty(tmp_path: Path) -> None:
    generator = Generator(str(write_ours(tmp_path / "base")), "cpu")
    turns = [Turn("user", "안녕하세요"), Turn("assistant", "밥 먹었어요?")]
    whole, replies = dialogue_bits(generator, turns), reply_bits(generator, turns)
    assert whole.characters == 12 and replies.characters == 7 and whole.bits > replies.bits > 0
    form = generator.format
    assert isinstance(form, MarkerFormat)
    ids, reply = form.sequence(turns)
    scores = generator.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = sum(-scores[i - 1, ids[i]].item() for i in range(1, len(ids)) if reply[i])
    assert replies.bits == pytest.approx(expected / 0.6931471805599453, rel=1e-4)
    strange = dialogue_bits(generator, [Turn("user", "뷁쀍")])
    ids = form.turn("user", "뷁쀍", "polite").ids
    unknown = generator.tokenizer.unk_token_id
    scores = generator.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    paid = [-scores[i - 1, ids[i]].item() for i in range(1, len(ids)) if ids[i] != unknown]
    assert strange.lost == 2 and UNKNOWN_BITS == 20
    assert strange.bits == pytest.approx(sum(paid) / 0.6931471805599453 + 40, rel=1e-4)


def test_every_figure_of_a_gpt(tmp_path: Path) -> None:
    figures = evaluate_gpt(str(write_ours(tmp_path / "base")), device="cpu", max_new_tokens=12, contexts=6)
    assert figures["dialogues"] == len(held_out_dialogues("test"))
    assert figures["replies"]["replies"] == 100
    assert figures["replies"]["empty"] == figures["replies"]["broken"] == 0
    assert figures["prediction"]["replies"]["perplexity"] > 1
    assert figures["speed"]["tokens_per_second"] > 0
    assert figures["replies"]["ended"] + figures["replies"]["non_stopping"] == pytest.approx(1)
    prediction = figures["prediction"]["replies"]
    assert math.exp(prediction["nats_per_token"]) == pytest.approx(prediction["perplexity"])
    assert figures["ranking"]["contexts"] == figures["generated"]["contexts"] == 6
    assert figures["ranking"]["candidates"] == 100
    assert figures["speed"]["tokens_per_second"] > 0
    assert 0 < figures["latency_ms"]["median"] <= figures["latency_ms"]["p95"]


def test_a_base_model_of_another_format_is_measured_too(tmp_path: Path) -> None:
    figures = evaluate_gpt(str(write_kogpt2(tmp_path / "kogpt2")), device="cpu", max_new_tokens=6, contexts=4)
    assert figures["model"] == "kogpt2" and list(figures["prediction"]) == ["replies"]
    assert figures["prediction"]["replies"]["bits_per_character"] > 1


@pytest.mark.parametrize(
    ("text", "round_and_round"),
    [
        ("오늘은 오늘은 오늘은 좋아요", True),
        ("밥 먹어요. 그래요. 밥 먹어요.", True),
        ("ㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋ 그래", False),
        ("하하하하 좋네요. 정말 좋네요.", False),
        ("그럼 뭐 먹을까요? 저는 국물이 좋겠어요.", False),
    ],
)
def test_loops_are_told_from_laughter(text: str, round_and_round: bool) -> None:
    assert loops(text) is round_and_round


def test_saying_the_same_back_is_noticed() -> None:
    assert repeats_user("안녕", "안녕!") and repeats_user("오늘 너무 피곤해", "아, 오늘 너무 피곤해?")
    assert not repeats_user("안녕", "안녕하세요, 반가워요") and not repeats_user("피곤해", "푹 쉬어")


def test_a_file_is_measured_the_same_on_screen_in_a_pipe_and_as_json(
    file: Path, tmp_path: Path, run: Run
) -> None:
    folder, out = write_ours(tmp_path / "base"), tmp_path / "figures.json"
    done = run(
        "evaluate",
        "--backend",
        "gpt",
        "--model",
        str(folder),
        "--data",
        str(file),
        "--out",
        str(out),
        "--json",
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures == json.loads(out.read_text(encoding="utf-8"))
    assert (
        figures["data"] == file.name
        and figures["true_replies"] == 12
        and figures["ranking"]["candidates"] == 12
    )
    lines = report_lines(figures)
    shown = dict(line.split("\t", 1) for line in lines if "\t" in line)
    found = figures["ranking"]
    assert shown["평균 역순위 (MRR)"] == f"{found['mrr']:.3f}\t{found['mrr_pmi']:.3f}"
    assert shown["맴도는 답 (repetition)"] == f"{100 * figures['replies']['loops']:.1f} %"
    assert shown["한 대답에 걸린 시간 (p95)"] == f"{figures['latency_ms']['p95']:.1f} ms"
    assert any("chrF" in line and line.endswith(f"\t{figures['generated']['chrf']:.1f}") for line in lines)
    screen = io.StringIO()
    print_figures(Console(file=screen, width=80, markup=False, highlight=False, soft_wrap=True), figures)
    tables = screen.getvalue()
    assert all(cell in tables for line in lines for cell in line.split("\t"))


def test_a_dataset_is_measured_by_its_last_part_and_as_the_person_the_model_knows(tmp_path: Path) -> None:
    path = tmp_path / "room.csv"
    rows = ["Date,User,Message"]
    for n in range(240):
        who = ("나", "다빈", "민서")[n % 3]
        rows.append(f'2024-05-{1 + n // 12:02d} 20:{n % 12:02d}:11,"{who}","{who}의 {n}번째 말"')
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    import_exports([path], Request("방", ("나",), "민서"))
    stranger, known = held_out("방", ()), held_out("방", ("다빈", "철수"))
    assert stranger and {c.speaker for c in stranger} == {None}
    assert all("민서의" in t.text for c in stranger for t in c.turns if t.role == "assistant")
    assert known and {c.speaker for c in known} == {"다빈"}
    figures = evaluate_gpt(
        str(write_ours(tmp_path / "base")), "방", device="cpu", max_new_tokens=6, contexts=4
    )
    assert figures["data"] == "방" and figures["true_replies"] > 4 and figures["speakers"] == []


def test_pairs_are_dialogues_of_two_turns(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("question,answer\n안녕,응 안녕\n배고파,밥 먹자\n", encoding="utf-8")
    assert sorted([t.text for t in c.turns] for c in held_out(str(path), ())) == [
        ["배고파", "밥 먹자"], ["안녕", "응 안녕"]
    ]  # fmt: skip


def test_replies_without_room_are_counted_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    rows = [
        [("user", "안녕"), ("assistant", "안녕하세요 " * 200)],
        [("user", "밥?"), ("assistant", "먹었어요")],
    ]
    path.write_text(
        "".join(
            json.dumps({"messages": [{"role": r, "content": c} for r, c in row]}, ensure_ascii=False) + "\n"
            for row in rows
        ),
        encoding="utf-8",
    )
    folder = str(write_ours(tmp_path / "base"))
    figures = evaluate_gpt(folder, str(path), device="cpu", max_new_tokens=6)
    assert figures["too_long"] == 1 and figures["true_replies"] == 1 and figures["ranking"] is None
    assert report_lines(figures)
    path.write_text('{"messages": [{"role": "assistant", "content": "안녕"}]}\n', encoding="utf-8")
    with pytest.raises(ChatbotError, match="long"):
        evaluate_gpt(folder, str(path), device="cpu")


def test_a_share_of_nothing_is_no_number() -> None:
    found = behaviour([], 10)
    assert found["style_match"] is None and found["distinct_1"] is None
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--backend", "gpt", "--data", "없는파일"], 1, "없는파일"),
        (["--backend", "gpt", "--sts", "x.jsonl"], 2, "--sts"),
        (["--backend", "gpt", "--styles", "없는말투"], 1, "--styles 없는말투"),
        (["--styles", "pyproject.toml"], 1, "--styles pyproject.toml"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_sentence(
    run: Run, arguments: list[str], code: int, named: str
) -> None:
    done = run("evaluate", *arguments)
    assert done.returncode == code and not done.stdout
    assert named in done.stderr and len(done.stderr.splitlines()) == 1 and "요." in done.stderr
