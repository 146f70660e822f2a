"""The small Korean GPT, from raw text to the files that ship.

    python -m training.recipes.gpt vocab    --corpora DIR --work runs/gpt
    python -m training.recipes.gpt pretrain --corpora DIR --work runs/gpt --minutes 100
    python -m training.recipes.gpt chat     --corpora DIR --work runs/gpt
    python -m training.recipes.gpt reply    --work runs/gpt
    python -m training.recipes.gpt export   --work runs/gpt --out data/models/gpt
    python -m training.recipes.gpt card     --corpora DIR --work runs/gpt

Each step reads what the one before it wrote in ``--work``. Training saves its whole state and goes
on from there when it is started again, so a stopped run loses minutes, not hours.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from chatbot import __version__
from chatbot.errors import ChatbotError
from chatbot.knowledge import load_knowledge
from chatbot.models.checkpoint import (
    load_model,
    load_tokenizer,
    read_description,
    save_checkpoint,
)
from chatbot.models.format import MARKERS, MarkerFormat, add_markers
from chatbot.models.generator import Generator
from training.batches import Batches, tokenised_lines
from training.causal import Curriculum, next_token_loss, settle_generation, train_on
from training.corpora import pretraining_lines
from training.dialogues import corpora_conversations, own_conversations
from training.loop import fit
from training.muon import Muon

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedModel, PreTrainedTokenizerFast

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)

# In KoGPT-2's order as far as it is known, so that code for one reads like code for the other.
SPECIALS = ["<s>", "</s>", "<unk>", "<pad>", "<mask>"]
BOS, EOS, UNK, PAD = range(4)

# Share of each corpus that pretraining reads: spoken and everyday Korean first. Together about
# 18 million characters, what two cores read about once or twice in 100 minutes.
MIXTURE = {
    "dialogue": 2.0,
    "questions_commands": 1.0,
    "tatoeba": 2.0,
    "nlu_sentences": 1.0,
    "ambiguity_sentences": 1.0,
    "stories": 1.0,
    "news_comments_none": 1.0,
    "nsmc_reviews": 0.25,
    "petitions": 0.2,
    "book_reviews": 0.5,
    "news_parallel": 0.3,
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what the GPT becomes; written into its model card."""

    vocab_size: int = 8_000
    alphabet: int = 2_200
    hidden: int = 256
    layers: int = 6
    heads: int = 4
    positions: int = 256
    longest_line: int = 100
    batch_tokens: int = 2048
    # Muon (Jordan et al. 2024) on the matrices of the blocks, AdamW on the rest
    muon_rate: float = 5e-3
    adamw_rate: float = 3e-3
    warmup: float = 0.02
    continued_scale: float = 0.5  # of the rates, where pretraining goes on from a trained model
    # fine-tuning on conversations: the corpora's once, then our own
    chat_scale: float = 0.4
    chat_epochs: int = 5
    chat_longest: int = 200
    # then our own again, learning from the replies alone: what to say to what was said
    reply_epochs: int = 4
    sampling_temperature: float = 0.3
    seed: int = 20261121


RECIPE = Recipe()

Corpora = Annotated[Path, typer.Option(help="Folder with pretrain/ and chat/.", exists=True, file_okay=False)]
Work = Annotated[Path, typer.Option(help="Where the steps keep their files.")]


@app.command()
def vocab(corpora: Corpora, work: Work) -> None:
    """Train the tokenizer: BPE over characters with a metaspace, as KoGPT-2's."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=RECIPE.vocab_size - len(MARKERS),
        limit_alphabet=RECIPE.alphabet,
        special_tokens=SPECIALS,
        # Every jamo a person types alone belongs in the alphabet, however rare it is in text.
        initial_alphabet=[chr(c) for c in range(0x3131, 0x3164)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(pretraining_lines(corpora, RECIPE.seed, MIXTURE), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=RECIPE.positions,
    )
    add_markers(wrapped)
    wrapped.save_pretrained(work / "tokenizer")
    typer.echo(f"vocabulary: {len(wrapped)} pieces")


@app.command()
def pretrain(
    corpora: Corpora,
    work: Work,
    minutes: Annotated[float, typer.Option(help="Time to train in all, over every restart.")] = 100,
    save_every: Annotated[float, typer.Option(help="Minutes between saved states.")] = 5,
    base: Annotated[
        Path | None, typer.Option(help="Checkpoint with the same tokenizer to go on from.", file_okay=False)
    ] = None,
) -> None:
    """Pretrain on plain text, one line a sequence, for a fixed time; restart to go on."""
    torch.manual_seed(RECIPE.seed)
    if base:
        load_tokenizer(base).save_pretrained(work / "tokenizer")
    tokenizer = load_tokenizer(work / "tokenizer")
    ids, starts = tokenised_lines(
        work,
        lambda: pretraining_lines(corpora, RECIPE.seed, MIXTURE),
        RECIPE.longest_line,
        around=([BOS], [EOS]),
    )
    batches = Batches(ids, starts, batch_tokens=RECIPE.batch_tokens, pad=PAD, seed=RECIPE.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(base, torch.float32, len(tokenizer)) if base else fresh_model(tokenizer)
    torch.nn.Module.to(model, device)  # the library's own wrapper hides the signature

    def losses_of(step: int) -> Iterator[tuple[torch.Tensor, int]]:
        batch = batches[step].to(device)
        yield next_token_loss(model, batch, batch != PAD, RECIPE.seed + step), batch.numel()

    spent = fit(
        model, losses_of, optimizers(model, RECIPE.continued_scale if base else 1.0), work / "pretrain.pt",
        minutes=minutes, warmup=RECIPE.warmup, save_every=save_every,
    )  # fmt: skip
    model.save_pretrained(work / "pretrained")
    tokenizer.save_pretrained(work / "pretrained")
    facts: dict[str, Any] = {"steps": spent.steps, "tokens": spent.tokens, "minutes": spent.seconds / 60}
    if base:
        facts["earlier"] = read_description(base).get("training", {})
    (work / "pretrain.json").write_text(json.dumps(facts))


@app.command()
def chat(
    corpora: Corpora,
    work: Work,
    epochs: Annotated[int, typer.Option(help="Times through our own words.")] = RECIPE.chat_epochs,
) -> None:
    """Fine-tune on conversations: the corpora's first, then our own in both speech levels."""
    tokenizer = load_tokenizer(work / "tokenizer")
    model = load_model(work / "pretrained", torch.float32, len(tokenizer))
    course = Curriculum(
        MarkerFormat(tokenizer),
        [list(corpora_conversations(corpora))]
        + [list(own_conversations(None, RECIPE.seed + epoch)) for epoch in range(epochs)],
        longest=RECIPE.chat_longest,
        batch_tokens=RECIPE.batch_tokens,
    )
    _train(course, model, work, "chat", whole=True, epochs=epochs)


@app.command()
def reply(
    work: Work,
    epochs: Annotated[int, typer.Option(help="Times through our own words.")] = RECIPE.reply_epochs,
) -> None:
    """Go on with our own conversations, the loss on the replies alone."""
    tokenizer = load_tokenizer(work / "tokenizer")
    model = load_model(work / "chat", torch.float32, len(tokenizer))
    first = RECIPE.seed + 100
    course = Curriculum(
        MarkerFormat(tokenizer),
        [list(own_conversations(None, first + epoch)) for epoch in range(epochs)],
        longest=RECIPE.chat_longest,
        batch_tokens=RECIPE.batch_tokens,
    )
    _train(course, model, work, "reply", whole=False, epochs=epochs)


def _train(
    course: Curriculum, model: PreTrainedModel, work: Path, step: str, *, whole: bool, epochs: int
) -> None:
    """Train a step of the recipe; its state, its facts and its model go by its name."""
    spent = train_on(
        course, model, optimizers(model, RECIPE.chat_scale), work / f"{step}.pt",
        whole=whole, identity=str(RECIPE),
    )  # fmt: skip
    facts = {"steps": spent.steps, "tokens": spent.tokens, "minutes": spent.seconds / 60, "epochs": epochs}
    (work / f"{step}.json").write_text(json.dumps(facts))
    model.save_pretrained(work / step)


@app.command()
def export(work: Work, out: Annotated[Path, typer.Option(help="The folder that ships.")]) -> None:
    """Write what ships: a calibrated float16 checkpoint that plain transformers opens.

    Going over the same words many times makes a model sure of itself beyond reason. Dividing its
    scores by a temperature, fitted on the dev half of the held-out dialogues, mends that (Guo et
    al. 2017, arXiv:1706.04599); the division is built into the last layer's norm.
    """
    from training.evaluate_gpt import best_temperature

    tokenizer = load_tokenizer(work / "tokenizer")
    add_markers(tokenizer)  # and today's chat template
    model: Any = load_model(work / "reply", torch.float32, len(tokenizer))
    settle_generation(model, tokenizer, temperature=RECIPE.sampling_temperature)
    facts = {"version": __version__, "base_model": None}
    save_checkpoint(out, model, tokenizer, facts, "")
    found = best_temperature(Generator(str(out), "cpu"))
    with torch.no_grad():
        for parameter in model.transformer.ln_f.parameters():
            parameter /= found
    save_checkpoint(out, model.half(), tokenizer, {**facts, "calibration_temperature": found}, "")
    out.chmod(0o755)  # nothing private in it, and everybody is to read what ships
    for path in out.iterdir():
        path.chmod(0o644)
    typer.echo(f"temperature {found:.2f}")


@app.command()
def card(
    corpora: Corpora,
    work: Work,
    out: Annotated[Path, typer.Option(help="The folder that ships.")] = Path("data/models/gpt"),
) -> None:
    """Measure what ships, beside a Kneser-Ney model of the same text, and write its model card."""
    from training.evaluate_gpt import evaluate_gpt, kneser_ney_bits
    from training.model_card import write_gpt_card

    spent = {step: json.loads((work / f"{step}.json").read_text()) for step in ("pretrain", "chat", "reply")}
    read = pretraining_lines(corpora, RECIPE.seed, MIXTURE)
    for conversations in (
        corpora_conversations(corpora),
        *(own_conversations(None, RECIPE.seed + epoch) for epoch in range(spent["chat"]["epochs"])),
        *(own_conversations(None, RECIPE.seed + 100 + epoch) for epoch in range(spent["reply"]["epochs"])),
    ):
        read += [turn.text for conversation in conversations for turn in conversation.turns]
    facts = {
        "recipe": asdict(RECIPE),
        "training": spent,
        "data_fingerprint": load_knowledge().fingerprint,
        "metrics": {
            **evaluate_gpt(model=str(out), device="cpu"),
            "kneser_ney": kneser_ney_bits(read),
        },
    }
    write_gpt_card(out, facts)
    typer.echo(json.dumps(facts["metrics"], ensure_ascii=False, indent=2))


def fresh_model(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    """Return an untrained GPT-2 of the recipe's size."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=RECIPE.positions,
        n_embd=RECIPE.hidden,
        n_layer=RECIPE.layers,
        n_head=RECIPE.heads,
        resid_pdrop=0.0,  # the text is seen about once: dropout would only cost
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return GPT2LMHeadModel(config)


def optimizers(model: torch.nn.Module, scale: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices of the blocks and AdamW for everything else.

    At this size Muon learns from the same text what takes AdamW about twice as much (LOG.md).
    """
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and ".h." in name]
    inside = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in inside]
    return [
        Muon(matrices, lr=scale * RECIPE.muon_rate, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=scale * RECIPE.adamw_rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def main() -> None:
    """Run the recipe's commands; our own errors are one sentence."""
    try:
        app()
    except ChatbotError as error:
        typer.echo(f"오류: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
