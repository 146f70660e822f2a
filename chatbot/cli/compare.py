"""``chatbot compare``: the same words to several backends, side by side, voted on, in batches."""

from __future__ import annotations

import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chatbot.cli.common import (
    announce_server,
    check_writable,
    chosen_style,
    print_json,
    question_of,
    reply_json,
    say,
    write_out,
)
from chatbot.errors import ChatbotError, UsageError
from chatbot.options import AsJson, NoHistory, Style, takes_answer_options

if TYPE_CHECKING:
    from chatbot.backends import OpeningBackend
    from chatbot.comparison import Contender, Round, Vote
    from chatbot.dialogue import Backend
    from chatbot.history import History
    from chatbot.models.encoder import Progress
    from chatbot.screens.talk import Loading
    from chatbot.session import Session

EXAMPLE = 'chatbot compare "오늘 너무 피곤해"'
BACKENDS = "retrieval,gpt"


@takes_answer_options
def compare(
    text: Annotated[list[str] | None, typer.Argument(help="물어볼 말 (없으면 모두와 대화)")] = None,
    backends: Annotated[
        str, typer.Option("--backends", help="견줄 백엔드, 쉼표로 나누어: 이름이나 이름:모델")
    ] = BACKENDS,
    prompts: Annotated[
        str | None, typer.Option("--prompts", help="물어볼 말의 파일 (.txt, .jsonl, .csv, 표준 입력은 -)")
    ] = None,
    vote: Annotated[bool, typer.Option("--vote", help="이름을 가리고 어느 쪽이 나은지 고르기")] = False,
    standings: Annotated[bool, typer.Option("--standings", help="지금까지의 표로 순위 보기")] = False,
    report: Annotated[Path | None, typer.Option("--report", help="결과를 담을 HTML 파일")] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", help="이름을 가린 투표지 CSV (--standings와 함께면 채운 것 세기)"),
    ] = None,
    style: Style = "auto",
    no_history: NoHistory = False,
    as_json: AsJson = False,
    *,
    given: dict[str, Any],
) -> None:
    """같은 말에 여러 백엔드의 답을 나란히 보기 (--vote가 아니면 저장하지 않음)."""
    wanted = _Wanted(bool(text), prompts is not None, vote, standings, bool(report), bool(sheet), as_json)
    wanted.check(no_history)
    if standings:
        if style != "auto" or backends != BACKENDS or any(v not in (None, "auto") for v in given.values()):
            raise UsageError("--standings는 표만 세어요. 대답에 쓰는 옵션은 빼고 다시 실행해 주세요.")
        _print_standings(sheet, as_json)
        return
    run = _Run(backends, style, given)
    if report:
        check_writable(report, "--report")
    if prompts is not None:
        _compare_prompts(run, prompts, report, sheet, as_json)
    elif wanted.interactive:
        _talk(run, vote)
    else:
        question = question_of(text, EXAMPLE)
        if vote:
            _vote_once(run, question)
        else:
            _compare_once(run, question, report, as_json)


@dataclass(frozen=True)
class _Wanted:
    """What was asked for, and whether it makes sense together."""

    text: bool
    prompts: bool
    vote: bool
    standings: bool
    report: bool
    sheet: bool
    as_json: bool

    @property
    def interactive(self) -> bool:
        """Whether a person will type what to ask."""
        return not (self.text or self.prompts or self.standings or self.as_json) and _on_terminal()

    def check(self, no_history: bool) -> None:
        """Raise :class:`UsageError` where options contradict each other."""
        for wrong, message in (
            (self.standings and self.text, "--standings는 표만 세어요. 물어볼 말을 빼 주세요."),
            (
                self.standings and self.prompts,
                "--standings와 --prompts는 함께 쓸 수 없어요. 하나만 써 주세요.",
            ),
            (self.standings and self.vote, "--standings와 --vote는 함께 쓸 수 없어요. 하나만 써 주세요."),
            (self.standings and self.report, "--standings와 --report는 함께 쓸 수 없어요. 하나만 써 주세요."),
            (self.prompts and self.text, "물어볼 말과 --prompts는 함께 쓸 수 없어요. 하나만 써 주세요."),
            (
                self.prompts and self.vote,
                "--prompts와 --vote는 함께 쓸 수 없어요. --sheet로 투표지를 만들어 보세요.",
            ),
            (
                self.sheet and not (self.prompts or self.standings),
                "--sheet는 --prompts나 --standings와 함께 써 주세요.",
            ),
            (self.vote and self.as_json, "--vote와 --json은 함께 쓸 수 없어요. 하나만 써 주세요."),
            (self.vote and self.report, "--vote와 --report는 함께 쓸 수 없어요. 하나만 써 주세요."),
            (
                self.vote and no_history,
                "--vote는 대화와 표를 기록에 저장해요. --no-history를 빼고 다시 실행해 주세요.",
            ),
            (
                self.vote and not _on_terminal(),
                "--vote는 터미널에서 키를 눌러 골라요. 파이프 없이 실행해 주세요.",
            ),
            (
                self.report and self.interactive,
                "--report에는 물어볼 말이나 --prompts가 있어야 해요. 함께 써 주세요.",
            ),
        ):
            if wrong:
                raise UsageError(message)


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


class _Run:
    """Who takes part in this comparison, and with which options."""

    def __init__(self, backends: str, style: str, given: dict[str, Any]) -> None:
        from chatbot.comparison import contender_options, read_contenders

        self.contenders: list[Contender] = read_contenders(backends)
        self.style = chosen_style(style)
        self.settings = {"style": style, **given}
        self._options = contender_options(self.contenders, **given)
        for name in dict.fromkeys(contender.backend for contender in self.contenders):
            announce_server(name, given)

    def open(self, progress: Progress) -> dict[str, OpeningBackend]:
        """Start opening all of them; return them by label."""
        from chatbot.backends import open_all_in_background, usable_options

        wanted = [
            (one.backend, options | usable_options(one.backend, progress=progress))
            for one, options in zip(self.contenders, self._options, strict=True)
        ]
        labels = [contender.label for contender in self.contenders]
        return dict(zip(labels, open_all_in_background(wanted), strict=True))

    def opened(self) -> dict[str, Backend]:
        """Open all before the first answers, so that no answer pays for another's loading."""
        from chatbot.backends import prepared
        from chatbot.screens.progress import ProgressReport

        with ProgressReport("색인 만드는 중") as report:
            backends = {label: prepared(opening) for label, opening in self.open(report).items()}
        for note in dict.fromkeys(n for backend in backends.values() for n in getattr(backend, "notes", ())):
            say(note)
        return backends

    def sessions(self, loading: Loading, history: History | None = None) -> dict[str, Session]:
        """Return a conversation with each, while they are being opened."""
        from chatbot.dialogue import Conversation
        from chatbot.session import Session

        return {
            label: Session(opening, history, conversation=Conversation(style=self.style), warn=say)
            for label, opening in self.open(loading).items()
        }

    def write_report(self, path: Path, name: str, rounds: list[Round]) -> None:
        """Write the page, with the standings of these contenders where there are votes."""
        from chatbot.screens.report import report_page

        try:
            votes = _votes()
        except ChatbotError as error:  # answers that took an hour must not be lost for old votes
            say(f"{error} 순위 없이 저장해요.")
            votes = []
        page = report_page(name, self.contenders, rounds, settings=self.settings, votes=votes)
        write_out(path, page, "--report")
        say(f"{path}에 저장했어요.")


def _compare_once(run: _Run, question: str, report: Path | None, as_json: bool) -> None:
    from chatbot.comparison import Prompt, compare_prompts
    from chatbot.screens.compare import answer_lines

    if as_json or not sys.stdout.isatty():
        asked = compare_prompts(run.opened(), [[Prompt(question)]], run.style)[0]
        if as_json:
            print_json({"question": question, "replies": _replies_json(asked)})
        else:
            typer.echo("\n".join(answer_lines(asked.replies)))
    else:
        asked = _compare_on_terminal(run, question)
    if report:
        run.write_report(report, question, [asked])


def _compare_on_terminal(run: _Run, question: str) -> Round:
    from chatbot.comparison import Round
    from chatbot.screens.compare import ask_all, print_question, wait_for_all
    from chatbot.screens.console import output
    from chatbot.screens.talk import Loading

    console, loading = output(soft_wrap=False), Loading()
    sessions = run.sessions(loading)
    wait_for_all(console, sessions, loading)
    print_question(console, question)
    columns, finished = ask_all(console, sessions, question)
    if not finished:
        raise typer.Exit(130)
    replies = {column.label: column.reply for column in columns if column.reply}
    if len(replies) < len(columns):
        raise typer.Exit(1)
    return Round(question, replies, {column.label: column.before for column in columns})


def _vote_once(run: _Run, question: str) -> None:
    from chatbot.history import History
    from chatbot.screens.compare import ask_blind, print_question, wait_for_all
    from chatbot.screens.console import output
    from chatbot.screens.talk import Loading
    from chatbot.screens.voting import Ballot

    with closing(History()) as history:
        console, loading, ballot = output(soft_wrap=False), Loading(), Ballot(history)
        sessions = run.sessions(loading, history)
        wait_for_all(console, sessions, loading)
        print_question(console, question)
        answered = True
        with suppress(EOFError):  # Ctrl-D in place of a vote
            answered = ask_blind(console, ballot.draw(sessions), question, ballot)
        ballot.reveal(console)
    if not answered:
        raise typer.Exit(1)


def _talk(run: _Run, vote: bool) -> None:
    from chatbot.history import History
    from chatbot.screens.compare import talk_side_by_side
    from chatbot.screens.talk import Loading
    from chatbot.screens.voting import Ballot

    loading = Loading()
    if not vote:
        talk_side_by_side(run.sessions(loading), loading)
        return
    with closing(History()) as history:
        talk_side_by_side(run.sessions(loading, history), loading, Ballot(history))


def _compare_prompts(run: _Run, path: str, report: Path | None, sheet: Path | None, as_json: bool) -> None:
    from chatbot.comparison import compare_prompts, prompts_of_lines, read_prompts
    from chatbot.screens.compare import print_rounds
    from chatbot.screens.progress import ProgressReport

    if sheet and len(run.contenders) != 2:
        raise UsageError("--sheet는 둘을 견주는 투표지예요. --backends에 둘만 써 주세요.")
    if sheet:
        from chatbot.sheets import check_sheet_path

        check_sheet_path(sheet)
        check_writable(sheet, "--sheet")
    # First, since it is quick to tell that a file is none.
    dialogues = prompts_of_lines(sys.stdin) if path == "-" else read_prompts(path)
    backends = run.opened()
    with ProgressReport("대답하는 중") as bar:
        rounds = compare_prompts(backends, dialogues, run.style, bar)
    # Files first: whoever reads what is printed may leave early.
    if report:
        run.write_report(report, "표준 입력" if path == "-" else path, rounds)
    try:
        if sheet:
            _write_sheet(run, sheet, rounds)
    finally:
        if as_json:
            for asked in rounds:
                print_json(_round_json(asked))
        else:
            print_rounds(rounds)


def _write_sheet(run: _Run, path: Path, rounds: list[Round]) -> None:
    from chatbot.sheets import write_sheet

    left, right = (contender.label for contender in run.contenders)
    key = write_sheet(path, rounds, (left, right))
    say(
        f"{path}에 {len(key.items)}줄짜리 투표지를 만들었어요(답이 똑같은 {len(key.identical)}개는 뺐어요). "
        "채운 다음 --standings --sheet로 세어 보세요."
    )


def _print_standings(sheet: Path | None, as_json: bool) -> None:
    from chatbot.screens.console import output
    from chatbot.screens.standings import print_standings, standings_json, standings_lines
    from chatbot.standings import standings_by_split

    if sheet:
        from chatbot.sheets import read_key, read_sheet

        votes, key = read_sheet(sheet), read_key(sheet)
        say(
            f"{len(key.items)}줄 가운데 {len(votes)}줄에 판정이 있어요. "
            f"답이 똑같아서 뺀 것은 {len(key.identical)}개예요."
        )
    else:
        votes = _votes()
    if not votes:
        raise ChatbotError(
            f"{sheet}: 채운 칸이 하나도 없어요. 고른 쪽을 적어 주세요."
            if sheet
            else "아직 표가 없어요. 'chatbot compare --vote'로 먼저 골라 주세요."
        )
    found = standings_by_split(votes)
    if as_json:
        print_json(standings_json(found))
    elif sys.stdout.isatty():
        print_standings(output(), found)
    else:
        typer.echo("\n".join(standings_lines(found)))


def _votes() -> list[Vote]:
    """Return the votes of the history, without making one."""
    from chatbot.history import History, default_path

    if not default_path().exists():
        return []
    with closing(History()) as history:
        return history.votes()


def _replies_json(asked: Round) -> list[dict[str, Any]]:
    return [{"label": label, **reply_json(reply)} for label, reply in asked.replies.items()]


def _round_json(asked: Round) -> dict[str, Any]:
    return {
        "question": asked.question,
        "reference": asked.reference,
        "dialogue": asked.dialogue,
        "turn": asked.turn,
        "replies": _replies_json(asked),
    }
