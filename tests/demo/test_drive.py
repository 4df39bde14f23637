import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from extproc.demo.drive import drive, fetch_text, measure, send
from extproc.demo.mix import CHAT_PATH, MODELS_PATH, Ask
from extproc.demo.outcome import Outcome

USAGE = '{"usage": {"prompt_tokens": 12, "completion_tokens": 1}}'
CONTENT = '{"choices": [{"delta": {"content": "the word \\"usage\\""}}]}'


class Pool(BaseHTTPRequestHandler):
    """Answers with the status and the text that the request's body asks for."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    """Headers and body leave together, so that delayed acknowledgements do not slow the tests."""

    def do_GET(self) -> None:
        """A list of models."""
        self._answer(200, '{"data": []}')

    def do_POST(self) -> None:
        """The answer that the body holds, or the length of a prompt."""
        if self.path == "/tokenize":
            self.rfile.read(int(self.headers["content-length"]))
            self._answer(200, '{"count": 34}')
            return
        wanted = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._answer(wanted["status"], wanted["text"])

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("x-mock-instance", "short")
        self.send_header("x-dualpool-reason", "fits")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Stay silent."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A pool that answers as told."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Pool) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def ask(text: str, *, status: int = 200, streams: bool = False) -> Ask:
    """A request that gets this answer."""
    return Ask(CHAT_PATH, json.dumps({"status": status, "text": text}).encode(), streams=streams)


async def outcome_of(url: str, wanted: Ask) -> Outcome:
    """What comes of one request."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return await send(client, url, wanted)


async def test_json_answer(url: str) -> None:
    """Usage, the pool that answered and the service's reason are read."""
    outcome = await outcome_of(url, ask(USAGE))
    assert (outcome.fault, outcome.prompt_tokens, outcome.instance) == ("", 12, "short")
    assert outcome.verdict.reason == "fits"
    assert outcome.elapsed_s > 0


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
async def test_event_stream(url: str, newline: str) -> None:
    """Usage is read from its own event, whatever the other events speak of."""
    last = '{"choices":[{"delta":{},"finish_reason":"length"}]}'
    events = (CONTENT, last, USAGE, "[DONE]")
    text = ": keep-alive\n\n".join(f"data: {event}\n\n" for event in events).replace("\n", newline)
    outcome = await outcome_of(url, ask(text, streams=True))
    assert (outcome.fault, outcome.prompt_tokens, outcome.completion_tokens) == ("", 12, 1)
    assert outcome.finish == "length"


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        (ask("busy", status=503), "status 503"),
        (ask("no JSON"), "unreadable answer"),
        (ask("[]"), "unreadable answer"),
        (ask(f"data: {USAGE}\n\n", streams=True), "stream ended early"),
        (ask('data: {"error": {}}\n\ndata: [DONE]\n\n', streams=True), "error event"),
    ],
)
async def test_faults_are_outcomes(url: str, wanted: Ask, fault: str) -> None:
    """Whatever is wrong with an answer is said in a few fixed words."""
    assert (await outcome_of(url, wanted)).fault == fault


async def test_no_answer_is_an_outcome() -> None:
    """A connection that nobody takes fails the request, not the demo."""
    outcome = await outcome_of("http://127.0.0.1:1", ask(USAGE))
    assert (outcome.fault, outcome.status) == ("ConnectError", 0)


async def test_drive_sends_all(url: str) -> None:
    """Every request of the stream comes out once, GETs included."""
    wanted = [Ask(MODELS_PATH), *(ask(USAGE) for _ in range(7))]
    outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
    await drive(url, url, iter(wanted), concurrency=3, outcomes=outcomes)
    found = [outcomes.get_nowait() for _ in range(outcomes.qsize())]
    assert sorted(outcome.ask.path for outcome in found) == [CHAT_PATH] * 7 + [MODELS_PATH]
    assert not any(outcome.fault for outcome in found)


async def test_conversation_goes_on_with_what_was_answered(url: str) -> None:
    """Each turn is sent once the answer to the one before is there, and carries it; what others say is not kept."""
    answer = json.dumps({"choices": [{"message": {"content": "Aye."}, "finish_reason": "stop"}], **json.loads(USAGE)})
    body = {"status": 200, "text": answer, "messages": [{"role": "user", "content": "Well?"}]}
    outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
    first = Ask(CHAT_PATH, json.dumps(body).encode(), turns=("And?", "So?"))
    await drive(url, url, iter([first]), concurrency=2, outcomes=outcomes)
    found = [outcomes.get_nowait() for _ in range(outcomes.qsize())]
    said = [[message["content"] for message in json.loads(outcome.ask.body)["messages"]] for outcome in found]
    assert said == [["Well?"], ["Well?", "Aye.", "And?"], ["Well?", "Aye.", "And?", "Aye.", "So?"]]
    assert [(outcome.reply, outcome.finish, outcome.completion_tokens) for outcome in found] == [
        ("Aye.", "stop", 1),
        ("Aye.", "stop", 1),
        ("", "stop", 1),
    ]


async def test_untold_length_is_asked_for(url: str) -> None:
    """Where an answer carries no usage, or is a refusal, the prompt's length comes from /tokenize."""
    wanted = [ask("{}"), ask("too long", status=400), Ask(MODELS_PATH)]
    outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
    await drive(url, url, iter(wanted), concurrency=1, outcomes=outcomes)
    found = [outcomes.get_nowait() for _ in wanted]
    assert [(outcome.prompt_tokens, outcome.has_usage) for outcome in found] == [
        (34, False),
        (34, False),
        (None, False),
    ]


async def test_measure_leaves_out_first_and_failed_pairs(url: str) -> None:
    """Only sound pairs after the untimed ones give times, and each failure counts."""
    wanted = [*(ask(USAGE) for _ in range(8)), ask("", status=500)]
    times = await measure(url, url.replace("127.0.0.1", "localhost"), iter(wanted))
    assert len(times.routed_s) == len(times.baseline_s) == 3
    assert times.failed == 2


async def test_fetch_text(url: str) -> None:
    """The text of an answer, or none where there is no server."""
    assert await fetch_text(url + MODELS_PATH) == '{"data": []}'
    assert await fetch_text("http://127.0.0.1:1/metrics") == ""
