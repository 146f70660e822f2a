"""What the recipes share: steps in order, each done once, and one command line.

A step leaves its result in the work folder and, once that is whole, a record beside it, ``STEP.json``: what
came of it, and the identity of what it was made from. While the identity is the same the step is not done
again, so that a recipe that was stopped goes on where it was when it is started again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import typer

from chatbot.errors import ChatbotError, UsageError
from chatbot.models.checkpoint import check_target, quiet_transformers
from chatbot.resources import data_dir
from training.corpora import Layout, corpus_digest

SAVE_EVERY = 5.0  # minutes between saved states


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a model becomes; written into its model card."""

    minutes: float  # of pretraining, over every restart
    seed: int


R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True)
class Job(Generic[R]):
    """What a step works with.

    ``identity`` is what the step's result is known by, ``started_from`` what it goes on from is known by:
    more of the same (minutes, say) changes the first and not the second.
    """

    recipe: R
    corpora: Path
    work: Path
    out: Path
    base: Path | None = None
    identity: str = ""
    started_from: str = ""

    def facts(self, step: str) -> dict[str, Any]:
        """Return what came of a step that has been done."""
        record = _record(self.work, step)
        if record is None:
            raise ChatbotError(
                f"{self.work}: {step} 단계의 결과가 없어요. --only나 --from 없이 실행하면 차례대로 만들어요."
            )
        return {name: value for name, value in record.items() if name not in ("identity", "at")}


@dataclass(frozen=True)
class Step(Generic[R]):
    """One step of a recipe.

    ``make`` leaves its results in the work folder and returns facts about them. ``settings`` are those of
    the recipe that no step before reads: changing one leaves the earlier results as they are. ``corpora``
    are the files of the corpora it reads, ``data`` the folders of our own data and models. A step that
    ``ships`` writes the finished model; ``from_nothing`` steps are not done where the recipe goes on from a
    base.
    """

    name: str
    make: Callable[[Job[R]], dict[str, Any]]
    settings: tuple[str, ...] = ()
    corpora: Callable[[R], Layout] = lambda recipe: {}
    data: tuple[str, ...] = ()
    ships: bool = False
    from_nothing: bool = False


def run_steps(
    job: Job[R],
    steps: Sequence[Step[R]],
    *,
    only: str | None = None,
    start: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Do the steps that are not done yet; or one alone, or all from one on, done already or not.

    Everything that the steps are going to read is looked at before the first of them begins.

    Raises:
        UsageError: no such step, or something else than this recipe's result lies where it is to go.
        ChatbotError: text of the corpora or the result of an earlier step is missing.
    """
    steps = [step for step in steps if not (job.base and step.from_nothing)]
    names = [step.name for step in steps]
    for option, name in (("--only", only), ("--from", start)):
        if name and name not in names:
            raise UsageError(f"{option} {name}: 그런 단계가 없어요. {', '.join(names)} 중에서 골라 주세요.")
    first = names.index(only or start or names[0])
    chosen = names[first : first + 1] if only else names[first:]
    digests = _look_at_sources(job, [step for step in steps if step.name in chosen])
    job.work.mkdir(parents=True, exist_ok=True)
    before = _root(job, steps)
    for number, step in enumerate(steps, start=1):
        path = job.work / f"{step.name}.json"
        if step.name not in chosen:
            if number <= first:
                job.facts(step.name)
                before = path.read_text(encoding="utf-8")
            continue
        own = {name: value for name, value in asdict(job.recipe).items() if name in step.settings}
        where = str(job.out.resolve()) if step.ships else None
        identity = _hash(step.name, own, digests[step.name], where, before)
        if step.name == (only or start) and path.exists():
            (job.work / f"{step.name}.pt").unlink(missing_ok=True)  # done before: it begins anew
            path.unlink()
        title = f"[{number}/{len(steps)}] {step.name}"
        done = (_record(job.work, step.name) or {}).get("identity") == identity
        if done and (job.out.is_dir() or not step.ships):
            say(f"{title}: 이미 되어 있어요.")
        else:
            say(f"{title}: 시작해요.")
            path.unlink(missing_ok=True)
            began = time.monotonic()
            facts = step.make(replace(job, identity=identity, started_from=_hash(before)))
            at = datetime.now(timezone.utc).isoformat()
            _write_whole(path, json.dumps({"identity": identity, "at": at, **facts}, ensure_ascii=False))
            say(f"{title}: 끝났어요 ({_duration(time.monotonic() - began)}).")
        before = path.read_text(encoding="utf-8")


def _look_at_sources(job: Job[R], steps: Sequence[Step[R]]) -> dict[str, list[str]]:
    """Return digests of what each step reads."""
    seen: dict[str, str] = {}
    digests: dict[str, list[str]] = {}
    for step in steps:
        layout = step.corpora(job.recipe)
        for name, keys in layout.items():
            if name not in seen:
                seen[name] = corpus_digest(job.corpora / name, keys)
        own = sorted(
            path
            for folder in step.data
            for kind in ("*.jsonl", "*.json", "*.safetensors", "*.npz")
            for path in (data_dir() / folder).rglob(kind)
            if path.name != "chatbot.json"  # what was measured decides nothing
        )
        digests[step.name] = [
            *(seen[name] for name in layout),
            *(hashlib.sha256(path.read_bytes()).hexdigest() for path in own),
        ]
    return digests


def _root(job: Job[R], steps: Sequence[Step[R]]) -> str:
    """Return what all steps depend on: the base, and the settings that are no later step's own."""
    later = {name for step in steps for name in step.settings}
    shared = {name: value for name, value in asdict(job.recipe).items() if name not in later}
    weights = sorted(job.base.rglob("*.safetensors")) if job.base else []
    return _hash(shared, [hashlib.sha256(path.read_bytes()).hexdigest() for path in weights])


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:16]


def _record(work: Path, step: str) -> dict[str, Any] | None:
    try:
        record = json.loads((work / f"{step}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _write_whole(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f}분" if seconds >= 60 else f"{seconds:.0f}초"


def forget_tokenised(work: Path) -> None:
    """Remove what :func:`~training.batches.tokenised_lines` kept: other text, the same tokenizer perhaps."""
    for path in [*work.glob("ids-*.npy"), *work.glob("starts-*.npy")]:
        path.unlink()


def machine() -> str:
    """Return what the training runs on, for a model card."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"


def open_to_all(folder: Path) -> None:
    """Let everybody read a finished folder: what ships holds nothing private."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def recipe_app(name: str, sizes: Mapping[str, R], steps: Sequence[Step[R]], description: str) -> typer.Typer:
    """Return the command line of a recipe; ``name`` is what it makes, as ``chatbot.json`` calls it."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

    @app.command(help=f"{description} 단계: {', '.join(step.name for step in steps)}.")
    def make(
        corpora: Annotated[Path, typer.Option(help="말뭉치 폴더 (training/recipes/SOURCES.md)")],
        size: Annotated[
            Literal["cpu", "gpu"], typer.Option(help="배포하는 크기, 또는 GPU용 큰 크기")
        ] = "cpu",
        smoke: Annotated[
            bool, typer.Option("--smoke", help="아주 작게, 모든 단계를 1분 안에 해 보기")
        ] = False,
        work: Annotated[Path | None, typer.Option(help="단계마다의 결과를 둘 폴더 [runs/이름-크기]")] = None,
        out: Annotated[Path | None, typer.Option(help="완성된 모델을 둘 폴더 [--work 안에]")] = None,
        only: Annotated[
            str | None, typer.Option("--only", metavar="STEP", help="이 단계만, 되어 있어도 다시")
        ] = None,
        start: Annotated[
            str | None, typer.Option("--from", metavar="STEP", help="이 단계부터, 되어 있어도 다시")
        ] = None,
        minutes: Annotated[
            float | None, typer.Option(min=0.001, help="사전 학습 시간(분), 모두 합해")
        ] = None,
        epochs: Annotated[int | None, typer.Option(min=1, help="사전 학습 뒤에 데이터를 볼 횟수")] = None,
        base: Annotated[Path | None, typer.Option(help="처음부터가 아니라 이 모델에서 이어서")] = None,
    ) -> None:
        with errors_in_korean(), quiet_transformers():
            size_name = "smoke" if smoke else size
            folder = work or Path("runs") / f"{name}-{size_name}"
            job = Job(
                adjusted(sizes[size_name], minutes, epochs), corpora, folder, out or folder / name, base
            )
            _check_folders(job, name)
            run_steps(job, steps, only=only, start=start, say=lambda line: typer.echo(line, err=True))
            if not only:
                typer.echo(f"완성된 모델은 {job.out}에 있어요.", err=True)

    return app


def adjusted(recipe: R, minutes: float | None = None, epochs: int | None = None) -> R:
    """Return the recipe with other minutes, and with every number of epochs set to ``epochs``."""
    changes: dict[str, Any] = {"minutes": minutes} if minutes else {}
    if epochs:
        changes |= {f.name: epochs for f in fields(recipe) if f.name.endswith("epochs")}
    return replace(recipe, **changes)


def _check_folders(job: Job[R], kind: str) -> None:
    if not job.corpora.is_dir():
        raise UsageError(
            f"--corpora {job.corpora}: 그런 폴더가 없어요. "
            "말뭉치를 모으는 법은 training/recipes/SOURCES.md에 있어요."
        )
    if job.base and not job.base.is_dir():
        raise UsageError(f"--base {job.base}: 그런 폴더가 없어요. 경로를 확인해 주세요.")
    if job.base and job.out.resolve() == job.base.resolve():
        raise UsageError(
            f"--out {job.out}: --base와 같은 폴더예요. 다른 폴더를 지정하고, 다 된 뒤에 옮겨 주세요."
        )
    check_target(job.out, kind)


@contextmanager
def errors_in_korean() -> Iterator[None]:
    """Say our own errors and an interruption in one sentence, and end with their exit code."""
    try:
        yield
    except ChatbotError as error:
        typer.echo(f"오류: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("멈췄어요. 같은 명령을 --only나 --from 없이 다시 실행하면 이어서 해요.", err=True)
        sys.exit(130)
