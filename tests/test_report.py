from __future__ import annotations

import html
import json
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sacrebleu.metrics import CHRF

from chatbot.comparison import Contender, Round, Vote
from chatbot.dialogue import Candidate, Conversation, Reply, Turn
from chatbot.measures import measure
from chatbot.resources import write_private
from chatbot.safety import crisis_reply
from chatbot.screens.charts import histograms
from chatbot.screens.report import report_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
VOID = {"meta", "input", "br", "link", "img"}
CONTENDERS = [
    Contender("retrieval", "retrieval"),
    Contender("gpt", "gpt"),
    Contender("gpt:서연-gpt", "gpt", "서연-gpt"),
]
LABELS = [contender.label for contender in CONTENDERS]


class Page(HTMLParser):
    """The elements of a page: tag, attributes, own and inner text, classes of those around it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[dict[str, Any]] = []
        self._open: list[dict[str, Any]] = []
        self.feed(text)
        self.close()
        assert not self._open, [element["tag"] for element in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = {"tag": tag, "text": "", **{name: value or "" for name, value in attrs}}
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append({"tag": tag, "text": "", **{name: value or "" for name, value in attrs}})

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()["tag"] == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element["text"] += data

    def with_class(self, name: str) -> list[dict[str, Any]]:
        return [e for e in self.elements if name in e.get("class", "").split()]

    def figure(self, key: str, contender: str | None = None) -> float:
        (found,) = (
            e
            for e in self.elements
            if e.get("data-figure") == key and contender in (None, e.get("data-contender"))
        )
        return float(found["data-value"])


WORDS = ("오늘", "참", "좋은", "날이에요", "그래")


def make_rounds(count: int = 40, words: Sequence[str] = WORDS) -> list[Round]:
    rng = np.random.default_rng(5)
    rounds = []
    for number in range(count):
        question = f"물음 {number}번이에요" if number % 2 else f"물음 {number}번이야"
        replies = {}
        for place, label in enumerate(LABELS):
            text = f"{label} 답{number}: " + " ".join(rng.choice(words, size=rng.integers(1, 12)))
            near = (Candidate("답", 0.8, f"topic-{number:02d} ← 가까운 물음"),) if not place else ()
            tokens = None if not place else int(rng.integers(3, 30))
            seconds = float(rng.lognormal(-5 + 2 * place))
            replies[label] = Reply(
                text, label.split(":")[0], "모델", 0.5, near, seconds=seconds, tokens=tokens
            )
        before = {label: Conversation() for label in LABELS}
        reference = [replies["gpt"].text, "참고로 적어 둔 답", None, None][number % 4]
        rounds.append(Round(question, replies, before, reference, dialogue=number))
    return rounds


def make_votes(count: int = 60) -> list[Vote]:
    rng = np.random.default_rng(1)
    votes = []
    for number in range(count):
        left, right = (LABELS[i] for i in rng.permutation(3)[:2])
        outcome = "both_good" if number % 5 == 0 else "left" if left < right else "right"
        votes.append(Vote(f"물음 {number}", left, right, outcome))
    return votes


@pytest.fixture(scope="module")
def rounds() -> list[Round]:
    return make_rounds()


@pytest.fixture(scope="module")
def text(rounds: list[Round]) -> str:
    return report_page(
        "prompts.jsonl", CONTENDERS, rounds, votes=make_votes(), at=datetime(2026, 3, 4, 15, 6).astimezone()
    )


def test_the_figures_on_the_page_are_those_of_the_answers(text: str, rounds: list[Round]) -> None:
    page = Page(text)
    assert page.figure("rounds") == 40
    for label in LABELS:
        replies = [asked.replies[label] for asked in rounds]
        texts = [reply.text for reply in replies]
        milliseconds = [1000 * (reply.seconds or 0) for reply in replies]
        lengths = [len(words) for words in texts]
        words = [words.split() for words in texts]
        pairs = [pair for line in words for pair in pairwise(line)]
        judged = [(asked.replies[label].text, asked.reference) for asked in rounds if asked.reference]
        chrf = CHRF().corpus_score([said for said, _ in judged], [[right for _, right in judged]]).score
        expected = {
            "answers": 40,
            "latency_median": np.median(milliseconds),
            "latency_p95": np.percentile(milliseconds, 95),
            "characters_mean": np.mean(lengths),
            "characters_median": np.median(lengths),
            "words_mean": np.mean([len(line) for line in words]),
            "words_median": np.median([len(line) for line in words]),
            "distinct_1": len({word for line in words for word in line}) / sum(map(len, words)),
            "distinct_2": len(set(pairs)) / len(pairs),
            "references": 20,
            "chrf": chrf,
            "exact": 0.5 if label == "gpt" else 0,
        }
        for key, value in expected.items():
            assert page.figure(key, label) == pytest.approx(float(value)), (label, key)
    tokens = [asked.replies["gpt"] for asked in rounds]
    rate = sum(reply.tokens or 0 for reply in tokens) / sum(reply.seconds or 0 for reply in tokens)
    assert page.figure("tokens_per_second", "gpt") == pytest.approx(rate)
    assert ">–</td>" in text  # retrieval makes no tokens


def test_the_charts_show_every_answer_once(text: str, rounds: list[Round]) -> None:
    page = Page(text)
    bars = [int(e["data-count"]) for e in page.elements if "data-count" in e]
    assert sum(bars) == 2 * len(rounds) * len(LABELS)  # of time and of length
    shares = sorted(float(e["data-share"]) for e in page.elements if "data-share" in e)
    wanted = [page.figure(f"distinct_{n}", label) for n in (1, 2) for label in LABELS]
    assert shares == pytest.approx(sorted(wanted))
    drawn = [e for e in page.elements if e["tag"] == "svg"]
    assert len(drawn) == 3 + 3 + 6 + 3
    titles = [e["text"] for e in page.elements if e["tag"] == "title"]
    assert all(any(title.startswith(label) for title in titles) for label in LABELS)
    for e in page.elements:
        if e["tag"] == "rect":
            x, width = float(e.get("x", 0)), float(e["width"])
            assert x >= -0.01 and x + width <= 100.05 and 0 < float(e["height"]) <= 40


def test_the_standings_are_those_of_the_votes(text: str, rounds: list[Round]) -> None:
    standings = pytest.importorskip("chatbot.standings").standings
    page = Page(text)
    assert page.figure("votes") == 60
    for row in standings(make_votes()).contenders:
        assert page.figure("strength", row.label) == pytest.approx(row.strength.value)
    strangers = [Vote("물음", "remote", "hybrid", "left")]
    assert 'id="standings"' in text
    assert 'id="standings"' not in report_page("x", CONTENDERS, rounds, votes=strangers)


def test_every_answer_is_there_with_its_facts(text: str, rounds: list[Round]) -> None:
    page = Page(text)
    said = [e["text"] for e in page.with_class("text")]
    for asked in rounds:
        assert asked.reference is None or asked.reference in said
        assert all(reply.text in said for reply in asked.replies.values())
        assert asked.replies["retrieval"].candidates[0].source in text
    assert [e["text"] for e in page.elements if e["tag"] == "h3"][-40:] == [r.question for r in rounds]
    seconds = [float(e["data-seconds"]) for e in page.elements if "data-seconds" in e]
    assert seconds == [asked.replies[label].seconds for asked in rounds for label in LABELS]


def test_the_page_needs_nothing_from_elsewhere(text: str) -> None:
    page = Page(text)
    for element in page.elements:
        assert element["tag"] not in ("link", "img", "iframe", "object", "embed", "base")
        assert "src" not in element and "srcset" not in element
        assert not [name for name in element if name.startswith("on")]
        assert element.get("href", "#").startswith("#")
    assert not re.search(r"@import|url\s*\(|https?:|//[a-z]", text, re.IGNORECASE)
    assert 'lang="ko"' in text and "default-src 'none'" in text and "width=device-width" in text
    # a link within the page leads somewhere
    ids = [e["id"] for e in page.elements if "id" in e]
    assert len(ids) == len(set(ids))
    assert {e["href"][1:] for e in page.elements if "href" in e} <= set(ids)


def test_what_was_said_comes_out_as_text() -> None:
    nasty = [
        "<script>alert(1)</script>",
        "\"'><img src=x onerror=alert(1)>",
        "]]> --> </style></title></script>",
        "{{ 7 * 7 }} {% raw %} &lt; &amp;",
        "\u202e거꾸로\u202c שלום \x00\x1b[31m",
        "javascript:alert(1)\n둘째 줄",
    ]
    rounds = [
        Round(
            words,
            {label: Reply(words, "gpt", words, 0.5, (Candidate(words, 0.1, words),)) for label in LABELS},
            {},
            words,
            dialogue=number,
        )
        for number, words in enumerate(nasty)
    ]
    who = [*CONTENDERS[:2], replace(CONTENDERS[2], label=f"gpt:{nasty[1]}", model=nasty[1])]
    harmless = Page(report_page("x", CONTENDERS, rounds[-1:]))
    text = report_page(nasty[0], who, rounds, settings={nasty[1]: nasty[0]})
    page = Page(text)
    assert "\u202e" not in text and "\x00" not in text and "\x1b" not in text
    assert {e["tag"] for e in page.elements} <= {e["tag"] for e in harmless.elements}
    assert len([e for e in page.elements if e["tag"] == "script"]) == 1
    assert not any(name.startswith("on") for e in page.elements for name in e)
    said = [e["text"] for e in page.with_class("text")]
    for words in [*nasty[:4], "거꾸로 שלום ", nasty[5]]:
        assert words in said, words
    assert all(e.get("dir") == "auto" for e in page.with_class("text"))


def test_no_folder_of_this_machine_and_no_password_is_on_the_page() -> None:
    folders = ["/home/minji/비밀/gpt-a", "C:\\Users\\minji\\비밀\\gpt-b", "./비밀/gpt-a"]
    who = [Contender(f"gpt:{folder}", "gpt", folder) for folder in folders]
    who.append(Contender("gpt:skt/kogpt2", "gpt", "skt/kogpt2"))
    replies = {c.label: Reply("응", "gpt", c.model) for c in who}
    text = report_page(
        "/home/minji/비밀/prompts.txt",
        who,
        [Round("안녕", replies, {})],
        settings={
            "data": "~/비밀/a.csv",
            "url": "http://minji:비밀@localhost:8000/v1",
            "temperature": 0.7,
            "top_p": None,
        },
    )
    assert "minji" not in text and "비밀" not in text
    shown = [e["text"] for e in Page(text).elements if e["tag"] == "b"][:4]
    assert shown == ["gpt:gpt-a", "gpt:gpt-b", "gpt:gpt-a #2", "gpt:skt/kogpt2"]
    assert "data a.csv, url localhost:8000/v1, temperature 0.7" in " ".join(text.split())


def test_why_an_answer_was_chosen_is_on_the_page() -> None:
    reply = Reply("응", "gpt", reason="후보 <9>개 가운데 골랐어요.")
    page = Page(report_page("x", CONTENDERS, [Round("안녕", {"gpt": reply}, {})]))
    assert reply.reason in [e["text"] for e in page.with_class("source")]


def test_words_that_look_like_a_path_are_words() -> None:
    for words in ("~ 짜장/짬뽕", "/오늘 뭐 먹지"):
        page = Page(report_page(words, CONTENDERS, [Round(words, {"gpt": Reply("응", "gpt")}, {})]))
        assert [e["text"] for e in page.elements if e["tag"] == "h1"] == [words]


def test_a_dialogue_stays_together_and_what_lacks_is_said() -> None:
    rounds = make_rounds(6)
    rounds = [replace(asked, dialogue=n // 3, turn=n % 3) for n, asked in enumerate(rounds)]
    rounds[0] = replace(rounds[0], replies={"gpt": rounds[0].replies["gpt"]})
    crisis = crisis_reply("suicide", Conversation(), "polite")
    rounds[1] = replace(rounds[1], replies=dict.fromkeys(LABELS, crisis))
    page = Page(report_page("x", CONTENDERS, rounds))
    assert len(page.with_class("dialogue")) == 2 and len(page.with_class("round")) == 6
    assert page.figure("dialogues") == 2
    assert len([e for e in page.with_class("facts") if "대답이 없어요" in e["text"]]) == 2
    assert len([e for e in page.with_class("facts") if "안전 문구" in e["text"]]) == 3
    assert page.figure("answers", "retrieval") == 5 and page.figure("answers", "gpt") == 6
    assert len(page.with_class("differ")) == 4  # one answer alone, or the same from all, is no difference
    crisis_alone = [replace(rounds[1], dialogue=0)]
    assert 'id="latency"' not in report_page("x", CONTENDERS, crisis_alone)  # nothing was timed


def test_style_is_measured_against_what_the_user_showed_before() -> None:
    before = Conversation(turns=[Turn("user", "뭐 먹었어?"), Turn("assistant", "밥 먹었어")])
    asked = Round("ㅋㅋ", {"gpt": Reply("응 그래", "gpt")}, {"gpt": before})
    polite = replace(asked, before={"gpt": Conversation(turns=before.turns, style="polite")})
    silent = replace(asked, replies={"gpt": Reply("ㅋㅋ", "gpt")})
    assert measure("gpt", [asked]).style_match == 1
    assert measure("gpt", [asked, polite]).style_match == 0.5
    found = measure("gpt", [asked, polite, silent])
    assert found.style_match == 0.5 and found.casual == pytest.approx(2 / 3) and found.polite == 0
    assert measure("gpt", [silent]).style_match is None


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("sample", [[3], [3, 3], [1, 2], [1, 500], [0.01, 90_000.0], list(range(1, 90))])
def test_every_value_has_its_bar(sample: list[float], log: bool) -> None:
    sample = sample if log else [round(value) + 1 for value in sample]
    found = histograms({"a": sample, "b": []}, log=log)
    assert sum(bar.count for bar in found.bars["a"]) == len(sample)
    assert not any(bar.count for bar in found.bars["b"])
    assert max(bar.height for bar in found.bars["a"]) == 100
    for bar in found.bars["a"]:
        inside = [value for value in sample if bar.start <= value < bar.stop]
        assert len(inside) == bar.count and bar.x >= 0 and bar.x + bar.width <= 100.01
    ticks = found.scale.ticks()
    assert 1 <= len(ticks) <= 8 and all(0 <= found.scale.at(tick) <= 100 for tick in ticks)


def test_a_hundred_prompts_make_a_small_page() -> None:
    words = [f"낱말{n}" for n in range(400)]
    text = report_page("x", CONTENDERS, make_rounds(100, words), votes=make_votes())
    assert len(text.encode()) < 400_000


def test_the_file_is_its_owners_alone(text: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_private(path, text)
    assert path.read_text(encoding="utf-8") == text and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_importing_the_page_loads_no_model_and_no_training() -> None:
    code = "import sys, chatbot.screens.report; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.splitlines()
    assert not {"torch", "transformers", "sacrebleu", "matplotlib", "training"} & set(loaded)


MEASURE = """<!doctype html><meta charset="utf-8"><iframe width="%d" height="700" srcdoc="%s"></iframe>
<pre id="found"></pre><script>
document.querySelector("iframe").addEventListener("load", event => {
  const page = event.target.contentDocument, root = page.documentElement, find = page.getElementById("find");
  const box = e => e.getBoundingClientRect();
  const wide = [...page.querySelectorAll("body *")].filter(e => !e.closest(".wide") && box(e).width
    && box(e).right > root.clientWidth + 1).map(e => e.tagName + "." + e.className);
  const shown = () => [...page.querySelectorAll(".dialogue")].filter(e => e.offsetHeight).length;
  const figures = Object.fromEntries([...page.querySelectorAll("[data-figure][data-value]")].map(
    e => [`${e.dataset.figure}/${e.dataset.contender || ""}`, [e.dataset.value, e.innerText]]));
  const top = [...page.querySelectorAll(".round:first-child .answers")][0].children;
  const found = {client: root.clientWidth, scroll: root.scrollWidth, wide, figures, all: shown(),
    columns: new Set([...top].map(e => Math.round(box(e).left))).size,
    paper: getComputedStyle(page.body).backgroundColor, alert: page.title,
    bars: [...page.querySelectorAll("rect[data-count]")].filter(e => box(e).height > 0).length};
  find.value = "물음 7번";
  find.dispatchEvent(new Event("input"));
  found.filtered = shown();
  document.getElementById("found").textContent = JSON.stringify(found);
});</script>"""


SWITCHES = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
--disable-background-networking --disable-component-update --virtual-time-budget=10000
--window-size=1400,900 --dump-dom"""


def in_chromium(text: str, width: int, tmp_path: Path, *more: str) -> dict[str, Any]:
    """Return what the browser makes of a page in a window of that width."""
    assert CHROMIUM
    test_page = tmp_path / "measure.html"
    test_page.write_text(MEASURE % (width, html.escape(text)), encoding="utf-8")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [CHROMIUM, *SWITCHES.split(), *more, profile, test_page.as_uri()],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    found = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1]))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize(("width", "columns"), [(390, 1), (320, 1), (1200, 3)])
def test_in_a_browser_it_has_its_figures_and_nothing_sticks_out(
    rounds: list[Round], tmp_path: Path, width: int, columns: int
) -> None:
    endless = "가나다라" * 60 + " " + "ㅋ" * 300
    replies = {label: Reply(endless, "gpt", "model" * 30, 0.5, seconds=0.1, tokens=9) for label in LABELS}
    rounds = [*rounds, Round(endless, replies, {}, endless, dialogue=len(rounds))]
    text = report_page("이름이 아주 긴" * 20, CONTENDERS, rounds, votes=make_votes())
    found = in_chromium(text, width, tmp_path)
    assert found["client"] > width - 20 and found["scroll"] <= found["client"] and not found["wide"]
    assert found["columns"] == columns
    written = {
        f"{e['data-figure']}/{e.get('data-contender', '')}": [e["data-value"], e["text"]]
        for e in Page(text).elements
        if "data-figure" in e and "data-value" in e
    }
    assert found["figures"] == written and len(written) > 40
    assert found["bars"] == len([e for e in Page(text).elements if "data-count" in e])
    assert found["all"] == 41 and found["filtered"] == 1  # the page's own script runs, and finds


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_runs_no_script_that_somebody_said(rounds: list[Round], tmp_path: Path) -> None:
    script = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
    replies = {label: Reply(script, "gpt", seconds=0.1) for label in LABELS}
    text = report_page("x", CONTENDERS, [Round(script, replies, {}, script)])
    assert in_chromium(text, 800, tmp_path)["alert"] == "대답 견주기: x"
    # Even where the page carried it as it is, its policy would refuse to run it.
    forged = text.replace("</main>", f"{script}</main>")
    assert in_chromium(forged, 800, tmp_path)["alert"] == "대답 견주기: x"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_set_to_dark_gets_a_dark_page(text: str, tmp_path: Path) -> None:
    papers = []
    for more in ((), ("--blink-settings=preferredColorScheme=0",)):
        folder = tmp_path / str(len(papers))
        folder.mkdir()
        colour = in_chromium(text, 800, folder, *more)["paper"]
        papers.append(sum(map(int, re.findall(r"\d+", colour)[:3])))
    assert papers[0] > 600 and papers[1] < 150
