import subprocess
from pathlib import Path

import pytest

from extproc.envoyconfig.binary import find_envoy
from extproc.envoyconfig.bootstrap import bootstrap_yaml
from extproc.envoyconfig.examples import EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_committed_file_is_what_the_code_writes(repository: Path, name: str) -> None:
    """A change to the configuration's code shows in the file people copy, once `make envoy-yaml` has run."""
    assert (repository / "envoy" / name).read_text() == bootstrap_yaml(EXAMPLES[name])


def test_no_other_configuration_is_committed(repository: Path) -> None:
    """Every YAML file people may copy is a checked one."""
    assert {path.name for path in (repository / "envoy").glob("*.yaml")} == set(EXAMPLES)


@pytest.mark.e2e
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_real_envoy_accepts_the_committed_file(repository: Path, name: str) -> None:
    """What people copy works as it stands."""
    command = [str(find_envoy()), "--mode", "validate", "--log-level", "error", "-c", str(repository / "envoy" / name)]
    verdict = subprocess.run(command, capture_output=True, text=True, check=False)
    assert verdict.returncode == 0, verdict.stderr


def test_the_single_machine_example_keeps_to_loopback() -> None:
    """Someone who tries it opens nothing to the network."""
    local = EXAMPLES["envoy.yaml"]
    hosts = {address.host for address in (local.listen, local.admin, *local.extproc, *local.short, *local.long)}
    assert hosts == {"127.0.0.1"}
