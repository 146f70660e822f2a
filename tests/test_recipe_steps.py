"""What the recipes share: steps that are done once, sources that are looked at first, the command line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from chatbot.errors import ChatbotError, UsageError
from training.corpora import CHAT, MEASURED, PAIRS, CorpusError, Layout
from training.recipes import encoder, gpt
from training.recipes import steps as steps_module
from training.recipes.steps import Job, Step, recipe_app, run_steps

LINES = "pretrain/lines.txt.gz"
ROWS = "pairs/rows.jsonl.gz"


@dataclass(frozen=True)
class Recipe(steps_module.Recipe):
    minutes: float = 1.0
    seed: int = 0
    width: int = 8
    late_epochs: int = 1


class Bakery:
    """Three steps that note that they were done; the last one ships."""

    def __init__(self, folder: Path) -> None:
        self.done: list[str] = []
        self.broken: BaseException | None = None
        self.job = Job(Recipe(), folder / "corpora", folder / "work", folder / "out")
        self.write(LINES, "한 줄\n두 줄\n")
        self.write(ROWS, json.dumps({"a": "가", "score": 1}) + "\n")
        self.steps: list[Step[Recipe]] = [
            Step("first", self.made("first"), corpora=self.reads(LINES), from_nothing=True),
            Step(
                "late",
                self.made("late"),
                ("late_epochs",),
                corpora=self.reads(ROWS, a=str, score=int | float),
            ),
            Step("last", self.ship, ships=True),
        ]

    def write(self, name: str, text: str) -> None:
        path = self.job.corpora / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()))

    def reads(self, name: str, **keys: Any) -> Callable[[Recipe], Layout]:
        return lambda recipe: {name: keys}

    def made(self, name: str) -> Callable[[Job[Recipe]], dict[str, Any]]:
        def make(job: Job[Recipe]) -> dict[str, Any]:
            if self.broken:
                raise self.broken
            self.done.append(name)
            return {"epochs": job.recipe.late_epochs}

        return make

    def ship(self, job: Job[Recipe]) -> dict[str, Any]:
        job.out.mkdir(exist_ok=True)
        (job.out / "chatbot.json").write_text('{"kind": "bread"}')
        return self.made("last")(job)

    def run(self, job: Job[Recipe] | None = None, **options: Any) -> list[str]:
        """Run the recipe; return the steps that were done."""
        self.done.clear()
        run_steps(job or self.job, self.steps, **options)
        return list(self.done)


@pytest.fixture
def bakery(tmp_path: Path) -> Bakery:
    return Bakery(tmp_path)


def test_a_step_is_done_again_only_where_something_it_comes_from_has_changed(bakery: Bakery) -> None:
    every = ["first", "late", "last"]
    assert bakery.run() == every and bakery.run() == []
    assert bakery.job.facts("late") == {"epochs": 1}
    later = replace(bakery.job, recipe=replace(bakery.job.recipe, late_epochs=2))
    assert bakery.run(later) == ["late", "last"]
    assert bakery.run() == ["late", "last"]
    wider = replace(bakery.job, recipe=replace(bakery.job.recipe, width=9))
    assert bakery.run(wider) == every
    bakery.write(ROWS, json.dumps({"a": "나", "score": 2}) + "\n")
    assert bakery.run(wider) == ["late", "last"]
    bakery.write(LINES, "세 줄\n")
    assert bakery.run(wider) == every
    elsewhere = replace(wider, out=bakery.job.out.with_name("elsewhere"))
    assert bakery.run(elsewhere) == ["last"]
    assert bakery.run(wider) == ["last"] and bakery.run(wider) == []


def test_a_step_is_done_again_where_a_file_of_the_data_has_changed(
    bakery: Bakery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data" / "replies"
    data.mkdir(parents=True)
    monkeypatch.setattr(steps_module, "data_dir", lambda: data.parent)
    bakery.steps[1] = replace(bakery.steps[1], data=("replies",))
    for name in ("open.json", "lines.jsonl", "model.safetensors", "classifier.npz"):
        (data / name).write_bytes(b"1")
        assert "late" in bakery.run() and bakery.run() == []
    (data / "chatbot.json").write_bytes(b"1")
    assert bakery.run() == []


def test_single_steps_and_steps_from_one_on(bakery: Bakery) -> None:
    with pytest.raises(ChatbotError, match="first 단계의 결과가 없어요"):
        bakery.run(only="late")
    bakery.run()
    assert bakery.run(only="late") == ["late"]
    assert bakery.run() == ["last"]
    assert bakery.run(start="late") == ["late", "last"]
    with pytest.raises(UsageError, match=r"--only lost.*first, late, last"):
        bakery.run(only="lost")


def test_what_was_stopped_is_done_again_and_what_was_done_before_is_not(bakery: Bakery) -> None:
    bakery.run()
    later = replace(bakery.job, recipe=replace(bakery.job.recipe, late_epochs=2))
    state = bakery.job.work / "late.pt"
    state.write_text("half of it")
    bakery.broken = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bakery.run(later)
    bakery.broken = None
    assert state.exists()  # what was learnt so far is not thrown away
    assert bakery.run(later) == ["late", "last"]
    bakery.run(later, start="late")
    assert not state.exists()  # asked for again, a step that was done begins anew


def test_a_base_takes_the_place_of_the_steps_from_nothing(bakery: Bakery, tmp_path: Path) -> None:
    job = replace(bakery.job, base=tmp_path / "base")
    (tmp_path / "base").mkdir()
    weights = tmp_path / "base" / "model.safetensors"
    weights.write_text("one")
    assert bakery.run(job) == ["late", "last"] and bakery.run(job) == []
    weights.write_text("other")
    assert bakery.run(job) == ["late", "last"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (LINES, None, "이 파일이 있어야 해요"),
        (LINES, b"no gzip", "온전한"),
        (LINES, gzip.compress("한 줄\n".encode() * 100)[:-9], "온전한"),
        (LINES, gzip.compress("한 줄\n".encode("cp949")), "온전한"),
        (LINES, gzip.compress(b""), "빈 파일"),
        (ROWS, gzip.compress(b'{"a": "x", "score": 1}\n{"a": "x"}\n'), "2번째 줄: a, score"),
        (ROWS, gzip.compress(b'{"a": "x", "score": "1"}\n'), "1번째 줄"),
        (ROWS, gzip.compress(b'["a"]\n'), "1번째 줄"),
        (ROWS, gzip.compress(b"a\tb\n"), "1번째 줄"),
    ],
    # gzip writes the second into its header: ids of their own, so that every worker collects the same tests
    ids=[
        "missing",
        "no gzip",
        "cut off",
        "no UTF-8",
        "empty",
        "no score",
        "a word for a score",
        "a list",
        "no JSON",
    ],
)
def test_a_corpus_that_is_wrong_is_named_before_the_first_step(
    bakery: Bakery, name: str, content: bytes | None, said: str
) -> None:
    path = bakery.job.corpora / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CorpusError) as error:
        bakery.run()
    message = str(error.value)
    assert name in message and said in message and "SOURCES.md" in message and not bakery.done


def test_the_command_line(bakery: Bakery, tmp_path: Path) -> None:
    sizes = {"cpu": Recipe(), "gpu": Recipe(width=16), "smoke": Recipe(width=1)}
    app = recipe_app("bread", sizes, bakery.steps, "빵 굽기.")
    options = [
        "--corpora",
        str(bakery.job.corpora),
        "--work",
        str(tmp_path / "w"),
        "--out",
        str(tmp_path / "o"),
    ]

    def run(*more: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, [*options, *more])
        return result.exit_code, result.stderr

    code, said = run("--smoke", "--epochs", "3")
    assert code == 0 and "[3/3] last: 끝났어요" in said and str(tmp_path / "o") in said
    assert json.loads((tmp_path / "w" / "late.json").read_text())["epochs"] == 3
    code, said = run("--from", "nowhere")
    assert code == 2 and said.startswith("오류: --from nowhere") and "first, late, last" in said
    code, said = run("--corpora", str(tmp_path / "lost"))
    assert code == 2 and "--corpora" in said and "그런 폴더가 없어요" in said
    code, said = run("--base", str(tmp_path / "o"))
    assert code == 2 and "--base와 같은 폴더" in said
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("일기")
    code, said = run("--out", str(tmp_path / "mine"))
    assert code == 1 and "비어 있는 폴더" in said and (tmp_path / "mine" / "diary.txt").exists()
    bakery.broken = KeyboardInterrupt()
    code, said = run("--size", "gpu")
    assert code == 130 and "이어서" in said


def test_sources_names_every_file_that_a_recipe_reads() -> None:
    text = (Path(steps_module.__file__).parent / "SOURCES.md").read_text(encoding="utf-8")
    mixtures = [recipe.mixture for module in (encoder, gpt) for recipe in module.SIZES.values()]
    names = {f"pretrain/{name}.txt.gz" for mixture in mixtures for name in mixture}
    missing = [name for name in sorted(names | {*PAIRS, *MEASURED, *CHAT}) if f"`{name}`" not in text]
    assert not missing
