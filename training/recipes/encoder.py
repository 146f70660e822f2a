"""The small Korean BERT sentence encoder, from raw text to the files that ship.

    python -m training.recipes.encoder --corpora DIR --out data/models/encoder

does everything in order: ``vocab``, ``embed`` (first word vectors), ``pretrain``, ``contrast``, ``export``,
``card``. Stopped and started again it goes on where it was. After new words ``--base data/models/encoder
--epochs 1`` goes on from the encoder that ships, a quarter of an hour instead of two.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import typer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from chatbot.errors import UsageError
from chatbot.models.checkpoint import read_description
from chatbot.resources import data_dir
from training.batches import Batches, tokenised_lines
from training.corpora import (
    KORSTS_DEV,
    MEASURED,
    PAIRS,
    Layout,
    paraphrase_sets,
    pretraining_lines,
    sample_pairs,
    scored_pairs,
    text_layout,
    weighed,
)
from training.loop import fit, mixed_precision
from training.masked import masked_lm_loss
from training.noise import noisy
from training.recipes import steps as common
from training.recipes.contrast import export_encoder, train_by_contrast
from training.recipes.steps import SAVE_EVERY, Job, Step, forget_tokenised, machine, recipe_app
from training.vocabulary import train_wordpiece

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import BertForMaskedLM, PreTrainedTokenizerFast

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)
SAVE_STEPS = 100  # steps between those of contrastive training


# Share of each file that pretraining reads. Spoken and everyday Korean counts double;
# computing documentation and film reviews would otherwise be 70 % of the text.
MIXTURE: Mapping[str, float] = {
    "dialogue": 2.0,
    "questions_commands": 2.0,
    "tatoeba": 2.0,
    "nlu_sentences": 1.0,
    "ambiguity_sentences": 1.0,
    "stories": 1.0,
    "news_comments_none": 1.0,
    "nsmc_reviews": 0.4,
    "petitions": 0.4,
    "book_reviews": 0.5,
    "news_parallel": 0.5,
    "docs_ms_human": 0.05,
}
# How many pairs a paraphrase set of each source gives per epoch.
OWN = ("qa", "listening")  # whose sets are told apart by their texts
PAIRS_PER_SET: Mapping[str, float] = {"parakqc": 8, "stylekqc": 1, "sae4k_v1": 0.1}


@dataclass(frozen=True)
class Recipe(common.Recipe):
    """Everything that decides what the encoder becomes; as it stands, the one that ships."""

    minutes: float = 60
    seed: int = 20261120
    mixture: Mapping[str, float] = field(default_factory=lambda: MIXTURE)
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
    dropout: float = 0.0  # the text is seen about once: it would only cost
    # contrastive training: multiple negatives ranking (Henderson et al. 2017, arXiv:1705.00652)
    # and, on scored pairs, CoSENT (Su 2022)
    contrast_batch: int = 96
    contrast_learning_rate: float = 3e-4
    contrast_epochs: int = 4
    pairs_per_set: Mapping[str, float] = field(default_factory=lambda: PAIRS_PER_SET)
    temperature_scale: float = 20.0
    max_tokens: int = 48
    noise: float = 0.3
    own_times: float = 1  # that our own texts come in an epoch, told apart by intent and situation
    scored_times: float = 2  # that the scored pairs do
    parakqc_held_out: int = 100
    answers_measured: int = 1  # of so many one


SIZES = {
    "cpu": Recipe(),
    # For one modern GPU and half an hour: 17 million weights, the whole text several times over.
    "gpu": Recipe(
        minutes=12,
        mixture={**MIXTURE, "nsmc_reviews": 1.0, "petitions": 1.0, "book_reviews": 1.0, "news_parallel": 1.0},
        hidden=384, layers=6, heads=6, batch_tokens=16_384, dropout=0.1,
        contrast_batch=256, contrast_epochs=4,
    ),
    "smoke": Recipe(
        minutes=0.05,
        vocab_size=2000, alphabet=900, hidden=32, layers=2, heads=2, batch_tokens=256,
        contrast_batch=16, contrast_epochs=1, parakqc_held_out=5, own_times=0.02, scored_times=0.05,
        pairs_per_set={"parakqc": 2, "stylekqc": 1}, answers_measured=20,
    ),
}  # fmt: skip


def vocab(job: Job[Recipe]) -> dict[str, Any]:
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
    train_wordpiece(tokenizer, _text(job), job.recipe.vocab_size, job.recipe.alphabet, SPECIALS)
    wrapped = wrap_tokenizer(tokenizer, job.recipe.sequence)
    wrapped.save_pretrained(job.work / "tokenizer")
    forget_tokenised(job.work)
    return {"pieces": len(wrapped)}


def _text(job: Job[Recipe]) -> list[str]:
    return pretraining_lines(job.corpora, job.recipe.seed, job.recipe.mixture)


def wrap_tokenizer(tokenizer: Tokenizer, longest: int) -> PreTrainedTokenizerFast:
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
        model_max_length=longest,
    )


def embed(job: Job[Recipe]) -> dict[str, Any]:
    """Make first word vectors by counting: a factorised matrix of who stands near whom.

    Started from random vectors, a small masked language model sits on the unigram plateau for
    thousands of steps; started from these it does not (figures in LOG.md). The factorisation of
    positive pointwise mutual information is as good as word2vec (Levy and Goldberg 2014).
    """
    from scipy.sparse import coo_matrix, csr_matrix, diags
    from sklearn.utils.extmath import randomized_svd

    recipe = job.recipe
    ids = tokenised_lines(job.work, lambda: _text(job), recipe.sequence)[0].astype(np.int32)
    size = recipe.vocab_size
    counts = csr_matrix((size, size), dtype=np.float32)
    for distance in range(1, recipe.window + 1):
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
    left_vectors, strengths, _ = randomized_svd(ratio, recipe.hidden, n_iter=4, random_state=recipe.seed)
    vectors = left_vectors * np.sqrt(strengths)
    vectors *= recipe.embedding_scale / vectors.std()
    np.save(job.work / "embeddings.npy", vectors.astype(np.float32))
    return {"cooccurrences": int(ratio.nnz)}


def pretrain(job: Job[Recipe]) -> dict[str, Any]:
    """Pretrain by masked language modelling for a fixed time."""
    recipe = job.recipe
    torch.manual_seed(recipe.seed)
    ids, starts = tokenised_lines(job.work, lambda: _text(job), recipe.sequence)
    batches = Batches(ids, starts, batch_tokens=recipe.batch_tokens, pad=PAD, seed=recipe.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = fresh_model(recipe, np.load(job.work / "embeddings.npy"))
    torch.nn.Module.to(model, device)  # the library's own wrapper hides the signature
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )

    def losses_of(step: int) -> Iterator[tuple[torch.Tensor, int]]:
        batch = batches[step].to(device)
        chance = torch.Generator(device).manual_seed(recipe.seed + step)
        with mixed_precision(device):
            loss = masked_lm_loss(
                model, batch, chance, rate=recipe.mask_rate, mask=MASK, specials=len(SPECIALS)
            )
        yield loss, batch.numel()

    spent = fit(
        model, losses_of, [optimizer], job.work / "pretrain.pt",
        minutes=recipe.minutes, warmup=recipe.warmup, save_every=SAVE_EVERY, identity=job.started_from,
    )  # fmt: skip
    model.bert.save_pretrained(job.work / "pretrained")
    return {"steps": spent.steps, "tokens": spent.tokens, "minutes": spent.seconds / 60, "machine": machine()}


def fresh_model(recipe: Recipe, vectors: np.ndarray) -> BertForMaskedLM:
    """Return a BERT that knows ``vectors``, ``(pieces, hidden)``, and where its neighbours are."""
    from transformers import BertConfig, BertForMaskedLM

    model = BertForMaskedLM(
        BertConfig(
            vocab_size=recipe.vocab_size,
            hidden_size=recipe.hidden,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            intermediate_size=4 * recipe.hidden,
            max_position_embeddings=recipe.sequence,
            type_vocab_size=1,
            hidden_dropout_prob=recipe.dropout,
            attention_probs_dropout_prob=recipe.dropout,
            pad_token_id=PAD,
        )
    )
    positions = sinusoids(recipe.sequence, recipe.hidden, recipe.embedding_scale)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.copy_(torch.from_numpy(vectors))
        model.bert.embeddings.position_embeddings.weight.copy_(positions)
    return model


def sinusoids(length: int, width: int, scale: float) -> torch.Tensor:
    """Return sinusoidal positions (Vaswani et al. 2017) at the scale of the word vectors.

    A start only, they are trained on: neighbours are near each other from the first step.
    """
    angles = torch.arange(length)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return scale * torch.cat([angles.sin(), angles.cos()], dim=1)


def contrast(job: Job[Recipe]) -> dict[str, Any]:
    """Turn the pretrained model, or a sentence encoder to go on from, into a better one by contrasts."""
    recipe = job.recipe
    torch.manual_seed(recipe.seed)  # of the pooler, which nobody trains
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = sentence_encoder(job).to(device)
    sets = paraphrase_sets(job.corpora, data_dir(), recipe.parakqc_held_out, recipe.seed)
    # What a base has been through before is a fact about the weights, too.
    known: dict[str, Any] = read_description(job.base) if job.base else {"pretraining": job.facts("pretrain")}
    earlier = known.get("contrast", [])
    seed = recipe.seed + 100 * len(earlier)  # other pairs and other noise in every round
    rng = random.Random(seed)

    def typed(text: str) -> str:
        return noisy(text, rng) if rng.random() < recipe.noise else text

    own = [group.sentences for group in sets if group.source in OWN]
    others = [group for group in sets if group.source not in OWN]
    epochs = range(seed, seed + recipe.contrast_epochs)
    pairs = [
        (typed(a), typed(b)) for epoch in epochs for a, b in sample_pairs(others, recipe.pairs_per_set, epoch)
    ]
    told = [(text, number) for number, texts in enumerate(own) for text in texts]
    labelled = [(typed(t), number) for _ in epochs for t, number in weighed(told, recipe.own_times, rng)]
    scores = scored_pairs(job.corpora, data_dir() / "similarity")
    scored = [
        (typed(a), typed(b), score)
        for _ in epochs
        for a, b, score in weighed(scores, recipe.scored_times, rng)
    ]
    steps = train_by_contrast(
        model, pairs, scored, job.work / "contrast-state" / job.identity, labelled=labelled,
        device=device, seed=recipe.seed, batch=recipe.contrast_batch, scale=recipe.temperature_scale,
        learning_rate=recipe.contrast_learning_rate, save_every=SAVE_STEPS,
    )  # fmt: skip
    model.save_pretrained(str(job.work / "contrasted"), create_model_card=False)
    facts = {
        "steps": steps,
        "pairs": len(pairs),
        "labelled": len(labelled),
        "scored": len(scored),
        "epochs": recipe.contrast_epochs,
    }
    return {"pretraining": known.get("pretraining", {}), "rounds": [*earlier, facts]}


def sentence_encoder(job: Job[Recipe]) -> SentenceTransformer:
    """Return the base in float32, or the pretrained model with mean pooling and unit length on top.

    Raises:
        UsageError: the base is no sentence encoder, or of another size than the recipe's.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import PreTrainedTokenizerFast

    if job.base:
        if not (job.base / "modules.json").is_file():
            raise UsageError(
                f"--base {job.base}: 문장 인코더가 아니에요. data/models/encoder 같은 폴더를 써 주세요."
            )
        model = SentenceTransformer(str(job.base), device="cpu").float()
        words: Any = model[0]
        config = words.auto_model.config
        if (config.hidden_size, config.num_hidden_layers) != (job.recipe.hidden, job.recipe.layers):
            raise UsageError(f"--base {job.base}: 레시피와 크기가 달라요. --size를 확인해 주세요.")
        return model
    folder = job.work / "pretrained"
    PreTrainedTokenizerFast.from_pretrained(job.work / "tokenizer").save_pretrained(folder)
    bert = Transformer(str(folder), max_seq_length=job.recipe.max_tokens)
    pooling = Pooling(job.recipe.hidden, pooling_mode="mean")
    return SentenceTransformer(modules=[bert, pooling, Normalize()], device="cpu")


def export(job: Job[Recipe]) -> dict[str, Any]:
    """Write what ships: a float16 sentence-transformers checkpoint and an int8 ONNX graph."""
    export_encoder(job.work / "contrasted", job.out, "encoder")
    return {}


def card(job: Job[Recipe]) -> dict[str, Any]:
    """Measure what ships and write its model card."""
    from chatbot.knowledge import load_knowledge
    from chatbot.models.encoder import load_encoder
    from training.evaluate import evaluate_retrieval, parakqc_retrieval, sts_spearman
    from training.model_card import write_encoder_card

    recipe = job.recipe
    encoder = load_encoder(job.out, "cpu")
    figures = evaluate_retrieval(encoder=str(job.out), device="cpu", every=recipe.answers_measured)
    weight = figures["calibration"]["dense_weight"]
    contrasted = job.facts("contrast")
    facts = {
        "recipe": asdict(recipe),
        "pretraining": contrasted["pretraining"],
        "contrast": contrasted["rounds"],
        "data_fingerprint": load_knowledge().fingerprint,
        "metrics": {
            "qa": figures,
            "parakqc": parakqc_retrieval(encoder, job.corpora, recipe.parakqc_held_out, recipe.seed, weight),
            "korsts_dev": sts_spearman(encoder, job.corpora / KORSTS_DEV, weight),
        },
    }
    write_encoder_card(job.out, facts)
    typer.echo(json.dumps(facts["metrics"], ensure_ascii=False, indent=2))
    return {}


def _reads_text(recipe: Recipe) -> Layout:
    return text_layout(recipe.mixture)


_CONTRAST = (
    "contrast_batch", "contrast_learning_rate", "contrast_epochs", "pairs_per_set", "temperature_scale",
    "max_tokens", "noise", "own_times", "scored_times", "parakqc_held_out",
)  # fmt: skip
STEPS: list[Step[Recipe]] = [
    Step("vocab", vocab, corpora=_reads_text, from_nothing=True),
    Step("embed", embed, corpora=_reads_text, from_nothing=True),
    Step("pretrain", pretrain, ("minutes",), corpora=_reads_text, from_nothing=True),
    Step(
        "contrast", contrast, _CONTRAST, corpora=lambda recipe: PAIRS, data=("qa", "listening", "similarity")
    ),
    Step("export", export, ships=True),
    Step("card", card, corpora=lambda recipe: MEASURED, data=("qa", "dialogues", "listening", "eval")),
]
app = recipe_app("encoder", SIZES, STEPS, "함께 나가는 작은 한국어 문장 인코더를 처음부터 만들기.")

if __name__ == "__main__":
    app()
