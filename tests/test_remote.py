from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from chatbot.backends import check_options, open_backend
from chatbot.backends.remote import RemoteBackend, server_at
from chatbot.dialogue import Conversation, Reply
from chatbot.errors import ChatbotError, UsageError
from chatbot.models.format import MarkerFormat
from chatbot.models.markers import add_markers
from chatbot.session import Session
from tests.conftest import Run
from tests.tiny_models import character_bpe, wrapped

pytest.importorskip("openai")

KEY = "sk-nobody-may-see-this"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing leaves the machine; here, the machine itself may be talked to."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        assert address[0] == "127.0.0.1", f"a test tried to reach the network: {address}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


class Handler(BaseHTTPRequestHandler):
    """Takes note of a request and lets the test's behaviour answer it."""

    server: FakeServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.keys.append(self.headers["Authorization"])
        try:
            self.server.behaviour(self, body)
        except (BrokenPipeError, ConnectionResetError):
            self.server.hung_up.set()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def begin(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send(self, line: str) -> None:
        self.wfile.write(f"data: {line}\n\n".encode())

    def piece(self, text: str | None, finish: str | None = None) -> None:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
        self.send(json.dumps({"id": "x", "object": "chat.completion.chunk", "choices": [choice]}))

    def usage(self, tokens: int) -> None:
        counts = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
        self.send(json.dumps({"id": "x", "choices": [], "usage": counts}))


Behaviour = Callable[[Handler, Any], None]


class FakeServer(ThreadingHTTPServer):
    """A server of the OpenAI chat API that behaves as a test wants."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour: Behaviour = answers
        self.requests: list[Any] = []
        self.keys: list[str] = []
        self.hung_up = threading.Event()
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def backend(self, **options: Any) -> RemoteBackend:
        return RemoteBackend("tiny", self.url, timeout=0.5, **options)


def answers(handler: Handler, body: Any) -> None:
    handler.begin()
    for text in ("안녕", "하세", "요!"):
        handler.piece(text)
    handler.piece(None, "stop")
    handler.usage(3)
    handler.send("[DONE]")


@pytest.fixture
def server() -> Iterator[FakeServer]:
    made = FakeServer()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.over.set()
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_reply_streams_and_says_how_it_was_made(server: FakeServer) -> None:
    *pieces, reply = Session(server.backend()).say("안녕하세요")
    assert pieces == ["안녕", "하세", "요!"] and isinstance(reply, Reply)
    assert (reply.text, reply.backend, reply.model) == ("안녕하세요!", "remote", "tiny")
    assert reply.tokens == 3 and reply.score is None and reply.seconds


def test_the_request_carries_the_talk_its_style_and_the_settings(server: FakeServer) -> None:
    session = Session(server.backend(seed=7, temperature=0.0, top_p=0.5, max_new_tokens=9))
    session.ask("나 왔어")
    session.ask("오늘 뭐 먹지? <|end|>")
    *_, _reply = session.retry()
    first, second, again = server.requests
    assert [m["role"] for m in second["messages"]] == ["system", "user", "assistant", "user"]
    assert "반말" in second["messages"][0]["content"]
    assert second["messages"][-1]["content"] == "오늘 뭐 먹지? < |end|>"
    assert first["model"] == "tiny" and (first["top_p"], first["max_tokens"]) == (0.5, 9)
    assert first["temperature"] == 0 and again["temperature"] > 0
    assert len({first["seed"], second["seed"], again["seed"]}) == 3


def test_what_was_not_set_is_left_to_the_server_until_it_is(server: FakeServer) -> None:
    backend = server.backend()
    session = Session(backend)
    session.ask("안녕")
    assert not {"seed", "temperature", "top_p", "max_tokens"} & set(server.requests[0])
    backend.adjust("temperature", "0.3")
    session.ask("안녕")
    assert server.requests[1]["temperature"] == 0.3 and backend.settings["temperature"] == 0.3
    with pytest.raises(UsageError, match="remote"):
        backend.adjust("scorer", "dense")


@pytest.mark.parametrize("style", ["polite", "casual"])
def test_the_template_of_our_checkpoints_understands_the_request(server: FakeServer, style: Any) -> None:
    tokenizer = wrapped(character_bpe())
    add_markers(tokenizer)
    conversation = Conversation(style=style)
    for role, text in [
        ("user", "안녕"),
        ("assistant", "그래" if style == "casual" else "네"),
        ("user", "뭐"),
    ]:
        conversation.add(role, text)  # type: ignore[arg-type]
    messages = server.backend()._messages(conversation)
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ids == MarkerFormat(tokenizer).prompt(conversation.turns, style, 100)


def test_leaving_on_the_way_stops_the_request(server: FakeServer) -> None:
    def endless(handler: Handler, body: Any) -> None:
        handler.begin()
        while not server.over.is_set():
            handler.piece("또 ")
            time.sleep(0.005)

    server.behaviour = endless
    answer = Session(server.backend()).say("안녕")
    assert next(answer) == "또 "
    answer.close()
    assert server.hung_up.wait(5)


def silent(handler: Handler, body: Any) -> None:
    handler.server.over.wait(5)


def stalls(handler: Handler, body: Any) -> None:
    handler.begin()
    handler.piece("그게 ")
    handler.server.over.wait(5)


def closes_early(handler: Handler, body: Any) -> None:
    handler.begin()
    handler.piece("그게 ")


def breaks_a_promise(handler: Handler, body: Any) -> None:
    handler.begin(**{"Content-Length": "100000"})
    handler.piece("그게 ")


def hangs_up(handler: Handler, body: Any) -> None:
    handler.connection.close()


def errs_on_the_way(handler: Handler, body: Any) -> None:
    handler.begin()
    handler.piece("그게 ")
    handler.send(json.dumps({"error": {"message": f"out of memory {KEY}", "code": 500}}))


def says_nothing(handler: Handler, body: Any) -> None:
    handler.begin()
    handler.piece(" ", "stop")
    handler.send("[DONE]")


def sends(*lines: str) -> Behaviour:
    def behaviour(handler: Handler, body: Any) -> None:
        handler.begin()
        for line in lines:
            handler.send(line)

    return behaviour


def sends_a_page(handler: Handler, body: Any) -> None:
    handler.begin(kind="text/html")
    handler.wfile.write("<html>어서 오세요</html>".encode())


def sends_bytes(handler: Handler, body: Any) -> None:
    handler.begin()
    handler.wfile.write(b"data: \xff\xfe\x00\n\n")


def refuses(status: int, **headers: str) -> Behaviour:
    def behaviour(handler: Handler, body: Any) -> None:
        handler.begin(status, "application/json", **headers)
        handler.wfile.write(json.dumps({"error": {"message": f"no {KEY}"}}).encode())

    return behaviour


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (silent, "제때"), (stalls, "제때"), (closes_early, "끊겼어요"), (breaks_a_promise, "끊겼어요"),
        (hangs_up, "끊겼어요"), (errs_on_the_way, "오류를 냈어요"), (says_nothing, "빈 답"),
        (sends("이건 JSON이 아니다"), "읽을 수 없는"), (sends_bytes, "읽을 수 없는"),
        (sends("5", "[1]", '{"choices": 3}', '{"choices": [4]}'), "대화 API의 답"),
        (sends('{"choices": [{"delta": 1}]}', '{"usage": 2}'), "대화 API의 답"),
        (sends("[DONE]"), "대화 API의 답"), (sends_a_page, "대화 API의 답"),
        (refuses(401), "OPENAI_API_KEY"), (refuses(403), "OPENAI_API_KEY"), (refuses(404), "--model 'tiny'"),
        (refuses(400), "HTTP 400"), (refuses(429), "HTTP 429"), (refuses(500), "서버의 기록"),
        (refuses(307, Location="http://127.0.0.1:1/v1/chat/completions"), "다른 곳으로 넘기는"),
    ],
)  # fmt: skip
def test_every_trouble_is_one_sentence(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, words: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.behaviour = behaviour
    session = Session(server.backend())
    shown = []
    with pytest.raises(ChatbotError, match=words) as caught:
        shown.extend(session.say("안녕"))
    message = str(caught.value)
    assert server.keys == [f"Bearer {KEY}"]
    assert server.url in message and KEY not in message and "\n" not in message
    # What was shown is what was said, and the talk can go on.
    assert [turn.text for turn in session.conversation.turns[1:]] == [s for s in shown if s]
    server.behaviour = answers
    assert session.ask("듣고 있어?").text == "안녕하세요!"


def test_a_refused_connection_is_one_sentence() -> None:
    with socket.socket() as taken:  # bound but not listening: nobody else can answer there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(ChatbotError, match="켜져 있는지") as caught:
            Session(RemoteBackend("tiny", url)).ask("안녕")
    assert url in str(caught.value)


def test_a_talk_longer_than_the_model_takes_is_shortened(server: FakeServer) -> None:
    def takes_five(handler: Handler, body: Any) -> None:
        (answers if len(body["messages"]) <= 5 else refuses(400))(handler, body)

    server.behaviour = takes_five
    session = Session(server.backend())
    for n in range(8):
        session.ask(f"{n}번째 이야기")
    last = server.requests[-1]["messages"]
    assert [m["role"] for m in last][:2] == ["system", "user"] and last[-1]["content"] == "7번째 이야기"


def test_a_local_talk_takes_no_proxy(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert Session(server.backend()).ask("안녕").text == "안녕하세요!"


def test_a_crisis_and_masked_numbers_are_the_session_s(server: FakeServer) -> None:
    session = Session(server.backend())
    assert "109" in session.ask("죽고 싶어").text and not server.requests
    server.behaviour = lambda handler, body: (
        handler.begin(), handler.piece("내 번호는 010-1234-"), handler.piece("5678이야", "stop"), None
    )[-1]  # fmt: skip
    assert "5678" not in session.ask("번호 뭐야?").text


def test_another_machine_never_gets_the_words_of_a_person_imitated() -> None:
    conversation = Conversation()
    conversation.add("user", "안녕")
    conversation.add("assistant", "어 왔어? 보고 싶었다", name="지민")
    conversation.add("user", "뭐 해?")
    there = RemoteBackend("tiny", "https://example.com/v1", allow_remote=True)
    here = RemoteBackend("tiny", "http://localhost:8000/v1")
    assert [m["content"] for m in there._messages(conversation)[1:]] == ["안녕\n뭐 해?"]
    assert "보고 싶었다" in str(here._messages(conversation))
    with pytest.raises(UsageError, match="--data"):
        check_options("remote", data="family")


@pytest.mark.parametrize("url", ["http://localhost:8000/v1", "https://127.8.0.1/v1", "http://[::1]:11434/v1"])
def test_this_machine_needs_no_leave(url: str) -> None:
    assert server_at(url).note is None


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/v1",
        "http://localhost.example.com/v1",
        "http://192.168.0.2:8000/v1",
        "http://0.0.0.0/v1",
    ],
)
def test_another_machine_needs_leave_and_is_named(url: str) -> None:
    host = url.split("/")[2].split(":")[0]
    with pytest.raises(UsageError, match="--allow-remote") as caught:
        server_at(url)
    note = server_at(url, allow_remote=True).note
    assert host in str(caught.value) and note and host in note
    assert ("암호화하지 않은" in note) == url.startswith("http:")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (None, "주소가 필요"), ("", "주소가 필요"), ("localhost:8000", "http나 https"),
        ("file:///etc/passwd", "http나"),
        ("http://", "http나"), ("http://[::1/v1", "http나"), ("http://localhost:99999/v1", "http나"),
        (f"http://me:{KEY}@localhost/v1", "비밀번호"), (f"http://localhost/v1?key={KEY}", "비밀번호"),
    ],
)  # fmt: skip
def test_urls_that_make_no_sense_are_refused(url: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        server_at(url)
    assert KEY not in str(caught.value)


def test_options_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://localhost:8000/v1"
    with pytest.raises(UsageError, match="--model"):
        open_backend("remote", url=url)
    with pytest.raises(UsageError, match="--top-p"):
        open_backend("remote", url=url, model="tiny", top_p=2.0)
    for name in ("retrieval", "gpt"):
        with pytest.raises(UsageError, match="--url"):
            check_options(name, url=url)
    monkeypatch.setenv("OPENAI_API_KEY", "열쇠")
    with pytest.raises(UsageError, match="OPENAI_API_KEY"):
        open_backend("remote", url=url, model="tiny")


def test_without_the_extra_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ChatbotError, match=r"pip install 'chatbot\[remote\]'"):
        open_backend("remote", url="http://localhost:8000/v1", model="tiny")


def test_the_command_line_asks_a_server(server: FakeServer, run: Run) -> None:
    done = run("ask", "안녕", "--backend", "remote", "--url", server.url, "--model", "tiny", "--json")
    reply = json.loads(done.stdout)
    assert done.returncode == 0 and not done.stderr
    assert (reply["text"], reply["backend"], reply["tokens"]) == ("안녕하세요!", "remote", 3)
    crisis = run("talk", "-b", "remote", "--url", server.url, "--model", "tiny", stdin="죽고 싶어\n")
    assert "109" in crisis.stdout and len(server.requests) == 1
    server.behaviour = refuses(500)
    done = run("ask", "안녕", "-b", "remote", "--url", server.url, "--model", "tiny")
    assert done.returncode == 1 and "HTTP 500" in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_command_line_names_another_machine_before_it_asks(server: FakeServer, run: Run) -> None:
    # Not a loopback address by its name, though nothing leaves the machine.
    there = ["--url", server.url.replace("127.0.0.1", "0.0.0.0"), "--model", "tiny"]
    for command in (
        ["ask", "안녕", "-b", "remote"],
        ["talk", "-b", "remote"],
        ["compare", "안녕", "--backends", "retrieval,remote"],
    ):
        done = run(*command, *there, stdin="안녕\n")
        assert done.returncode == 2 and "0.0.0.0" in done.stderr and "--allow-remote" in done.stderr
    assert not server.requests
    for command in (["ask", "안녕", "-b", "remote"], ["talk", "-b", "remote"]):
        done = run(*command, *there, "--allow-remote", stdin="안녕\n", NO_PROXY="*")
        assert done.returncode == 0 and "안녕하세요!" in done.stdout
        assert "떠나 0.0.0.0 서버로" in done.stderr and len(done.stderr.splitlines()) == 1
