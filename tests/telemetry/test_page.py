"""The page shows a status to people, and nothing in it can become markup."""

import json
import re

import pytest

from extproc.assembly import build_router
from extproc.routing.request import read_request
from extproc.routing.values import Usage
from extproc.settings import Settings
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.page import as_html
from extproc.telemetry.status import Running, Status, status_of

HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture
def status() -> Status:
    """Of a service that has routed and learned from one request, whose model's name is markup."""
    router, ledger = build_router(Settings()), Ledger()
    prompt = {"role": "user", "content": "some words " * 600}
    body = json.dumps({"model": HOSTILE, "messages": [prompt], "max_tokens": 9})
    decision = router.route(read_request("/v1/chat/completions", body.encode()), draw=0.0)
    ledger.record_decision(decision)
    router.complete(decision, Usage(1300))
    return status_of(Running(Settings(), 0.0), router, ledger, now_s=90_000.0)


def words(page: str) -> str:
    """What is read of a page, without its style."""
    return " ".join(re.sub(r"<style>.*</style>|<[^>]*>", " ", page, flags=re.DOTALL).split()).replace("\u00a0", " ")


def test_what_is_asked_first_stands_on_the_page(status: Status) -> None:
    """Mode, uptime, threshold, shares, the promise, reasons."""
    shown = words(as_html(status))
    for said in ("routing", "up 1 d 1 h", "8 192 pinned", "100.0 % 1 requests", "at most 0.100 %"):
        assert said in shown
    assert "short fits whatever tokenizer 1 100.0 %" in shown


def test_markup_in_a_name_is_text(status: Status) -> None:
    """A model's name is a client's string: it shows as it was written, and opens no tag."""
    page = as_html(status)
    assert "<img" not in page
    assert "&lt;img src=x" in page


def test_nothing_runs_and_nothing_comes_from_elsewhere(status: Status) -> None:
    """No script, no reference to any host."""
    page = as_html(status)
    assert "<script" not in page
    assert "://" not in page
    assert re.findall(r"(?:href|src)=\"([^\"]*)\"", page) == ["status", "metrics"]


def test_a_refused_settings_file_is_said_above_all(status: Status) -> None:
    """The reason, in words of the settings; without one there is no such line."""
    assert "Settings not applied" not in as_html(status)
    status["settings"]["complaint"] = "promise: too <large>"
    assert "Settings not applied: promise: too &lt;large&gt;" in as_html(status)


def test_a_broken_promise_stands_out(status: Status) -> None:
    """More went short and did not fit than was promised; as long as it is kept, nothing is marked."""
    assert 'class="tile broken"' not in as_html(status)
    status["promise"]["realised"] = 0.01
    assert 'class="tile broken"' in as_html(status)


def test_a_service_without_traffic_has_a_page() -> None:
    """It says that nothing was routed, rather than showing empty tables."""
    settings = Settings()
    shown = words(as_html(status_of(Running(settings, 0.0), build_router(settings), Ledger(), now_s=5.0)))
    assert "No request was routed yet." in shown
    assert shown.count("Nothing learned yet.") == 3
