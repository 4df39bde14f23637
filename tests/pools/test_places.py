"""A pool's instances are found where its setting says, and a list that cannot be had leaves the one before in force."""

import asyncio
import json
import logging
import os
import threading
from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.pools.places import MAX_INSTANCES, RESOLVE_S, ListedPlace, NamedPlace, Places, parse_places


def named(setting: str, value: str) -> Places:
    """The places that a setting names."""
    return Places(setting, parse_places(setting, value))


async def found(places: Places, now_s: float = 0.0) -> list[str]:
    """The instances that are there."""
    return [str(address) for address in await places.addresses(now_s)]


def listing(path: Path, *targets: str) -> None:
    """Write a list whole, as those who make them do."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps([{"targets": list(targets)}]), encoding="utf-8")
    draft.replace(path)


async def test_urls_between_commas() -> None:
    """Each once, in order of their names, spaces and empty parts aside."""
    places = named("short_pool", " http://b:1, http://a:1,,http://b:1/ ")
    assert await found(places) == ["http://a:1", "http://b:1"]


def test_an_empty_setting_names_nothing() -> None:
    """Nobody is asked then."""
    assert parse_places("short_pool", "  ") == []


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("10.0.0.1:8000", "'10.0.0.1:8000' cannot be used: it must begin with http://"),
        ("http://ok:1, http://", "no host"),
        ("dns://vllm", "needs a port"),
        ("dns://vllm:8000/metrics", "needs a port, and nothing after it"),
        ("file://etc/short.json", "absolute"),
        ("file:///", "names a folder"),
        ("file:///a%00b", "no path can be so"),
        ("http://me:secret@h:80", "'h:80' cannot be used: it must not name a user"),
    ],
)
def test_what_names_no_place_is_refused_at_start(value: str, why: str) -> None:
    """The operator reads which setting, which part, why and what is expected, and never a password."""
    with pytest.raises(ConfigurationError) as refused:
        parse_places("short_pool", value)
    assert str(refused.value).startswith("short_pool: ")
    assert why in str(refused.value)
    assert "dns://NAME:PORT" in str(refused.value)
    assert "secret" not in str(refused.value)


async def test_a_name_stands_for_its_addresses() -> None:
    """Those of one family: an instance with two addresses is one instance."""
    assert await found(named("short_pool", "dns://localhost:8000")) == ["http://127.0.0.1:8000"]
    assert await found(named("short_pool", "dns://[::1]:8000")) == ["http://[::1]:8000"]


async def test_a_name_without_addresses_is_looked_up_again(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, counted each time, and the pool is empty meanwhile."""
    places = named("short_pool", "dns://nobody.invalid:8000")
    assert [await found(places, now_s) for now_s in (0.0, 2.0, 4.0)] == [[], [], []]
    assert places.failures == 3
    (warning,) = caplog.messages
    assert warning.startswith("short_pool: dns://nobody.invalid:8000: it has no address")


async def test_a_name_that_cannot_be_is_no_crash() -> None:
    """Labels may be empty or too long for any resolver."""
    places = named("short_pool", f"dns://a..b:8000,dns://{'x' * 70}.y:8000")
    assert await found(places) == []
    assert places.failures == 2


async def test_a_name_is_looked_up_every_ten_seconds() -> None:
    """In between the last answer stands, and an answer that cannot be had leaves it standing."""

    class Counted(NamedPlace):
        """Says another address each time, and at last none."""

        lookups = 0

        def _resolve(self) -> list[str]:
            self.lookups += 1
            if self.lookups == 3:
                raise OSError(-2, "Name or service not known")
            return [f"10.0.0.{self.lookups}"]

    place = Counted("vllm", 8000)
    places = Places("short_pool", [place])
    assert await found(places, 0.0) == await found(places, RESOLVE_S - 0.1) == ["http://10.0.0.1:8000"]
    assert await found(places, RESOLVE_S) == ["http://10.0.0.2:8000"]
    assert await found(places, 2 * RESOLVE_S) == await found(places, 3 * RESOLVE_S - 0.1) == ["http://10.0.0.2:8000"]
    assert (place.lookups, places.failures) == (3, 2)
    assert await found(places, 3 * RESOLVE_S) == ["http://10.0.0.4:8000"]


async def test_a_resolver_that_hangs_is_not_waited_for() -> None:
    """Its time is over, and no second lookup piles up behind it."""
    gate, begun = threading.Event(), []

    class Hanging(NamedPlace):
        """Never comes back."""

        def _resolve(self) -> list[str]:
            begun.append(1)
            gate.wait()
            return []

    places = Places("short_pool", [Hanging("vllm", 8000, lookup_s=0.01)])
    try:
        assert [await found(places, now_s) for now_s in (0.0, 2.0)] == [[], []]
        assert (len(begun), places.failures) == (1, 2)
    finally:
        gate.set()


async def test_a_list_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """And only then."""
    path = tmp_path / "a list.json"
    listing(path, "a:1")
    places = named("long_pool", f"file://{tmp_path}/a%20list.json, http://c:1")
    assert await found(places) == ["http://a:1", "http://c:1"]
    listing(path, "a:1", "b:1")
    assert await found(places) == ["http://a:1", "http://b:1", "http://c:1"]
    stamp = path.stat()
    path.write_text("x" * stamp.st_size, encoding="utf-8")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert await found(places) == ["http://a:1", "http://b:1", "http://c:1"]


async def test_a_bad_list_keeps_the_last_good_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is wrong is said once, and that it is right again."""
    caplog.set_level(logging.INFO)
    path = tmp_path / "short.json"
    places = named("short_pool", f"file://{path}")
    assert await found(places) == []
    listing(path, "a:1")
    assert await found(places) == ["http://a:1"]
    path.write_text('[{"targets": ["a:1", "b:', encoding="utf-8")
    assert [await found(places) for _ in range(3)] == [["http://a:1"]] * 3
    path.unlink()
    assert await found(places) == ["http://a:1"]
    listing(path)
    assert await found(places) == []
    said = [message.removeprefix(f"short_pool: file://{path}: ") for message in caplog.messages]
    assert said == [
        "it cannot be read: No such file or directory; going on with 0 instances of it",
        f"short_pool: file://{path} can be used again",
        "it is not JSON; going on with 1 instances of it",
        "it cannot be read: No such file or directory; going on with 1 instances of it",
        f"short_pool: file://{path} can be used again",
    ]
    assert places.failures == 5


async def test_a_file_system_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe that nobody writes to stands for a dead mount."""
    pipe = tmp_path / "short.json"
    os.mkfifo(pipe)
    places = Places("short_pool", [ListedPlace(pipe, lookup_s=0.01), *parse_places("short_pool", "http://c:1")])
    async with asyncio.timeout(5):
        assert await found(places) == ["http://c:1"]
    assert places.failures == 1
    os.close(os.open(pipe, os.O_WRONLY))


async def test_of_a_crowd_so_many_are_asked(caplog: pytest.LogCaptureFixture) -> None:
    """The first by name, and it is said once."""
    urls = [f"http://vllm-{number:04}:80" for number in range(MAX_INSTANCES + 5)]
    places = named("long_pool", ",".join(urls))
    assert await found(places) == await found(places) == urls[:MAX_INSTANCES]
    assert len(caplog.messages) == 1


async def test_of_an_endless_list_no_more_is_handed_on_than_is_asked(tmp_path: Path) -> None:
    """Sorting thousands takes milliseconds that requests would wait for: it is done where the file is read."""
    path = tmp_path / "short.json"
    targets = ", ".join(f'"vllm-{number:04}:80"' for number in reversed(range(4096)))
    path.write_text(f'[{{"targets": [{targets}]}}]')
    handed_on = await ListedPlace(path).addresses(0.0)
    assert [str(address) for address in handed_on] == [f"http://vllm-{n:04}:80" for n in range(MAX_INSTANCES + 1)]
