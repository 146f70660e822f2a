"""Model cards for what ships: sources with their licences, the recipe, the figures, the limits."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from chatbot import __version__
from chatbot.models.checkpoint import describe

# (corpus, licence, attribution) of everything the shipped encoder was trained on.
ENCODER_SOURCES = (
    ("Our own intents (`data/qa`, indexed questions only)", "CC BY 4.0", "the chatbot project"),
    ("NSMC film reviews", "CC0 1.0", "Lucy Park, https://github.com/e9t/nsmc"),
    ("Blue House petitions", "KOGL type 1 / CC0", "Cheong Wa Dae; collected by lovit, https://github.com/lovit/petitions_archive"),
    ("ChatbotData, Question_pair", "MIT", "Youngsook Song, https://github.com/songys/Chatbot_data, https://github.com/songys/Question_pair"),
    ("XPersona", "MIT", "CAiRE, https://github.com/HLTCHKUST/Xpersona"),
    ("HG-TODS", "MIT", "NLPlab, Sungkyunkwan University, https://github.com/NLPlab-skku/HG-TODS"),
    ("chatterbot-corpus", "BSD-3-Clause", "Gunther Cox, https://github.com/gunthercox/chatterbot-corpus"),
    ("ParaKQC", "CC BY-SA 4.0", "Cho, Kim, Moon, Kim, https://github.com/warnikchow/paraKQC"),
    ("StyleKQC", "CC BY-SA 4.0", "Cho, Moon, Kim, Kim, Kim, https://github.com/cynthia/stylekqc"),
    ("sae4K, 3i4K", "CC BY-SA 4.0", "Cho et al., https://github.com/warnikchow/sae4k, https://github.com/warnikchow/3i4k"),
    ("KorNLI (XNLI dev), KorSTS train", "CC BY-SA 4.0", "Ham et al. (Kakao Brain), https://github.com/kakaobrain/kor-nlu-datasets"),
    ("KLUE, KoBEST, UD Korean GSD (sentences)", "CC BY-SA 4.0", "Park et al.; SK Telecom; McDonald et al., Chun et al."),
    ("Tatoeba", "CC BY 2.0 FR", "https://tatoeba.org contributors"),
    ("Korean ambiguity data", "CC BY 4.0", "Bareun and Seoul National University, https://github.com/bareun-nlp/korean-ambiguity-data"),
    ("KoCoNovel; boddari (fairy tales, book reviews, Wikinews)", "CC BY-SA 4.0; CC BY", "https://github.com/storidient/KoCoNovel, https://github.com/yiunsr/boddari"),
    ("Korean Parallel Corpora", "CC BY-SA 3.0", "Park, Hong, Cha, https://github.com/jungyeul/korean-parallel-corpora"),
    ("BEEP! comments labelled harmless", "CC BY-SA 4.0", "Moon, Cho, Lee, https://github.com/kocohub/korean-hate-speech"),
    ("Microsoft documentation, Korean (a twentieth of it)", "CC BY 4.0", "Microsoft"),
)  # fmt: skip


# What the shipped GPT was trained on besides, and not: it reads no paraphrase pairs.
GPT_SOURCES = tuple(
    source
    for source in ENCODER_SOURCES
    if not source[0].startswith(("Our own intents", "StyleKQC", "HG-TODS", "Microsoft"))
)


def _rounds(rounds: list[dict[str, int]]) -> str:
    """Say how often contrastive training was taken up, and for how long."""
    steps = [
        f"{spent['steps']:,} steps over {spent['pairs']:,} pairs"
        + (f" and {spent['labelled']:,} texts of our own" if "labelled" in spent else "")
        for spent in rounds
    ]
    return (
        f"First {steps[0]}; after new words were written, {', then '.join(steps[1:])}."
        if steps[1:]
        else f"{steps[0]}."
    )


def write_encoder_card(folder: Path, facts: dict[str, Any]) -> None:
    """Write ``README.md`` and ``chatbot.json`` beside an encoder.

    ``facts`` holds ``recipe``, ``pretraining`` (steps, tokens, minutes), ``contrast`` (steps, pairs and epochs
    of each round), ``data_fingerprint`` (of the intents it was trained on) and ``metrics``.
    """
    metrics, recipe, spent = facts["metrics"], facts["recipe"], facts["pretraining"]
    scorers, floor = metrics["qa"]["scorers"], metrics["qa"]["floor"]["fused"]
    follow_ups, parakqc = metrics["qa"]["follow_ups"], metrics["parakqc"]
    sources = "\n".join(f"| {name} | {licence} | {who} |" for name, licence, who in ENCODER_SOURCES)
    settings = _settings(recipe)
    card = f"""---
language: ko
license: cc-by-sa-4.0
library_name: sentence-transformers
pipeline_tag: sentence-similarity
---

# The small Korean encoder of chatbot {__version__}

A BERT of {recipe["layers"]} layers and {recipe["hidden"]} dimensions with {recipe["vocab_size"]:,} WordPiece pieces,
trained from nothing by `training/recipes/encoder.py`. It turns short spoken Korean into vectors of unit
length. The folder is a plain sentence-transformers checkpoint (float16); `onnx/sentence_int8.onnx` is
the same model in 8 bits, from ids to unit vectors, for ONNX Runtime alone.

```python
from sentence_transformers import SentenceTransformer

SentenceTransformer("path/to/this/folder").encode(["오늘 너무 피곤해"])
```

## Figures

Measured on the int8 graph; thresholds and weights fitted on dev data only. Of our wordings dense and fused compare an
utterance with the nearest and, at a weight of {metrics["qa"]["calibration"]["set_weight"]:.2g}, with all of an intent; TF-IDF is the plain cosine.

| what | dense | TF-IDF | fused |
|---|---:|---:|---:|
| our test wordings ({metrics["qa"]["test_wordings"]}), top-1 | {_pc(scorers["dense"]["top1"])} | {_pc(scorers["tfidf"]["top1"])} | {_pc(scorers["fused"]["top1"])} |
| our test wordings, MRR | {scorers["dense"]["mrr"]:.3f} | {scorers["tfidf"]["mrr"]:.3f} | {scorers["fused"]["mrr"]:.3f} |
| ParaKQC, {parakqc["queries"]} wordings of held-out sets among {parakqc["indexed"]:,} sentences, top-1 (dev) | {_pc(parakqc["dense"])} | {_pc(parakqc["tfidf"])} | {_pc(parakqc["fused"])} |
| KorSTS dev, Spearman (dev) | {metrics["korsts_dev"]["dense"]:.1f} | {metrics["korsts_dev"]["tfidf"]:.1f} | {metrics["korsts_dev"]["fused"]:.1f} |

At the floor the fused scorer answers {_pc(floor["coverage"])} of our test wordings, {_pc(floor["accuracy_when_answered"])} of those rightly, and
declines {_pc(floor["ood_declined"])} of the out-of-domain lines. Two-turn items find their reply in {_pc(follow_ups["with_context"])} with the
turn before, in {_pc(follow_ups["without_context"])} without it.

## Training

1. WordPiece vocabulary over the pretraining text (NFC, laughter and crying cut to three letters).
2. First word vectors by factorising the co-occurrence counts (positive PMI).
3. Masked language modelling: {_went(spent)} on {spent.get("machine", "two CPU cores")}.
4. Contrastive training on paraphrases (multiple negatives ranking), scored pairs (CoSENT); our own texts
   are told apart by intent and situation (softmax over a vector for each). A
   share of the sentences with typing noise. {_rounds(facts["contrast"])}

| setting | value |
|---|---|
{settings}

Never trained on: KorSTS dev and test, KLUE-NLI, the held-out ParaKQC sets, and the dev and test
wordings of our own intents.

## Data

| source | licence | attribution |
|---|---|---|
{sources}

The weights are under CC BY-SA 4.0, since some sources are share-alike.

## Limits

An honest first version: it is small and has read little. It knows everyday talk better than
anything else, was measured on wordings written by the same project, and puts unrelated short
sentences closer together than large encoders do; compare scores, do not read them as probabilities.
Film reviews, news comments and petitions carry the views and biases of those who wrote them.
"""
    (folder / "README.md").write_text(card, encoding="utf-8")
    description = {"kind": "encoder", "version": __version__, "base_model": None, **facts}
    (folder / "chatbot.json").write_text(
        json.dumps(description, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
    )


def write_reranker_card(folder: Path, facts: dict[str, Any]) -> None:
    """Write ``README.md`` and ``chatbot.json`` beside a reranker.

    ``facts`` holds ``recipe``, ``training`` (steps, pairs, graded), ``decision``, ``rated`` (replies of each
    kind that it was fitted on) and ``metrics``, as :mod:`training.recipes.reranker` gives them.
    """
    metrics, spent, decision, rated = (facts[k] for k in ("metrics", "training", "decision", "rated"))
    sources = "\n".join(f"| {name} | {licence} | {who} |" for name, licence, who in ENCODER_SOURCES)
    weights = "\n".join(
        f"| {kind} | {rated[kind]:,} | " + " | ".join(f"{weight:.2f}" for weight in row) + " |"
        for kind, row in decision["weights"].items()
    )
    card = f"""---
language: ko
license: cc-by-sa-4.0
library_name: sentence-transformers
pipeline_tag: sentence-similarity
---

# The small Korean reranker of chatbot {__version__}

The encoder that ships with chatbot, taught by `training/recipes/reranker.py` to put a reply near what it
answers: their cosine says how well one follows the other. The folder is a plain sentence-transformers
checkpoint (float16); `onnx/sentence_int8.onnx` is the same model in 8 bits. The context is the last three turns,
the last one first, with ` | ` between them.

## Figures

Finding the true next turn among {metrics["among"]}, the others drawn from other dialogues; our held-out dialogues, which
nothing was trained on. Guessing finds {100 / metrics["among"]:.0f} %.

| | dev ({metrics["contexts"]["dev"]} contexts) | test ({metrics["contexts"]["test"]}) |
|---|---:|---:|
| the reranker | {_pc(metrics["reranker"]["dev"])} | {_pc(metrics["reranker"]["test"])} |
| the encoder's cosine, the same context | {_pc(metrics["encoder"]["dev"])} | {_pc(metrics["encoder"]["test"])} |
| the encoder's cosine, the last turn alone | {_pc(metrics["encoder_last_turn"]["dev"])} | {_pc(metrics["encoder_last_turn"]["test"])} |

## How the hybrid backend weighs candidates

Logistic regressions on {sum(rated.values()):,} replies graded 0 to 3 by language models (`data/ratings`), fitted by the step `decide`: the grade to
expect of a candidate from its own score (of the search, or GPT's confidence), the reranker's and the strangeness of
the utterance.

| kind | graded | constant | own score | reranker | strangeness |
|---|---:|---:|---:|---:|---:|
{weights}

Retrieval answers outright from a search score of {decision["confident"]:.3f} on.

## Training

{spent["steps"]:,} steps on {spent["pairs"]:,} pairs of what follows what (multiple negatives ranking) and {spent["graded"]:,} graded replies
(CoSENT), on {spent["machine"]}.

| setting | value |
|---|---|
{_settings(facts["recipe"])}

## Data

What the encoder read, and:

| source | licence | attribution |
|---|---|---|
{sources}

The weights are under CC BY-SA 4.0, since some sources are share-alike.
"""
    describe(folder, "reranker", facts, card)


def write_gpt_card(folder: Path, facts: dict[str, Any]) -> None:
    """Write ``README.md`` beside the shipped GPT and add ``facts`` to its ``chatbot.json``.

    ``facts`` holds ``recipe``, ``training`` (``pretrain``, ``chat`` unless it went on from a base, ``reply``,
    ``shots``, ``recall`` and ``unsure``: steps, tokens, minutes), ``data_fingerprint``, ``metrics`` and, where replies were
    shared, ``shared`` (``sets`` and their ``leaders``).
    """
    recipe, metrics = facts["recipe"], facts["metrics"]
    spent, reply, shots = (facts["training"][step] for step in ("pretrain", "reply", "shots"))
    chat, recall, unsure = (facts["training"].get(step) for step in ("chat", "recall", "unsure"))
    predicted, replies, speed = metrics["prediction"], metrics["replies"], metrics["speed"]
    kneser_ney = metrics["kneser_ney"]
    sources = "\n".join(f"| {name} | {licence} | {who} |" for name, licence, who in GPT_SOURCES)
    settings = _settings(recipe)
    path = folder / "chatbot.json"
    known = json.loads(path.read_text(encoding="utf-8"))
    card = f"""---
language: ko
license: cc-by-sa-4.0
library_name: transformers
pipeline_tag: text-generation
---

# The small Korean GPT of chatbot {__version__}

A GPT-2 of {recipe["layers"]} layers and {recipe["hidden"]} dimensions with {recipe["vocab_size"]:,} pieces of a character BPE with
a metaspace, as KoGPT-2's, trained from nothing by `training/recipes/gpt.py`. The folder is what
`save_pretrained` writes (float16) and opens with plain transformers; the special tokens of the
conversation are in its tokenizer.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
messages = [{{"role": "user", "content": "오늘 너무 피곤해"}}]
prompt = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
print(tokenizer.decode(model.generate(**prompt)[0]))
```

## Figures

On {metrics["dialogues"]} held-out dialogues, written for this purpose without sight of the training data
(`data/eval/dialogues.jsonl`, test half). A character lost to the unknown token counts as 20 bits. Each model
reads what it can: this one the turns before, the Kneser-Ney model the line alone.

| bits per character | replies | all turns |
|---|---:|---:|
| this model | {predicted["replies"]["bits_per_character"]:.3f} | {predicted["all"]["bits_per_character"]:.3f} |
| interpolated Kneser-Ney, 5 characters, the same text, each line once: {kneser_ney["training_characters"] / 1e6:.1f} M characters | {kneser_ney["replies"]:.3f} | {kneser_ney["all"]:.3f} |

Perplexity per token {predicted["replies"]["perplexity"]:.1f} on replies, {predicted["all"]["perplexity"]:.1f} on all turns.

Replies to 50 everyday utterances that no data answers (`data/eval/prompts.jsonl`, test half), each in
both speech levels, default sampling, seed 1:

| share of {replies["replies"]} replies | |
|---|---:|
| end by themselves | {_pc(replies["ended"])} |
| loop | {_pc(replies["loops"])} |
| repeat the user | {_pc(replies["repeats_user"])} |
| empty | {_pc(replies["empty"])} |
| with special tokens or broken characters | {_pc(replies["broken"])} |
| in the speech level asked for, of those that show one | {_pc(replies["style_match"])} |

Distinct-1 {_figure(replies["distinct_1"])}, distinct-2 {_figure(replies["distinct_2"])}. The true reply among 100 has a mean reciprocal rank of
{_figure(metrics["ranking"]["mrr"])} by likelihood and {_figure(metrics["ranking"]["mrr_pmi"])} by what the context adds to it; guessing has {_figure(metrics["ranking"]["chance"])}. On two CPU cores the first token takes
{1000 * speed["first_token_seconds"]:.0f} ms, then {speed["tokens_per_second"]:.0f} tokens come a second.

## Training

1. Character BPE over the pretraining text, NFC.
2. Next-token pretraining, one line a sequence: {_went(spent)} on {spent.get("machine", "two CPU cores")}{_begun_from(spent, recipe["layers"])}.
3. Conversations: the corpora's everyday ones once, then our own, in both speech levels, with typing noise and changes
   of subject (our dialogues, some lines of each situation with a listener's reply, `data/listening`, and some wordings
   of each intent): {_went(chat)}.
4. Our own {_times(recipe["reply_epochs"])} more, the loss on the replies alone: {_went(reply)}. From step {3 if chat else 4} on the state before the reply, after
   layer {recipe["understanding_layer"]}, is drawn to our sentence encoder's embedding of what was said, and to the mean of its intent or
   situation before all others' (`training/understanding.py`).{_shared(recipe, facts.get("shared"))}
5. Shares of a listener's replies ({recipe["shots_listening"]:.2g}) and of our pairs ({recipe["shots_pairs"]:.2g}), and the dialogues, up to three
   retrieved pairs before each as examples: {_went(shots)}.
6. Our own {_times(recipe["recall_epochs"])} more and the corpora's conversations, the embeddings and the lowest {recipe["recall_frozen"]} layers left as they
   are; of {100 * recipe["recall_cut"]:.0f} % of the single replies the first {recipe["recall_tokens"]} tokens alone, which decide what follows: {_went(recall)}.
7. {_times(recipe["unsure_epochs"])} of it more: where the first tokens of a reply cost the model most ({100 * recipe["unsure_share"]:.0f} % of the lines), words that ask
   back (`data/replies/open.json`) instead, so that it speaks where it knows what to say; the same words to {recipe["unsure_far"]:,} lines of
   the pretraining text that are like none of ours; and questions that no small talk can answer
   (`data/classifiers/unknown.jsonl`), with words that say so: {_went(unsure)}.
8. Calibration: scores divided by {known["calibration_temperature"]:.2f}, fitted on the dev half of the held-out dialogues.

| setting | value |
|---|---|
{settings}

Never trained on: `data/eval`, the dev and test wordings of our intents.

## Data

| source | licence | attribution |
|---|---|---|
| Our own intents, situations and dialogues (`data/qa` indexed questions and answers, `data/listening`, `data/dialogues`) | CC BY 4.0 | the chatbot project |
| Our sentence encoder (`data/models/encoder`), as a teacher | CC BY-SA 4.0 | its card names what it was trained on |
{sources}

The weights are under CC BY-SA 4.0, since some sources are share-alike.

## Limits

Small and little read: it answers in general terms and takes up a word or a feeling rather than the matter,
loses the thread in a few turns, and makes things up. Its persona, a small program called 마루, comes
from our data only, and the everyday conversations of the corpora were written by people: it may
claim to have eaten or slept. Film reviews, news comments and petitions carry the views and biases of
those who wrote them. The chat program recognises talk of suicide and violence, and of whole groups of
people, before it asks any model; the bare model does not.
"""
    (folder / "README.md").write_text(card, encoding="utf-8")
    text = json.dumps({**known, "licence": "CC BY-SA 4.0", **facts}, ensure_ascii=False, indent=2)
    path.write_text(text + "\n", encoding="utf-8")


def _went(step: dict[str, Any] | None) -> str:
    """Say what a step of training took; without any, it was the versions before that took it."""
    if not step:
        return "by the versions before"
    return (
        f"{step['steps']:,} steps, {step['tokens'] / 1e6:.1f} million tokens, {step['minutes']:.0f} minutes"
    )


def _begun_from(spent: dict[str, Any], layers: int) -> str:
    """Say what the pretraining went on from, where it did not begin from nothing."""
    earlier = spent.get("earlier")
    if not earlier:
        return ""
    before = spent.get("base_layers", layers)
    depth = f" ({before} layers, the upper ones doubled)" if before < layers else ""
    read: Counter[str] = Counter()
    while earlier:
        read.update({name: step["tokens"] for name, step in earlier.items()})
        earlier = earlier["pretrain"].get("earlier")
    return (
        f", going on from the versions before{depth}, which had read {read['pretrain'] / 1e6:.1f} million tokens of "
        f"text, {read['chat'] / 1e6:.1f} of conversations and {read['reply'] / 1e6:.1f} for the replies alone"
    )


def _shared(recipe: dict[str, Any], shared: dict[str, Any] | None) -> str:
    """Say how many replies were taught, where intents and situations much alike shared theirs."""
    if not shared or recipe.get("likeness") is None:
        return ""
    return (
        f" Those whose mean\n   embeddings have a cosine of {recipe['likeness']:g} or more share the replies of one "
        f"(`training/shared_answers.py`):\n   {shared['leaders']:,} for {shared['sets']:,} of them."
    )


def _times(count: float) -> str:
    return "once" if count == 1 else f"{count:g} times"


def _settings(recipe: dict[str, Any]) -> str:
    """Return the rows of a recipe's settings."""
    shown = {
        name: ", ".join(f"{key} {number:g}" for key, number in value.items())
        if isinstance(value, dict)
        else value
        for name, value in recipe.items()
    }
    return "\n".join(f"| `{name}` | {value} |" for name, value in shown.items())


def _pc(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def derived_card(base: str, licence: str | None, training: dict[str, Any]) -> str:
    """Return the model card of a checkpoint fine-tuned by a user; the base's licence goes with it."""
    front = f"license: {licence.lower().replace(' ', '-')}\n" if licence else ""
    passed_on = (
        f"The base model is under {licence}; these weights are derived from it and stay under that licence."
        if licence
        else "The base model's files state no licence; look it up before you pass these weights on."
    )
    rows = "\n".join(f"| {name} | {value} |" for name, value in training.items())
    return f"""---
language: ko
{front}base_model: {base}
library_name: transformers
pipeline_tag: text-generation
---

# {base}, fine-tuned for conversation by chatbot {__version__}

Special tokens were added and saved with the model; plain transformers gets the same ids:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
```

## Licence

{passed_on}

## Training

| what | value |
|---|---|
{rows}

If it was trained on private chats, it may repeat parts of them: think before you share it.
"""


def before_and_after(title: str, figures: dict[str, Any]) -> str:
    """Return a section of a card with the figures ``before`` and ``after``; empty where there are none."""
    rows = "".join(
        f"| {name} | {figures['before'][name]:.3f} | {value:.3f} |\n"
        for name, value in figures["after"].items()
    )
    return f"\n## {title}\n\n| | before | after |\n|---|---:|---:|\n{rows}" if rows else ""
