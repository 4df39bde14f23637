import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from extproc.cli import app
from extproc.errors import ConfigurationError
from extproc.routing.learned import EstimatorState, RatioState
from extproc.routing.state import RouterState, encode
from extproc.routing.values import Category
from extproc.server.statefile import read_state


def invoke(*arguments: str | Path) -> Result:
    """The command, with errors raised."""
    return CliRunner().invoke(app, ["state", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """States of two replicas, which saw 10 and 30 answers of one model."""
    paths = [tmp_path / f"replica-{index}.state" for index in (1, 2)]
    for path, samples, ratio in zip(paths, (10, 30), (4.0, 5.0), strict=True):
        learned = [RatioState("m", Category.PROSE, ratio, 0.1, samples)]
        path.write_bytes(encode(RouterState(EstimatorState(ratios=learned))))
    return paths


def test_a_state_is_shown(files: list[Path]) -> None:
    """As a table for people, and the same as JSON for machines."""
    row = next(line for line in invoke("show", files[0]).stdout.splitlines() if "prose" in line)
    assert row.split() == ["m", "prose", "4.0", "10"]
    shown = json.loads(invoke("show", files[0], "--json").stdout)
    assert shown["ratios"] == [{"model": "m", "category": "prose", "bytes_per_token": 4.0, "samples": 10}]


def test_states_are_merged_with_a_warning(files: list[Path], tmp_path: Path) -> None:
    """Ratios are weighed by their samples, and the warning about answers that count twice is never left out."""
    out = tmp_path / "all.state"
    result = invoke("merge", out, *files)
    assert result.exit_code == 0
    assert "count twice" in result.stderr
    (ratio,) = read_state(out).estimator.ratios
    assert ratio.samples == 40
    assert ratio.bytes_per_token == pytest.approx(4.75)
    assert out.stat().st_mode & 0o777 == 0o600


def test_a_file_is_replaced_only_by_force(files: list[Path]) -> None:
    """What stands at OUT is somebody's until --force says otherwise."""
    before = files[1].read_bytes()
    with pytest.raises(ConfigurationError, match="--force"):
        invoke("merge", files[1], files[0])
    assert files[1].read_bytes() == before
    assert invoke("merge", "--force", files[1], files[0]).exit_code == 0
    assert read_state(files[1]).estimator.ratios[0].samples == 10


def test_the_same_state_twice_is_refused(files: list[Path], tmp_path: Path) -> None:
    """A copy under another name too: its answers would count twice."""
    copy = tmp_path / "copy.state"
    copy.write_bytes(files[0].read_bytes())
    for twin in (copy, files[0]):
        with pytest.raises(ConfigurationError, match="the same state"):
            invoke("merge", tmp_path / "all.state", files[0], twin)
    assert not (tmp_path / "all.state").exists()


@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), (b"hello", "not a state"), (b"", "not a state")])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes | None, why: str) -> None:
    """The message has the file and the reason, for both commands."""
    path = tmp_path / "odd.state"
    if content is not None:
        path.write_bytes(content)
    for arguments in (("show", path), ("merge", tmp_path / "all.state", path)):
        with pytest.raises(ConfigurationError, match=rf"odd\.state.*{why}"):
            invoke(*arguments)


def test_where_nothing_can_be_written_is_named(files: list[Path], tmp_path: Path) -> None:
    """A folder that does not exist is a mistake of the command line's."""
    with pytest.raises(ConfigurationError, match="cannot be written: No such file"):
        invoke("merge", tmp_path / "missing" / "all.state", files[0])


@pytest.mark.parametrize("command", ["show", "merge"])
def test_help_gives_an_example(command: str) -> None:
    """Each command shows how it is called."""
    assert f"Example: dualpool state {command}" in " ".join(invoke(command, "--help").stdout.split())
