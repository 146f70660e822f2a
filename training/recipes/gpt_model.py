"""The GPT that a recipe trains: made anew or deepened from a base, ready for training, its optimisers."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from chatbot.errors import UsageError
from chatbot.models.checkpoint import load_model
from training.muon import Muon
from training.recipes.steps import Job

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerFast

    from training.recipes.gpt import Recipe

# In KoGPT-2's order as far as it is known, so that code for one reads like code for the other.
SPECIALS = ["<s>", "</s>", "<unk>", "<pad>", "<mask>"]
BOS, EOS, UNK, PAD = range(4)


def fresh_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """Return an untrained GPT-2 of the recipe's size."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=recipe.positions,
        n_embd=recipe.hidden,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        resid_pdrop=recipe.dropout,
        embd_pdrop=recipe.dropout,
        attn_pdrop=recipe.dropout,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return GPT2LMHeadModel(config)


def base_model(job: Job[Recipe], tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Return the model to go on from, as deep as the recipe's.

    Raises:
        UsageError: it is of another width than the recipe's, deeper, or less than half as deep.
    """
    assert job.base
    model: Any = load_model(job.base, torch.float32, len(tokenizer))
    layers = job.recipe.layers
    if getattr(model.config, "n_embd", None) != job.recipe.hidden or not (
        model.config.n_layer <= layers <= 2 * model.config.n_layer
    ):
        raise UsageError(f"--base {job.base}: 레시피와 크기가 달라요. --size를 확인해 주세요.")
    return deepened(model, layers)


def deepened(model: GPT2LMHeadModel, layers: int) -> GPT2LMHeadModel:
    """Return the model with so many blocks, at most twice its own: the upper ones twice, saying the same.

    A new block is a copy of the one below that adds nothing as yet, its projections back into the stream
    being 0 (LLaMA Pro, Wu et al. 2024, arXiv:2401.02415).
    """
    own = model.config.n_layer
    if layers == own:
        return model
    doubled = 2 * own - layers  # the first block that comes twice
    source = [*range(doubled), *(n for n in range(doubled, own) for _ in range(2))]
    config = copy.deepcopy(model.config)
    config.n_layer = layers
    deep: Any = type(model)(config)
    weights = {name: value for name, value in model.state_dict().items() if ".h." not in name}
    deep.load_state_dict(weights, strict=False)
    for number, (block, below) in enumerate(zip(deep.transformer.h, source, strict=True)):
        block.load_state_dict(model.transformer.h[below].state_dict())
        if number and source[number - 1] == below:
            for weight in (*block.attn.c_proj.parameters(), *block.mlp.c_proj.parameters()):
                torch.nn.init.zeros_(weight)
    return deep


def for_training(model: Any) -> PreTrainedModel:
    """Return the model where it is trained, its activation worked out in one go: a tenth of a step's time."""
    for block in model.transformer.h:
        block.mlp.act = torch.nn.GELU(approximate="tanh")  # the same function as GPT-2's own
    torch.nn.Module.to(model, "cuda" if torch.cuda.is_available() else "cpu")  # the library's hides the type
    return model


def freeze(model: Any, layers: int) -> None:
    """Leave the embeddings and so many layers above them as they are."""
    for part in (model.transformer.wte, model.transformer.wpe, *model.transformer.h[:layers]):
        part.requires_grad_(False)


def optimizers(model: torch.nn.Module, recipe: Recipe, scale: float = 1.0) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the blocks and AdamW for everything else.

    At this size Muon learns from the same text what takes AdamW about twice as much (LOG.md).
    """
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name]
    inside = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in inside]
    return [
        Muon(matrices, lr=scale * recipe.muon_rate, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=scale * recipe.adamw_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]
