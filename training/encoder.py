"""Fine-tuning a sentence encoder on somebody's own words: ``chatbot train encoder``.

From pairs of texts to a checkpoint that any sentence-transformers opens. What it is taught with is
``training.pairs``, how a trainer is run ``training.trainer``, what is trained ``training.tuning``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.modules import Normalize
from sentence_transformers.sentence_transformer.training_args import BatchSamplers, MultiDatasetBatchSamplers

from chatbot import __version__
from chatbot.errors import UsageError
from chatbot.models.checkpoint import (
    check_target,
    quiet_transformers,
)
from chatbot.models.device import resolve_device
from chatbot.models.encoder import (
    MAX_UNKNOWN,
    EncoderError,
    find_encoder,
    open_sentence_transformer,
    shipped_encoder,
    unknown_rate,
)
from training.causal import fingerprint
from training.distil import keep_blocks
from training.encoder_checkpoint import SMALL, Say, origin, write_encoder
from training.examiner import MEASURE, Examiner
from training.lessons import lessons
from training.masked import masked_cost, masked_trainer, open_masked, take_over
from training.pairs import TrainingData, digest, load_scores, load_training_data
from training.plain import Text, read_text
from training.record import Record
from training.trainer import (
    CountsTokens,
    Report,
    Watch,
    common_arguments,
    estimate,
    on_device,
    on_one_device,
    run,
)
from training.tuning import TUNES, Tune, Tuning, blocks, count
from training.workplace import Workplace, learnt_datasets

KLUE_BASE = "klue/bert-base"
_SMALL_MODEL = 30_000_000  # weights
_LONGEST = 128  # tokens of a text, where the base does not say
_STEPS = 20  # that an epoch should have at least
_BATCHES = (16, 64)  # examples a step, of few data and of many
_STEPS_IN_ALL = 100  # that a training should have at least
_EPOCHS = (3, 10)  # of many data and of few
_LINES = 32  # of plain text a step
_FIGURES = "figures.json"  # of what reading plain text gained
_EVERY = 10  # steps between validations at least: a step or two change little but by chance


@dataclass(frozen=True)
class Options:
    """Everything that decides what a fine-tuning makes; written into the checkpoint's card.

    ``student_layers`` are the blocks that are kept, 0: all, or half of them where the student is made from
    its teacher. ``learning_rate`` 0 goes by the model's size and what is tuned, ``evaluate_every`` 0 is
    four times an epoch or, with few data, every ten steps, ``batch`` and ``epochs`` 0 go by how many data
    there are. ``hard_negatives`` is how many are mined for each pair.
    """

    tune: Tune = "full"
    layers: int = 2
    student_layers: int = 0
    epochs: float = 0.0
    learning_rate: float = 0.0
    batch: int = 0
    hard_negatives: int = 0
    evaluate_every: int = 0
    patience: int = 3
    seed: int = 0

    def check(self) -> None:
        """Raise :class:`UsageError` where an option makes no sense."""
        known = [tune for tune in TUNES if tune != "lora"]
        if self.tune not in known:
            raise UsageError(f"--tune '{self.tune}'은(는) 없어요. {', '.join(known)} 중에서 골라 주세요.")
        if self.batch == 1:
            raise UsageError("--batch 1: 서로 견주어 배우니 한 번에 둘은 있어야 해요. 2 이상으로 해 주세요.")

    def rate(self, weights: int) -> float:
        """Return the peak learning rate: small models and few trained weights bear more."""
        usual = {"full": 2e-5, "freeze": 4e-5, "gradual": 3e-5}[self.tune]
        return self.learning_rate or usual * (5 if weights < _SMALL_MODEL else 1)

    def size(self, examples: int) -> int:
        """Return the examples a batch: fewer of few data, so that there are steps to learn in."""
        return self.batch or min(max(examples // _STEPS, _BATCHES[0]), _BATCHES[1])

    def rounds(self, steps: int) -> float:
        """Return the epochs, of ``steps`` each: more of few data, as long as they still help."""
        return self.epochs or float(min(max(_STEPS_IN_ALL / steps, _EPOCHS[0]), _EPOCHS[1]))


@dataclass(frozen=True)
class Sources:
    """What an encoder is made from: data, a base, a teacher, plain text, an STS file to measure with."""

    data: Sequence[str]
    base: str | None = None
    teacher: str | None = None
    pretrain: Sequence[Path] = ()
    sts: Path | None = None

    @property
    def first(self) -> str:
        """The encoder that training starts from; a teacher's own blocks where no other is named."""
        return self.base or self.teacher or KLUE_BASE


class PairTrainer(CountsTokens, SentenceTransformerTrainer):
    """The library's trainer, without its model card, which quotes what it was trained on."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Leave it out."""


def train_encoder(
    sources: Sources,
    out: Path,
    options: Options | None = None,
    *,
    device: str = "auto",
    resume: bool = False,
    save_every: float = 5.0,
    say: Say = lambda line: None,
    report: Report | None = None,
) -> dict[str, Any]:
    """Train an encoder and write a checkpoint to ``out``; return what is to be told.

    The state of the run is saved beside ``out`` at every validation, every ``save_every`` minutes and on
    Ctrl-C, and lies there until the run is done.

    Raises:
        UsageError: an option makes no sense, or there is nothing to resume.
        EncoderError: the base or the teacher cannot be opened, or does not read Korean.
        CheckpointError: the checkpoint cannot be written.
        DataError: there is nothing to learn from.
        KeyboardInterrupt: Ctrl-C; the state is saved.
    """
    options = options or Options()
    options.check()
    device = resolve_device(device)
    data = load_training_data(sources.data, options.seed)
    out = out.expanduser().resolve()
    check_target(out, "encoder")
    sts = load_scores(sources.sts) if sources.sts else []
    text = read_text(sources.pretrain) if sources.pretrain else None
    model, folder = _student(sources, options)
    teacher = _open(sources.teacher, "--teacher")[0] if sources.teacher else None
    tuning = Tuning(model, options.tune, options.layers, getattr(model[0].auto_model, "pooler", None))
    opened = [fingerprint(model), teacher and fingerprint(teacher)]
    told = [sources.first, sources.teacher, *opened, digest(sts), text and text.fingerprint, data.fingerprint]
    datasets, work = learnt_datasets(sources.data, folder), Workplace(out)
    with work.occupied(json.dumps([asdict(options), *told]), datasets, resume=resume):
        course = Course(work.folder, device, options, say, report, save_every, resume)
        examiner, test = Examiner(data.valid, sts), Examiner(data.test)
        with quiet_transformers():
            reading = {"pretraining": course.read(model, folder or sources.first, text)} if text else {}
            on_device(model, device)
            before, before_test = examiner(model), test(model)
            trainer = course.teach(model, tuning, data, teacher, examiner, before)
            after, after_test = examiner(model), test(model)
            on_device(model, "cpu")
        facts = {
            "steps": trainer.state.global_step,
            "best_step": trainer.state.best_global_step,
            "tokens": int(trainer.state.num_input_tokens_seen),
            **asdict(options),
            "learning_rate": trainer.args.learning_rate,
            "batch": trainer.args.per_device_train_batch_size,
            "epochs": trainer.args.num_train_epochs,
        }
        figures: dict[str, Any] = {
            **reading,
            "training": facts,
            "examples": {kind: len(examples) for kind, examples in data.train.items()},
            "measure": MEASURE, "before": before, "after": after,
            "test": {"before": before_test, "after": after_test},
        }  # fmt: skip
        examples = sum(map(len, data.train.values()))
        # What has nothing to be told from costs nothing, and teaches nothing.
        if examples < _BATCHES[0] or not any(row.get("loss") for row in trainer.state.log_history):
            say(f"서로 다른 말이 적어서(예 {examples:,}개) 거의 배우지 못했어요. 데이터를 더 모아 주세요.")
        elif before and after["mean"] <= before["mean"]:
            say("검증 점수가 바탕보다 나아지지 않았어요. 데이터를 늘리거나 --learning-rate를 낮춰 보세요.")
        described = {
            "version": __version__,
            **origin(sources.first, folder),
            "data_fingerprint": data.fingerprint,
            "dataset": datasets,
            **figures,
        }
        write_encoder(out, model, described, course.record, data.texts(), say)
    return figures


@dataclass
class Course:
    """The stages of a run, with what they share."""

    work: Path
    device: str
    options: Options
    say: Say
    report: Report | None
    save_every: float
    resume: bool
    record: Record = field(init=False)

    def __post_init__(self) -> None:
        self.record = Record(self.work / "metrics.jsonl")

    def read(self, model: SentenceTransformer, source: Path | str, text: Text) -> dict[str, Any]:
        """Let an encoder read plain text first, masked language modelling; return what it gained by it."""
        done, record = self.work / "read", Record(self.work / "pretraining.jsonl")
        inner: Any = model[0].auto_model
        if not done.is_dir():
            masked = open_masked(source)
            kept = len(blocks(inner))
            if kept < len(blocks(masked)):
                keep_blocks(masked, kept)
            longest, seed = int(model.max_seq_length or _LONGEST), self.options.seed
            trainer = masked_trainer(
                masked, model.tokenizer, text.train, longest, batch=_LINES, rate=self._rate(masked),
                common=common_arguments(self.work / "reading", self.device, seed),
            )  # fmt: skip

            def measure() -> dict[str, float]:
                on_device(masked, self.device)
                lines = text.valid or text.train
                return masked_cost(masked, model.tokenizer, lines, longest, batch=_LINES, seed=seed)

            if not record.path.exists():
                record.begin({"before": measure()})
            self._run(trainer, Tuning(masked, "full"), record, "글 읽기: ")
            spent = {"steps": trainer.state.global_step, "tokens": int(trainer.state.num_input_tokens_seen)}
            figures = {"training": spent, "before": record.rows()[0]["before"], "after": measure()}
            part = self.work / "read.part"
            masked.save_pretrained(part)
            (part / _FIGURES).write_text(json.dumps(figures), encoding="utf-8")
            part.rename(done)
        take_over(inner, done)
        gained: dict[str, Any] = json.loads((done / _FIGURES).read_text(encoding="utf-8"))
        return gained

    def teach(
        self,
        model: SentenceTransformer,
        tuning: Tuning,
        data: TrainingData,
        teacher: SentenceTransformer | None,
        examiner: Examiner,
        before: dict[str, float],
    ) -> PairTrainer:
        """Train on the examples; the model is left with its best weights."""
        options = self.options
        if teacher:
            on_device(teacher, self.device)
        batch = options.size(sum(map(len, data.train.values())))
        sets, losses = lessons(model, data, batch, options.hard_negatives, teacher)
        steps = sum(-(-len(rows) // batch) for rows in sets.values())
        every = options.evaluate_every or max(_EVERY, steps // 4)
        chooses: dict[str, Any] = {
            "eval_strategy": "steps", "eval_steps": every, "load_best_model_at_end": True,
            "metric_for_best_model": "eval_mean", "greater_is_better": True,
        }  # fmt: skip
        tuning.at(1.0)  # the optimiser takes what is trained at any time
        trainer = PairTrainer(
            model=model,
            args=on_one_device(
                SentenceTransformerTrainingArguments(
                    **common_arguments(self.work / "tuning", self.device, options.seed),
                    **(chooses if examiner else {}),
                    num_train_epochs=options.rounds(steps), per_device_train_batch_size=batch,
                    learning_rate=self._rate(model), warmup_steps=0.1, save_steps=every,
                    batch_sampler=BatchSamplers.NO_DUPLICATES,
                    multi_dataset_batch_sampler=MultiDatasetBatchSamplers.PROPORTIONAL,
                )
            ),
            train_dataset=sets, loss=losses, evaluator=examiner if examiner else None,
        )  # fmt: skip
        if examiner and options.patience:
            from transformers import EarlyStoppingCallback

            trainer.add_callback(EarlyStoppingCallback(options.patience))
        if not self.record.path.exists():
            facts = {"options": asdict(options), "before": before, "measure": MEASURE}
            self.record.begin({**facts, "examples": {name: len(rows) for name, rows in sets.items()}})
        self._run(trainer, tuning, self.record)
        return trainer

    def _rate(self, model: Any) -> float:
        return self.options.rate(count(model.parameters()))

    def _run(self, trainer: Any, tuning: Tuning, record: Record, title: str = "") -> None:
        for line in estimate(trainer, tuning):
            self.say(title + line)
        run(trainer, Watch(tuning, record, self.report, self.save_every), resume=self.resume)


def _student(sources: Sources, options: Options) -> tuple[SentenceTransformer, Path | None]:
    """Open what is trained, with as many of its blocks as it is to have."""
    model, folder = _open(sources.first, "--base" if sources.base or not sources.teacher else "--teacher")
    inner: Any = model[0].auto_model
    half = len(blocks(inner)) // 2 if sources.teacher and not sources.base else 0
    if options.student_layers or half:
        keep_blocks(inner, options.student_layers or max(half, 1))
    if not any(isinstance(module, Normalize) for module in model):
        model.append(Normalize())
    return model, folder


def _open(name: str, option: str) -> tuple[SentenceTransformer, Path | None]:
    """Open an encoder in float32, and return its folder where it has one."""
    try:
        folder = shipped_encoder() if name == SMALL else find_encoder(name)
    except EncoderError as error:
        raise EncoderError(
            f"{option} '{name}': 그런 폴더나 모델이 없어요. 경로나 허브 이름을 확인해 주세요."
        ) from error
    try:
        torch.manual_seed(0)  # parts that a checkpoint lacks are drawn at random
        model = open_sentence_transformer(folder or name, "cpu").float()
    except EncoderError as error:
        if folder is not None:
            raise
        raise EncoderError(
            f"{option} {name}: 허브에서 가져올 수 없어요. 인터넷 없이 하려면 함께 온 작은 모델을 "
            f"{option} small로 써 주세요."
        ) from error
    if unknown_rate(model.tokenizer) > MAX_UNKNOWN:
        raise EncoderError(f"{option} {name}: 한국어를 읽지 못하는 모델이에요. 다른 모델을 골라 주세요.")
    if folder is None or not (folder / "modules.json").is_file():
        model.max_seq_length = min(int(model.max_seq_length or _LONGEST), _LONGEST)
    return model, folder


def report_lines(figures: dict[str, Any]) -> list[str]:
    """Return what a fine-tuning gave as Korean lines."""
    spent = figures["training"]
    best = f", 가장 좋았던 걸음 {spent['best_step']:,}" if spent["best_step"] else ""
    lines = []
    if "pretraining" in figures:
        read = figures["pretraining"]
        lines.append(
            f"글 읽기\t{read['training']['tokens']:,}토큰, "
            f"가린 말 당혹도 {read['before']['perplexity']:.1f} → {read['after']['perplexity']:.1f}"
        )
    lines.append(f"학습\t{spent['steps']:,}걸음, {spent['tokens']:,}토큰{best}")
    titles = {"top1": "첫째로 찾음", "mrr": "MRR", "spearman": "스피어만 상관", "mean": MEASURE}
    kinds = {
        "pairs": "대답 찾기",
        "paraphrases": "같은 뜻 찾기",
        "intents": "의도 찾기",
        "triplets": "따라오는 말 찾기",
        "scores": "유사도",
        "sts": "유사도(--sts)",
    }
    for half, found in (("검증", figures), ("시험", figures["test"])):
        for name, value in found["after"].items():
            kind, _, what = name.rpartition("_")
            title = " ".join(filter(None, (half, kinds.get(kind), titles[what])))
            lines.append(f"{title}\t{found['before'][name]:.3f} → {value:.3f}")
    return lines
