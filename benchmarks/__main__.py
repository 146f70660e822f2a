"""Ratios against named baselines, measured in one run: ``python -m benchmarks [--runs N]``.

Absolute times depend on the machine and on what else it does; the ratio of two commands run in
turn does not, so that is what is stated and compared with the limit.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

BASELINE_ENCODE = """
from sentence_transformers import SentenceTransformer
from chatbot.models.encoder import shipped_encoder
SentenceTransformer(str(shipped_encoder()), device="cpu").encode("오늘 너무 피곤해")
"""

WITH_PEAK_MEMORY = """
import atexit, resource, sys
from chatbot.cli import main
atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr))
main()
"""


def main() -> None:
    """Run every benchmark and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(CHATBOT_HOME=home, HF_HUB_OFFLINE="1")
        ratio(
            "cold `chatbot ask` / a script that loads the same encoder with sentence-transformers",
            [sys.executable, "-m", "chatbot", "ask", "오늘 너무 피곤해"],
            [sys.executable, "-c", BASELINE_ENCODE],
            runs,
            limit=1 / 5,
        )
        ratio(
            "`chatbot --help` / `python -c 'import typer, rich'`",
            [sys.executable, "-m", "chatbot", "--help"],
            [sys.executable, "-c", "import typer, rich"],
            runs,
            limit=4,
        )
        first_and_tenth()
        tokens_per_second()
        batches()
        history_search(Path(home))
        import_export(Path(home))
        fine_tuning()


def ratio(name: str, command: list[str], baseline: list[str], runs: int, limit: float) -> None:
    """Time two commands in turn as whole processes; print the median of the pairwise ratios."""
    for warm in (command, baseline):
        seconds(warm)
    pairs = [(seconds(command), seconds(baseline)) for _ in range(runs)]
    median = statistics.median(a / b for a, b in pairs)
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    verdict = "ok" if median <= limit else "OVER THE LIMIT"
    print(f"{name}: {median:.3f}")
    print(f"  limit {limit:.2f}, {verdict}; medians {ours:.2f} s / {theirs:.2f} s, {runs} runs")


def seconds(command: list[str]) -> float:
    """Return the wall time of a whole process."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def first_and_tenth() -> None:
    """Print how long the first and the tenth reply of one process take."""
    from chatbot import Session, open_backend

    session = Session(open_backend("retrieval"))
    lines = [
        "안녕",
        "오늘 너무 피곤해",
        "왜?",
        "비 오네",
        "뭐 먹지",
        "심심해",
        "시험 망했어",
        "고양이 귀엽다",
        "졸려",
        "잘 자",
    ]
    took = []
    for line in lines:
        started = time.perf_counter()
        session.ask(line)
        took.append(1000 * (time.perf_counter() - started))
    print(f"reply in a running talk: first {took[0]:.1f} ms, tenth {took[-1]:.1f} ms")


def tokens_per_second() -> None:
    """Print how fast the shipped GPT generates on each device there is, one by one and in batches.

    On a GPU its greedy float32 replies are compared with the CPU's first.
    """
    import torch

    from chatbot.backends.gpt import GptBackend
    from chatbot.dialogue import Conversation, Turn
    from chatbot.knowledge import prompts

    asked = [Conversation(turns=[Turn("user", text)]) for text in prompts("test")]
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    greedy = {}
    for device in devices:
        exact = GptBackend(device=device, temperature=0, dtype=torch.float32)
        greedy[device] = [reply.text for reply in exact.reply_many(asked)]
        backend = GptBackend(device=device, seed=1)
        backend.reply(asked[0])
        started = time.perf_counter()
        single = sum(backend.reply(conversation).tokens or 0 for conversation in asked)
        alone = single / (time.perf_counter() - started)
        started = time.perf_counter()
        many = sum(reply.tokens or 0 for reply in backend.reply_many(asked))
        batched = many / (time.perf_counter() - started)
        print(
            f"gpt on {device}: {alone:.0f} tokens/s one by one, {batched:.0f} in batches of 16 "
            f"({batched / alone:.1f} times)"
        )
    for device in devices[1:]:
        equal = sum(a == b for a, b in zip(greedy["cpu"], greedy[device], strict=True))
        print(f"greedy float32 replies on {device} equal to the CPU's: {equal}/{len(asked)}")


def batches(count: int = 200) -> None:
    """Print how long answering many prompts takes in batches beside one by one, by conversations of one turn.

    GPT takes the likeliest token in float32, so that both roads can be compared word by word.
    """
    import torch

    from chatbot import Session, open_backend
    from chatbot.dialogue import Conversation
    from chatbot.knowledge import labelled_lines, prompts
    from chatbot.session import ask_together

    unseen = [text for text, _ in labelled_lines("unseen", "test")]
    texts = [*prompts("dev"), *prompts("test"), *unseen][:count]
    backends = {
        "retrieval": open_backend("retrieval"),
        "gpt": open_backend("gpt", device="cpu", temperature=0, dtype=torch.float32),
        "hybrid": open_backend("hybrid", device="cpu", temperature=0),
    }
    total = [0.0, 0.0]
    for name, backend in backends.items():
        Session(backend).ask(texts[0])

        def sessions(backend: Any = backend) -> list[Session]:
            # Retrieval turns its answers by the conversation's id.
            return [Session(backend, conversation=Conversation(id=f"talk{n}")) for n in range(count)]

        started = time.perf_counter()
        single = [session.ask(text).text for session, text in zip(sessions(), texts, strict=True)]
        between = time.perf_counter()
        together = [reply.text for reply in ask_together(sessions(), texts)]
        took = (between - started, time.perf_counter() - between)
        total = [sum(pair) for pair in zip(total, took, strict=True)]
        equal = sum(a == b for a, b in zip(single, together, strict=True))
        print(
            f"{count} prompts to {name}: {took[0]:.2f} s one by one, {took[1]:.2f} s in batches "
            f"({took[0] / took[1]:.1f} times), {equal} replies the same"
        )
    gain = total[0] / total[1]
    print(f"  to all: {gain:.1f} times (limit 2.5, {'ok' if gain >= 2.5 else 'BELOW THE LIMIT'})")


def history_search(home: Path, turns: int = 100_000) -> None:
    """Print the slowest of several searches in a history of 100,000 turns, and of looking at every turn."""
    from chatbot.dialogue import Conversation, Turn
    from chatbot.history import History
    from chatbot.knowledge import load_knowledge

    rng = random.Random(1)
    questions = [entry.question for entry in load_knowledge().entries]
    history, talk = History(home / "large.db"), Conversation()
    history.start(talk)
    started = time.perf_counter()
    for n in range(turns):  # each its own commit, as in a talk
        history.add_turn(talk, Turn("user", f"{rng.choice(questions)} {rng.choice(questions)} {n}"))
    filled = time.perf_counter() - started
    worst: dict[str, float] = {}
    for needle in ("날씨", "ㅋㅋ", "나", "고양이", "없는말이야", "99999"):
        took = []
        for _ in range(5):
            started = time.perf_counter()
            found = history.search(needle)
            took.append(1000 * (time.perf_counter() - started))
        assert all(needle in record.turn.text for record in found)
        worst[needle] = max(took)
    started = time.perf_counter()
    history._db.execute("select count(*) from turns where instr(text, '없는말이야')").fetchone()
    scan = 1000 * (time.perf_counter() - started)
    size = (home / "large.db").stat().st_size / 1e6
    print(
        f"history search at {turns:,} turns: slowest {max(worst.values()):.1f} ms of "
        + ", ".join(f"{needle} {ms:.1f}" for needle, ms in worst.items())
        + f" (limit 50; a scan of every turn {scan:.1f}; file {size:.0f} MB, filled in {filled:.0f} s)"
    )


def import_export(home: Path, messages: int = 1_000_000) -> None:
    """Print how fast an export of a million messages is parsed, and what importing it takes at most.

    The parse is set against reading the same file line by line and matching one regular expression a line.
    """
    from chatbot.chatlogs import open_exports
    from chatbot.knowledge import load_knowledge

    rng = random.Random(1)
    entries = load_knowledge().entries
    words = [entry.question for entry in entries] + [entry.answers.polite[0] for entry in entries[:9000:3]]
    path, now = home / "chat.txt", datetime(2015, 1, 1)
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        file.write("강다빈 님과 카카오톡 대화\r\n저장한 날짜 : 2026년 1월 1일 오후 9:14\n\n\r\n")
        for n in range(messages):
            now += timedelta(seconds=rng.choice((5, 20, 60, 300, 300, 30_000)) if n % 20 else 7200)
            half = "오전" if now.hour < 12 else "오후"
            stamp = f"{now.year}년 {now.month}월 {now.day}일 {half} {now.hour % 12 or 12}:{now.minute:02d}"
            name = "회원님" if rng.random() < 0.5 else "강다빈"
            file.write(f"{stamp}, {name} : {rng.choice(words)}{rng.randrange(100) or ' 010-1234-5678'}\r\n")
    line_pattern = re.compile(r"(\d{4}년 \d{1,2}월 \d{1,2}일 오[전후] \d{1,2}:\d{2}), (.+?) : (.*)")
    ratios = []
    for _ in range(3):
        started = time.perf_counter()
        with path.open(encoding="utf-8-sig", newline="") as file:
            matched = sum(line_pattern.match(line) is not None for line in file)
        bare = time.perf_counter() - started
        started = time.perf_counter()
        (export,) = open_exports(path)
        read = sum(1 for _ in export.messages())
        parsed = time.perf_counter() - started
        assert read == matched == messages
        ratios.append(bare / parsed)
    rate = statistics.median(ratios)
    print(
        f"parse rate of an export / reading it with one pattern a line: {rate:.2f} "
        f"(limit 0.20 or more; {messages / parsed:,.0f} messages/s)"
    )
    command = [
        sys.executable,
        "-c",
        WITH_PEAK_MEMORY,
        "import",
        str(path),
        "--name",
        "large",
        "--me",
        "회원님",
    ]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    took = time.perf_counter() - started
    peak = int(done.stderr.rsplit(maxsplit=1)[-1]) / 1024  # Linux counts in KiB
    print(f"import of {messages:,} messages: {took:.0f} s, peak memory {peak:.0f} MiB (limit 400)")


def fine_tuning(dialogues: int = 64, rounds: int = 2) -> None:
    """Print how many real tokens a second fine-tuning takes in, beside the usual loop, on KoGPT-2's shape.

    The usual loop pads every dialogue to the 99th percentile, takes 32 at a time, in float32, and runs the
    head everywhere. On a GPU the share of the card's dense bfloat16 peak is printed, too, where it is known.
    """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from chatbot.knowledge import load_dialogues
    from chatbot.models.checkpoint import load_tokenizer, quiet_transformers, shipped_gpt
    from chatbot.models.format import MarkerFormat
    from training import loop
    from training.causal import Curriculum, Plan
    from training.dialogues import Conversation

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = GPT2LMHeadModel(GPT2Config(vocab_size=51_200, n_positions=1024))  # else the same as KoGPT-2
    model.to(device).train()
    form = MarkerFormat(load_tokenizer(shipped_gpt()))
    chosen = random.Random(1).sample(load_dialogues(), dialogues)
    conversations = [Conversation(turns, style) for turns, style in chosen]
    lengths = sorted(len(form.sequence(turns).ids) for turns, _ in chosen)
    longest = lengths[int(0.99 * (dialogues - 1))]
    rows = [form.sequence(turns, style=style).ids[:longest] for turns, style in chosen]
    real = sum(map(len, rows))

    def usual() -> None:
        for start in range(0, dialogues, 32):
            part = rows[start : start + 32]
            ids = torch.tensor([row + [0] * (longest - len(row)) for row in part], device=device)
            seen = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in part], device=device)
            labels = torch.where(seen.bool(), ids, -100)
            finish(model(input_ids=ids, attention_mask=seen, labels=labels).loss)

    tokens = 1024 if device == "cpu" else 32_768
    plan = Plan(Curriculum(form, [conversations], longest=longest, batch_tokens=tokens))

    def ours() -> None:
        with quiet_transformers():
            for step in range(plan.steps):
                for part, _ in plan.parts(step, model):
                    finish(part)

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def finish(loss: torch.Tensor) -> None:
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def rate(run: Callable[[], None]) -> float:
        started = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        return real / (time.perf_counter() - started)

    native = loop.half_type(device)
    runs: dict[str, list[float]] = {"usual": [], "buckets": [], "both": []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(rounds):
            runs["usual"].append(rate(usual))
            with mock.patch.object(loop, "half_type", return_value=None):
                runs["buckets"].append(rate(ours))
            if native:
                runs["both"].append(rate(ours))
    found = {name: statistics.median(rates) for name, rates in runs.items() if rates}
    print(f"fine-tuning KoGPT-2's shape on {device}, {dialogues} dialogues, {real:,} real tokens:")
    print(
        f"  usual loop {found['usual']:,.0f} tokens/s; padded to {longest}, {real / dialogues:.0f} on average"
    )
    gain = found["buckets"] / found["usual"]
    print(f"  buckets by length, head on replies alone: {found['buckets']:,.0f} tokens/s, {gain:.2f} times")
    if native:
        both = found["both"]
        print(f"  and {native}: {both:,.0f} tokens/s, {both / found['usual']:.2f} times (limit 3)")
    else:
        print(f"  no native two-byte numbers here (limit 1.5, {'ok' if gain >= 1.5 else 'BELOW THE LIMIT'})")


if __name__ == "__main__":
    main()
