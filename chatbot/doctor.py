"""What is installed, where things are, what is missing."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from chatbot import __version__
from chatbot.backends import backend_names
from chatbot.errors import ChatbotError
from chatbot.history import History, default_path
from chatbot.index import index_key, prebuilt_dir
from chatbot.knowledge import load_knowledge
from chatbot.models.checkpoint import shipped_gpt
from chatbot.models.device import resolve_device
from chatbot.models.encoder import load_encoder, shipped_encoder
from chatbot.models.reranker import shipped_reranker
from chatbot.resources import data_dir, home_dir

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "sentence-transformers",
    "onnxruntime",
    "sqlite-utils",
    "rich",
)


def examine() -> tuple[dict[str, str], list[str]]:
    """Return facts by Korean name, and a sentence for everything that is missing or broken."""
    facts = {
        "chatbot": __version__,
        "파이썬": f"{platform.python_version()} ({platform.system()} {platform.machine()})",
    }
    missing: list[str] = []
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            missing.append(f"{package} 패키지가 없어요. chatbot을 다시 설치해 주세요.")
    try:
        facts["장치"] = _device()
    except (ImportError, OSError) as error:
        missing.append(f"torch를 불러올 수 없어요({type(error).__name__}). torch를 다시 설치해 주세요.")
    facts["백엔드"] = ", ".join(backend_names())
    facts["함께 온 데이터"] = str(data_dir())
    facts["내 데이터"] = str(home_dir())
    facts["대화 기록"] = str(default_path())
    facts["인코더"] = str(shipped_encoder())
    facts["생성 모델"] = str(shipped_gpt())
    facts["재순위 모델"] = str(shipped_reranker())
    if not (shipped_gpt() / "chatbot.json").is_file():
        missing.append(f"{shipped_gpt()}에 생성 모델이 없어요. chatbot을 다시 설치해 주세요.")
    if not (shipped_reranker() / "chatbot.json").is_file():
        missing.append(f"{shipped_reranker()}에 재순위 모델이 없어요. chatbot을 다시 설치해 주세요.")
    try:
        knowledge = load_knowledge()
        facts["질문"] = f"{len(knowledge.entries)}개 (의도 {len(knowledge.intents)}개)"
        prebuilt = (prebuilt_dir() / index_key(knowledge, load_encoder())).is_dir()
        facts["색인"] = "미리 만들어져 있음" if prebuilt else "처음 쓸 때 만듦"
    except ChatbotError as error:
        missing.append(str(error))
    if default_path().exists():
        try:
            History().close()
        except ChatbotError as error:
            missing.append(str(error))
    return facts, missing


def _device() -> str:
    name = resolve_device("auto")
    if name != "cuda":
        return name
    import torch

    return f"cuda ({torch.cuda.get_device_name()})"
