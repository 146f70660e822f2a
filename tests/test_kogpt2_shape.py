"""Every way of tuning on the full shape of KoGPT-2: 12 layers of 768, 51,200 pieces, hub layout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from chatbot.dialogue import Turn
from chatbot.models.checkpoint import load_tokenizer
from chatbot.models.format import MarkerFormat
from chatbot.models.markers import MARKERS
from tests.tiny_models import write_kogpt2
from training import gpt as gpt_module
from training import pupil as pupil_module
from training.gpt import Options, fine_tune
from training.memorisation import memorised

PIECES, LAYERS = 51_200, 12
BLOCK = 12 * 768 * 768 + 13 * 768  # weights of one block: four matrices, their biases, two norms
EMBEDDINGS = PIECES * 768

PLAIN = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
messages = [{"role": "user", "content": "안녕 뭐 해?"}]
prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
made = model.generate(**prompt, do_sample=False, max_new_tokens=4)
tied = model.lm_head.weight.data_ptr() == model.transformer.wte.weight.data_ptr()
weights = sum(p.numel() for p in model.parameters())
print(json.dumps([prompt["input_ids"][0].tolist(), made.shape[1], tied, weights]))
"""


@pytest.fixture(scope="module")
def kogpt2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = write_kogpt2(
        tmp_path_factory.mktemp("hub") / "kogpt2",
        pieces=PIECES, n_positions=1024, n_embd=768, n_layer=LAYERS, n_head=12,
    )  # fmt: skip
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("tune", ["full", "freeze", "gradual", "lora"])
def test_train_save_reload_generate(
    kogpt2: Path, tmp_path: Path, tune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpt_module, "memorised", partial(memorised, samples=2))
    monkeypatch.setattr(gpt_module, "_LONGEST", 64)
    monkeypatch.setattr(pupil_module, "_SPOKEN", 4)  # it has learnt no end: every reply would be the longest
    data, out = tmp_path / "pairs.jsonl", tmp_path / "out"
    rows = [{"question": f"{n}번째 이야기야", "answer": "응 그래"} for n in range(10)]
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    options = Options(tune=tune, layers=2, epochs=1, batch_tokens=64, learning_rate=1e-3, evaluate_every=100)
    try:
        fine_tune([str(data)], out, str(kogpt2), options)
        steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
        trained = [row["trained"] for row in steps if row["kind"] == "step"]
        everything = LAYERS * BLOCK + EMBEDDINGS + len(MARKERS) * 768 + 1024 * 768 + 2 * 768
        low_rank = LAYERS * 16 * (768 + 2304 + 768 + 768 + 768 + 3072 + 3072 + 768) + len(MARKERS) * 768
        expected = {"full": {everything}, "freeze": {2 * BLOCK}, "lora": {low_rank}}
        if tune == "gradual":
            assert trained == sorted(trained) and trained[0] == BLOCK and trained[-1] == everything
        else:
            assert set(trained) == expected[tune]
        assert changed(kogpt2, out) == {
            "full": {"blocks", "top", "old rows"},
            "freeze": {"top"},
            "gradual": {"blocks", "top", "old rows"},
            "lora": {"blocks", "top"},
        }[tune]  # fmt: skip
        prompt = MarkerFormat(load_tokenizer(out)).prompt([Turn("user", "안녕 뭐 해?")], "polite", 100)
        done = subprocess.run(
            [sys.executable, "-c", PLAIN, str(out)], capture_output=True, text=True, check=True
        )
        ids, length, tied, weights = json.loads(done.stdout.splitlines()[-1])
        assert ids == prompt and len(ids) < length <= len(ids) + 4 and tied and weights == everything
    finally:
        shutil.rmtree(out, ignore_errors=True)


def changed(base: Path, out: Path) -> set[str]:
    """Return which parts of the weights are not, bit for bit, what they were."""
    before = torch.load(base / "pytorch_model.bin", weights_only=True, mmap=True)
    found = set()
    with safe_open(out / "model.safetensors", "pt") as after:
        for name in after.keys():  # noqa: SIM118 - no mapping
            tensor = after.get_tensor(name)
            if name.endswith("wte.weight"):
                same, part = torch.equal(before[name], tensor[:PIECES]), "old rows"
            elif ".h." in name:
                top = int(name.split(".h.")[1].split(".")[0]) >= LAYERS - 2
                same, part = torch.equal(before[name], tensor), "top" if top else "blocks"
            else:
                continue
            if not same:
                found.add(part)
    return found
