"""The small Korean BERT sentence encoder, from raw text to the files that ship.

    python -m training.recipes.encoder vocab    --corpora DIR --work runs/encoder
    python -m training.recipes.encoder embed    --corpora DIR --work runs/encoder
    python -m training.recipes.encoder pretrain --corpora DIR --work runs/encoder --minutes 60
    python -m training.recipes.encoder contrast --corpora DIR --work runs/encoder
    python -m training.recipes.encoder export   --work runs/encoder --out data/models/encoder
    python -m training.recipes.encoder card     --corpora DIR --work runs/encoder

Each step reads what the one before it wrote in ``--work``. Pretraining saves its whole state
and goes on from there when it is started again, so a stopped run loses minutes, not hours.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
import typer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from chatbot.models.checkpoint import read_description
from training.batches import Batches, tokenised_lines
from training.corpora import paraphrase_sets, pretraining_lines, sample_pairs, scored_pairs
from training.loop import fit
from training.masked import masked_lm_loss
from training.noise import noisy

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerFast

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what the encoder becomes; written into its model card."""

    vocab_size: int = 16_000
    alphabet: int = 2_600
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    # pretraining: masked language modelling (Devlin et al. 2019, arXiv:1810.04805)
    sequence: int = 64
    batch_tokens: int = 2048
    mask_rate: float = 0.2
    window: int = 5
    embedding_scale: float = 0.05
    learning_rate: float = 1e-3
    warmup: float = 0.06
    # contrastive training: multiple negatives ranking (Henderson et al. 2017, arXiv:1705.00652)
    # and, on scored pairs, CoSENT (Su 2022)
    contrast_batch: int = 128
    contrast_learning_rate: float = 3e-4
    contrast_epochs: int = 2
    temperature_scale: float = 20.0
    max_tokens: int = 48
    noise: float = 0.3
    parakqc_held_out: int = 100
    seed: int = 20261120


RECIPE = Recipe()
# How many pairs a paraphrase set of each source gives per epoch.
PAIRS_PER_SET = {"parakqc": 20, "stylekqc": 6, "qa": 16, "sae4k_v1": 1}

Corpora = Annotated[
    Path, typer.Option(help="Folder with pretrain/ and pairs/.", exists=True, file_okay=False)
]
Work = Annotated[Path, typer.Option(help="Where the steps keep their files.")]


@app.command()
def vocab(corpora: Corpora, work: Work) -> None:
    """Train the WordPiece vocabulary."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=40))
    # Endless laughter, crying and punctuation carry no more meaning than three of them.
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Lowercase()]
        + [normalizers.Replace(Regex(f"[{c}]{{4,}}"), c * 3) for c in "ㅋㅎㅠㅜ.!?~ㄷㅇ"]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=RECIPE.vocab_size,
        limit_alphabet=RECIPE.alphabet,
        special_tokens=SPECIALS,
        # Every jamo a person types alone belongs in the alphabet, however rare it is in text.
        initial_alphabet=[chr(c) for c in range(0x3131, 0x3164)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(pretraining_lines(corpora, RECIPE.seed), trainer)
    wrapped = wrap_tokenizer(tokenizer)
    wrapped.save_pretrained(work / "tokenizer")
    typer.echo(f"vocabulary: {len(wrapped)} pieces")


def wrap_tokenizer(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Dress a tokenizers object for transformers.

    Not as ``BertTokenizer``: version 5 of transformers rebuilds that class from the vocabulary
    and drops our normaliser, and with it the way Hangul was split in training.
    """
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=RECIPE.sequence,
    )


@app.command()
def embed(corpora: Corpora, work: Work) -> None:
    """Make first word vectors by counting: a factorised matrix of who stands near whom.

    Started from random vectors, a small masked language model sits on the unigram plateau for
    thousands of steps; started from these it does not (figures in LOG.md). The factorisation of
    positive pointwise mutual information is as good as word2vec (Levy and Goldberg 2014).
    """
    from scipy.sparse import coo_matrix, csr_matrix, diags
    from sklearn.utils.extmath import randomized_svd

    lines = tokenised_lines(work, lambda: pretraining_lines(corpora, RECIPE.seed), RECIPE.sequence)
    ids = lines[0].astype(np.int32)
    size = RECIPE.vocab_size
    counts = csr_matrix((size, size), dtype=np.float32)
    for distance in range(1, RECIPE.window + 1):
        left, right = ids[:-distance], ids[distance:]
        weight = np.full(len(left), 1 / distance, dtype=np.float32)
        counts = counts + coo_matrix((weight, (left, right)), shape=(size, size)).tocsr()
    counts = counts + counts.T
    total = counts.sum()
    near = np.asarray(counts.sum(axis=1)).ravel() ** 0.75  # smoothing keeps rare pieces from dominating
    near /= near.sum()
    alone = np.asarray(counts.sum(axis=1)).ravel() / total
    ratio = diags(1 / np.maximum(alone, 1e-12)) @ (counts / total) @ diags(1 / np.maximum(near, 1e-12))
    ratio = ratio.tocsr()
    ratio.data = np.maximum(np.log(np.maximum(ratio.data, 1e-12)), 0).astype(np.float32)
    ratio.eliminate_zeros()
    left_vectors, strengths, _ = randomized_svd(ratio, RECIPE.hidden, n_iter=4, random_state=RECIPE.seed)
    vectors = left_vectors * np.sqrt(strengths)
    vectors *= RECIPE.embedding_scale / vectors.std()
    np.save(work / "embeddings.npy", vectors.astype(np.float32))
    typer.echo(f"{ratio.nnz / 1e6:.1f} M co-occurrences factorised")


@app.command()
def pretrain(
    corpora: Corpora,
    work: Work,
    minutes: Annotated[float, typer.Option(help="Time to train in all, over every restart.")] = 60,
    save_every: Annotated[float, typer.Option(help="Minutes between saved states.")] = 5,
) -> None:
    """Pretrain by masked language modelling for a fixed time; restart to go on."""
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(RECIPE.seed)
    ids, starts = tokenised_lines(work, lambda: pretraining_lines(corpora, RECIPE.seed), RECIPE.sequence)
    batches = Batches(ids, starts, batch_tokens=RECIPE.batch_tokens, pad=PAD, seed=RECIPE.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = BertForMaskedLM(
        BertConfig(
            vocab_size=RECIPE.vocab_size,
            hidden_size=RECIPE.hidden,
            num_hidden_layers=RECIPE.layers,
            num_attention_heads=RECIPE.heads,
            intermediate_size=4 * RECIPE.hidden,
            max_position_embeddings=RECIPE.sequence,
            type_vocab_size=1,
            hidden_dropout_prob=0.0,  # the text is seen about once: dropout would only cost
            attention_probs_dropout_prob=0.0,
            pad_token_id=PAD,
        )
    )
    torch.nn.Module.to(model, device)  # the library's own wrapper hides the signature
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=RECIPE.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.copy_(torch.from_numpy(np.load(work / "embeddings.npy")))
        model.bert.embeddings.position_embeddings.weight.copy_(sinusoids(RECIPE.sequence, RECIPE.hidden))

    def losses_of(step: int) -> Iterator[tuple[torch.Tensor, int]]:
        batch = batches[step].to(device)
        chance = torch.Generator(device).manual_seed(RECIPE.seed + step)
        loss = masked_lm_loss(model, batch, chance, rate=RECIPE.mask_rate, mask=MASK, specials=len(SPECIALS))
        yield loss, batch.numel()

    spent = fit(
        model, losses_of, [optimizer], work / "pretrain.pt",
        minutes=minutes, warmup=RECIPE.warmup, save_every=save_every,
    )  # fmt: skip
    model.bert.save_pretrained(work / "pretrained")
    facts = {"steps": spent.steps, "tokens": spent.tokens, "minutes": spent.seconds / 60}
    (work / "pretrain.json").write_text(json.dumps(facts))


def sinusoids(length: int, width: int) -> torch.Tensor:
    """Return sinusoidal positions (Vaswani et al. 2017) at the scale of the word vectors.

    A start only, they are trained on: neighbours are near each other from the first step.
    """
    angles = torch.arange(length)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return RECIPE.embedding_scale * torch.cat([angles.sin(), angles.cos()], dim=1)


@app.command()
def contrast(
    corpora: Corpora,
    work: Work,
    qa: Annotated[Path, typer.Option(help="Our intents.")] = Path("data/qa"),
    epochs: Annotated[int, typer.Option()] = RECIPE.contrast_epochs,
    base: Annotated[
        Path | None, typer.Option(help="Sentence encoder to go on from, as after writing new intents.")
    ] = None,
) -> None:
    """Turn the pretrained model into a sentence encoder by contrastive training."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss, MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.training_args import (
        BatchSamplers,
        MultiDatasetBatchSamplers,
    )

    model = SentenceTransformer(str(base), device="cpu").float() if base else fresh_sentence_encoder(work)
    sets = paraphrase_sets(corpora, qa, RECIPE.parakqc_held_out, RECIPE.seed)
    # What a base has been through before is a fact about the weights, too.
    earlier = read_description(base).get("contrast", []) if base else []
    seed = RECIPE.seed + 100 * len(earlier)  # other pairs and other noise in every round
    rng = random.Random(seed)
    pairs = [
        (
            noisy(a, rng) if rng.random() < RECIPE.noise else a,
            noisy(b, rng) if rng.random() < RECIPE.noise else b,
        )
        for epoch in range(epochs)
        for a, b in sample_pairs(sets, PAIRS_PER_SET, seed + epoch)
    ]
    scored = scored_pairs(corpora)
    typer.echo(f"{len(sets)} paraphrase sets, {len(pairs)} pairs, {len(scored)} scored pairs")
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(work / "contrast-state"),
            num_train_epochs=1,
            per_device_train_batch_size=RECIPE.contrast_batch,
            learning_rate=RECIPE.contrast_learning_rate,
            warmup_steps=0.1,
            lr_scheduler_type="cosine",
            batch_sampler=BatchSamplers.NO_DUPLICATES,
            multi_dataset_batch_sampler=MultiDatasetBatchSamplers.PROPORTIONAL,
            logging_steps=50,
            save_strategy="no",
            report_to="none",
            seed=RECIPE.seed,
        ),
        train_dataset={
            "paraphrases": Dataset.from_dict(
                {"anchor": [a for a, _ in pairs], "positive": [b for _, b in pairs]}
            ),
            "similarity": Dataset.from_dict(
                {
                    "sentence1": [a for a, _, _ in scored],
                    "sentence2": [b for _, b, _ in scored],
                    "score": [s for _, _, s in scored],
                }
            ),
        },
        loss={
            "paraphrases": MultipleNegativesRankingLoss(model, scale=RECIPE.temperature_scale),
            "similarity": CoSENTLoss(model),
        },
    )
    done = trainer.train()
    model.save_pretrained(str(work / "encoder"))
    facts = {"steps": done.global_step, "pairs": len(pairs), "epochs": epochs}
    (work / "contrast.json").write_text(json.dumps([*earlier, facts]))


def fresh_sentence_encoder(work: Path) -> SentenceTransformer:
    """Return the pretrained model with mean pooling and unit length on top."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import AutoModel, PreTrainedTokenizerFast

    folder = work / "pretrained"
    AutoModel.from_pretrained(folder)  # fails early, and clearly, where pretraining has not finished
    PreTrainedTokenizerFast.from_pretrained(work / "tokenizer").save_pretrained(folder)
    words = Transformer(str(folder), max_seq_length=RECIPE.max_tokens)
    return SentenceTransformer(modules=[words, Pooling(RECIPE.hidden, pooling_mode="mean"), Normalize()])


@app.command()
def export(work: Work, out: Annotated[Path, typer.Option(help="The folder that ships.")]) -> None:
    """Write what ships: a float16 sentence-transformers checkpoint and an int8 ONNX graph."""
    from sentence_transformers import SentenceTransformer

    from training.onnx_export import export_int8

    model = SentenceTransformer(str(work / "encoder"), device="cpu")
    out.mkdir(parents=True, exist_ok=True)
    export_int8(model, out)
    model.half().save_pretrained(str(out), create_model_card=False)


@app.command()
def card(
    corpora: Corpora,
    work: Work,
    out: Annotated[Path, typer.Option(help="The folder that ships.")] = Path("data/models/encoder"),
) -> None:
    """Measure what ships and write its model card."""
    from chatbot.knowledge import load_knowledge
    from chatbot.models.encoder import load_encoder
    from training.evaluate import evaluate_retrieval, parakqc_retrieval, sts_spearman, sts_spearman_tfidf
    from training.model_card import write_encoder_card

    encoder = load_encoder(out, "cpu")
    figures = evaluate_retrieval(encoder=str(out), device="cpu")
    weight = figures["calibration"]["dense_weight"]
    korsts = corpora / "pairs" / "korsts_dev.jsonl.gz"
    facts = {
        "recipe": asdict(RECIPE),
        "pretraining": json.loads((work / "pretrain.json").read_text()),
        "contrast": json.loads((work / "contrast.json").read_text()),
        "data_fingerprint": load_knowledge().fingerprint,
        "metrics": {
            "qa": figures,
            "parakqc": parakqc_retrieval(encoder, corpora, RECIPE.parakqc_held_out, RECIPE.seed, weight),
            "korsts_dev": {"dense": sts_spearman(encoder, korsts), "tfidf": sts_spearman_tfidf(korsts)},
        },
    }
    write_encoder_card(out, facts)
    typer.echo(json.dumps(facts["metrics"], ensure_ascii=False, indent=2))


if __name__ == "__main__":
    app()
