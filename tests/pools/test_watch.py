"""Rounds over real HTTP: the living are heard whatever the dead do, and nobody is asked more than is bounded."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from extproc.mockvllm.settings import MockSettings
from extproc.pools.ask import Asker
from extproc.pools.card import Card
from extproc.pools.places import Places, parse_places
from extproc.pools.urls import Address
from extproc.pools.watch import ASKED_AT_ONCE, CARD_RETRY_ROUNDS, CARD_ROUNDS, MISSING_A_ROUND, PoolWatch
from extproc.routing.steering import PoolState
from tests.pools.servers import PAGE, Mock, Replier, Serve, free_port, http, vllm


class Clock:
    """Goes on when it is told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


def watching(*addresses: Address, poll_s: float = 2.0) -> PoolWatch:
    """A watch over these instances."""
    value = ",".join(map(str, addresses))
    return PoolWatch(Places("short_pool", parse_places("short_pool", value)), Asker(), poll_s=poll_s)


def listing(path: Path, addresses: Iterable[Address]) -> PoolWatch:
    """A watch over a file of instances."""
    write(path, addresses)
    return PoolWatch(Places("short_pool", parse_places("short_pool", f"file://{path}")), Asker(), poll_s=2.0)


def write(path: Path, addresses: Iterable[Address]) -> None:
    """List these instances."""
    path.write_text(json.dumps([{"targets": [address.authority for address in addresses]}]), encoding="utf-8")


async def rounds(watch: PoolWatch, clock: Clock, count: int = 1) -> dict[str, int]:
    """The outcomes of so many rounds, two seconds apart; those of the last one."""
    outcomes: dict[str, int] = {}
    for _ in range(count):
        clock.now_s += 2.0
        outcomes = {outcome.value: number for outcome, number in (await watch.round(clock)).items()}
    return outcomes


@pytest.mark.parametrize("version", ["0.6.6", "0.9.2", "0.17.1", "0.33.0"])
async def test_mock_instances_of_any_version_make_a_state(mock: Mock, version: str) -> None:
    """Two instances of a release are read, judged, and known by their cards."""
    settings = [MockSettings(name=name, vllm_version=version, max_model_len=8192, speed=0) for name in ("a", "b")]
    addresses = [mock(each) for each in settings]
    watch, clock = watching(*addresses), Clock()
    assert await rounds(watch, clock) == {"read": 2}
    assert watch.readings.state(clock.now_s) == PoolState(instances=2, running=0, waiting=0, kv_usage=0)
    assert watch.cards == {str(address): Card("mock-model", 8192) for address in addresses}


async def test_rates_come_with_the_second_round(serve: Serve) -> None:
    """Counters are compared over the time between the questions."""
    replier = vllm()
    watch, clock = watching(await serve(replier.talk)), Clock()
    await rounds(watch, clock)
    replier.replies["metrics"] = http(PAGE.replace(b"} 10.0", b"} 13.0"))
    await rounds(watch, clock)
    assert watch.readings.state(clock.now_s) == PoolState(1, 8.0, 2.0, 0.5, preemptions_per_s=1.5)


async def test_every_way_to_fail_is_counted(serve: Serve) -> None:
    """One good instance among bad ones is a minority, and makes no state."""
    bad = {
        "status": http(b"", status="404 Not Found"),
        "malformed": http(PAGE + b"vllm:num_requests_running x\n"),
        "implausible": http(PAGE.replace(b"} 0.5", b"} 50")),
        "too_large": http(b"x" * 5_000_000),
        "encoded": http(b"", "content-encoding: gzip"),
    }
    addresses = [await serve(Replier(metrics=reply, models=http(b"{}")).talk) for reply in bad.values()]
    with free_port() as nobody:
        watch, clock = watching(await serve(vllm().talk), nobody, *addresses), Clock()
        assert await rounds(watch, clock) == dict.fromkeys([*bad, "read", "unreachable"], 1)
    assert watch.readings.standings(clock.now_s) == {"fresh": 1, "stale": 0, "implausible": 1, "silent": 5}
    assert watch.readings.state(clock.now_s) is None


async def test_half_a_page_is_not_read(serve: Serve) -> None:
    """A page that ends early lacks a gauge, and an instance that only has half is implausible."""
    page = PAGE[: PAGE.index(b"vllm:kv_cache")]
    watch, clock = watching(await serve(vllm(page=page).talk)), Clock()
    assert await rounds(watch, clock) == {"implausible": 1}


async def test_who_hangs_costs_its_own_time_alone(serve: Serve) -> None:
    """The round ends with its time limit, and the next one asks again."""
    hanging, living = Replier(), vllm()
    watch, clock = watching(await serve(hanging.talk), await serve(living.talk), poll_s=0.8), Clock()
    assert await rounds(watch, clock) == {"timeout": 1, "read": 1}
    assert await rounds(watch, clock) == {"timeout": 1, "read": 1}
    assert len(hanging.asked) == 2


async def test_never_more_than_so_many_at_once(serve: Serve) -> None:
    """A large pool is asked in turns: nobody is answered until so many ask at once, and more never do."""
    now = most = 0
    full, inner = asyncio.Event(), vllm()

    async def counted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == ASKED_AT_ONCE:
            full.set()
        await full.wait()
        await asyncio.sleep(0.005)
        now -= 1
        await inner.talk(reader, writer)

    addresses = [await serve(counted) for _ in range(3 * ASKED_AT_ONCE)]
    watch, clock = watching(*addresses), Clock()
    assert await rounds(watch, clock) == {"read": 3 * ASKED_AT_ONCE}
    assert most == ASKED_AT_ONCE


async def test_many_dead_do_not_silence_the_living(serve: Serve) -> None:
    """Those that did not answer are asked a few at a time, and all of them in turn."""
    dead = Replier(metrics=b"", models=http(b"{}"))
    addresses = [await serve(dead.talk) for _ in range(2 * MISSING_A_ROUND)]
    living = await serve(vllm().talk)
    watch, clock = watching(living, *addresses), Clock()
    assert await rounds(watch, clock) == {"read": 1, "malformed": 2 * MISSING_A_ROUND}
    dead.replies["metrics"] = http(PAGE)
    assert await rounds(watch, clock) == {"read": 1 + MISSING_A_ROUND}
    assert await rounds(watch, clock) == {"read": 1 + 2 * MISSING_A_ROUND}


async def test_the_dead_queue_up(serve: Serve) -> None:
    """Whoever was asked in vain is asked again only after all others."""
    repliers = [Replier(metrics=b"") for _ in range(3 * MISSING_A_ROUND)]
    watch, clock = watching(*[await serve(replier.talk) for replier in repliers]), Clock()
    await rounds(watch, clock, 4)
    assert {len(replier.asked) for replier in repliers} == {2}


async def test_a_card_is_asked_for_now_and_then(serve: Serve) -> None:
    """At first, every so many rounds, and at once when an instance comes back: it may have another model."""
    replier = vllm(8192)
    watch, clock = watching(address := await serve(replier.talk)), Clock()

    def asked() -> int:
        return sum("/v1/models" in head for head in replier.asked)

    await rounds(watch, clock, CARD_ROUNDS)
    assert asked() == 1
    await rounds(watch, clock)
    assert asked() == 2
    page, replier.replies = replier.replies["metrics"], vllm(4096).replies
    replier.replies["metrics"] = b""
    await rounds(watch, clock)
    assert watch.cards == {str(address): Card("m", 8192)}
    replier.replies["metrics"] = page
    await rounds(watch, clock)
    assert watch.cards == {str(address): Card("m", 4096)}


@pytest.mark.parametrize(
    ("reply", "asked"),
    [(http(b"", status="401 Unauthorized"), 1), (http(b"<html>"), 1), (http(b"{}"), 1), (b"", 1), (None, 2)],
    ids=["no key", "no JSON", "no context", "cut", "hangs"],
)
async def test_who_shows_no_card_is_read_all_the_same(serve: Serve, reply: bytes | None, asked: int) -> None:
    """It is asked again in a while, and sooner where it did not answer at all."""
    replier = vllm()
    if reply is None:
        del replier.replies["models"]
    else:
        replier.replies["models"] = reply
    watch, clock = watching(await serve(replier.talk), poll_s=2.0 if reply is not None else 0.4), Clock()
    for _ in range(CARD_RETRY_ROUNDS + 1):
        assert await rounds(watch, clock) == {"read": 1}
    assert watch.cards == {}
    assert sum("/v1/models" in head for head in replier.asked) == asked


async def test_who_left_the_list_is_forgotten(serve: Serve, tmp_path: Path) -> None:
    """Neither its reading nor its card counts any more, nor does it queue among the dead."""
    one, other, dead = (
        await serve(vllm(4096).talk),
        await serve(vllm(8192).talk),
        await serve(Replier(metrics=b"").talk),
    )
    watch, clock = listing(tmp_path / "short.json", [one, other, dead]), Clock()
    assert await rounds(watch, clock) == {"read": 2, "malformed": 1}
    write(tmp_path / "short.json", [other])
    assert await rounds(watch, clock) == {"read": 1}
    assert watch.cards == {str(other): Card("m", 8192)}
    assert sum(watch.readings.standings(clock.now_s).values()) == 1


async def test_a_bad_list_is_an_outcome(serve: Serve, tmp_path: Path) -> None:
    """The instances of the last good one are asked on."""
    path = tmp_path / "short.json"
    watch, clock = listing(path, [await serve(vllm().talk)]), Clock()
    assert await rounds(watch, clock) == {"read": 1}
    path.write_text("[", encoding="utf-8")
    assert await rounds(watch, clock) == {"read": 1, "unlisted": 1}


async def test_an_introduction_keeps_what_it_has_when_time_is_up(serve: Serve) -> None:
    """Cards alone are asked for, of all instances at once."""
    replier = vllm(4096)
    address, hanging = await serve(replier.talk), await serve(Replier().talk)
    watch = watching(hanging, address, poll_s=0.8)
    await watch.introduce(Clock(), 1.0)
    assert watch.cards == {str(address): Card("m", 4096)}
    assert [head.split()[1] for head in replier.asked] == ["/v1/models"]
    await rounds(watch, Clock())
    assert sum("/v1/models" in head for head in replier.asked) == 1
