"""Fine-tuning a GPT on somebody's conversations: ``chatbot train gpt``.

From dialogues to a checkpoint that any Hugging Face tool opens. The loop is ``training.loop``, what is
trained ``training.tuning``, what is written down ``training.record``.
"""

from __future__ import annotations

import math
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from chatbot import __version__
from chatbot.dialogue import Turn
from chatbot.errors import UsageError
from chatbot.knowledge import personal_dataset
from chatbot.models.checkpoint import (
    CheckpointError,
    base_licence,
    check_target,
    find_checkpoint,
    load_model,
    load_tokenizer,
    quiet_transformers,
    read_description,
    resize_embeddings,
    save_checkpoint,
    shipped_gpt,
)
from chatbot.models.device import native_bfloat16, resolve_device
from chatbot.models.format import MarkerFormat, add_markers
from chatbot.models.locate import is_hub_id
from chatbot.resources import private_dir
from chatbot.style import speech_level
from training.causal import Curriculum, settle_generation
from training.dialogues import Conversation, Splits, load_splits
from training.loop import SCHEDULES, Spent, Step, Watcher, fit, is_first, process, save_private
from training.memorisation import Memorised, memorised
from training.model_card import derived_card
from training.record import Record, draw_curve
from training.tuning import TUNES, Tune, Tuning, count, with_lora

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

KOGPT2_BASE = "skt/kogpt2-base-v2"
SMALL = "small"
_SMALL_MODEL, _SMALL_FACTOR = 30_000_000, 10  # weights; how much higher a rate such a model bears
_LONGEST = 512  # tokens of a conversation at most
_VALID_TOKENS = 2048  # tokens validated at once
_SPOKEN = 48  # tokens of a reply made while training
_SPOKEN_AT_ONCE = 32
# What the model is asked at every validation.
_PROMPTS = ("안녕", "뭐 해?", "오늘 너무 피곤해", "저녁 뭐 먹지", "주말에 뭐 했어?", "고마워")


@dataclass(frozen=True)
class Options:
    """Everything that decides what a fine-tuning makes; written into the checkpoint's card.

    ``evaluate_every`` 0 is four times an epoch, ``learning_rate`` 0 goes by what is tuned. ``lm_weight`` is
    how much the words that are not the reply's count beside it (the auxiliary objective of Radford et al.
    2018).
    """

    tune: Tune = "full"
    layers: int = 2
    epochs: float = 3.0
    learning_rate: float = 0.0
    schedule: str = "cosine"
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    lm_weight: float = 0.0
    batch_tokens: int = 1024
    accumulate: int = 1
    checkpointing: bool = False
    evaluate_every: int = 0
    patience: int = 3
    seed: int = 0

    def check(self) -> None:
        """Raise :class:`UsageError` where an option makes no sense."""
        if self.tune not in TUNES:
            raise UsageError(f"--tune '{self.tune}'은(는) 없어요. {', '.join(TUNES)} 중에서 골라 주세요.")
        if self.schedule not in SCHEDULES:
            raise UsageError(
                f"--schedule '{self.schedule}'은(는) 없어요. {', '.join(SCHEDULES)} 중에서 골라 주세요."
            )

    def rate(self, weights: int) -> float:
        """Return the peak learning rate: small models and few trained weights bear more."""
        usual = {"full": 5e-5, "freeze": 1e-4, "gradual": 1e-4, "lora": 5e-4}[self.tune]
        return self.learning_rate or usual * (_SMALL_FACTOR if weights < _SMALL_MODEL else 1)


class Plan:
    """The steps of a run: which micro-batches each takes, and how much of them is learnt.

    Every process knows the whole plan, so that the weights of the parts need no talk between them.
    """

    def __init__(self, course: Curriculum, options: Options) -> None:
        self._course, self._options = course, options
        self._rank, self._world = process()
        self.parts_a_step = options.accumulate * self._world
        count = max(1, round(len(course) * options.epochs / math.ceil(options.epochs)))
        self.parts_in_all = min(count, len(course))
        self.steps = math.ceil(self.parts_in_all / self.parts_a_step)

    def parts(self, step: int, model: PreTrainedModel) -> Iterator[tuple[torch.Tensor, int]]:
        """Yield this process's parts of a step's loss, in nats a token, and their real tokens."""
        numbers = range(step * self.parts_a_step, min((step + 1) * self.parts_a_step, self.parts_in_all))
        batches = [self._course[number] for number in numbers]
        replies = sum(int(reply[:, 1:].sum()) for _, reply in batches)
        others = sum(int((ids[:, 1:] != self._course.pad).sum()) for ids, _ in batches) - replies
        for number, (ids, reply) in zip(numbers, batches, strict=True):
            if number % self._world != self._rank:
                continue
            torch.manual_seed(self._options.seed + number)  # dropout comes from the micro-batch alone
            real = int((ids != self._course.pad).sum())
            yield self._loss(model, ids, reply, replies, others), real

    def _loss(
        self, model: PreTrainedModel, ids: torch.Tensor, reply: torch.Tensor, replies: int, others: int
    ) -> torch.Tensor:
        device = next(model.parameters()).device
        ids, reply = ids.to(device), reply.to(device)[:, 1:]
        costs = token_costs(model, ids)
        loss = costs[reply].sum() / max(replies, 1)
        if self._options.lm_weight:
            other = ~reply & (ids[:, 1:] != self._course.pad)
            loss = loss + self._options.lm_weight * costs[other].sum() / max(others, 1)
        return loss


def token_costs(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    """Return what every id but the first costs after those before it, in nats, ``(batch, length - 1)``."""
    with autocast(ids.device.type):
        scores = model(input_ids=ids[:, :-1]).logits
    return F.cross_entropy(scores.float().transpose(1, 2), ids[:, 1:], reduction="none")


def autocast(device: str) -> torch.autocast:
    """Return a context in which matrices are multiplied in bfloat16 where the device does so natively."""
    return torch.autocast(device, dtype=torch.bfloat16, enabled=native_bfloat16(device))


@dataclass
class Best:
    """The best validation so far, and how many have come since."""

    step: int = 0
    nats: float = math.inf
    since: int = 0


class Teacher(Watcher):
    """Watches a run: unfreezes, validates, keeps the best weights, writes the record, stops early."""

    def __init__(
        self,
        pupil: Pupil,
        tuning: Tuning,
        record: Record,
        best_path: Path,
        validate_on: Sequence[Conversation],
        every: int,
        patience: int,
    ) -> None:
        self._pupil, self._tuning, self._record, self._best_path = pupil, tuning, record, best_path
        self._validate_on, self._every, self._patience = validate_on, every, patience
        self.best = Best()
        self._trained = 0

    def before(self, progress: float) -> None:
        """Unfreeze what is due."""
        self._trained = self._tuning.at(progress)

    def after(self, step: Step) -> bool:
        """Write the step down; validate when due, and stop when nothing gets better any more."""
        if is_first():
            self._record.step(step, self._trained)
        if step.number % self._every or not self._validate_on:
            return False
        figures = self._pupil.prediction(self._validate_on)
        if is_first():
            self._record.validation(step.number, figures, self._samples())
        if figures["nats"] < self.best.nats:
            self.best = Best(step.number, figures["nats"])
            if is_first():
                save_private(self._best_path, self._pupil.model.state_dict())
        else:
            self.best.since += 1
        return self.best.since >= self._patience > 0

    def _samples(self) -> list[str]:
        speaker = self._validate_on[0].speaker
        return list(self._pupil.replies(_PROMPTS, speaker, sample=False))

    def remember(self) -> dict[str, Any]:
        """Return the best so far."""
        return asdict(self.best)

    def recall(self, remembered: dict[str, Any], spent: Spent) -> None:
        """Go on from there; what was written after it is written again."""
        self.best = Best(**remembered)
        self._record.rewind(spent.steps)


class Pupil:
    """A model in training, with what it takes to measure it and to let it speak."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerFast, longest: int) -> None:
        self.model, self.tokenizer, self.longest = model, tokenizer, longest
        self.form = MarkerFormat(tokenizer)

    def prediction(self, conversations: Sequence[Conversation]) -> dict[str, float]:
        """Return what the replies cost: nats a token, perplexity, bits a character."""
        course = Curriculum(self.form, [conversations], longest=self.longest, batch_tokens=_VALID_TOKENS)
        nats, tokens = 0.0, 0
        self.model.eval()
        with torch.inference_mode():
            for number in range(len(course)):
                ids, reply = (part.to(self.model.device) for part in course[number])
                learnt = reply[:, 1:]
                nats += float(token_costs(self.model, ids)[learnt].double().sum())
                tokens += int(learnt.sum())
        self.model.train()
        characters = sum(len(t.text) for c in conversations for t in c.turns if t.role == "assistant")
        mean = nats / max(tokens, 1)
        return {
            "nats": mean,
            "perplexity": math.exp(min(mean, 50.0)),
            "bits_per_character": nats / math.log(2) / max(characters, 1),
        }

    def replies(self, prompts: Sequence[str], speaker: str | None, *, sample: bool) -> Iterator[str]:
        """Yield a reply to each prompt, drawn at random (from the seed 0) or the likeliest."""
        asked = [
            self.form.prompt(
                [Turn("user", text)], speech_level(text) or "polite", self.longest - _SPOKEN, speaker=speaker
            )
            for text in prompts
        ]
        self.model.eval()
        torch.manual_seed(0)
        for start in range(0, len(asked), _SPOKEN_AT_ONCE):
            yield from self._speak(asked[start : start + _SPOKEN_AT_ONCE], sample)
        self.model.train()

    def _speak(self, prompts: list[list[int]], sample: bool) -> list[str]:
        pad = int(self.tokenizer.pad_token_id or 0)
        width = max(map(len, prompts))
        ids = torch.tensor([[pad] * (width - len(p)) + p for p in prompts], device=self.model.device)
        seen = torch.tensor(
            [[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.model.device
        )
        with torch.inference_mode(), quiet_transformers():
            made = self.model.generate(
                input_ids=ids, attention_mask=seen, do_sample=sample, top_k=0, max_new_tokens=_SPOKEN,
                eos_token_id=sorted(self.form.stop_ids), pad_token_id=pad,
            )  # fmt: skip
        return [self._text(row[width:].tolist()) for row in made]

    def _text(self, ids: list[int]) -> str:
        """Return a reply as text, up to its end, with its breaks."""
        lines: list[list[int]] = [[]]
        for number in ids:
            if number in self.form.stop_ids:
                break
            if number == self.form.break_id:
                lines.append([])
            else:
                lines[-1].append(number)
        decoded = (self.tokenizer.decode(line, skip_special_tokens=True) for line in lines)
        return "\n".join(str(text).strip() for text in decoded)

    def restore(self, path: Path) -> None:
        """Read the weights back."""
        self.model.load_state_dict(torch.load(path, map_location=self.model.device, weights_only=True))


def fine_tune(
    data: Sequence[str],
    out: Path,
    base: str = KOGPT2_BASE,
    options: Options | None = None,
    *,
    device: str = "auto",
    resume: bool = False,
    keep_adapter: bool = False,
    save_every: float = 5.0,
    say: Callable[[str], None] = lambda line: None,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Train ``base`` on conversations and write a checkpoint to ``out``; return what is to be told.

    The state of the run is saved beside ``out`` every ``save_every`` minutes and on Ctrl-C, and lies there
    until the run is done.

    Raises:
        UsageError: an option makes no sense, or there is nothing to resume.
        CheckpointError: the base cannot be found or the checkpoint not be written.
        DataError: there is nothing to learn from.
        KeyboardInterrupt: Ctrl-C; the state is saved.
    """
    options = options or Options()
    options.check()
    check_target(out)
    splits = load_splits(data)
    folder, notes = _base(base)
    for note in notes:
        say(note)
    tokenizer = load_tokenizer(folder)
    model: Any = load_model(folder, torch.float32, len(tokenizer))
    known = len(tokenizer)
    add_markers(tokenizer)
    resize_embeddings(model, len(tokenizer), options.seed)
    if options.checkpointing:
        model.gradient_checkpointing_enable()
    if options.tune == "lora":
        model = with_lora(model, range(known, len(tokenizer)))
    torch.nn.Module.to(model, resolve_device(device))
    longest = min(int(getattr(model.config, "max_position_embeddings", None) or _LONGEST), _LONGEST)
    pupil = Pupil(model, tokenizer, longest)
    tuning = Tuning(model, options.tune, options.layers)

    work = private_dir(out.parent / f".{out.name}.training")
    state, best_path, record = work / "state.pt", work / "best.pt", Record(work / "metrics.jsonl")
    if resume and not state.exists():
        raise UsageError(f"--resume: {out}에 이어서 할 학습이 없어요. --resume을 빼고 시작해 주세요.")
    pieces = [piece for whole in splits.train for piece in in_pieces(whole, pupil.form, longest)]
    valid = [piece for whole in splits.valid for piece in in_pieces(whole, pupil.form, longest)]
    course = Curriculum(
        pupil.form,
        [_shuffled(pieces, options.seed + epoch) for epoch in range(math.ceil(options.epochs))],
        longest=longest,
        batch_tokens=options.batch_tokens,
    )
    plan = Plan(course, options)
    every = options.evaluate_every or max(1, plan.steps // max(1, round(4 * options.epochs)))
    identity = f"{asdict(options)} {splits.fingerprint} {base} {process()[1]}"
    if not resume:
        state.unlink(missing_ok=True)
    before = pupil.prediction(valid) if valid else {}
    if is_first() and not resume:
        record.begin({"base": base, "options": asdict(options), "steps": plan.steps, "before": before})
    for line in estimate(pupil, plan, tuning):
        say(line)
    teacher = Teacher(pupil, tuning, record, best_path, valid, every, options.patience)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=options.rate(count(model.parameters())), weight_decay=options.weight_decay
    )
    with quiet_transformers():
        spent = fit(
            model, lambda step: plan.parts(step, model), [optimizer], state,
            steps=plan.steps, warmup=options.warmup, save_every=save_every, schedule=options.schedule,
            clip=options.clip, identity=identity, report=report, watcher=teacher,
        )  # fmt: skip
    if teacher.best.step:
        pupil.restore(best_path)
    after = pupil.prediction(valid) if valid else {}
    speaker = splits.personas[0] if splits.personas else None
    learnt = _by_heart(pupil, splits, speaker)
    facts = {"steps": spent.steps, "tokens": spent.tokens, "best_step": teacher.best.step, **asdict(options)}
    figures = {
        "training": facts, "before": before, "after": after, "personas": splits.personas,
        "memorised": {
            "replies": learnt.replies, "personal": len(learnt.personal), "lines": len(learnt.lines),
        },
    }  # fmt: skip
    if is_first():
        licence = base_licence(folder, base)
        named = str(read_description(folder).get("base_model") or (base if is_hub_id(base) else folder.name))
        described = {
            "version": __version__,
            "base_model": named,
            "licence": licence,
            "data_fingerprint": splits.fingerprint,
            "dataset": next((name for name in data if personal_dataset(name)), None),
            **figures,
        }
        _write(out, pupil, described, _card(licence, named, figures, learnt), record, keep_adapter)
        shutil.rmtree(work)
    return figures


def estimate(pupil: Pupil, plan: Plan, tuning: Tuning) -> list[str]:
    """Return, before it starts, what a run is going to take: steps, time, memory."""
    weights = count(pupil.model.parameters())
    trained = tuning.at(1.0)
    started = time.perf_counter()
    loss, tokens = next(iter(plan.parts(plan.steps // 2, pupil.model)))
    loss.backward()
    pupil.model.zero_grad(set_to_none=True)
    seconds = (time.perf_counter() - started) * plan.parts_in_all
    gigabytes = (4 * weights + 12 * trained) / 1e9  # weights; gradients and two moments of what is trained
    return [
        f"{plan.steps:,}걸음, 한 걸음에 {tokens * plan.parts_a_step:,}토큰쯤, "
        f"학습하는 가중치 {trained:,}개 / {weights:,}개",
        f"{max(1, round(seconds / 60)):,}분쯤 걸리고 가중치에 메모리 {gigabytes:.1f}GB쯤을 써요.",
    ]


def _base(base: str) -> tuple[Path, list[str]]:
    if base == SMALL:
        return shipped_gpt(), []
    try:
        return find_checkpoint(base, "--base")
    except CheckpointError as error:
        if base != KOGPT2_BASE:
            raise
        raise CheckpointError(
            f"--base {base}: 허브에서 가져올 수 없어요. 인터넷 없이 하려면 함께 온 작은 모델을 "
            "--base small로 써 주세요."
        ) from error


def in_pieces(whole: Conversation, form: MarkerFormat, longest: int) -> Iterator[Conversation]:
    """Yield a conversation in pieces that fit ``longest`` tokens, each beginning with a user's turn."""
    turns: list[Turn] = []
    for turn in whole.turns:
        tried = [*turns, turn]
        fits = len(form.sequence(tried, style=whole.style, speaker=whole.speaker).ids) <= longest
        if fits or not turns:
            turns = tried
            continue
        yield whole._replace(turns=turns)
        turns = [turn] if turn.role == "user" else [*turns[-1:], turn]
    if turns:
        yield whole._replace(turns=turns)


def _shuffled(conversations: Sequence[Conversation], seed: int) -> list[Conversation]:
    return random.Random(seed).sample(list(conversations), len(conversations))


def _by_heart(pupil: Pupil, splits: Splits, speaker: str | None) -> Memorised:
    """Let the model answer what it was trained on, and see what of it it says by heart."""
    turns = [turn for conversation in splits.train for turn in conversation.turns]
    questions = [turn.text for turn in turns if turn.role == "user"]
    answers = [turn.text for turn in turns if turn.role == "assistant"]
    return memorised(lambda asked: pupil.replies(asked, speaker, sample=True), questions, answers)


def _write(
    out: Path,
    pupil: Pupil,
    facts: dict[str, Any],
    card: str,
    record: Record,
    keep_adapter: bool,
) -> None:
    """Write the checkpoint with its card, its figures and its learning curve."""
    model = pupil.model
    adapter = record.path.parent / "adapter"
    if hasattr(model, "merge_and_unload"):
        if keep_adapter:
            model.save_pretrained(adapter)
        model = model.merge_and_unload()
    settle_generation(model, pupil.tokenizer)
    save_checkpoint(out, model, pupil.tokenizer, facts, card)
    draw_curve(record.rows(), out / "learning_curve.png")
    shutil.copy(record.path, out / "metrics.jsonl")
    if keep_adapter and adapter.is_dir():
        shutil.copytree(adapter, out / "adapter")


def _card(licence: str | None, named: str, figures: dict[str, Any], learnt: Memorised) -> str:
    """Return the model card: what was trained how, what it gained, what it says by heart."""
    rows = "".join(
        f"| {name} | {figures['before'][name]:.3f} | {figures['after'][name]:.3f} |\n"
        for name in figures["after"]
    )
    validation = f"\n## Validation\n\n| | before | after |\n|---|---:|---:|\n{rows}" if rows else ""
    found = [*learnt.personal.most_common(), *learnt.lines.most_common()]
    listed = "".join(f"- {text} ({times})\n" for text, times in found)
    by_heart = (
        f"\n## By heart\n\nOf {learnt.replies:,} replies drawn at random to questions of the training data, "
        f"{len(learnt.personal)} strings look like personal data and {len(learnt.lines)} training lines of "
        f"twelve syllables or more that came at most twice were said word for word.\n\n{listed}"
    )
    return derived_card(named, licence, figures["training"]) + validation + by_heart


def report_lines(figures: dict[str, Any]) -> list[str]:
    """Return what a fine-tuning gave as Korean lines."""
    spent, learnt = figures["training"], figures["memorised"]
    lines = [
        f"학습\t{spent['steps']:,}걸음, {spent['tokens']:,}토큰, 가장 좋았던 걸음 {spent['best_step']:,}"
    ]
    for name, title in (("perplexity", "당혹도(perplexity)"), ("bits_per_character", "글자당 비트")):
        if name in figures["after"]:
            lines.append(f"{title}\t{figures['before'][name]:.3f} → {figures['after'][name]:.3f}")
    if figures["personas"]:
        lines.append(f"따라 할 수 있는 사람\t{', '.join(figures['personas'])}")
    lines.append(
        f"외운 말 검사\t대답 {learnt['replies']:,}개에 개인정보 같은 것 {learnt['personal']}가지, "
        f"드문 긴 말 그대로 {learnt['lines']}가지 (모델 카드에 적어 두었어요)"
    )
    return lines
