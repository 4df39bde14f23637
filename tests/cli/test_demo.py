import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from extproc.cli import app
from extproc.errors import ConfigurationError, MissingPartError


def test_help_teaches() -> None:
    """The help says what is measured and gives a line to paste."""
    shown = CliRunner().invoke(app, ["demo", "--help"])
    assert shown.exit_code == 0
    assert "dualpool demo --keep" in shown.output
    assert "added latency" in shown.output.lower()
    assert "with 130 if it was interrupted" in " ".join(shown.output.split())


def test_envoy_that_is_no_file(tmp_path: Path) -> None:
    """A wrong path is refused before anything is started."""
    with pytest.raises(MissingPartError, match="--envoy"):
        CliRunner().invoke(app, ["demo", "--envoy", str(tmp_path)], catch_exceptions=False)


@pytest.mark.parametrize("other", [["--keep"], ["--port", "10000"], ["--envoy", "envoy"]])
def test_url_starts_nothing(other: list[str]) -> None:
    """What concerns starting a deployment is refused where one is to be driven that runs already."""
    shown = CliRunner().invoke(app, ["demo", "--url", "http://127.0.0.1:10000", *other])
    assert shown.exit_code == 2
    assert "--url" in shown.output


def test_bodies_that_are_none(tmp_path: Path) -> None:
    """A file of something else is refused before anything is started."""
    path = tmp_path / "bodies.jsonl"
    path.write_text("seven\n")
    with pytest.raises(ConfigurationError, match="line 1"):
        CliRunner().invoke(app, ["demo", "--envoy", str(path), "--bodies", str(path)], catch_exceptions=False)


def test_a_threshold_no_envoy_can_serve(tmp_path: Path) -> None:
    """It is refused before requests of that size are composed."""
    path = tmp_path / "envoy"
    path.touch()
    with pytest.raises(ConfigurationError, match="too large"):
        CliRunner().invoke(app, ["demo", "--envoy", str(path), "--threshold", "1000000"], catch_exceptions=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_before_anything_is_started(number: signal.Signals, tmp_path: Path) -> None:
    """While it still reads its bodies it ends with 130 too, and quietly."""
    bodies, envoy = tmp_path / "bodies.jsonl", tmp_path / "envoy"
    os.mkfifo(bodies)
    envoy.touch()
    command = [sys.executable, "-m", "extproc", "demo", "--envoy", str(envoy), "--bodies", str(bodies)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as demo, bodies.open("wb"):
        demo.send_signal(number)
        output, _ = demo.communicate(timeout=20)
    assert (demo.returncode, output) == (130, b"")
