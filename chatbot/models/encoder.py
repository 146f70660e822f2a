"""Sentence encoders: texts in, unit vectors out.

Two runtimes stand behind one class. The encoder that ships has an int8 ONNX graph which ONNX
Runtime runs on the CPU without torch, so that a first reply comes in well under a second. Every
other encoder, and the shipped one on a GPU, is run by sentence-transformers.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from chatbot.errors import ChatbotError
from chatbot.models.device import check_device, resolve_device
from chatbot.models.locate import is_hub_id, local_folder
from chatbot.resources import data_dir
from chatbot.text import normalise

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Vectors = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]  # (done, total)

# A name of our own: exports by others under the usual one give token states, not sentence vectors.
ONNX_GRAPH = Path("onnx") / "sentence_int8.onnx"
BATCH = 64
MAX_UNKNOWN = 0.05
# An encoder that cannot read these cannot read Korean.
_PROBE = (
    "안녕하세요", "오늘 날씨가 참 좋네요", "밥 먹었어?",
    "요즘 너무 피곤해", "내일 시험인데 공부를 하나도 안 했어", "친구랑 싸웠어요",
    "주말에 뭐 할 거야", "회사 가기 싫다", "고양이가 정말 귀여워요",
    "감기에 걸린 것 같아", "여행 가고 싶어요", "어제 본 영화 재미있었어",
    "엄마한테 혼났어", "새로 산 옷이 마음에 들어요", "잠이 안 와",
    "축하해 줘서 고마워", "길을 잃어버렸어요", "돈이 하나도 없어",
    "운동을 시작해 볼까 해요", "이제 그만 자러 갈게",
)  # fmt: skip


class Encoder(Protocol):
    """Turns texts into vectors of unit length."""

    name: str
    fingerprint: str
    notes: list[str]

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Return float32 ``(len(texts), d)``, each row of Euclidean length 1."""
        ...


class EncoderError(ChatbotError):
    """An encoder cannot be loaded, or cannot read Korean."""


def load_encoder(name_or_path: str | Path | None = None, device: str = "auto") -> Encoder:
    """Load an encoder: the shipped one (``None``), a folder, a trained model's name, or a hub id.

    With ``auto`` the shipped encoder runs on the CPU even beside a GPU: it answers in a few
    milliseconds, and loading torch alone takes longer than a whole conversation.

    Raises:
        EncoderError: nothing loadable there, or it reads Korean as unknown tokens.
        UsageError: no such device.
    """
    check_device(device)
    folder = find_encoder(name_or_path)
    if folder is not None and (folder / ONNX_GRAPH).is_file() and device in ("auto", "cpu"):
        return OnnxEncoder(folder)
    return SentenceTransformerEncoder(folder or str(name_or_path), resolve_device(device))


def shipped_encoder() -> Path:
    """Return the folder of the encoder that ships."""
    return data_dir() / "models" / "encoder"


def find_encoder(name_or_path: str | Path | None) -> Path | None:
    """Return the local folder an encoder's name stands for, ``None`` for a name on the hub."""
    if name_or_path is None:
        shipped = shipped_encoder()
        if not shipped.is_dir():
            raise EncoderError(f"함께 배포되는 인코더가 {shipped}에 없어요. chatbot을 다시 설치해 주세요.")
        return shipped
    folder = local_folder(name_or_path)
    if folder is None and not is_hub_id(name_or_path):
        raise EncoderError(
            f"--encoder '{name_or_path}': 그런 폴더나 모델이 없어요. 경로나 허브 이름을 확인해 주세요."
        )
    return folder


class OnnxEncoder:
    """The shipped encoder on ONNX Runtime; imports neither torch nor transformers."""

    def __init__(self, folder: Path) -> None:
        # Nothing about a talk leaves the machine: read when ONNX Runtime is imported.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime
        from tokenizers import Tokenizer

        onnxruntime.disable_telemetry_events()

        self.name = folder.name
        self.notes: list[str] = []
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # One utterance at a time gains nothing from more threads than this, and they cost start-up.
        options.intra_op_num_threads = min(4, os.cpu_count() or 1)
        try:
            graph = (folder / ONNX_GRAPH).read_bytes()
            tokenizer = (folder / "tokenizer.json").read_bytes()
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            self._tokenizer = Tokenizer.from_buffer(tokenizer)
        except Exception as error:  # both libraries raise bare kinds of their own
            raise EncoderError(
                f"{folder}에서 인코더를 열 수 없어요({type(error).__name__}). "
                "파일이 온전한지 확인하거나 다시 설치해 주세요."
            ) from error
        self.fingerprint = "onnx-" + hashlib.sha256(graph + tokenizer).hexdigest()[:16]
        limit = int(self._session.get_modelmeta().custom_metadata_map.get("max_tokens", 48))
        self._tokenizer.enable_truncation(limit)
        self._tokenizer.enable_padding()

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Return float32 ``(len(texts), d)``, each row of Euclidean length 1."""

        def run(batch: list[str]) -> Vectors:
            encodings = self._tokenizer.encode_batch_fast(batch)
            ids = np.array([e.ids for e in encodings], dtype=np.int64)
            mask = np.array([e.attention_mask for e in encodings], dtype=np.int64)
            return self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]

        return _in_batches(texts, run, progress)


class SentenceTransformerEncoder:
    """Any encoder that sentence-transformers opens, on any device."""

    def __init__(self, source: Path | str, device: str) -> None:
        self.name = source.name if isinstance(source, Path) else source
        self.notes: list[str] = []
        self._model = open_sentence_transformer(source, device)
        self.fingerprint = "st-" + _fingerprint(source, self._model)
        if isinstance(source, Path) and not (source / "modules.json").is_file():
            self.notes.append(
                f"{self.name}에는 풀링 설정(modules.json)이 없어서 토큰 벡터의 평균을 문장 벡터로 써요."
            )
        elif isinstance(source, str) and not _has_pooling_on_hub(source):
            self.notes.append(f"{self.name}에는 풀링 설정이 없어서 토큰 벡터의 평균을 문장 벡터로 써요.")
        rate = unknown_rate(self._model.tokenizer)
        if rate > MAX_UNKNOWN:
            raise EncoderError(
                f"인코더 {self.name}은(는) 한국어 조각의 {rate:.0%}를 모르는 토큰으로 읽어서 쓸 수 없어요. "
                "tokenizer_config.json에 do_lower_case: false가 있는지, 한국어 모델이 맞는지 확인해 주세요."
            )

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> Vectors:
        """Return float32 ``(len(texts), d)``, each row of Euclidean length 1."""

        def run(batch: list[str]) -> Vectors:
            vectors = self._model.encode(
                batch, convert_to_numpy=True, normalize_embeddings=True, show_progress_bar=False
            )
            return np.asarray(vectors, dtype=np.float32)

        return _in_batches(texts, run, progress)


def _in_batches(
    texts: Sequence[str], run: Callable[[list[str]], Vectors], progress: Progress | None
) -> Vectors:
    """Encode by length, so that padding is short, and return the rows in the order given."""
    clean = [normalise(text) for text in texts]
    order = sorted(range(len(clean)), key=lambda i: len(clean[i]))
    rows: Vectors | None = None
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        vectors = run([clean[i] for i in places])
        if rows is None:
            rows = np.empty((len(clean), vectors.shape[1]), dtype=np.float32)
        rows[places] = vectors
        if progress:
            progress(start + len(places), len(clean))
    return rows if rows is not None else np.empty((0, run([""]).shape[1]), dtype=np.float32)


def encode_each(encoder: Encoder, texts: Sequence[str]) -> Vectors:
    """Encode texts so that no vector depends on what else is encoded: what is batched finds the same.

    The int8 graph scales its numbers by all texts of a batch, and gains hardly any time from one.
    """
    if isinstance(encoder, OnnxEncoder) and texts:
        return np.concatenate([encoder.encode([text]) for text in texts])
    return encoder.encode(texts)


def unknown_rate(tokenizer: Any) -> float:
    """Return the share of unknown (or lost) pieces over twenty everyday Korean sentences."""
    unknown = total = 0
    for sentence in _PROBE:
        if callable(tokenizer):
            ids, unk = tokenizer(sentence, add_special_tokens=False)["input_ids"], tokenizer.unk_token_id
        else:  # of static embeddings: the bare tokenizer of the tokenizers library
            ids, unk = (
                tokenizer.encode(sentence, add_special_tokens=False).ids,
                tokenizer.token_to_id("[UNK]"),
            )
        total += max(len(ids), 1)
        unknown += sum(i == unk for i in ids) if ids else 1
    return unknown / total


def open_sentence_transformer(source: Path | str, device: str) -> SentenceTransformer:
    """Open an encoder by folder or hub id with sentence-transformers; on the CPU in float32.

    Raises:
        EncoderError: it cannot be reached or opened.
    """
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # else a .bin load calls the hub
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    # Both libraries say in English, on the log and as bars, what is said here in Korean.
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    # Half precision is for GPUs; most processors only emulate it.
    dtype = {"dtype": "float32"} if device == "cpu" else {}
    cached = _cached(source) if isinstance(source, str) else None
    if cached:
        with suppress(Exception):  # not all there: an interrupted download, gone on with below
            return SentenceTransformer(cached, device=device, model_kwargs=dtype)
    try:
        return SentenceTransformer(str(source), device=device, model_kwargs=dtype)
    except Exception as error:
        if isinstance(source, str):
            raise EncoderError(
                f"허브에서 인코더 '{source}'을(를) 가져올 수 없어요. 인터넷 연결과 이름을 확인하거나, "
                "내려받아 둔 폴더를 --encoder로 지정해 주세요."
            ) from error
        raise EncoderError(
            f"{source}에서 인코더를 열 수 없어요({type(error).__name__}). "
            "config.json, 가중치, 토크나이저가 모두 있는 폴더인지 확인해 주세요."
        ) from error


def _cached(name: str) -> str | None:
    """Return the folder of what is here already of a model on the hub, which then need not be asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import logging as hub_logging

    hub_logging.set_verbosity_error()  # its English notes on every failed attempt
    with suppress(Exception):
        return str(snapshot_download(name, local_files_only=True))
    return None


def _has_pooling_on_hub(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "modules.json"), str)


def _fingerprint(source: Path | str, model: SentenceTransformer) -> str:
    """Identify the weights by what they compute, so that retraining in place is noticed."""
    probe = np.asarray(model.encode(list(_PROBE[:4]), show_progress_bar=False), dtype=np.float32)
    digest = hashlib.sha256(str(source).encode())
    digest.update(np.round(probe, 3).tobytes())
    return digest.hexdigest()[:16]
