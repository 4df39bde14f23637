from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from extproc.cli.envoy_config import envoy_config
from extproc.envoyconfig.bootstrap import bootstrap_yaml
from extproc.envoyconfig.examples import EXAMPLES
from extproc.errors import ConfigurationError


@pytest.fixture
def app() -> typer.Typer:
    """The one command."""
    app = typer.Typer()
    app.command()(envoy_config)
    return app


def test_without_options_it_prints_the_example_for_one_machine(app: typer.Typer) -> None:
    """Its defaults are those of the committed file and of the service."""
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0
    assert result.stdout == bootstrap_yaml(EXAMPLES["envoy.yaml"])


def test_addresses_go_where_they_belong_and_the_result_into_a_file(app: typer.Typer, tmp_path: Path) -> None:
    """Several instances, a baseline listener and limits are written, and nothing is printed."""
    target = tmp_path / "envoy.yaml"
    arguments = ["--short", "gpu1:8000,gpu2:8000", "--baseline-listen", "127.0.0.1:10001", "--output", str(target)]
    result = CliRunner().invoke(app, [*arguments, "--buffer-limit-bytes", "32768", "--message-timeout-s", "0.5"])
    text = target.read_text()
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "gpu2" in text
    assert "port_value: 10001" in text
    assert "message_timeout: 0.500s" in text


def test_a_wrong_address_is_the_operators_error(app: typer.Typer) -> None:
    """It is of the kind the command line prints as one line."""
    result = CliRunner().invoke(app, ["--long", "gpu3"])
    assert isinstance(result.exception, ConfigurationError)


def test_a_file_that_cannot_be_written_is_the_operators_error(app: typer.Typer, tmp_path: Path) -> None:
    """A folder that is not there, for one."""
    result = CliRunner().invoke(app, ["--output", str(tmp_path / "gone" / "envoy.yaml")])
    assert isinstance(result.exception, ConfigurationError)
    assert "--output" in str(result.exception)


@pytest.mark.parametrize(("threshold_tokens", "limit_bytes"), [("8192", 2**20), ("131072", 2**22)])
def test_the_buffer_limit_follows_the_threshold(app: typer.Typer, threshold_tokens: str, limit_bytes: int) -> None:
    """Unless it is given; nothing is warned of."""
    result = CliRunner().invoke(app, ["--threshold-tokens", threshold_tokens])
    assert f"per_connection_buffer_limit_bytes: {limit_bytes}\n" in result.stdout
    assert result.stderr == ""


def test_a_buffer_too_small_for_the_threshold_is_warned_of(app: typer.Typer) -> None:
    """The configuration is printed all the same, and the warning says the least value without a warning."""
    result = CliRunner().invoke(app, ["--threshold-tokens", "16384", "--buffer-limit-bytes", "393215"])
    assert result.exit_code == 0
    assert "per_connection_buffer_limit_bytes: 393215\n" in result.stdout
    assert "at least --buffer-limit-bytes 393216" in result.stderr
    enough = CliRunner().invoke(app, ["--threshold-tokens", "16384", "--buffer-limit-bytes", "393216"])
    assert enough.stderr == ""


def test_a_threshold_no_envoy_of_ours_can_serve_is_refused(app: typer.Typer) -> None:
    """Whatever buffer limit is asked for."""
    result = CliRunner().invoke(app, ["--threshold-tokens", "1000000", "--buffer-limit-bytes", "8388608"])
    assert isinstance(result.exception, ConfigurationError)
    assert "too large" in str(result.exception)


def test_escalation_can_be_left_out_and_its_patience_set(app: typer.Typer) -> None:
    """Each option ends in the configuration that the typed options make of it."""
    local = EXAMPLES["envoy.yaml"]
    chosen = {
        "--no-escalation": replace(local, escalate=False),
        "--hedge-after-s=90": replace(local, hedge_after_s=90.0),
        "--orca": replace(local, orca=True),
    }
    for option, options in chosen.items():
        assert CliRunner().invoke(app, [option]).stdout == bootstrap_yaml(options)
