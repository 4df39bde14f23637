"""Sends the demo's requests through Envoy and reads what comes back; judges nothing.

An answer is read whole before it is looked at, so that the client's own work stays out of the times it takes.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import httpx

from extproc.demo.mix import Ask, next_turn
from extproc.demo.outcome import Outcome, Verdict
from extproc.demo.summary import PairedTimes
from extproc.routing.headers import CATEGORY_HEADER, POOL_HEADER, PROVENANCE_HEADER, REASON_HEADER, STAGE_HEADER

_TIMEOUT_S = 60.0
"""Without a byte for so long, a request has failed; far above anything the mock pools need."""
_UNTIMED_PAIRS = 5
"""Connections open and caches fill in these, so their times are dropped."""
_OK = 200
_JSON_HEADERS = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a body says: what it cost if it says so, and what is wrong with it if anything is."""

    prompt_tokens: int | None = None
    completion_tokens: int = 0
    finish: str = ""
    reply: str = ""
    """Of JSON alone: conversations are not streamed."""
    fault: str = ""


async def drive(
    url: str, tokenize_url: str, asks: Iterator[Ask], *, concurrency: int, outcomes: asyncio.Queue[Outcome]
) -> None:
    """Send every request, so many at a time; outcomes arrive in the order in which the answers end.

    Args:
        url: where to send them.
        tokenize_url: a vLLM to ask for the length of a prompt whose answer does not tell it.
        asks: taken one by one, as workers become free.
        concurrency: requests in flight.
        outcomes: where they arrive.
    """
    async with _client() as client, asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(_work(client, url, tokenize_url, asks, outcomes))


async def measure(routed_url: str, baseline_url: str, asks: Iterator[Ask]) -> PairedTimes:
    """Send every request through both listeners, one at a time, each listener first in every other pair."""
    pairs = []
    async with _client() as client:
        for index, ask in enumerate(asks):
            urls = (routed_url, baseline_url) if index % 2 else (baseline_url, routed_url)
            outcomes = {url: await send(client, url, ask) for url in urls}
            pairs.append((outcomes[routed_url], outcomes[baseline_url]))
    sound = [pair for pair in pairs[_UNTIMED_PAIRS:] if not (pair[0].fault or pair[1].fault)]
    return PairedTimes(
        routed_s=[routed.elapsed_s for routed, _ in sound],
        baseline_s=[baseline.elapsed_s for _, baseline in sound],
        failed=sum(bool(outcome.fault) for pair in pairs for outcome in pair),
    )


async def fetch_text(url: str) -> str:
    """The body of a GET, such as a Prometheus endpoint's; empty where none comes."""
    try:
        async with _client() as client:
            return (await client.get(url)).raise_for_status().text
    except httpx.HTTPError:
        return ""


async def _work(
    client: httpx.AsyncClient, url: str, tokenize_url: str, asks: Iterator[Ask], outcomes: asyncio.Queue[Outcome]
) -> None:
    """Workers share one iterator; there is no await between taking a request from it and owning it.

    A conversation stays with its worker, as each turn waits for the answer to the one before.
    """
    for first in asks:
        ask: Ask | None = first
        while ask is not None:
            outcome = await send(client, url, ask)
            if ask.is_inference and not outcome.has_usage:
                outcome = replace(outcome, prompt_tokens=await _count_tokens(client, tokenize_url, ask))
            outcomes.put_nowait(outcome)
            ask = next_turn(ask, outcome.reply)


async def send(client: httpx.AsyncClient, url: str, ask: Ask) -> Outcome:
    """One request and its whole answer; a failure is an outcome too."""
    method = "POST" if ask.is_inference else "GET"
    started_s = perf_counter()
    try:
        response = await client.request(method, url + ask.path, content=ask.body or None, headers=_JSON_HEADERS)
    except httpx.HTTPError as error:
        return Outcome(ask, fault=type(error).__name__, elapsed_s=perf_counter() - started_s)
    elapsed_s = perf_counter() - started_s
    answer = _read(ask, response)
    return Outcome(
        ask,
        status=response.status_code,
        fault=answer.fault,
        instance=response.headers.get("x-mock-instance", ""),
        verdict=_verdict(response.headers),
        prompt_tokens=answer.prompt_tokens,
        has_usage=answer.prompt_tokens is not None,
        completion_tokens=answer.completion_tokens,
        finish=answer.finish,
        reply=answer.reply if ask.turns else "",
        elapsed_s=elapsed_s,
    )


async def _count_tokens(client: httpx.AsyncClient, url: str, ask: Ask) -> int | None:
    """The prompt's length by vLLM's own count, which no limit cuts short; None where it gives none."""
    try:
        response = await client.post(f"{url}/tokenize", content=ask.body, headers=_JSON_HEADERS)
        return int(response.raise_for_status().json()["count"])
    except (httpx.HTTPError, ValueError, TypeError, KeyError):
        return None


def _client() -> httpx.AsyncClient:
    """Keeps every connection, as opening one is not what is measured; heeds no proxy, as all is on loopback."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.AsyncClient(timeout=_TIMEOUT_S, limits=limits, trust_env=False)


def _verdict(headers: httpx.Headers) -> Verdict:
    return Verdict(
        pool=headers.get(POOL_HEADER, ""),
        reason=headers.get(REASON_HEADER, ""),
        provenance=headers.get(PROVENANCE_HEADER, ""),
        category=headers.get(CATEGORY_HEADER, ""),
        stage=headers.get(STAGE_HEADER, ""),
    )


def _read(ask: Ask, response: httpx.Response) -> _Answer:
    if response.status_code != _OK:
        return _Answer(fault=f"status {response.status_code}")
    try:
        return _read_events(response.text) if ask.streams else _read_json(response.json())
    except (ValueError, TypeError, AttributeError):
        return _Answer(fault="unreadable answer")


def _read_json(body: dict[str, Any]) -> _Answer:
    usage: dict[str, Any] = body.get("usage") or {}
    choice: dict[str, Any] = next(iter(body.get("choices") or ()), {})
    return _Answer(
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens") or 0,
        finish=choice.get("finish_reason") or "",
        reply=(choice.get("message") or {}).get("content") or "",
    )


def _read_events(text: str) -> _Answer:
    """The usage of a stream of server-sent events that ended as it should."""
    usage: dict[str, Any] = {}
    finish, ended = "", False
    for line in text.split("\n"):
        payload = line.rstrip("\r").removeprefix("data: ")
        if payload == "[DONE]":
            ended = True
        elif payload.startswith('{"error"'):
            return _Answer(fault="error event")
        elif '"usage"' in payload or '"finish_reason":"' in payload:
            event = json.loads(payload)
            usage = event.get("usage") or usage
            finish = next((choice.get("finish_reason") for choice in event.get("choices") or ()), None) or finish
    return _Answer(
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens") or 0,
        finish=finish,
        fault="" if ended else "stream ended early",
    )
