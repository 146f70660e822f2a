"""Checkpoints of causal language models: found, checked and opened; written so that others open them.

KoGPT-2 as it lies on the hub (config.json, tokenizer.json, pytorch_model.bin, nothing else) is the
case to get right: it does not say which class reads its tokenizer, and the one that transformers
guesses from the model type drops all Hangul without a word.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from shutil import copy, copytree, rmtree
from typing import TYPE_CHECKING, Any

from chatbot.errors import ChatbotError
from chatbot.models.format import VERSION
from chatbot.models.locate import is_hub_id, local_folder
from chatbot.models.markers import marker_ids
from chatbot.resources import data_dir, private_dir

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

KOGPT2 = "skt/kogpt2-base-v2"
KOGPT2_LICENCE = "CC BY-NC-SA 4.0"
# What KoGPT-2's README passes to the tokenizer by hand; its files do not say it.
_KOGPT2_NAMES = {
    "bos_token": "</s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
_PROBE = "안녕하세요. 밥 먹었어?"
_NO_GENERATORS = ("ForMaskedLM", "ForPreTraining")  # what they learnt is to fill in, both sides seen
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
# Weights in other frameworks' forms stay on the hub: KoGPT-2's are half a gigabyte each.
_HUB_FILES = ["*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.jinja"]


class CheckpointError(ChatbotError):
    """A checkpoint is missing, broken, or cannot read Korean."""


def shipped_gpt() -> Path:
    """Return the folder of the GPT that ships."""
    return data_dir() / "models" / "gpt"


def find_checkpoint(name_or_path: str | Path | None, option: str = "--model") -> tuple[Path, list[str]]:
    """Return the folder of a model, downloaded where need be, and what to tell the person about it.

    Raises:
        CheckpointError: no such folder or model, or the hub cannot be reached.
    """
    if name_or_path is None:
        folder = shipped_gpt()
        if not folder.is_dir():
            raise CheckpointError(f"함께 배포되는 GPT가 {folder}에 없어요. chatbot을 다시 설치해 주세요.")
        return folder, []
    local = local_folder(name_or_path)
    if local is not None:
        return local, []
    if not is_hub_id(name_or_path):
        raise CheckpointError(
            f"{option} '{name_or_path}': 그런 폴더나 모델이 없어요. 경로나 허브 이름을 확인해 주세요."
        )
    return _download(str(name_or_path), option)


def _download(name: str, option: str) -> tuple[Path, list[str]]:
    from huggingface_hub import list_repo_files, snapshot_download, try_to_load_from_cache
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # its English notes on every failed attempt
    fetch = partial(snapshot_download, name, allow_patterns=_HUB_FILES)
    # A .bin is a pickle; where the same weights lie there as safetensors it is not even fetched.
    without_pickles = ["*.bin"]
    for ignored in (without_pickles, None):
        with suppress(Exception):  # not all there: an interrupted download, gone on with below
            if isinstance(try_to_load_from_cache(name, "config.json"), str):
                cached = Path(fetch(ignore_patterns=ignored, local_files_only=True))
                if _complete(cached):
                    return cached, []
    try:
        has_safetensors = any(fnmatch(file, "model*.safetensors") for file in list_repo_files(name))
        folder = Path(fetch(ignore_patterns=without_pickles if has_safetensors else None))
    except Exception as error:  # the hub's client raises kinds of four libraries
        raise CheckpointError(
            f"{option} '{name}': 허브에서 모델을 가져올 수 없어요({type(error).__name__}). "
            "인터넷 연결과 이름을 확인하거나, 내려받아 둔 폴더를 지정해 주세요."
        ) from error
    licence = base_licence(folder, name)
    return folder, [f"{name}의 라이선스: {licence}. 이 모델로 만든 것에도 이어져요."] if licence else []


def _complete(folder: Path) -> bool:
    """Tell whether configuration, tokenizer and all parts of the weights are there."""
    if not (folder / "config.json").is_file() or not any((folder / name).is_file() for name in _TOKENIZERS):
        return False
    for kind in ("safetensors", "bin"):
        if any("-of-" not in path.name for path in folder.glob(f"*model*.{kind}")):
            return True
        for index in folder.glob(f"*model*.{kind}.index.json"):
            if all((folder / part).is_file() for part in _read_json(index).get("weight_map", {}).values()):
                return True
    return False


def base_licence(folder: Path, name: str = "") -> str | None:
    """Return the licence that a checkpoint passes on to what is trained from it, if it states one."""
    if name == KOGPT2:
        return KOGPT2_LICENCE
    described = read_description(folder).get("licence")
    stated = described or _read_json(folder / "config.json").get("license")
    return str(stated) if stated else None


def read_description(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's ``chatbot.json``; an empty dictionary where there is none."""
    return _read_json(folder / "chatbot.json")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: 읽을 수 없어요. 온전한 파일로 바꿔 주세요.") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: JSON 객체가 아니에요. 온전한 파일로 바꿔 주세요.")
    return found


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Open a checkpoint's tokenizer and make sure that it reads Korean and knows its special tokens.

    ``tokenizer.json`` is read as it stands, whatever class the configuration names or the model type
    suggests: version 5 of transformers rebuilds several classes from their vocabulary and loses
    what the file says about Hangul.

    Raises:
        CheckpointError: there is none, it drops Korean, or special tokens were lost on the way.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    whole, bare = folder / "tokenizer.json", folder / "vocab.json"
    names: dict[str, Any] = {}
    try:
        if whole.is_file():
            stated = _read_json(folder / "tokenizer_config.json")
            known = _read_json(whole).get("model", {}).get("vocab", {})
            if "eos_token" not in stated and "<usr>" in known:
                names = {role: token for role, token in _KOGPT2_NAMES.items() if token in known}
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, **names)
        else:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{folder}에서 토크나이저를 열 수 없어요({type(error).__name__}). "
            "tokenizer.json이 있는 폴더인지 확인해 주세요."
        ) from error
    lost = _lost_markers(tokenizer, read_description(folder))
    if lost or (bare.is_file() and not whole.is_file() and not _reads_korean(tokenizer)):
        what = f"특수 토큰({', '.join(lost)})" if lost else "특수 토큰과 한글을 나누는 규칙"
        raise CheckpointError(
            f"{folder}의 토크나이저에 {what}이 빠져 있어요. 어휘 목록만 저장된 것으로 보이니, "
            "학습한 곳에서 save_pretrained로 다시 저장해 주세요."
        )
    if not _reads_korean(tokenizer):
        raise CheckpointError(
            f"{folder}의 토크나이저가 한글을 잃어버려요. 한국어를 아는 모델을 고르거나, "
            "토크나이저를 PreTrainedTokenizerFast로 다시 저장해 주세요."
        )
    return tokenizer


def _lost_markers(tokenizer: PreTrainedTokenizerFast, description: dict[str, Any]) -> list[str]:
    """Return the special tokens that the checkpoint was trained with and the tokenizer lacks."""
    promised: dict[str, int] = description.get("special_tokens", {})
    special = set(tokenizer.all_special_tokens)
    return [
        token
        for token, number in promised.items()
        if token not in special or tokenizer.convert_tokens_to_ids(token) != number
    ]


def _reads_korean(tokenizer: PreTrainedTokenizerFast) -> bool:
    ids = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    read = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return "".join(str(read).split()) == "".join(_PROBE.split())


def load_model(folder: Path, dtype: Any, pieces: int) -> PreTrainedModel:
    """Open the weights as ``dtype``, for a tokenizer of ``pieces`` pieces.

    Raises:
        CheckpointError: no loadable causal language model, or fewer embedding rows than pieces.
    """
    from transformers import AutoModelForCausalLM

    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}에 config.json이 없어요. 모델 폴더가 맞는지 확인해 주세요.")
    made_as = _read_json(folder / "config.json").get("architectures") or []
    if any(str(name).endswith(_NO_GENERATORS) for name in made_as):  # the library would take BERT for one
        raise CheckpointError(
            f"{folder}: {', '.join(map(str, made_as))} 모델은 글을 이어 쓰지 못해요. 생성 모델을 골라 주세요."
        )
    try:
        with quiet_transformers():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, output_loading_info=True, trust_remote_code=False
            )
            model, found = loaded
    except Exception as error:
        raise CheckpointError(
            f"{folder}에서 모델을 열 수 없어요({type(error).__name__}). "
            "config.json과 가중치가 온전한 생성 모델인지 확인해 주세요."
        ) from error
    if found["missing_keys"] or found["mismatched_keys"]:  # they would be filled at random
        raise CheckpointError(
            f"{folder}: 생성 모델의 가중치가 다 들어 있지 않아요. 다른 종류의 모델이거나 파일이 모자라니 "
            "다시 내려받거나 다른 모델을 골라 주세요."
        )
    rows = embedding_rows(model)
    if rows < pieces:
        raise CheckpointError(
            f"{folder}: 토크나이저의 토큰은 {pieces}개인데 임베딩은 {rows}행이에요. "
            "토큰을 더한 뒤 임베딩을 늘려 함께 저장한 모델이 필요해요."
        )
    model.eval()
    return model


def embedding_rows(model: PreTrainedModel) -> int:
    """Return how many pieces the model has a vector for."""
    weight: Any = model.get_input_embeddings().weight
    return int(weight.shape[0])


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from printing English reports and from calling the hub after a ``.bin``."""
    from transformers.utils import logging

    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def resize_embeddings(model: PreTrainedModel, pieces: int, seed: int = 0) -> None:
    """Give the model a row for every piece; never take rows away, and keep a tied head tied.

    New rows are drawn around the mean of the old ones, so the draw is seeded.
    """
    import torch

    if pieces > embedding_rows(model):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            with quiet_transformers():
                model.resize_token_embeddings(pieces)


def check_target(folder: Path, kind: str = "gpt") -> None:
    """Make sure that a checkpoint can be written to ``folder``, before hours are spent on it.

    Raises:
        CheckpointError: it is a file, holds anything but such a model of ours, or is read-only.
    """
    if folder.is_mount():  # it could not be replaced at the end
        raise CheckpointError(f"{folder}: 장치가 연결된 자리예요. 그 안의 하위 폴더를 지정해 주세요.")
    taken = folder.is_file()
    if folder.is_dir() and any(folder.iterdir()):
        taken = read_description(folder).get("kind") != kind
    if taken:
        raise CheckpointError(f"{folder}: 다른 파일이 들어 있는 곳이에요. 비어 있는 폴더를 지정해 주세요.")
    try:
        private_dir(folder.parent)
        tempfile.TemporaryFile(dir=folder.parent).close()
    except OSError as error:
        raise CheckpointError(
            f"{folder}: 쓸 수 없어요({error.strerror}). 다른 곳을 지정해 주세요."
        ) from error


def save_checkpoint(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    description: dict[str, Any],
    card: str,
    *,
    ours: bool = True,
    extras: Sequence[Path] = (),
) -> None:
    """Write model, tokenizer, ``chatbot.json`` and model card, all or nothing.

    What is written opens with plain transformers, versions 4 and 5. It is in our prompt format, unless
    ``ours`` says that it keeps the chat template it came with. ``extras`` are files and folders put beside.

    Raises:
        CheckpointError: ``folder`` exists and is no checkpoint of ours, or cannot be written.
    """
    with new_checkpoint(folder, "gpt") as part, quiet_transformers():
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        _name_common_class(part / "tokenizer_config.json")
        known = {"format": VERSION, "special_tokens": marker_ids(tokenizer)} if ours else {}
        for extra in extras:
            (copytree if extra.is_dir() else copy)(extra, part / extra.name)
        describe(part, "gpt", {**known, **description}, card)


def describe(folder: Path, kind: str, description: dict[str, Any], card: str) -> None:
    """Write a checkpoint's ``chatbot.json`` and its model card."""
    text = json.dumps({"kind": kind, **description}, ensure_ascii=False, indent=2)
    (folder / "chatbot.json").write_text(text + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card, encoding="utf-8")


@contextmanager
def new_checkpoint(folder: Path, kind: str) -> Iterator[Path]:
    """Give a private folder to fill; it becomes the checkpoint ``folder`` when the block ends well.

    Raises:
        CheckpointError: ``folder`` exists and is no checkpoint of that kind of ours, or cannot be written.
    """
    check_target(folder, kind)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))  # mode 0700
    try:
        yield part
        for path in part.rglob("*"):  # what was learnt from somebody's chats is for them alone
            path.chmod(0o700 if path.is_dir() else 0o600)
        if folder.exists():
            rmtree(folder)
        part.rename(folder)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: 쓸 수 없어요({error.strerror}). 다른 곳을 지정해 주세요."
        ) from error
    finally:
        rmtree(part, ignore_errors=True)


def _name_common_class(path: Path) -> None:
    """Make ``tokenizer_config.json`` readable for version 4: its class name, its list of special tokens."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config["additional_special_tokens"] = config.pop("extra_special_tokens", [])
    for key in ("backend", "is_local", "local_files_only"):
        config.pop(key, None)
    path.write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
