"""Fine-tuning a GPT on somebody's conversations: ``chatbot train gpt``.

From dialogues to a checkpoint that any Hugging Face tool opens. The loop is ``training.loop``, what is
trained ``training.tuning``, who is trained ``training.pupil``, what is written down ``training.record``.

With several processes, one a GPU, the same options train data-parallel:

    torchrun --standalone --nproc-per-node N -m training.gpt --data NAME ...
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from chatbot import __version__
from chatbot.errors import UsageError
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
from chatbot.models.device import resolve_device
from chatbot.models.format import MarkerFormat, TemplateFormat, TrainableFormat
from chatbot.models.locate import is_hub_id
from chatbot.models.markers import CHAT_TEMPLATE, add_markers, end_ids
from training.causal import Curriculum, Plan, Reading, fingerprint, settle_generation, token_costs
from training.dialogues import Splits, load_splits
from training.loop import SCHEDULES, Report, Spent, agree, fit, is_first, process
from training.memorisation import Memorised, memorised
from training.model_card import before_and_after, derived_card
from training.plain import Text, line_batches, read_text
from training.pupil import Overseer, Pupil
from training.record import Record, draw_curve
from training.tuning import TUNES, Tune, Tuning, count, time_and_memory, with_lora
from training.workplace import Workplace, learnt_datasets

KOGPT2_BASE = "skt/kogpt2-base-v2"
SMALL = "small"
_SMALL_MODEL, _SMALL_FACTOR = 30_000_000, 10  # weights; how much higher a rate such a model bears
_LONGEST = 512  # tokens of a conversation at most
_VALID_TOKENS = 2048  # validated at once
_LEAST_BATCH = 64  # tokens; what does not fit then never will
Say = Callable[[str], None]
_ADAPTER = """
## Adapter

`adapter/` holds the low-rank additions alone. They belong on the base with this folder's tokenizer:

```python
base.resize_token_embeddings(len(tokenizer))
model = PeftModel.from_pretrained(base, "path/to/this/folder/adapter")
```
"""


@dataclass(frozen=True)
class Options:
    """Everything that decides what a fine-tuning makes; written into the checkpoint's card.

    ``evaluate_every`` 0 is four times an epoch, ``learning_rate`` 0 goes by what is tuned. ``lm_weight`` is
    what a token that is not the reply's counts beside one that is. ``batch_tokens`` is halved until a batch
    fits in memory, and ``accumulate`` doubled with it.
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


class Origin(NamedTuple):
    """Where a training starts from: the folder, what it is called, the licence it passes on."""

    folder: Path
    name: str
    licence: str | None


def fine_tune(
    data: Sequence[str],
    out: Path,
    base: str = KOGPT2_BASE,
    options: Options | None = None,
    *,
    pretrain: Sequence[str | Path] = (),
    device: str = "auto",
    resume: bool = False,
    keep_adapter: bool = False,
    save_every: float = 5.0,
    say: Say = lambda line: None,
    report: Report | None = None,
) -> dict[str, Any]:
    """Train ``base`` on conversations and write a checkpoint to ``out``; return what is to be told.

    Args:
        data: imported datasets and files; without any, the words that ship.
        out: the checkpoint's folder.
        base: ``small``, a folder, a trained model's name or a hub id.
        options: what decides the result.
        pretrain: text files to read once before the conversations.
        device: where to train.
        resume: go on with a run that was stopped or killed; its state lies beside ``out``.
        keep_adapter: keep low-rank additions apart, too.
        save_every: minutes between saved states.
        say: gets Korean lines about the run.
        report: gets the progress.

    Returns:
        The figures; empty in every process but the first.

    Raises:
        UsageError: an option makes no sense, or there is nothing to resume.
        CheckpointError: the base cannot be found or the checkpoint not be written.
        DataError: there is nothing to learn from.
        KeyboardInterrupt: Ctrl-C; the state is saved.
    """
    asked = options or Options()
    asked.check()
    if keep_adapter and asked.tune != "lora":
        raise UsageError("--keep-adapter는 --tune lora에만 있는 옵션이에요. --tune lora와 함께 써 주세요.")
    splits, text = load_splits(data), read_text(pretrain)
    out = out.expanduser().resolve()
    check_target(out)
    if not is_first():
        say, report = (lambda line: None), None
    origin = find_base(base, say)
    pupil = _pupil(origin.folder, asked, resolve_device(device))
    tuning = Tuning(pupil.model, asked.tune, asked.layers)
    datasets = learnt_datasets(data, origin.folder)
    parts = [asdict(asked), splits.fingerprint, text.fingerprint, fingerprint(pupil.model), process()[1]]
    work = Workplace(out)
    with work.occupied(" ".join(map(str, parts)), datasets, resume=resume):
        options = _options(work, pupil, tuning, splits, asked, resume)
        if options != asked:
            say(
                f"메모리에 맞추어 한 번에 {options.batch_tokens:,}토큰씩, "
                f"{options.accumulate}번을 모아 한 걸음으로 해요."
            )
        course = _Course(pupil, tuning, options, work.folder, save_every, say, report)
        figures: dict[str, Any] = {"pretraining": course.read(text)} if text.train else {}
        figures |= course.converse(splits)
        if not is_first():
            return {}
        if figures["after"] and figures["after"]["nats"] >= figures["before"]["nats"]:
            say("검증 점수가 바탕보다 나아지지 않았어요. 데이터를 늘리거나 --learning-rate를 낮춰 보세요.")
        say("외운 말을 검사해요. 배운 질문에 대답 1,000개를 만들어 봐요.")
        learnt = _by_heart(pupil, splits, report)
        figures["personas"] = splits.personas
        figures["memorised"] = {
            "replies": learnt.replies, "personal": len(learnt.personal), "lines": len(learnt.lines),
        }  # fmt: skip
        described = {
            "version": __version__,
            "base_model": origin.name,
            "licence": origin.licence,
            "data_fingerprint": splits.fingerprint,
            "dataset": datasets,
            **figures,
        }
        card = _card(origin, figures, learnt, keep_adapter)
        _write(out, pupil, described, card, work.folder, origin.name if keep_adapter else None)
    return figures


def _options(
    work: Workplace, pupil: Pupil, tuning: Tuning, splits: Splits, asked: Options, resume: bool
) -> Options:
    """Return the options that fit in memory: found once, and kept when the run is gone on with."""
    known = work.known("options") if resume else None
    options = Options(**known) if known else fitting(pupil, tuning, splits, asked)
    if is_first():
        work.note(options=asdict(options))
    return options


def find_base(base: str, say: Say) -> Origin:
    """Return where a training starts from; without the hub the sentence names the small model.

    Raises:
        CheckpointError: there is no such model, or it cannot be fetched.
    """
    try:
        folder, notes = (shipped_gpt(), []) if base == SMALL else find_checkpoint(base, "--base")
    except CheckpointError as error:
        if not is_hub_id(base):
            raise
        raise CheckpointError(
            f"--base {base}: 허브에서 가져올 수 없어요. 인터넷 없이 하려면 함께 온 작은 모델을 "
            "--base small로 써 주세요."
        ) from error
    for note in notes:
        say(note)
    # A path says more about its owner than about the model.
    name = read_description(folder).get("base_model") or (base if is_hub_id(base) else folder.name)
    return Origin(folder, str(name), base_licence(folder, base))


def _pupil(folder: Path, options: Options, device: str) -> Pupil:
    """Open a model to be taught: in its own chat template where it has one, else in our format."""
    tokenizer = load_tokenizer(folder)
    known = len(tokenizer)
    model: Any = load_model(folder, torch.float32, known)
    form: TrainableFormat
    if tokenizer.chat_template not in (None, CHAT_TEMPLATE) and "format" not in read_description(folder):
        form = TemplateFormat(tokenizer, end_ids(tokenizer, model.generation_config.eos_token_id))
    else:
        add_markers(tokenizer)
        resize_embeddings(model, len(tokenizer), options.seed)
        form = MarkerFormat(tokenizer)
    if options.checkpointing:
        model.gradient_checkpointing_enable()
    if options.tune == "lora":
        torch.manual_seed(options.seed)
        model = with_lora(model, range(known, len(tokenizer)))
    torch.nn.Module.to(model, device)
    seen = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return Pupil(model, tokenizer, form, min(int(seen or _LONGEST), _LONGEST))


def fitting(pupil: Pupil, tuning: Tuning, splits: Splits, options: Options) -> Options:
    """Return the options with batches that fit in memory: smaller ones, and more of them a step.

    Raises:
        CheckpointError: not even the smallest batch fits.
    """
    size = options.batch_tokens
    while True:
        try:
            with quiet_transformers():
                _try_step(pupil, tuning, splits, size)
            break
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            clear_device_cache(garbage_collection=True)
            size //= 2
            if size < _LEAST_BATCH:
                raise CheckpointError(
                    "이 모델을 학습하기에는 메모리가 모자라요. --tune lora나 더 작은 모델로 해 보세요."
                ) from error
    size = agree(size, pupil.model.device)
    times = options.batch_tokens // size
    return replace(options, batch_tokens=size, accumulate=options.accumulate * times)


def _try_step(pupil: Pupil, tuning: Tuning, splits: Splits, size: int) -> None:
    """Work out the gradients of a batch of the longest conversations, beside what the optimiser will need."""
    trained = tuning.at(1.0)
    longest = sorted(splits.train, key=lambda c: sum(len(turn.text) for turn in c.turns))[-size:]
    course = Curriculum(pupil.form, [longest], longest=pupil.longest, batch_tokens=size)
    moments = torch.empty(2 * trained, dtype=torch.float32, device=pupil.model.device)
    ids = max((course[n][0] for n in range(len(course))), key=torch.Tensor.numel).to(moments.device)
    token_costs(pupil.model, ids, ids != course.pad).sum().backward()
    pupil.model.zero_grad(set_to_none=True)


@dataclass
class _Course:
    """A pupil's way through text and conversations; every stage has its own state and record."""

    pupil: Pupil
    tuning: Tuning
    options: Options
    work: Path
    save_every: float
    say: Say
    report: Report | None

    def read(self, text: Text) -> dict[str, Any]:
        """Pretrain on plain text, once through it."""
        options, pupil = self.options, self.pupil
        course, valid = (
            Reading(line_batches(pupil.tokenizer, lines, pupil.longest, options.batch_tokens, options.seed))
            for lines in (text.train, text.valid or text.train)
        )
        characters = sum(map(len, text.valid or text.train))
        plan = Plan(course, accumulate=options.accumulate, lm_weight=1.0, seed=options.seed)
        every = options.evaluate_every or max(1, plan.steps // 4)
        return self._stage("pretraining", plan, lambda: pupil.cost(valid, characters), every, patience=0)

    def converse(self, splits: Splits) -> dict[str, Any]:
        """Fine-tune on conversations."""
        options, pupil = self.options, self.pupil
        epochs = splits.epochs(math.ceil(options.epochs), options.seed)
        course = Curriculum(pupil.form, epochs, longest=pupil.longest, batch_tokens=options.batch_tokens)
        share = options.epochs / math.ceil(options.epochs)
        steps = max(1, round(len(course) * share / (options.accumulate * process()[1])))
        plan = Plan(
            course, steps=steps, accumulate=options.accumulate, lm_weight=options.lm_weight, seed=options.seed
        )
        every = options.evaluate_every or max(1, plan.steps // max(1, round(4 * options.epochs)))
        measure = None
        if splits.valid:
            held = Curriculum(pupil.form, [splits.valid], longest=pupil.longest, batch_tokens=_VALID_TOKENS)
            said = (turn for conversation in splits.valid for turn in conversation.turns)
            characters = sum(len(turn.text) for turn in said if turn.role == "assistant")
            measure = partial(pupil.cost, held, characters)
        speaker = next(iter(splits.personas), None)
        return self._stage("metrics", plan, measure, every, patience=options.patience, speaker=speaker)

    def _stage(
        self,
        name: str,
        plan: Plan,
        measure: Callable[[], dict[str, float]] | None,
        every: int,
        *,
        patience: int,
        speaker: str | None = None,
    ) -> dict[str, Any]:
        """Go through a plan, or on with it, and take the best weights on the way."""
        options, pupil, record = self.options, self.pupil, Record(self.work / f"{name}.jsonl")
        state = self.work / f"{name}.pt"
        if state.exists():
            before = record.rows()[0]["before"]
        else:
            before = measure() if measure else {}
            if is_first():
                record.begin({"options": asdict(options), "steps": plan.steps, "before": before})
            for line in estimate(pupil, plan, self.tuning):
                self.say(line)
        overseer = Overseer(
            pupil, self.tuning, record, self.work / f"{name}-best.pt", measure,
            every=every, last=plan.steps, patience=patience, speaker=speaker,
        )  # fmt: skip
        rate = options.rate(count(pupil.model.parameters()))
        optimizer = torch.optim.AdamW(pupil.model.parameters(), lr=rate, weight_decay=options.weight_decay)
        with quiet_transformers():
            spent: Spent = fit(
                pupil.model, lambda step: plan.parts(step, pupil.model), [optimizer], state,
                steps=plan.steps, warmup=options.warmup, save_every=self.save_every, report=self.report,
                schedule=options.schedule, clip=options.clip, watcher=overseer,
            )  # fmt: skip
        overseer.restore_best()
        facts = {"steps": spent.steps, "tokens": spent.tokens, "best_step": overseer.best.step}
        return {
            "training": {**facts, **asdict(options)},
            "before": before,
            "after": measure() if measure else {},
        }


def estimate(pupil: Pupil, plan: Plan, tuning: Tuning) -> list[str]:
    """Return, before it starts, what a run is going to take: steps, time, memory."""
    weights = count(pupil.model.parameters())
    trained = tuning.at(1.0)
    started = time.perf_counter()
    tokens = 0
    with quiet_transformers():
        # Where batches are few, perhaps none of the step is this process's.
        for loss, size in islice(plan.parts(plan.steps // 2, pupil.model), 1):
            loss.backward()
            tokens = size
    pupil.model.zero_grad(set_to_none=True)
    seconds = (time.perf_counter() - started) * plan.steps * plan.parts_a_step / process()[1]
    return [
        f"{plan.steps:,}걸음, 한 걸음에 {tokens * plan.parts_a_step:,}토큰쯤, "
        f"학습하는 가중치 {trained:,}개 / {weights:,}개",
        time_and_memory(seconds, weights, trained),
    ]


def _by_heart(pupil: Pupil, splits: Splits, report: Report | None) -> Memorised:
    """Let the model answer what it was trained on, as everybody it can be, and see what it says by heart."""
    said = [(turn, conversation.speaker) for conversation in splits.train for turn in conversation.turns]
    questions = [(turn.text, speaker) for turn, speaker in said if turn.role == "user"]
    answers = [turn.text for turn, _ in said if turn.role == "assistant"]

    def replies(asked: Sequence[tuple[str, str | None]]) -> Iterator[str]:
        for done, reply in enumerate(pupil.replies(asked, sample=True), start=1):
            if report:
                report(done, len(asked), "외운 말 검사")
            yield reply

    return memorised(replies, questions, answers)


def _write(
    out: Path, pupil: Pupil, facts: dict[str, Any], card: str, work: Path, adapter_of: str | None
) -> None:
    """Write the checkpoint with its card, its figures and its learning curve.

    ``adapter_of`` is the base that low-rank additions are kept apart for.
    """
    model, adapter = pupil.model, work / "adapter"
    if hasattr(model, "merge_and_unload"):
        if adapter_of:
            # A path says more about its owner than about the model, and the library's card quotes it.
            model.peft_config["default"].base_model_name_or_path = adapter_of
            model.save_pretrained(adapter)
            (adapter / "README.md").unlink(missing_ok=True)
        model = model.merge_and_unload()
    if isinstance(pupil.form, MarkerFormat):  # a model with its own template has settings of its own
        settle_generation(model, pupil.tokenizer, pupil.form.stop_ids)
    record = Record(work / "metrics.jsonl")
    extras = [record.path, work / "pretraining.jsonl", adapter]
    curve = work / "learning_curve.png"
    draw_curve(record.rows(), curve)
    save_checkpoint(
        out, model, pupil.tokenizer, facts, card,
        ours=isinstance(pupil.form, MarkerFormat), extras=[e for e in [*extras, curve] if e.exists()],
    )  # fmt: skip


def _card(origin: Origin, figures: dict[str, Any], learnt: Memorised, keep_adapter: bool) -> str:
    """Return the model card: what was trained how, what it gained, what it says by heart."""
    read = figures.get("pretraining")
    gained = before_and_after("Plain text", read) if read else ""
    gained += before_and_after("Validation", figures)
    adapter = _ADAPTER if keep_adapter else ""
    found = [*learnt.personal.most_common(), *learnt.lines.most_common()]
    listed = "".join(f"- {text} ({times})\n" for text, times in found)
    by_heart = (
        f"\n## By heart\n\nOf {learnt.replies:,} replies drawn at random to questions of the training data, "
        f"{len(learnt.personal)} strings look like personal data and {len(learnt.lines)} training lines of "
        f"twelve syllables or more that came at most twice were said word for word.\n\n{listed}"
    )
    return derived_card(origin.name, origin.licence, figures["training"]) + gained + adapter + by_heart


def report_lines(figures: dict[str, Any]) -> list[str]:
    """Return what a fine-tuning gave as Korean lines."""
    spent, learnt = figures["training"], figures["memorised"]
    lines = []
    if "pretraining" in figures:
        read = figures["pretraining"]
        lines.append(
            f"글 읽기\t{read['training']['tokens']:,}토큰, "
            f"당혹도 {read['before']['perplexity']:.1f} → {read['after']['perplexity']:.1f}"
        )
    lines += [
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


if __name__ == "__main__":
    from chatbot.cli import main

    sys.argv[1:1] = ["train", "gpt"]
    main()
