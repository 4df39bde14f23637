"""The command line teaches, and says mistakes in one line."""

import subprocess
import sys

import pytest

COMMANDS = ("serve", "envoy-config", "mock-vllm", "demo", "bench")


def dualpool(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, "-m", "extproc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    """Help says what it does and gives an example."""
    run = dualpool(command, "--help")
    assert run.returncode == 0
    assert "Example: dualpool" in " ".join(run.stdout.split())


def test_help_names_every_command() -> None:
    """The list is complete."""
    text = dualpool("--help").stdout
    assert all(command in text for command in COMMANDS)


def test_the_version_is_printed() -> None:
    """Name and number."""
    assert dualpool("--version").stdout.startswith("dualpool 0.")


def test_a_setting_that_cannot_be_is_one_line() -> None:
    """A mistake of the operator's exits with 2 and shows no traceback."""
    run = dualpool("serve", "--threshold-tokens", "0")
    assert run.returncode == 2
    assert "threshold_tokens" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_missing_extra_is_named() -> None:
    """Without the packages of an extra, its command says what to install."""
    program = (
        "import sys; sys.modules['quicktok'] = None; from extproc.cli import main; sys.argv[1:] = ['mock-vllm']; main()"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert "pip install 'dualpool[demo]'" in run.stderr
