"""The few wanted lines are found in any version's metrics, however they are cut, and nothing else is looked at."""

import contextlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.mockvllm.metrics import Metrics
from extproc.mockvllm.settings import MockSettings
from extproc.pools.ask import AskError
from extproc.pools.pace import Pace
from extproc.pools.scrape import LINE_MAX_BYTES, LINES_MAX, Sifter, reading_of
from extproc.routing.readings import Reading, is_plausible
from tests.pools.servers import PAGE

VERSIONS = ("0.6.6", "0.8.5", "0.9.2", "0.10.2", "0.11.2", "0.13.0", "0.17.1", "0.20.2", "0.24.0", "0.28.0", "0.33.0")


async def scraped(*pieces: bytes) -> Reading:
    """What a page says that came in these pieces."""
    sifter = Sifter()
    for piece in pieces:
        sifter.feed(piece)
    return await reading_of(sifter.lines, 7.0, Pace())


async def test_a_page_makes_a_reading() -> None:
    """Each number from its own line; both kinds of tokens together."""
    expected = Reading(7.0, running=8, waiting=2, kv_usage=0.5, preemptions_total=10, tokens_total=1500)
    assert await scraped(PAGE) == expected


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_version_is_understood(version: str) -> None:
    """Names and labels differ, the reading does not; only new ones count rejections."""
    metrics = Metrics(MockSettings(vllm_version=version))
    metrics.rejected("max_num_queued_reqs")
    metrics.rejected("max_num_queued_tokens")
    reading = await scraped(metrics.exposition("text/plain")[1])
    assert is_plausible(reading)
    assert reading.preemptions_total == reading.tokens_total == 0.0
    assert reading.rejections_total == (2.0 if version == "0.33.0" else None)


async def test_openmetrics_is_understood_as_well() -> None:
    """A server that prefers the newer form says the same."""
    page = Metrics(MockSettings()).exposition("application/openmetrics-text; version=1.0.0")[1]
    assert page.endswith(b"# EOF\n")
    assert is_plausible(await scraped(page))


async def test_v0_counts_the_swapped_as_waiting() -> None:
    """Both wait for KV blocks; its usage had the GPU in its name, and no engine had a number."""
    page = b"""vllm:num_requests_running{model_name="m"} 3.0
vllm:num_requests_swapped{model_name="m"} 4.0
vllm:num_requests_waiting{model_name="m"} 0.0
vllm:gpu_cache_usage_perc{model_name="m"} 0.9
vllm:cpu_cache_usage_perc{model_name="m"} 0.1
"""
    assert await scraped(page) == Reading(7.0, running=3, waiting=4, kv_usage=0.9)


async def test_the_newer_name_wins() -> None:
    """0.9 and 0.10 show KV usage under both."""
    page = PAGE + b'vllm:gpu_cache_usage_perc{model_name="m"} 0.9\n'
    assert (await scraped(page)).kv_usage == 0.5


async def test_engines_of_one_instance_are_one() -> None:
    """Counts are summed over the ranks, usage is averaged; reasons of refusal are summed too."""
    page = b"".join(
        b'vllm:num_requests_running{engine="%d"} %d\nvllm:num_requests_waiting{engine="%d"} 1\n'
        b'vllm:kv_cache_usage_perc{engine="%d"} %f\n'
        b'vllm:admission_rejections_total{engine="%d",reason="max_num_queued_reqs"} 2\n'
        b'vllm:admission_rejections_total{engine="%d",reason="max_num_queued_tokens"} 1\n'
        % (rank, rank, rank, rank, rank / 64, rank, rank)
        for rank in range(64)
    )
    reading = await scraped(page)
    assert reading == Reading(7.0, running=2016, waiting=64, kv_usage=31.5 / 64, rejections_total=192)


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-1.0", "1e400"])
async def test_absurd_numbers_are_handed_on(value: str) -> None:
    """Judging them is another's business."""
    reading = await scraped(PAGE.replace(b"} 8.0", f"}} {value}".encode()))
    assert not is_plausible(reading)


async def test_what_is_not_shown_is_not_nothing() -> None:
    """A metric that lacks is None and never 0."""
    assert await scraped(b"") == await scraped(b"python_info 1\n") == Reading(7.0)


async def test_a_line_that_is_cut_is_none() -> None:
    """The last digits of a number may be missing where the page ends early."""
    whole = PAGE[: PAGE.index(b"} 2.0") + 6]
    assert (await scraped(whole)).waiting == 2
    assert (await scraped(whole[:-1])).waiting is None


@pytest.mark.parametrize(
    "line",
    [b'vllm:num_requests_running{engine="0"', b"vllm:num_requests_running many", b'vllm:kv_cache_usage_perc{="}1'],
)
async def test_garbage_is_told_from_nothing(line: bytes) -> None:
    """A wanted line that cannot be read spoils the page."""
    with pytest.raises(AskError, match="malformed"):
        await scraped(PAGE + line + b"\n")


async def test_other_lines_may_be_anything() -> None:
    """Endless or binary lines between the wanted ones do no harm, and take no memory."""
    sifter = Sifter()
    for _ in range(100):
        sifter.feed(b"vllm:lora_requests_info{" + b"\xff" * LINE_MAX_BYTES)
        assert len(sifter._rest) <= LINE_MAX_BYTES
    sifter.feed(b"\n" + PAGE)
    assert (await reading_of(sifter.lines, 7.0, Pace())).running == 8


async def test_a_wanted_line_without_end_is_not_found() -> None:
    """It is dropped, and what stands within it is no line of its own."""
    reading = await scraped(
        b'vllm:num_requests_running{a="' + b"x" * LINE_MAX_BYTES, b'"} 8\nvllm:kv_cache_usage_perc 1\n'
    )
    assert reading == Reading(7.0, kv_usage=1.0)


def test_more_lines_than_can_be_meant_are_refused() -> None:
    """No instance has a thousand engines."""
    sifter = Sifter()
    sifter.feed(b"vllm:num_requests_running 1\n" * LINES_MAX)
    with pytest.raises(AskError, match="malformed"):
        sifter.feed(b"vllm:num_requests_running 1\n")


@given(st.lists(st.integers(0, len(PAGE)), max_size=8))
def test_pieces_do_not_matter(cuts: list[int]) -> None:
    """However a page is cut, the same lines are found."""
    whole, cut = Sifter(), Sifter()
    whole.feed(PAGE)
    edges = [0, *sorted(cuts), len(PAGE)]
    for start, end in pairwise(edges):
        cut.feed(PAGE[start:end])
    assert cut.lines == whole.lines
    assert len(whole.lines) == 6


@given(st.binary(max_size=300), st.binary(max_size=300))
async def test_no_page_is_an_error_of_ours(one: bytes, other: bytes) -> None:
    """Any bytes are a reading or malformed."""
    page = b"\nvllm:num_requests_running" + one + b"\nvllm:num_requests_waiting{" + other + b"\n"
    with contextlib.suppress(AskError):
        await scraped(page)
