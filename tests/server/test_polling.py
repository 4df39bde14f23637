"""How gRPC waits is said once, and an operator who says otherwise is heeded."""

import subprocess
import sys

import pytest

from extproc.server.polling import EXPERIMENTS_VARIABLE, WITHOUT_EVENT_ENGINE, poll_without_event_engine


@pytest.mark.parametrize(
    ("said", "kept"), [(None, WITHOUT_EVENT_ENGINE), ("event_engine_fork", "event_engine_fork"), ("", "")]
)
def test_an_operator_s_own_word_stands(monkeypatch: pytest.MonkeyPatch, said: str | None, kept: str) -> None:
    """Ours is for where there is none; an empty one is one, too."""
    import os

    monkeypatch.setenv(EXPERIMENTS_VARIABLE, said or "")
    if said is None:
        monkeypatch.delenv(EXPERIMENTS_VARIABLE)
    poll_without_event_engine()
    assert os.environ[EXPERIMENTS_VARIABLE] == kept


PROGRAM = """
import os, sys
from extproc.cli.serve import _serve
from extproc.server.reload import Source
from extproc.telemetry.logs import configure_logging

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            print(os.environ.get("GRPC_EXPERIMENTS"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Watch())
_serve(None, None, None)
"""
"""What `serve` does until it imports grpc, which reads the variable then and never again."""


def test_it_is_said_before_grpc_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the service imports grpc, it has been said."""
    monkeypatch.delenv(EXPERIMENTS_VARIABLE, raising=False)
    run = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == WITHOUT_EVENT_ENGINE
