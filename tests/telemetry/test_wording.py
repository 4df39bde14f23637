"""Numbers are worded once, and what clients wrote is made harmless."""

import pytest

from extproc.telemetry import wording


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Qwen3-32B", "Qwen3-32B"),
        ("", "''"),
        ("a\x1b[2Jb", r"'a\x1b[2Jb'"),
        ("a\u202eb", r"'a\u202eb'"),
        ("x" * 61, "x" * 59 + "…"),
        ("ж" * 60, "ж" * 60),
    ],
)
def test_a_name_cannot_steer_what_shows_it(text: str, shown: str) -> None:
    """Control characters and those that turn text around are spelt out; a long name is cut."""
    assert wording.name_of(text) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (3600 * 3 + 125, "3 h 2 min"), (86_400 * 9 + 7200, "9 d 2 h")],
)
def test_durations_are_told_in_two_units(seconds: float, shown: str) -> None:
    """The largest two, cut off."""
    assert wording.duration(seconds) == shown


@pytest.mark.parametrize(("value", "shown"), [(None, "–"), (0.0, "0.0 %"), (0.00123, "0.123 %"), (0.25, "25.0 %")])
def test_rare_shares_keep_their_digits(value: float | None, shown: str) -> None:
    """A promise of one in a thousand is not rounded away."""
    assert wording.share(value) == shown


def test_cells_are_worded_by_their_kind() -> None:
    """Nothing is a dash, whole numbers have thousands apart, names are made harmless."""
    assert [wording.cell(value) for value in (None, 12_345, 3.25, "\x00")] == ["–", "12\u00a0345", "3.25", r"'\x00'"]


def test_a_pool_says_what_it_serves_and_how_hard_it_is_pressed() -> None:
    """Where it has said so; what it calls its models is made harmless."""
    load = {"running": 1.0, "waiting": 0.0, "kv_usage": 0.5, "preemptions_per_s": 0.0, "rejections_per_s": 0.0}
    pool = {"instances": {"fresh": 2}, "models": ["a", "b\x1b"], "load": load, "pressure": 1.25, "spilled_share": 0.0}
    rows = dict(wording.pool_rows(pool))
    assert (rows["model"], rows["pressure"]) == (r"a, 'b\x1b'", "1.25, needs relief from 1 on")
    unseen = dict(wording.pool_rows({**pool, "models": [], "load": None, "pressure": None}))
    assert unseen.keys() == {"instances", "load", "spilling away"}
