"""What several tests of the core share."""

import json
import lzma
from pathlib import Path

import pytest

from extproc.routing.request import read_request
from extproc.routing.values import RequestFacts

MEASURED = Path(__file__).parents[3] / "shared/data/requests/requests-dev.jsonl.xz"
"""Chat bodies with their true prompt tokens, chat template included. They lie beside the repository, not in it."""


@pytest.fixture(scope="session")
def measured_requests() -> list[tuple[RequestFacts, int, int]]:
    """The facts of each body, its tokens under Llama-3.1's tokenizer and template, and under Qwen3's."""
    if not MEASURED.is_file():
        pytest.skip("the measured requests (../shared/data/requests) are not on this machine")
    with lzma.open(MEASURED) as lines:
        rows = [json.loads(line) for line in lines]
    return [
        (read_request("/v1/chat/completions", row["body"].encode()), row["llama3_tokens"], row["qwen3_tokens"])
        for row in rows
    ]
