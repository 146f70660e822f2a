from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from chatbot.backends import retrieval
from chatbot.backends.retrieval import RetrievalBackend
from chatbot.dialogue import Conversation
from chatbot.errors import UsageError
from chatbot.index import Index, open_index
from chatbot.knowledge import Knowledge, load_knowledge
from chatbot.models.encoder import (
    ONNX_GRAPH,
    EncoderError,
    OnnxEncoder,
    SentenceTransformerEncoder,
    load_encoder,
    shipped_encoder,
    unknown_rate,
)
from training.vocabulary import train_wordpiece

TEXTS = ["안녕하세요", "오늘 너무 피곤해ㅠㅠ", "비가 오네", "ㅋㅋㅋ"]


@pytest.fixture(scope="module")
def vocabulary() -> list[str]:
    """A WordPiece vocabulary over our own questions, its special tokens where klue/bert-base has them."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    train_wordpiece(tokenizer, [e.question for e in load_knowledge().entries], 2000, 1000, specials)
    return sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)


def write_hub_tokenizer(folder: Path, vocabulary: list[str], **config: object) -> None:
    """Write the tokenizer files as the Korean encoders on the hub have them."""
    from transformers import BertTokenizerFast

    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False, strip_accents=False)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    facts = {"tokenizer_class": "BertTokenizer", "model_max_length": 128, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts), encoding="utf-8")


@pytest.fixture(scope="module")
def bare_bert(tmp_path_factory: pytest.TempPathFactory, vocabulary: list[str]) -> Path:
    """Laid out as ``klue/bert-base``: a BERT without a pooling file."""
    folder = tmp_path_factory.mktemp("klue") / "bert-base"
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(folder)
    write_hub_tokenizer(folder, vocabulary, do_lower_case=False)
    return folder


@pytest.fixture(scope="module")
def sroberta(tmp_path_factory: pytest.TempPathFactory, vocabulary: list[str]) -> Path:
    """Laid out as ``jhgan/ko-sroberta-multitask``: RoBERTa, BERT's tokenizer, mean pooling, a .bin."""
    folder = tmp_path_factory.mktemp("jhgan") / "ko-sroberta-multitask"
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=130,
        type_vocab_size=1,
        pad_token_id=vocabulary.index("[PAD]") + 1,
    )
    model = RobertaModel(config)
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    write_hub_tokenizer(folder, vocabulary, do_lower_case=False)
    pooling = {
        "word_embedding_dimension": 32,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_cls_token": False,
    }
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 128, "do_lower_case": false}')
    (folder / "config_sentence_transformers.json").write_text(
        '{"__version__": {"sentence_transformers": "2.0.0"}}'
    )
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            ]
        )
    )
    return folder


def check_vectors(vectors: np.ndarray, rows: int) -> None:
    assert vectors.dtype == np.float32 and vectors.shape[0] == rows
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


def test_shipped_encoder_runs_on_onnx() -> None:
    encoder = load_encoder()
    assert isinstance(encoder, OnnxEncoder)
    vectors = encoder.encode(TEXTS)
    check_vectors(vectors, len(TEXTS))
    alone = np.vstack([encoder.encode([text]) for text in TEXTS])
    assert (vectors * alone).sum(1).min() > 0.98  # int8 activations depend a little on the batch
    assert encoder.encode([]).shape == (0, vectors.shape[1])


def test_both_runtimes_of_the_shipped_encoder_agree() -> None:
    exact = SentenceTransformerEncoder(shipped_encoder(), "cpu").encode(TEXTS)
    assert (exact * load_encoder().encode(TEXTS)).sum(1).min() > 0.97


def test_shipped_encoder_is_small_enough() -> None:
    folder = shipped_encoder()
    graph = folder / ONNX_GRAPH
    tokenizer = (folder / "tokenizer.json").stat().st_size
    assert graph.stat().st_size + tokenizer <= 20e6
    checkpoint = [p for p in folder.rglob("*") if p.is_file() and p != graph]
    assert sum(p.stat().st_size for p in checkpoint) <= 20e6
    assert (folder / "README.md").is_file()


def test_shipped_encoder_reads_nfd_as_nfc() -> None:
    import unicodedata

    encoder = load_encoder()
    a, b = (
        encoder.encode(["오늘 너무 피곤해"]),
        encoder.encode([unicodedata.normalize("NFD", "오늘 너무 피곤해")]),
    )
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layout", ["bare_bert", "sroberta"])
def test_hub_layouts_load_keep_hangul_and_answer(
    layout: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder: Path = request.getfixturevalue(layout)
    encoder = load_encoder(folder, "cpu")
    assert isinstance(encoder, SentenceTransformerEncoder)
    check_vectors(encoder.encode(TEXTS), len(TEXTS))
    tokens = encoder._model.tokenizer.tokenize("안녕하세요")
    assert "".join(token.removeprefix("##") for token in tokens) == "안녕하세요"
    assert bool(encoder.notes) == (layout == "bare_bert")
    assert all("평균" in note for note in encoder.notes)
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("question,answer\n오늘 너무 피곤해,푹 쉬어\n비가 오네,우산 챙겨\n", encoding="utf-8")
    backend = RetrievalBackend(encoder=str(folder), data=str(pairs), device="cpu")
    talk = Conversation()
    talk.add("user", "비가 오네")
    assert backend.reply(talk).text == "우산 챙겨"


def test_mean_pooling_of_a_bare_bert_is_what_it_says(bare_bert: Path) -> None:
    encoder = SentenceTransformerEncoder(bare_bert, "cpu")
    bert = BertModel.from_pretrained(bare_bert).eval()
    inputs = encoder._model.tokenizer("비가 오네", return_tensors="pt")
    with torch.no_grad():
        mean = bert(**inputs).last_hidden_state.mean(1)[0].numpy()
    np.testing.assert_allclose(encoder.encode(["비가 오네"])[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_an_encoder_that_cannot_read_korean_is_refused(
    bare_bert: Path, tmp_path: Path, vocabulary: list[str]
) -> None:
    folder = tmp_path / "english"
    shutil.copytree(bare_bert, folder)
    write_hub_tokenizer(folder, [piece for piece in vocabulary if piece.isascii()], do_lower_case=False)
    with pytest.raises(EncoderError, match="모르는 토큰"):
        load_encoder(folder, "cpu")


def test_a_tokenizer_without_do_lower_case_is_refused(
    bare_bert: Path, tmp_path: Path, vocabulary: list[str]
) -> None:
    # transformers 5 then strips accents, which takes Hangul apart: every word becomes [UNK].
    folder = tmp_path / "lowered"
    shutil.copytree(bare_bert, folder)
    (folder / "tokenizer.json").unlink()
    write_hub_tokenizer(folder, vocabulary)
    with pytest.raises(EncoderError, match="do_lower_case"):
        load_encoder(folder, "cpu")


def test_unknown_rate_counts_lost_text() -> None:
    class Silent:
        unk_token_id = 1

        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": []}

    assert unknown_rate(Silent()) == 1.0


def test_missing_encoders_and_devices_are_explained(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="없는모델"):
        load_encoder("없는모델")
    with pytest.raises(EncoderError, match="허브"):
        load_encoder("nobody/nothing", "cpu")
    with pytest.raises(UsageError, match="--device"):
        load_encoder(device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="cuda"):
            load_encoder(device="cuda")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(EncoderError, match="empty"):
        load_encoder(empty, "cpu")


def test_a_damaged_graph_is_explained(tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(shipped_encoder(), folder)
    (folder / ONNX_GRAPH).write_bytes(b"no graph")
    with pytest.raises(EncoderError, match="damaged"):
        load_encoder(folder)


def test_onnx_runtime_keeps_no_device_id(tmp_path: Path) -> None:
    """Its telemetry would write an id under the user's cache and report what runs."""
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    code = "from chatbot.models.encoder import load_encoder; load_encoder().encode(['안녕'])"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_bare_tokenizer_is_asked_in_its_own_way() -> None:
    vocabulary = {"[UNK]": 0, **{letter: n for n, letter in enumerate("오늘은날씨가정말좋네요", start=1)}}
    letters = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    letters.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    assert 0.3 < unknown_rate(letters) < 1


def test_a_model_in_the_hub_cache_opens_without_the_hub(
    sroberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``conftest`` lets nothing connect, and without the switch the library would try for minutes."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    model = tmp_path / "models--jhgan--ko-sroberta-multitask"
    shutil.copytree(sroberta, model / "snapshots" / "0123abcd")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0123abcd")
    encoder = load_encoder("jhgan/ko-sroberta-multitask", "cpu")
    assert encoder.name == "jhgan/ko-sroberta-multitask"
    np.testing.assert_allclose(encoder.encode(TEXTS), load_encoder(sroberta, "cpu").encode(TEXTS), atol=1e-5)


def test_where_the_indexes_that_ship_do_not_fit_all_are_built_before_a_talk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[tuple[str, object]] = []

    def noted(knowledge: Knowledge, encoder: object, progress: object = None) -> Index:
        opened.append((knowledge.name, progress))
        return open_index(replace(knowledge, entries=knowledge.entries[:40]), load_encoder())

    def bar(done: int, total: int) -> None: ...

    monkeypatch.setattr(retrieval, "open_index", noted)
    monkeypatch.setattr(
        retrieval, "load_encoder", lambda *_: SentenceTransformerEncoder(shipped_encoder(), "cpu")
    )
    RetrievalBackend(device="cuda", progress=bar)
    assert [(name, progress is bar) for name, progress in opened] == [("shipped", True), ("listening", True)]
