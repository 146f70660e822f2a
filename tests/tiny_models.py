"""Small causal language models, laid out on disk as the real ones are."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from chatbot.knowledge import load_knowledge
from chatbot.models.checkpoint import load_model, load_tokenizer, resize_embeddings, save_checkpoint
from chatbot.models.format import MarkerFormat
from chatbot.models.markers import add_markers
from chatbot.resources import data_dir
from training.vocabulary import train_bpe

# As far as they are known, and in an order of their own: code must not count on the ids.
KOGPT2_SPECIALS = [
    "<s>", "</s>", "<usr>", "<pad>", "<sys>", "<unk>", "<mask>", *(f"<unused{n}>" for n in range(5))
]  # fmt: skip


@cache
def _sentences() -> list[str]:
    intents = load_knowledge().intents[::18]  # some of every topic
    return [q for i in intents for q in i.questions] + [a for i in intents for a in i.answers.polite]


def character_bpe(pieces: int = 900) -> Tokenizer:
    """Train a character BPE with a metaspace, as KoGPT-2's."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    sentences = [*_sentences(), "안녕하세요. 밥 먹었어?"]
    train_bpe(tokenizer, sentences, pieces, 800, KOGPT2_SPECIALS, always="안녕하세요.밥먹었어?ㅋㅠ▁")
    return tokenizer


def byte_level_bpe(pieces: int = 600) -> Tokenizer:
    """Train a byte-level BPE, as GPT-2's: one syllable may take several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=pieces,
        special_tokens=["<|endoftext|>", "<|turn|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Not of the questions and answers, which change: what untrained weights say hangs on the pieces.
    tokenizer.train([str(data_dir() / "samples" / "kakaotalk_android.txt")], trainer)
    return tokenizer


def tiny_gpt2(pieces: int, seed: int = 0, **config: Any) -> GPT2LMHeadModel:
    """Return an untrained GPT-2 with sharp, peaked weights: its choices differ clearly."""
    torch.manual_seed(seed)
    settings = {"n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 2, **config}
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=pieces, bos_token_id=0, eos_token_id=1, pad_token_id=3, **settings)
    )
    with torch.no_grad():
        model.transformer.wte.weight.mul_(20)
    return model


def write_kogpt2(folder: Path, seed: int = 0, pieces: int | None = None, **config: Any) -> Path:
    """Write a small checkpoint exactly as ``skt/kogpt2-base-v2`` lies on the hub.

    ``pieces`` fills the vocabulary up to a size, ``config`` gives another shape.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = character_bpe()
    tokenizer.save(str(folder / "tokenizer.json"))
    if pieces:
        described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        known = described["model"]["vocab"]
        known.update({f"채움{n}": n for n in range(len(known), pieces)})
        (folder / "tokenizer.json").write_text(json.dumps(described), encoding="utf-8")
    model = tiny_gpt2(pieces or tokenizer.get_vocab_size(), seed, **config)
    state = dict(model.state_dict())
    places = model.config.n_positions
    for layer in range(model.config.n_layer):  # buffers that old versions of transformers saved
        mask = torch.ones(1, 1, places, places, dtype=torch.uint8).tril()
        state[f"transformer.h.{layer}.attn.bias"] = mask
        state[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(state, folder / "pytorch_model.bin")
    stated = model.config.to_dict()
    kept = ("model_type", "vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "layer_norm_epsilon")
    hub = {key: stated[key] for key in kept}
    hub |= {
        "architectures": ["GPT2LMHeadModel"],
        "activation_function": "gelu_new",
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 3,
        "author": "Heewon Jeon(madjakarta@gmail.com)",
        "license": "CC-BY-NC-SA 4.0",
        "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    }
    (folder / "config.json").write_text(json.dumps(hub), encoding="utf-8")
    return folder


def write_ours(folder: Path, seed: int = 0, **config: Any) -> Path:
    """Write a small untrained checkpoint in our own format."""
    tokenizer = wrapped(character_bpe())
    model = tiny_gpt2(len(tokenizer), seed, **config)
    add_markers(tokenizer)
    resize_embeddings(model, len(tokenizer))
    save_checkpoint(folder, model, tokenizer, {"base_model": None}, "card")
    return folder


def write_endless(folder: Path) -> Path:
    """Write a checkpoint in our own format that never wants to end a reply."""
    write_ours(folder, n_positions=2048, n_layer=6)
    tokenizer = load_tokenizer(folder)
    model = load_model(folder, torch.float32, len(tokenizer))
    with torch.no_grad():
        # One dimension of every state says "not now", and only the ends listen to it.
        model.transformer.ln_f.bias[0] = 10
        model.transformer.wte.weight[:, 0] = 0
        model.transformer.wte.weight[sorted(MarkerFormat(tokenizer).stop_ids), 0] = -10
    save_checkpoint(folder, model, tokenizer, {"base_model": None}, "card")
    return folder


def wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Dress a character BPE for transformers."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="</s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
    )


INSTRUCT_TEMPLATE = (
    "{%- for message in messages -%}<|{{ message.role }}|>\n{{ message.content }}<|im_end|>\n{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>\n{%- endif -%}"
)


def write_instruct(folder: Path) -> Path:
    """Write an instruct model as it lies on the hub: its own chat template, its own end of a turn."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level_bpe(), eos_token="<|endoftext|>")
    roles = [f"<|{role}|>" for role in ("system", "user", "assistant")]
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_end|>", *roles]})
    tokenizer.chat_template = INSTRUCT_TEMPLATE
    model = tiny_gpt2(len(tokenizer), n_positions=256)
    ends: Any = [tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.eos_token_id]
    model.generation_config = GenerationConfig(eos_token_id=ends)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
