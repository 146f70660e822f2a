"""Remote: a model on a server that speaks the OpenAI chat API (vLLM, llama.cpp, Ollama).

Everything here keeps to what those servers share: streamed chat completions. The openai client is
an extra and is imported only when the backend is opened.
"""

from __future__ import annotations

import ipaddress
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from chatbot.backends.settings import RETRY_TEMPERATURE, SETTINGS, adjusted, all_checked
from chatbot.dialogue import Backend, Conversation, Reply
from chatbot.errors import ChatbotError, UsageError
from chatbot.models.markers import STYLE_WISH
from chatbot.style import reply_style

# A chat template mixes text and markers in one string; what a person types stays text.
_MARKER = re.compile(r"<(?=\|\w+\|>)")


class Server(NamedTuple):
    """Where the words of a conversation go; ``local``: they do not leave this machine."""

    url: str
    host: str
    local: bool

    @property
    def note(self) -> str | None:
        """What a person should know before the first word goes there."""
        if self.local:
            return None
        note = f"이 대화는 이 컴퓨터를 떠나 {self.host} 서버로 가요."
        if self.url.startswith("http:"):
            note += " https가 아니어서 암호화하지 않은 채로 가요."
        return note


def server_at(url: str | None, allow_remote: bool | None = None) -> Server:
    """Return the server at a URL.

    Raises:
        UsageError: there is no URL, it is none, it carries a password, or its server is not on this
            machine and ``allow_remote`` was not given.
    """
    example = "--url http://localhost:8000/v1처럼 써 주세요."
    if not url:
        raise UsageError(f"remote 백엔드에는 서버의 주소가 필요해요. {example}")
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # read for its check
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or not url.isprintable():
        raise UsageError(f"--url: http나 https로 시작하는 서버 주소가 아니에요. {example}")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            f"--url의 {host}: 주소에 비밀번호나 ?, #을 쓸 수 없어요. "
            "열쇠가 필요하면 환경 변수 OPENAI_API_KEY에 넣어 주세요."
        )
    server = Server(url, host, _is_loopback(host))
    if not server.local and not allow_remote:
        raise UsageError(
            f"--url의 {host}은(는) 이 컴퓨터가 아니에요. 대화를 그 서버로 보내도 된다면 "
            "--allow-remote를 붙여 주세요."
        )
    return server


def _is_loopback(host: str) -> bool:
    """Tell by the name alone: what a look-up says today may be another machine tomorrow."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class RemoteBackend(Backend):
    """Answers with what a model on a server says.

    The speech level goes as a system message in Korean, which the chat template of our own
    checkpoints understands as well. A server on another machine never gets what was said in the
    name of a person imitated: those words come from a personal dataset.

    Args:
        model: the model's name on the server.
        url: where its API begins, ``http://localhost:8000/v1``.
        allow_remote: whether that may be on another machine.
        seed: makes replies repeatable, where the server can.
        temperature: 0 always takes the likeliest token; the server's default without one.
        top_p: only the likeliest tokens that make up this much probability are drawn from.
        max_new_tokens: where a reply is cut off at the latest.
        timeout: seconds to wait for the next piece of a reply.
        connect_timeout: seconds to wait for a connection.

    Raises:
        UsageError: URL, model or a setting makes no sense.
        ChatbotError: the openai package is not installed.
    """

    name = "remote"

    def __init__(
        self,
        model: str | None = None,
        url: str | None = None,
        allow_remote: bool | None = None,
        seed: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_new_tokens: int | None = None,
        *,
        timeout: float = 60,
        connect_timeout: float = 5,
    ) -> None:
        given = all_checked(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens, seed=seed)
        self._chosen: dict[str, Any] = dict.fromkeys(SETTINGS) | given
        self.server = server_at(url, allow_remote)
        if not model:
            raise UsageError("remote 백엔드에는 --model이 필요해요. 서버에 있는 모델의 이름을 써 주세요.")
        self.model = model
        self._openai = _openai()
        self._client = self._openai.OpenAI(
            base_url=url,
            api_key=_key(),
            max_retries=0,
            timeout=self._openai.Timeout(timeout, connect=connect_timeout),
            # A proxy must not take a local talk off this machine, nor a redirection any talk elsewhere.
            http_client=self._openai.DefaultHttpxClient(
                trust_env=not self.server.local, follow_redirects=False
            ),
        )

    def stream(self, conversation: Conversation) -> Iterator[str | Reply]:
        """Yield the reply piece by piece as it arrives, the :class:`Reply` last.

        Raises:
            ChatbotError: the server cannot be reached, is silent, refuses, breaks off or says nothing.
        """
        started = time.perf_counter()
        text, ended, tokens = "", False, None
        with self._explained(), self._opened(conversation) as chunks:
            for chunk in chunks:
                piece, last, used = _read(chunk)
                ended, tokens = ended or last, tokens if used is None else used
                text += piece
                if piece:
                    yield piece
        if not ended:
            raise ChatbotError(
                self._says("답을 하다가 끊겼어요. 다시 물어봐 주세요.")
                if text
                else self._says("대화 API의 답이 아닌 것을 보냈어요. --url이 /v1로 끝나는지 확인해 주세요.")
            )
        if not text.strip():
            raise ChatbotError(self._says("빈 답을 보냈어요. 다시 묻거나 --max-new-tokens를 늘려 주세요."))
        seconds = time.perf_counter() - started
        yield Reply(text, backend=self.name, model=self.model, seconds=seconds, tokens=tokens)

    @property
    def settings(self) -> dict[str, object]:
        """What ``/set`` can change; ``None`` leaves it to the server."""
        return dict(self._chosen)

    def adjust(self, name: str, value: str) -> None:
        """Change how tokens are chosen from now on."""
        self._chosen[name] = adjusted(self.name, name, value)

    def _opened(self, conversation: Conversation) -> Any:
        """Ask for a reply; where the server turns a long conversation down, for one to its later half."""
        system, *said = self._messages(conversation)
        while True:
            try:
                return self._client.chat.completions.create(
                    model=self.model,
                    messages=[system, *said],
                    stream=True,
                    stream_options={"include_usage": True},
                    **self._sampling(conversation),
                )
            except self._openai.BadRequestError:  # most often more than the model's context holds
                if len(said) < 3:
                    raise
                said = said[-(len(said) // 2 | 1) :]  # an odd number, so that it begins with the user

    def _messages(self, conversation: Conversation) -> list[dict[str, str]]:
        """Return the system message and the turns, whose roles alternate and begin with the user's."""
        messages = [{"role": "system", "content": STYLE_WISH[reply_style(conversation)]}]
        for turn in conversation.turns:
            imitates = turn.role == "assistant" and turn.name is not None
            if (imitates and not self.server.local) or (turn.role == "assistant" and len(messages) == 1):
                continue
            text = _MARKER.sub("< ", turn.text)
            if messages[-1]["role"] == turn.role:
                messages[-1]["content"] += f"\n{text}"
            else:
                messages.append({"role": turn.role, "content": text})
        return messages

    def _sampling(self, conversation: Conversation) -> dict[str, Any]:
        """Return the settings for this reply: other chance for every turn and every new try."""
        chosen = {name: value for name, value in self._chosen.items() if value is not None}
        tries = len(conversation.rejected)
        if tries and "temperature" in chosen:
            chosen["temperature"] = max(chosen["temperature"], RETRY_TEMPERATURE)
        if "seed" in chosen:
            chosen["seed"] += len(conversation.turns) + 1000 * tries
        if "max_new_tokens" in chosen:
            chosen["max_tokens"] = chosen.pop("max_new_tokens")
        return chosen

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the client raises into one sentence; nothing the server wrote is quoted."""
        try:
            yield
        except Exception as error:
            # Older clients let what their HTTP library raises through.
            if isinstance(error, (self._openai.OpenAIError, ValueError)) or _is_http_error(error):
                raise ChatbotError(self._explanation(error)) from error
            raise

    def _explanation(self, error: Exception) -> str:
        if isinstance(error, self._openai.APIStatusError):
            return self._refusal(error.status_code)
        if "Timeout" in type(error).__name__:
            return self._says("제때 대답하지 않아요. 서버가 바쁘지 않은지 살펴보고 다시 물어봐 주세요.")
        if isinstance(error, self._openai.APIConnectionError) or _is_http_error(error):
            return self._says("연결되지 않거나 도중에 끊겼어요. 서버가 켜져 있는지와 --url을 확인해 주세요.")
        if isinstance(error, self._openai.APIError):
            return self._says("답을 하다가 오류를 냈어요. 서버의 기록을 살펴보고 다시 물어봐 주세요.")
        return self._says("읽을 수 없는 답을 보냈어요. OpenAI 대화 API 서버의 주소인지 확인해 주세요.")

    def _refusal(self, status: int) -> str:
        if status in (401, 403):
            remedy = "맞는 열쇠를 환경 변수 OPENAI_API_KEY에 넣어 주세요."
        elif status == 404:
            remedy = f"--model '{self.model}'이(가) 서버에 있는지, --url이 /v1로 끝나는지 확인해 주세요."
        elif status in (400, 413, 422):
            remedy = "말을 줄이거나, 서버가 모르는 옵션을 빼고 다시 해 보세요."
        elif status < 400:
            remedy = "다른 곳으로 넘기는 주소예요. 마지막 주소를 --url에 써 주세요."
        else:
            remedy = "잠시 뒤에 다시 물어보고, 그래도 그러면 서버의 기록을 살펴봐 주세요."
        return self._says(f"요청을 받아 주지 않아요(HTTP {status}). {remedy}")

    def _says(self, trouble: str) -> str:
        return f"서버 {self.server.url}: {trouble}"


def _read(chunk: Any) -> tuple[str, bool, int | None]:
    """Return a chunk's text, whether it ends the reply, and how many tokens that took, where it says so.

    The client checks nothing: what a server sends may have any form.
    """
    tokens = getattr(getattr(chunk, "usage", None), "completion_tokens", None)
    choices = getattr(chunk, "choices", None)
    choice = choices[0] if isinstance(choices, list) and choices else None
    piece = getattr(getattr(choice, "delta", None), "content", None)
    return (
        piece if isinstance(piece, str) else "",
        getattr(choice, "finish_reason", None) is not None,
        tokens if isinstance(tokens, int) else None,
    )


def _is_http_error(error: Exception) -> bool:
    return type(error).__module__.startswith(("httpx", "httpcore"))


def _key() -> str:
    """Return the API key, or a word that stands for none: the client insists on one.

    Raises:
        UsageError: the key cannot be sent.
    """
    key = os.environ.get("OPENAI_API_KEY", "").strip() or "none"
    if not (key.isascii() and key.isprintable()):
        raise UsageError("환경 변수 OPENAI_API_KEY에 열쇠일 수 없는 글자가 있어요. 다시 넣어 주세요.")
    return key


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise ChatbotError(
            "remote 백엔드에는 openai 패키지가 필요해요. pip install 'chatbot[remote]'로 설치해 주세요."
        ) from error
    return openai
