"""The small Korean GPT, from raw text to the files that ship.

    python -m training.recipes.gpt --corpora DIR --out data/models/gpt

does everything in order: ``vocab``, ``pretrain``, ``share``, ``chat``, ``reply``, ``shots``, ``recall``,
``unsure``, ``export``, ``card``. Stopped and started again it goes on where it was.
``--base data/models/gpt --epochs 1`` goes on from the GPT that ships, without ``chat``: it has read those
conversations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import typer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from chatbot import __version__
from chatbot.knowledge import load_knowledge, load_listening
from chatbot.models.checkpoint import (
    load_model,
    load_tokenizer,
    read_description,
    save_checkpoint,
)
from chatbot.models.encoder import load_encoder
from chatbot.models.format import MarkerFormat
from chatbot.models.generator import Generator
from chatbot.models.markers import MARKERS, add_markers
from training.batches import Batches, tokenised_lines
from training.causal import Curriculum, settle_generation, token_costs, train_on
from training.corpora import CHAT, Layout, pretraining_lines, text_layout
from training.dialogues import Conversation
from training.loop import Spent, fit
from training.recipes import steps as common
from training.recipes.gpt_course import (
    SHARED,
    chat_epochs,
    recall_epochs,
    reply_epochs,
    shots_epochs,
    unsure_epochs,
    words_read,
)
from training.recipes.gpt_model import (
    BOS,
    EOS,
    PAD,
    SPECIALS,
    base_model,
    for_training,
    freeze,
    fresh_model,
    optimizers,
)
from training.recipes.steps import SAVE_EVERY, Job, Step, forget_tokenised, machine, open_to_all, recipe_app
from training.shared_answers import shared_answers
from training.understanding import Understanding, own_lessons
from training.vocabulary import train_bpe

# Share of each corpus that pretraining reads: spoken and everyday Korean first. Together about
# 18 million characters, what two cores read about once or twice in 100 minutes.
MIXTURE: Mapping[str, float] = {
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
class Recipe(common.Recipe):
    """Everything that decides what the GPT becomes; as it stands, the one that ships."""

    minutes: float = 100
    seed: int = 20261121
    mixture: Mapping[str, float] = field(default_factory=lambda: MIXTURE)
    vocab_size: int = 8_000
    alphabet: int = 2_200
    hidden: int = 256
    layers: int = 8
    heads: int = 4
    positions: int = 256
    longest_line: int = 100
    batch_tokens: int = 2048
    dropout: float = 0.0  # the text is seen about once: it would only cost
    # Muon (Jordan et al. 2024) on the matrices of the blocks, AdamW on the rest
    muon_rate: float = 5e-3
    adamw_rate: float = 3e-3
    warmup: float = 0.02
    continued_scale: float = 0.5  # of the rates, where pretraining goes on from a trained model
    # fine-tuning on conversations: the corpora's once, then our own
    chat_scale: float = 0.4
    chat_epochs: int = 1
    chat_longest: int = 200
    chat_batch_tokens: int = 2048
    conversations: int | None = None  # of an epoch; all
    wordings: int = 2  # questions of an intent in an epoch, others in every one
    lines: int = 3  # of a situation in an epoch, that a listener replies to
    answers: int = 1  # of an intent or situation that are taught: what is read over and over is remembered
    every: int = 1  # so manieth intent and situation is taught
    fewest_lines: int = 3  # a situation has in them; what was written down once is met too seldom
    # cosine from which intents and situations share the replies of one; without it none do
    likeness: float | None = 0.7
    # beside the next token (training/understanding.py)
    understanding_weight: float = 0.5
    understanding_layer: int = 4
    # then our own again, learning from the replies alone: what to say to what was said
    reply_scale: float = 0.6
    reply_epochs: float = 2.5
    # then with retrieved examples: of our pairs and of the listener's replies these shares, dialogues once
    shots_scale: float = 0.15
    shots_epochs: int = 1
    shots_pairs: float = 0.02
    shots_listening: float = 0.05
    # then what to say to what once more, the lower layers left as they are
    recall_scale: float = 0.6
    recall_epochs: float = 5
    recall_frozen: int = 4  # layers, and the embeddings
    recall_cut: float = 0.8  # share of the replies of which only what decides them is read:
    recall_tokens: int = 5
    recall_examples: float = 0.01  # share of pairs, and of a listener's replies, with examples before them
    # then, for the lines whose replies cost it most to open, words that ask back
    unsure_scale: float = 0.3
    unsure_epochs: float = 0.35
    unsure_share: float = 0.25
    unsure_replies: int = 2  # of those words, in each speech level
    unsure_far: int = 5_000  # lines of plain text that get them too,
    unsure_likeness: float = 0.6  # their cosine with every line of ours being below
    sampling_temperature: float = 0.3
    contexts: int = 100  # whose replies the card's figures are of


SIZES = {
    "cpu": Recipe(),
    # For one modern GPU and half an hour: 27 million weights, the whole text several times over.
    "gpu": Recipe(
        minutes=15,
        mixture={**MIXTURE, "nsmc_reviews": 1.0, "petitions": 1.0, "book_reviews": 1.0, "news_parallel": 1.0},
        vocab_size=16_000, alphabet=2_600, hidden=448, layers=8, heads=7, batch_tokens=32_768, dropout=0.1,
        chat_batch_tokens=8_192,
    ),
    "smoke": Recipe(
        minutes=0.05,
        vocab_size=1500, alphabet=900, hidden=32, layers=2, heads=2, batch_tokens=512,
        chat_epochs=1, chat_batch_tokens=512, conversations=200, reply_epochs=1, shots_epochs=1,
        wordings=1, lines=1, likeness=None, understanding_layer=1, shots_listening=0.01, shots_pairs=0.001,
        recall_epochs=1, unsure_epochs=1, recall_frozen=1, recall_examples=0.001,
        unsure_far=20, every=20, contexts=10,
    ),
}  # fmt: skip


def share(job: Job[Recipe]) -> dict[str, Any]:
    """Find out which intents and situations are taught with the same replies.

    Done again in the same folder, those that lead go on to do so: the model knows their replies.
    """
    recipe, path = job.recipe, job.work / SHARED
    known = json.loads(path.read_text(encoding="utf-8")).values() if job.base and path.exists() else ()
    found = {}
    if recipe.likeness is not None:
        groups = [
            [e for e in known.entries if not e.context] for known in (load_listening(), load_knowledge())
        ]
        found = shared_answers(groups, load_encoder(), recipe.likeness, recipe.fewest_lines, set(known))
    path.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
    return {"sets": len(found), "leaders": len(set(found.values()))}


def vocab(job: Job[Recipe]) -> dict[str, Any]:
    """Train the tokenizer, a BPE over characters with a metaspace as KoGPT-2's; or take the base's."""
    from transformers import PreTrainedTokenizerFast

    forget_tokenised(job.work)
    if job.base:
        tokenizer = load_tokenizer(job.base)
        tokenizer.save_pretrained(job.work / "tokenizer")
        return {"pieces": len(tokenizer)}
    recipe = job.recipe
    bare = Tokenizer(models.BPE(unk_token="<unk>"))
    bare.normalizer = normalizers.NFC()
    bare.pre_tokenizer = pre_tokenizers.Metaspace()
    bare.decoder = decoders.Metaspace()
    train_bpe(bare, _text(job), recipe.vocab_size - len(MARKERS), recipe.alphabet, SPECIALS)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=recipe.positions,
    )
    add_markers(tokenizer)
    tokenizer.save_pretrained(job.work / "tokenizer")
    return {"pieces": len(tokenizer)}


def _text(job: Job[Recipe]) -> list[str]:
    return pretraining_lines(job.corpora, job.recipe.seed, job.recipe.mixture)


def pretrain(job: Job[Recipe]) -> dict[str, Any]:
    """Pretrain on plain text, one line a sequence, for a fixed time."""
    from transformers import AutoConfig

    recipe = job.recipe
    torch.manual_seed(recipe.seed)
    tokenizer = load_tokenizer(job.work / "tokenizer")
    ids, starts = tokenised_lines(job.work, lambda: _text(job), recipe.longest_line, around=([BOS], [EOS]))
    batches = Batches(ids, starts, batch_tokens=recipe.batch_tokens, pad=PAD, seed=recipe.seed)
    model = for_training(base_model(job, tokenizer) if job.base else fresh_model(recipe, tokenizer))

    def losses_of(step: int) -> Iterator[tuple[torch.Tensor, int]]:
        batch = batches[step].to(model.device)
        yield token_costs(model, batch, batch != PAD, recipe.seed + step).mean(), batch.numel()

    scale = recipe.continued_scale if job.base else 1.0
    spent = fit(
        model, losses_of, optimizers(model, recipe, scale), job.work / "pretrain.pt",
        minutes=recipe.minutes, warmup=recipe.warmup, save_every=SAVE_EVERY, identity=job.started_from,
    )  # fmt: skip
    model.save_pretrained(job.work / "pretrained")
    if not job.base:
        return _facts(spent)
    layers = AutoConfig.from_pretrained(job.base).n_layer
    return {**_facts(spent), "base_layers": layers, "earlier": read_description(job.base).get("training", {})}


def _facts(spent: Spent) -> dict[str, Any]:
    return {"steps": spent.steps, "tokens": spent.tokens, "minutes": spent.seconds / 60, "machine": machine()}


def chat(job: Job[Recipe]) -> dict[str, Any]:
    """Fine-tune on conversations: the corpora's first, then our own in both speech levels."""
    spent = _train(job, "pretrained", "chat", chat_epochs(job), job.recipe.chat_scale, whole=True)
    return {**_facts(spent), "epochs": job.recipe.chat_epochs}


def reply(job: Job[Recipe]) -> dict[str, Any]:
    """Go on with our own conversations, the loss on the replies alone."""
    start = "pretrained" if job.base else "chat"
    spent = _train(job, start, "reply", reply_epochs(job), job.recipe.reply_scale)
    return {**_facts(spent), "epochs": job.recipe.reply_epochs}


def shots(job: Job[Recipe]) -> dict[str, Any]:
    """Go on with examples before our pairs, so that few-shot prompts mean something to the model.

    Most of what it reads is plain, attentive replies: what it says where it understands only roughly.
    """
    spent = _train(job, "reply", "shots", shots_epochs(job), job.recipe.shots_scale)
    return {**_facts(spent), "epochs": job.recipe.shots_epochs}


def recall(job: Job[Recipe]) -> dict[str, Any]:
    """Go on with what to say to what, the embeddings and the lower layers left as they are.

    Those know what was said long before the layers above know what to say to it. Of most replies only the
    first tokens are read, which decide what follows: more than twice the replies in the same time (LOG.md).
    """
    recipe = job.recipe
    epochs = recall_epochs(job)
    spent = _train(job, "shots", "recall", epochs, recipe.recall_scale, frozen=recipe.recall_frozen)
    return {**_facts(spent), "epochs": recipe.recall_epochs}


def unsure(job: Job[Recipe]) -> dict[str, Any]:
    """Go on once more: where the model would not have known what to say, it learns to ask back.

    To plain lines far from ours it learns to ask back, too, and not to know what no small talk can know. So
    it speaks where it knows what to say (R-Tuning, Zhang et al. 2024, arXiv:2311.09677).
    """
    recipe = job.recipe
    tokenizer = load_tokenizer(job.work / "tokenizer")
    model = for_training(load_model(job.work / "recall", torch.float32, len(tokenizer)))
    epochs = unsure_epochs(job, model, MarkerFormat(tokenizer))
    spent = _train(job, "recall", "unsure", epochs, recipe.unsure_scale, frozen=recipe.recall_frozen)
    return {**_facts(spent), "epochs": recipe.unsure_epochs}


def _train(
    job: Job[Recipe],
    start: str,
    step: str,
    epochs: list[list[Conversation]],
    scale: float,
    *,
    whole: bool = False,
    frozen: int = 0,
) -> Spent:
    """Train the model in the folder ``start`` of the work, at ``scale`` of the recipe's rates.

    The result and its state go by the step's name. With ``frozen`` so many layers and the embeddings below
    them stay as they are; that far up there is nothing to teach of what was said.
    """
    recipe = job.recipe
    tokenizer = load_tokenizer(job.work / "tokenizer")
    model = for_training(load_model(job.work / start, torch.float32, len(tokenizer)))
    course = Curriculum(
        MarkerFormat(tokenizer), epochs, longest=recipe.chat_longest, batch_tokens=recipe.chat_batch_tokens
    )
    if frozen:
        freeze(model, frozen)
        spent = train_on(
            course, model, optimizers(model, recipe, scale), job.work / f"{step}.pt", identity=job.identity
        )
        model.save_pretrained(job.work / step)
        return spent
    with closing(
        Understanding(
            model, course, own_lessons(load_encoder(), course),
            layer=recipe.understanding_layer, weight=recipe.understanding_weight,
        )
    ) as understanding:  # fmt: skip
        understanding.load_head(job.work / start)
        spent = train_on(
            course, model, optimizers(understanding, recipe, scale), job.work / f"{step}.pt",
            whole=whole, identity=job.identity, auxiliary=understanding,
        )  # fmt: skip
    model.save_pretrained(job.work / step)
    understanding.save_head(job.work / step)
    return spent


def export(job: Job[Recipe]) -> dict[str, Any]:
    """Write what ships: a calibrated float16 checkpoint that plain transformers opens.

    Going over the same words many times makes a model sure of itself beyond reason. Dividing its
    scores by a temperature, fitted on the dev half of the held-out dialogues, mends that (Guo et
    al. 2017, arXiv:1706.04599); the division is built into the last layer's norm.
    """
    from training.evaluate_gpt import best_temperature

    tokenizer = load_tokenizer(job.work / "tokenizer")
    add_markers(tokenizer)  # and today's chat template
    model: Any = load_model(job.work / "unsure", torch.float32, len(tokenizer))
    settle_generation(
        model, tokenizer, MarkerFormat(tokenizer).stop_ids, temperature=job.recipe.sampling_temperature
    )
    facts = {"version": __version__, "base_model": None, "knows_examples": True}
    save_checkpoint(job.out, model, tokenizer, facts, "")
    found = best_temperature(Generator(str(job.out), "cpu"))
    with torch.no_grad():
        for parameter in model.transformer.ln_f.parameters():
            parameter /= found
    save_checkpoint(job.out, model.half(), tokenizer, {**facts, "calibration_temperature": found}, "")
    open_to_all(job.out)
    return {"temperature": found}


def card(job: Job[Recipe]) -> dict[str, Any]:
    """Measure what ships, beside a Kneser-Ney model of the same text, and write its model card."""
    from training.evaluate_gpt import evaluate_gpt, kneser_ney_bits
    from training.model_card import write_gpt_card

    read = dict.fromkeys(_text(job))  # each line once: counting what was read over and over spoils the model
    read |= words_read(job)
    facts = {
        "recipe": asdict(job.recipe),
        "training": {
            step: job.facts(step)
            for step in ("pretrain", "chat", "reply", "shots", "recall", "unsure")
            if step != "chat" or not job.base
        },
        "shared": job.facts("share"),
        "data_fingerprint": load_knowledge().fingerprint,
        "metrics": {
            **evaluate_gpt(model=str(job.out), device="cpu", contexts=job.recipe.contexts),
            "kneser_ney": kneser_ney_bits(list(read)),
        },
    }
    write_gpt_card(job.out, facts)
    typer.echo(json.dumps(facts["metrics"], ensure_ascii=False, indent=2))
    return {}


def _reads_text(recipe: Recipe) -> Layout:
    return text_layout(recipe.mixture)


_CHAT = (
    "chat_scale",
    "chat_epochs",
    "chat_longest",
    "chat_batch_tokens",
    "conversations",
    "wordings",
    "lines",
    "answers",
    "every",
    "understanding_weight",
    "understanding_layer",
)
# our words, and the encoder that teaches what they mean
_TAUGHT_WITH = ("qa", "dialogues", "listening", "models/encoder")
STEPS: list[Step[Recipe]] = [
    Step("vocab", vocab, corpora=_reads_text),
    Step("pretrain", pretrain, ("minutes",), corpora=_reads_text),
    Step("share", share, ("likeness", "fewest_lines"), data=_TAUGHT_WITH),
    Step(
        "chat",
        chat,
        _CHAT,
        corpora=lambda recipe: CHAT,
        data=_TAUGHT_WITH,
        from_nothing=True,  # a base has read them
    ),
    Step("reply", reply, ("reply_scale", "reply_epochs", "every"), data=_TAUGHT_WITH),
    Step(
        "shots",
        shots,
        ("shots_scale", "shots_epochs", "shots_pairs", "shots_listening"),
        data=_TAUGHT_WITH,
    ),
    Step(
        "recall",
        recall,
        ("recall_scale", "recall_epochs", "recall_frozen", "recall_cut", "recall_tokens", "recall_examples"),
        corpora=lambda recipe: CHAT,
        data=_TAUGHT_WITH,
    ),
    Step(
        "unsure",
        unsure,
        ("unsure_scale", "unsure_epochs", "unsure_share", "unsure_replies", "unsure_far", "unsure_likeness"),
        corpora=lambda recipe: {**_reads_text(recipe), **CHAT},
        data=(*_TAUGHT_WITH, "replies", "classifiers", "models/classifiers"),
    ),
    Step("export", export, ("sampling_temperature",), data=("eval",), ships=True),
    Step("card", card, corpora=lambda recipe: {**_reads_text(recipe), **CHAT}, data=("eval",)),
]
app = recipe_app("gpt", SIZES, STEPS, "함께 나가는 작은 한국어 GPT를 처음부터 만들기.")

if __name__ == "__main__":
    app()
