import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from extproc.settings import Settings
from tests.deploy.promql import DEPLOY

FOLDER = DEPLOY / "systemd"
UNIT = (FOLDER / "dualpool.service").read_text()
DROP_IN = (FOLDER / "dualpool.service.d/local.conf").read_text()
STATE_SAVE_S = 3.0


def values(text: str, name: str) -> list[str]:
    """All values of one key of a unit."""
    return re.findall(rf"^{name}=(.*)$", text, flags=re.MULTILINE)


def test_systemd_understands_the_unit_and_the_drop_in(tmp_path: Path) -> None:
    """What systemd itself checks is in order in both, with a program that exists here."""
    analyze = shutil.which("systemd-analyze") or pytest.skip("there is no systemd-analyze here")
    for source in FOLDER.rglob("*.*"):
        if source.is_file():
            target = tmp_path / source.relative_to(FOLDER)
            target.parent.mkdir(exist_ok=True)
            target.write_text(source.read_text().replace("/opt/dualpool/bin/dualpool", "/bin/true"))
    command = [analyze, "verify", str(tmp_path / "dualpool.service")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("text", [UNIT, DROP_IN], ids=["unit", "drop-in"])
def test_settings_of_the_environment_exist(text: str) -> None:
    """Each variable is one that the service reads, or the compiler."""
    names = {value.partition("=")[0] for value in values(text, "Environment")} - {"NUMBA_CACHE_DIR"}
    assert names
    assert {name.removeprefix("DUALPOOL_").lower() for name in names} <= Settings.model_fields.keys()


def test_files_of_the_settings_lie_where_the_unit_may_write() -> None:
    """State, access log and what was compiled are in the folders that systemd makes for it."""
    (state,) = [value for value in values(UNIT, "Environment") if "STATE_FILE" in value]
    (code,) = [value for value in values(UNIT, "Environment") if "NUMBA_CACHE_DIR" in value]
    (log,) = [value for value in values(DROP_IN, "Environment") if "ACCESS_LOG" in value]
    assert f"=/var/lib/{values(UNIT, 'StateDirectory')[0]}/" in state
    assert code.endswith(f"=/var/cache/{values(UNIT, 'CacheDirectory')[0]}")
    assert f"=/var/log/{values(UNIT, 'LogsDirectory')[0]}/" in log


def test_a_stop_waits_for_the_drain() -> None:
    """The process is not killed while exchanges in flight may finish and the state may be saved."""
    (stop_s,) = values(UNIT, "TimeoutStopSec")
    assert float(stop_s) > Settings().drain_s + STATE_SAVE_S


def test_nothing_but_what_it_needs() -> None:
    """It is nobody's user, without capabilities, and comes back whatever happens to it."""
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]  # keys of units are case-sensitive
    parsed.read_string(UNIT)
    service = parsed["Service"]
    assert (service["DynamicUser"], service["NoNewPrivileges"], service["CapabilityBoundingSet"]) == ("yes", "yes", "")
    assert (service["ProtectSystem"], service["Restart"]) == ("strict", "always")
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
