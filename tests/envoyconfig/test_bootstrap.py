import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from envoy_data_plane.envoy.config.bootstrap.v3 import Bootstrap

from extproc.envoyconfig.binary import find_envoy
from extproc.envoyconfig.bootstrap import WHY, bootstrap, bootstrap_yaml
from extproc.envoyconfig.options import Address, EnvoyOptions
from extproc.envoyconfig.render import as_plain, selector_for, walk

Build = Callable[..., EnvoyOptions]

VARIANTS: dict[str, dict[str, object]] = {
    "simplest": {},
    "names": {"short": (Address("gpu1.example", 8000),), "extproc": (Address("dualpool", 50_051),)},
    "workers": {"extproc": tuple(Address("127.0.0.1", port) for port in range(50_051, 50_055))},
    "ipv6": {"listen": Address("::1", 10_000), "long": (Address("fd00::7", 8000),)},
    "baseline": {"baseline_listen": Address("127.0.0.1", 10_001)},
    "small buffers": {"buffer_limit_bytes": 32 * 1024, "message_timeout_s": 0.25},
    "no escalation": {"escalate": False},
    "hedging": {"hedge_after_s": 60.0},
    "load reports": {"orca": True, "baseline_listen": Address("127.0.0.1", 10_001)},
}
each_variant = pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())

NEEDS_A_REASON = re.compile(
    r".*(timeout|interval|limit|limit_bytes|threshold|mode|_modes|_policy|_allow|_override|_rules)|max_.*|.*keepalive.*"
)


@pytest.mark.e2e
@each_variant
def test_a_real_envoy_accepts_it(options: Build, tmp_path: Path, changes: dict[str, object]) -> None:
    """Envoy's own validation takes what we write for any kind of address, limit and timeout."""
    config = tmp_path / "envoy.yaml"
    config.write_text(bootstrap_yaml(options(**changes)))
    command = [str(find_envoy()), "--mode", "validate", "--log-level", "error", "-c", str(config)]
    verdict = subprocess.run(command, capture_output=True, text=True, check=False)
    assert verdict.returncode == 0, verdict.stderr


@each_variant
def test_the_yaml_says_what_the_objects_say(options: Build, changes: dict[str, object]) -> None:
    """Reading the YAML back gives the typed objects it was written from."""
    given = options(**changes)
    assert Bootstrap.from_dict(yaml.safe_load(bootstrap_yaml(given))) == bootstrap(given)


@each_variant
def test_every_timeout_limit_and_mode_says_why(options: Build, changes: dict[str, object]) -> None:
    """A value of such a kind, or in a block of such a kind, has a reason or stands in a block or entry that has one."""
    values = [path for path, value in walk(as_plain(bootstrap(options(**changes)), WHY)) if not walkable(value)]
    weighty = [path for path in values if any(NEEDS_A_REASON.fullmatch(name) for name in path[-2:])]
    unexplained = [path for path in weighty if not any(selector_for(path[:end], WHY) for end in explaining(path))]
    assert len(weighty) > 40
    assert unexplained == []


def walkable(value: object) -> bool:
    """Whether it is a block rather than a value."""
    return isinstance(value, (dict, list)) and bool(value)


def explaining(path: tuple[str, ...]) -> list[int]:
    """Where a reason for the value may stand: at itself, its block, or the list of which its block is an entry."""
    block = len(path) - 1
    return [len(path), block, block - 1] if path[block - 1].isdecimal() else [len(path), block]


def test_every_reason_is_used(options: Build) -> None:
    """A reason that fits no value is left over from a setting that is gone."""
    used = set()
    for changes in (VARIANTS["simplest"], VARIANTS["hedging"], VARIANTS["load reports"]):
        plain = as_plain(bootstrap(options(**changes)), WHY)
        used |= {selector_for(path, WHY) for path, _ in walk(plain)}
    assert set(WHY) - used == set()


def test_the_baseline_door_differs_by_the_filter_alone(options: Build) -> None:
    """Its routes and limits are the same, so a difference in latency is the price of asking."""
    door, baseline = as_plain(bootstrap(options(baseline_listen=Address("127.0.0.1", 10_001))), {})["static_resources"][
        "listeners"
    ]
    managers = [each["filter_chains"][0]["filters"][0]["typed_config"] for each in (door, baseline)]
    filters = [[each["name"] for each in manager.pop("http_filters")] for manager in managers]
    assert filters == [["envoy.filters.http.ext_proc", "envoy.filters.http.router"], ["envoy.filters.http.router"]]
    assert [manager.pop("stat_prefix") for manager in managers] == ["dualpool", "baseline"]
    assert managers[0] == managers[1]


def test_what_the_operator_chose_is_where_envoy_reads_it(options: Build) -> None:
    """Buffer limit, message timeout and addresses arrive at every place that needs them."""
    text = bootstrap_yaml(options(buffer_limit_bytes=77_777, message_timeout_s=2.5, admin=Address("127.0.0.1", 1234)))
    assert text.count("per_connection_buffer_limit_bytes: 77777") == 4
    assert text.count("message_timeout: 2.500s") == 1
    assert yaml.safe_load(text)["admin"]["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 1234}


def test_without_escalation_nothing_of_it_is_left(options: Build) -> None:
    """The short route leads to the short pool alone, and the clusters are those of an Envoy that never asks twice."""
    text = bootstrap_yaml(options(escalate=False))
    assert not any(word in text for word in ("retry", "hedge", "overprovisioning", "short_then_long"))
