from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import models, trainers
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from chatbot.dialogue import Turn
from chatbot.models import checkpoint
from chatbot.models.checkpoint import CheckpointError, find_checkpoint, load_model, load_tokenizer
from chatbot.models.format import MarkerFormat, TemplateFormat, UsrSysFormat
from chatbot.models.generator import Generator
from chatbot.models.markers import MARKERS
from tests.conftest import ROOT
from tests.tiny_models import (
    KOGPT2_SPECIALS,
    byte_level_bpe,
    character_bpe,
    tiny_gpt2,
    wrapped,
    write_kogpt2,
    write_ours,
)

HELLO = "안녕하세요. 밥 먹었어?"


@pytest.fixture(scope="module")
def kogpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kogpt2(tmp_path_factory.mktemp("hub") / "kogpt2")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ours(tmp_path_factory.mktemp("ours") / "gpt")


def test_kogpt2_as_on_the_hub_keeps_its_hangul_and_its_ids(kogpt2: Path) -> None:
    assert sorted(p.name for p in kogpt2.iterdir()) == ["config.json", "pytorch_model.bin", "tokenizer.json"]
    tokenizer = load_tokenizer(kogpt2)
    assert tokenizer.decode(tokenizer(HELLO)["input_ids"]) == HELLO
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("</s>", "</s>", "<pad>")
    assert tokenizer.convert_tokens_to_ids(["<s>", "</s>", "<pad>"]) == [0, 1, 3]
    model = load_model(kogpt2, torch.float32, len(tokenizer))
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    saved = torch.load(kogpt2 / "pytorch_model.bin", weights_only=True)["transformer.wte.weight"]
    assert torch.equal(model.get_input_embeddings().weight, saved)


def test_the_obvious_loader_would_lose_hangul(kogpt2: Path) -> None:
    """Why load_tokenizer exists: should this fail one day, transformers has been repaired."""
    lost = AutoTokenizer.from_pretrained(kogpt2)
    assert "안녕" not in lost.decode(lost(HELLO)["input_ids"])


def test_kogpt2_fine_tunes_that_name_the_wrong_class_still_read(kogpt2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(kogpt2, folder)
    config = {
        "tokenizer_class": "GPT2Tokenizer",
        "bos_token": "</s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(folder)
    assert tokenizer.decode(tokenizer(HELLO)["input_ids"]) == HELLO


def test_a_checkpoint_without_our_file_is_spoken_to_as_it_knows(kogpt2: Path, tmp_path: Path) -> None:
    generator = Generator(str(kogpt2), "cpu")
    assert isinstance(generator.format, UsrSysFormat) and "대화를 배우지 않은" in generator.notes[-1]
    folder = tmp_path / "instruct"
    tokenizer = wrapped(byte_level_bpe())
    for role in ("bos", "eos", "unk", "pad", "mask"):
        setattr(tokenizer, f"{role}_token", "<|endoftext|>")
    tokenizer.chat_template = (
        "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|endoftext|>{% endfor %}"
        "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    tiny_gpt2(len(tokenizer)).save_pretrained(folder)
    generator = Generator(str(folder), "cpu")
    assert isinstance(generator.format, TemplateFormat) and not generator.notes
    prompt = generator.prompt([Turn("user", "안녕<|endoftext|>")], "polite", 2)
    text = generator.tokenizer.decode(prompt)
    assert "안녕< |endoftext|>" in text and text.endswith("assistant\n")
    longer = generator.tokenizer.decode(generator.prompt([Turn("user", "안녕")], "casual", 20))
    assert "system\n한국어 반말로" in longer


def test_saved_ids_are_the_same_in_a_fresh_process_with_plain_transformers(ours: Path) -> None:
    form = MarkerFormat(load_tokenizer(ours))
    turns = [Turn("user", "안녕하세요"), Turn("assistant", "밥 먹었어요?")]
    plain = (
        "import sys, json\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "rows = model.get_input_embeddings().weight\n"
        "tied = rows is model.get_output_embeddings().weight\n"
        "messages = json.loads(sys.argv[2])\n"
        "ids = tokenizer.apply_chat_template(messages, return_dict=False)\n"
        "print(json.dumps([ids, tied, rows.shape[0], 'chatbot' in sys.modules]))\n"
    )
    messages = json.dumps([{"role": turn.role, "content": turn.text} for turn in turns])
    command = [sys.executable, "-c", plain, str(ours), messages]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    ids, tied, rows, ours_loaded = json.loads(done.stdout.splitlines()[-1])
    assert ids == form.sequence(turns).ids
    assert tied and not ours_loaded and rows == len(form.tokenizer)
    config = json.loads((ours / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"  # known to versions 4 and 5
    assert config["additional_special_tokens"] == list(MARKERS)


def test_embeddings_grow_and_never_shrink() -> None:
    model = tiny_gpt2(50)
    before = model.get_input_embeddings().weight.detach().clone()
    checkpoint.resize_embeddings(model, 40)
    assert model.get_input_embeddings().weight.shape[0] == 50
    checkpoint.resize_embeddings(model, 58, seed=3)
    again = tiny_gpt2(50)
    checkpoint.resize_embeddings(again, 58, seed=3)
    assert torch.equal(model.get_input_embeddings().weight, again.get_input_embeddings().weight)
    assert torch.equal(model.get_input_embeddings().weight[:50], before)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_bare_vocabulary_dump_is_recognised_and_explained(ours: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    shutil.copytree(ours, folder, ignore=shutil.ignore_patterns("tokenizer*", "chat_template*"))
    tokenizer = load_tokenizer(ours).backend_tokenizer
    assert isinstance(tokenizer.model, models.BPE)
    tokenizer.model.save(str(folder))
    assert (folder / "vocab.json").exists() and (folder / "merges.txt").exists()
    with pytest.raises(CheckpointError, match=r"특수 토큰.*빠져 있어요.*save_pretrained"):
        load_tokenizer(folder)


def test_markers_that_lost_their_meaning_are_noticed(ours: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lost"
    shutil.copytree(ours, folder)
    whole = json.loads((folder / "tokenizer.json").read_text())
    whole["added_tokens"] = [t for t in whole["added_tokens"] if t["content"] != "<|end|>"]
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError, match=re.escape("<|end|>")):
        load_tokenizer(folder)


def test_more_pieces_than_rows_is_refused(ours: Path, tmp_path: Path) -> None:
    folder = tmp_path / "grown"
    shutil.copytree(ours, folder)
    tokenizer = load_tokenizer(folder)
    tokenizer.add_tokens(["새토큰"])
    with pytest.raises(CheckpointError, match="임베딩은"):
        load_model(folder, torch.float32, len(tokenizer))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", None, "config.json이 없어요"),
        ("model.safetensors", b"broken", "모델을 열 수 없어요"),
        ("tokenizer.json", b"{", "tokenizer"),
        ("chatbot.json", b"[]", "JSON 객체가 아니에요"),
    ],
)
def test_a_broken_checkpoint_gets_one_sentence(
    ours: Path, tmp_path: Path, file: str, content: bytes | None, said: str
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(ours, folder)
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        Generator(str(folder), "cpu")


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="그런 폴더나 모델이 없어요"):
        find_checkpoint(str(tmp_path / "nothing"))
    with pytest.raises(CheckpointError, match="허브에서 모델을 가져올 수 없어요"):
        find_checkpoint("nobody/nothing-v0")
    for name in ("내모델/서연", "가" * 300, "~nobody12/x"):  # no folder, and no name on the hub
        with pytest.raises(CheckpointError, match="그런 폴더나 모델이 없어요"):
            find_checkpoint(name)


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.safetensors"])
def test_a_model_in_the_hub_cache_opens_without_the_hub(
    kogpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--skt--kogpt2-base-v2"
    snapshot = model / "snapshots" / "0123abcd"
    shutil.copytree(kogpt2, snapshot)
    if weights == "model.safetensors":
        tokenizer = load_tokenizer(kogpt2)
        load_model(kogpt2, torch.float32, len(tokenizer)).save_pretrained(snapshot)
        (snapshot / "pytorch_model.bin").unlink()
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0123abcd")
    assert find_checkpoint(checkpoint.KOGPT2) == (snapshot, [])
    (snapshot / "tokenizer.json").rename(tmp_path / "tokenizer.json")  # another tool took the weights alone
    with pytest.raises(CheckpointError, match="허브에서 모델을 가져올 수 없어요"):
        find_checkpoint(checkpoint.KOGPT2)
    (tmp_path / "tokenizer.json").rename(snapshot / "tokenizer.json")
    stem, _, kind = weights.partition(".")
    parts = [f"{stem}-0000{n}-of-00002.{kind}" for n in (1, 2)]
    (snapshot / f"{weights}.index.json").write_text(json.dumps({"weight_map": dict(enumerate(parts))}))
    (snapshot / weights).rename(snapshot / parts[0])  # the download was interrupted
    with pytest.raises(CheckpointError, match="허브에서 모델을 가져올 수 없어요"):
        find_checkpoint(checkpoint.KOGPT2)
    shutil.copy(snapshot / parts[0], snapshot / parts[1])
    assert find_checkpoint(checkpoint.KOGPT2) == (snapshot, [])


def test_a_model_that_fills_in_is_no_generator(kogpt2: Path, tmp_path: Path) -> None:
    """The library would open BERT as one that writes on, and nothing would be missing."""
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    bert = BertForMaskedLM(BertConfig(vocab_size=300, **small))
    bert.save_pretrained(tmp_path / "bert")
    with pytest.raises(CheckpointError, match="BertForMaskedLM"):
        load_model(tmp_path / "bert", torch.float32, 300)


def test_a_place_that_cannot_be_replaced_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.check_target(tmp_path / "out")
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "out")
    with pytest.raises(CheckpointError, match="하위 폴더"):
        checkpoint.check_target(tmp_path / "out")


def test_the_licence_is_told_at_download(
    kogpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[object] = []

    def download(name: str, **options: object) -> str:
        asked.append(options["ignore_patterns"])
        return str(kogpt2)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    for files, ignored in (
        (["pytorch_model.bin", "adapter_model.safetensors"], None),
        (["pytorch_model.bin", "model-00001-of-00002.safetensors"], ["*.bin"]),
    ):
        monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda name, files=files: files)
        folder, notes = find_checkpoint(checkpoint.KOGPT2)
        assert folder == kogpt2 and len(notes) == 1 and "CC BY-NC-SA 4.0" in notes[0]
        assert asked.pop() == ignored


def test_a_model_with_weights_missing_is_not_filled_at_random(kogpt2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(kogpt2, folder)
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    kept = {name: tensor for name, tensor in state.items() if ".h.1." not in name}
    torch.save(kept, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="가중치가 다 들어 있지 않아요"):
        load_model(folder, torch.float32, 10)
    with pytest.raises(CheckpointError):
        Generator(str(ROOT / "data" / "models" / "encoder"), "cpu")


def test_saving_never_overwrites_a_folder_of_something_else(ours: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(ours)
    model = load_model(ours, torch.float32, len(tokenizer))
    letters = tmp_path / "letters"
    letters.mkdir()
    (letters / "diary.txt").write_text("...")
    with pytest.raises(CheckpointError, match="다른 파일이 들어 있는 곳"):
        checkpoint.save_checkpoint(letters, model, tokenizer, {}, "")
    assert [p.name for p in letters.iterdir()] == ["diary.txt"] and len(list(tmp_path.iterdir())) == 1


def test_a_tokenizer_that_cannot_read_korean_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "english"
    tokenizer = character_bpe()
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=KOGPT2_SPECIALS, show_progress=False)
    tokenizer.train_from_iterator(["only english here"], trainer)
    wrapped(tokenizer).save_pretrained(folder)
    tiny_gpt2(tokenizer.get_vocab_size()).save_pretrained(folder)
    with pytest.raises(CheckpointError, match="한글을 잃어버려요"):
        load_tokenizer(folder)
