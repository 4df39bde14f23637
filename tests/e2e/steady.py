"""A steady load of JSON and event streams on Envoy, each answer judged for being whole; knows no fault it goes through.

It runs on a thread and an event loop of its own, at so many requests a second whatever becomes of them.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

CHAT = "/v1/chat/completions"
PROSE = "The quick brown fox jumps over the lazy dog while the band plays on. "
ANSWER_TOKENS = 16
IN_FLIGHT_MAX = 300
"""More than any fault here leaves open at once."""
_PAGE, _NOTE = 350, 3
"""Repetitions of the prose: some 5,300 tokens, and some 50."""
_MIX = (
    "note",
    "note stream",
    "page",
    "note stream",
    "note",
    "book",
    "note stream",
    "page stream",
    "note",
    "book stream",
)
"""Kinds in turn: notes and pages are short, books long for the output they may have."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one request."""

    kind: str
    begun_s: float
    """Of `time.monotonic`."""
    elapsed_s: float
    fault: str = ""
    """What is wrong with the answer; empty where it is whole."""
    decided: str | None = None
    """The pool the service chose; None where it was not asked."""
    served: str | None = None
    """The pool that answered."""
    attempts: int = 1
    """Instances that Envoy asked."""
    reconnected: bool = False
    """The connection was gone before a byte of the answer came, and it was sent again on another."""


@dataclass
class Steady:
    """A load that is running, and what it came to so far."""

    url: str
    per_s: float
    answered: list[Answered] = field(default_factory=list)
    begun: Counter[str] = field(default_factory=Counter)
    """Answers that have begun and are not done, by instance."""
    fault: str = ""
    """For the mock instances, with every request from now on."""
    reconnects: bool = False
    """Whether clients send a request again whose connection closed before an answer."""
    _over: threading.Event = field(default_factory=threading.Event)

    def since(self, begun_s: float) -> list[Answered]:
        """What was asked from then on, and is answered."""
        return [each for each in list(self.answered) if each.begun_s >= begun_s]

    def run(self) -> None:
        """Until it is over and everything is answered."""
        asyncio.run(self._run())

    def end(self) -> None:
        """Ask no more."""
        self._over.set()

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=IN_FLIGHT_MAX, max_keepalive_connections=IN_FLIGHT_MAX)
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=30.0, limits=limits) as client,
            asyncio.TaskGroup() as group,
        ):
            number, due_s = 0, time.monotonic()
            while not self._over.is_set():
                group.create_task(self._ask(client, number))
                number, due_s = number + 1, due_s + 1.0 / self.per_s
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def _ask(self, client: httpx.AsyncClient, number: int) -> None:
        kind, begun_s = _MIX[number % len(_MIX)], time.monotonic()
        seen, reconnected = Answered(kind, begun_s, 0.0, "no answer"), False
        try:
            try:
                seen = await self._answer(client, kind, number)
            except (httpx.ReadError, httpx.RemoteProtocolError, httpx.ConnectError) as error:
                if not self.reconnects or getattr(error, "had_begun", False):
                    raise
                reconnected, seen = True, await self._answer(client, kind, number)
        except httpx.HTTPError as error:
            seen = Answered(kind, begun_s, 0.0, f"{type(error).__name__}: {error}")
        elapsed_s = time.monotonic() - begun_s
        self.answered.append(
            Answered(kind, begun_s, elapsed_s, seen.fault, seen.decided, seen.served, seen.attempts, reconnected)
        )

    async def _answer(self, client: httpx.AsyncClient, kind: str, number: int) -> Answered:
        headers = {"x-mock-fault": self.fault} if self.fault else {}
        async with client.stream("POST", CHAT, json=body_of(kind, number), headers=headers) as answer:
            instance = answer.headers.get("x-mock-instance", "nobody")
            self.begun[instance] += 1
            try:
                text = (await answer.aread()).decode()
            except httpx.HTTPError as error:
                error.had_begun = True  # type: ignore[attr-defined] # an answer that has begun is not asked for again
                raise
            finally:
                self.begun[instance] -= 1
        fault = "" if answer.status_code == 200 else f"status {answer.status_code}: {text[:200]}"
        return Answered(
            kind,
            0.0,
            0.0,
            fault or flaw_of(kind, text),
            answer.headers.get("x-dualpool-pool"),
            answer.headers.get("x-dualpool-served"),
            int(answer.headers.get("x-envoy-attempt-count", "0")),
        )


def body_of(kind: str, number: int) -> dict[str, Any]:
    """A chat of that kind, like no other."""
    text = f"{number} " + PROSE * (_PAGE if kind.startswith("page") else _NOTE)
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": text}]}
    if kind.startswith("book"):
        body |= {"max_tokens": 9000, "stop": None}
    else:
        body |= {"max_tokens": ANSWER_TOKENS, "min_tokens": ANSWER_TOKENS, "ignore_eos": True}
    if kind.endswith("stream"):
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def flaw_of(kind: str, text: str) -> str:
    """Why an answer is not whole; empty where it is."""
    try:
        usage = _usage_at_its_end(text) if kind.endswith("stream") else json.loads(text)["usage"]
        tokens = usage["completion_tokens"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return f"not whole: {error!r} in …{text[-100:]!r}"
    if kind.startswith("book"):
        return "" if tokens > 0 else "empty"
    return "" if tokens == ANSWER_TOKENS else f"{tokens} tokens in place of {ANSWER_TOKENS}"


def _usage_at_its_end(text: str) -> Mapping[str, int]:
    said = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    if said[-1] != "[DONE]":
        raise ValueError("no end")
    usage: Mapping[str, int] = json.loads(said[-2])["usage"]
    return usage


@contextmanager
def steady(url: str, per_s: float) -> Iterator[Steady]:
    """A load for as long as the block lasts; at its end everything that was asked is answered."""
    load = Steady(url, per_s)
    thread = threading.Thread(target=load.run, name="steady load")
    thread.start()
    try:
        yield load
    finally:
        load.end()
        thread.join()
