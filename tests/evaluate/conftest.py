"""Files of a few requests, and options that use them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extproc.evaluate.options import Contender, EvaluateOptions

Asked = Callable[..., EvaluateOptions]


@pytest.fixture
def requests_file(tmp_path: Path) -> Path:
    """Thirty chats of 600 to 3,400 tokens: prose at 4 bytes a token, digits at 2; a third more tokens under Qwen."""
    path = tmp_path / "requests.jsonl"
    lines = []
    for kind, text, bytes_per_token in (("prose", "some words ", 4), ("digits", "314159 26535 ", 2)):
        for tokens in range(600, 3600, 200):
            content = (text * tokens)[: tokens * bytes_per_token]
            body = json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 100})
            counts = {"llama3_tokens": tokens, "qwen3_tokens": tokens * 4 // 3}
            lines.append(json.dumps({"body": body, "category": kind} | counts))
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def sessions_file(tmp_path: Path) -> Path:
    """Two calls of one session, the second extending the first, and one that failed."""
    path = tmp_path / "sessions.jsonl"
    call = {"session_id": "s", "output_messages_chars": 200, "output_tokens": 50, "is_error": False}
    sizes = [(1.0, 8000, 2000), (2.0, 10_200, 2550), (3.0, 0, 0)]
    lines = [call | {"start_time_s": at, "input_messages_chars": chars, "input_tokens": n} for at, chars, n in sizes]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture
def asked(requests_file: Path) -> Asked:
    """Options for a short evaluation here in this process; more of them by name."""

    def options(**more: Any) -> EvaluateOptions:
        few: dict[str, Any] = {
            "requests": requests_file,
            "estimators": (Contender.FIXED, Contender.EMA),
            "threshold_tokens": 2000,
        }
        return EvaluateOptions(**(few | {"count": 200, "seeds": 2, "jobs": 1} | more))

    return options
