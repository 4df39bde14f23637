"""Settings come from file, environment and command line, the last the strongest, and mistakes are named."""

from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.settings import Settings, load_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file."""
    path = tmp_path / "settings.yaml"
    path.write_text("threshold_tokens: 100\nobserve_share: 0.5\ndrain_s: 3\n")
    return path


def test_the_command_line_wins_over_the_environment_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source fills what the stronger ones leave open; an option that was not given counts for nothing."""
    monkeypatch.setenv("DUALPOOL_THRESHOLD_TOKENS", "200")
    monkeypatch.setenv("DUALPOOL_OBSERVE_SHARE", "0.25")
    settings = load_settings(file, threshold_tokens=300, listen=None)
    assert (settings.threshold_tokens, settings.observe_share, settings.drain_s) == (300, 0.25, 3.0)
    assert settings.listen == Settings().listen


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("treshold_tokens: 1", "treshold_tokens"),
        ("threshold_tokens: 0", "threshold_tokens"),
        ("undeclared_output: plenty", "undeclared_output"),
        ("observe_share: 1.5", "observe_share"),
        ("listen: nowhere", "listen"),
        ("listen: 127.0.0.1:99999", "listen"),
        ("- threshold_tokens", "the file"),
        ("a: [", "settings.yaml"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, named: str) -> None:
    """Unknown keys, values out of range and files that are no mapping are refused, saying which."""
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=named):
        load_settings(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that was asked for and is not there is an error, not the defaults."""
    with pytest.raises(ConfigurationError, match=r"gone\.yaml"):
        load_settings(tmp_path / "gone.yaml")


@pytest.mark.parametrize("value", ["long", "2048"])
def test_undeclared_output_takes_a_word_or_a_number(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment too, where everything is text."""
    monkeypatch.setenv("DUALPOOL_UNDECLARED_OUTPUT", value)
    assert str(load_settings().undeclared_output) == value


def test_metrics_can_be_turned_off() -> None:
    """An empty address means none."""
    assert load_settings(metrics_listen="").metrics_listen == ""
