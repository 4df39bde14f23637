"""The command line teaches, and says mistakes in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = (
    "serve", "envoy-config", "mock-vllm", "demo", "bench", "evaluate", "plan", "report", "simulate", "validate",
    "bench-sim", "state", "status",
)  # fmt: skip


def dualpool(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command, with more in its environment if wanted."""
    command = [sys.executable, "-m", "extproc", *arguments]
    env = os.environ | environment
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=env)


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


def test_help_cuts_no_line() -> None:
    """What each command does fits beside its name."""
    lines = dualpool("--help").stdout.split("Commands:\n")[1].splitlines()
    assert len(lines) == len(COMMANDS)
    assert all(line.endswith(".") and "..." not in line for line in lines)


def test_help_loads_nothing_heavy() -> None:
    """The command line comes up without what its commands need."""
    program = (
        "import sys, extproc.cli; print(sorted({'pydantic', 'grpc', 'rich', 'httpx', 'yaml'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout == "[]\n"


def test_the_version_is_printed() -> None:
    """Name and number."""
    assert dualpool("--version").stdout.startswith("dualpool 0.")


def test_a_setting_that_cannot_be_is_one_line() -> None:
    """A mistake of the operator's exits with 2 and shows no traceback."""
    run = dualpool("serve", "--threshold-tokens", "0")
    assert run.returncode == 2
    assert "threshold_tokens" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_misspelt_variable_is_one_line() -> None:
    """The service does not start with a setting that would not be heeded."""
    run = dualpool("serve", DUALPOOL_TRESHOLD_TOKENS="16384")
    assert run.returncode == 2
    assert "did you mean DUALPOOL_THRESHOLD_TOKENS?" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("arguments", [("--version",), ("plan", "--list"), ("envoy-config",)])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line(arguments: tuple[str, ...], unbuffered: str) -> None:
    """Whoever writes and whenever it is noticed; the exit says that something is missing."""
    command, env = [sys.executable, "-m", "extproc", *arguments], os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False, env=env)
    assert run.returncode == 2
    assert run.stderr == "dualpool: the output cannot be written: No space left on device\n"


def test_a_reader_that_left_is_no_news() -> None:
    """A pipe that nobody reads ends the command without a word."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "extproc", "plan", "--list"]
    run = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(write_end)
    assert (run.returncode, run.stderr) == (1, "")


@pytest.mark.parametrize("command", ["plan", "simulate", "bench-sim"])
def test_simulating_without_machine_code_is_one_line(command: str) -> None:
    """Where nothing may be compiled, an interpreted engine is not tried, and the reason is told."""
    run = dualpool(command, NUMBA_DISABLE_JIT="1")
    assert run.returncode == 2
    assert "simulating needs machine code" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        ("mock-vllm", "quicktok", "demo"),
        ("plan", "jinja2", "plan"),
        ("simulate", "rich", "plan"),
        ("bench-sim", "rich", "plan"),
    ],
)
def test_a_missing_extra_is_named(command: str, package: str, extra: str) -> None:
    """Without the packages of an extra, its command says what to install."""
    program = (
        f"import sys; sys.modules[{package!r}] = None; from extproc.cli import main; sys.argv[1:] = [{command!r}];"
        " main()"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
    assert f"pip install 'dualpool[{extra}]'" in run.stderr
