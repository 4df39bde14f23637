import os
import signal
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from extproc.cli import app
from extproc.settings import Settings, defaults_yaml


def test_help_shows_the_defaults_that_are_in_force() -> None:
    """Each flag's default stands beside it, and where to find the other settings."""
    shown = " ".join(CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output.split())
    for name in ("listen", "metrics_listen", "threshold_tokens", "promise", "explain_headers"):
        flag = shown.split(f"--{name.replace('_', '-')} ")[-1]
        assert flag.split("[default: ")[1].split("]")[0] == str(Settings.model_fields[name].default).lower()
    assert "--print-settings" in shown


def test_settings_are_printed_instead_of_serving() -> None:
    """The file goes to standard output, and the command is over."""
    shown = CliRunner().invoke(app, ["serve", "--print-settings"])
    assert shown.exit_code == 0
    assert shown.stdout == defaults_yaml()


def test_closed_standard_streams_are_no_harm() -> None:
    """As some init systems start services: no socket takes their place, which libuv would abort on at the end."""
    script = (
        "import os\n"
        "os.closerange(0, 3)\n"
        "from extproc.cli.serve import _keep_standard_streams\n"
        "_keep_standard_streams()\n"
        "taken = [os.readlink(f'/proc/self/fd/{number}') for number in range(3)]\n"
        "os._exit(0 if taken == ['/dev/null'] * 3 else 1)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_signals_are_heard_before_anything_is_imported(tmp_path: Path) -> None:
    """Asked to read its settings anew it goes on, as it has not read them yet; asked to stop it ends with 0."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (tmp_path / "typer.py").write_text(f"open({str(gate)!r}).read()\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())])}
    with subprocess.Popen([sys.executable, "-m", "extproc", "serve"], env=environment) as process, gate.open("w"):
        process.send_signal(signal.SIGHUP)
        process.terminate()
        assert process.wait(timeout=30) == 0
