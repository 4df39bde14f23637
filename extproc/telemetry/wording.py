"""How the numbers of a status are worded, for the page and for the terminal alike; knows neither HTML nor terminals."""

from typing import Any

from extproc.telemetry.status import Status

NOTHING = "–"
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_RARE = 0.001
_NAME_CHARS = 60


def name_of(text: str) -> str:
    """A client's string, of printable characters alone: nothing in it steers a terminal or turns a line around."""
    shown = text if text and text.isprintable() else ascii(text)
    return shown if len(shown) <= _NAME_CHARS else f"{shown[: _NAME_CHARS - 1]}…"


def line(text: str) -> str:
    """One line of printable characters, for a terminal; of any length."""
    return "".join(
        char if char.isprintable() else ascii(char)[1:-1] for char in text.replace("\N{NO-BREAK SPACE}", " ")
    )


def count(value: float | None) -> str:
    """A number with thousands apart."""
    return NOTHING if value is None else f"{value:,}".replace(",", "\N{NO-BREAK SPACE}")


def share(value: float | None) -> str:
    """Per cent, with more digits where it is rare."""
    if value is None:
        return NOTHING
    percent = 100 * value
    return f"{percent:.3f} %" if 0 < value < 10 * _RARE else f"{percent:.1f} %"


def duration(seconds: float) -> str:
    """In the two largest units."""
    whole = int(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S} h"


def instant(text: str) -> str:
    """An ISO instant as people write it."""
    return text.replace("T", " ").replace("Z", " UTC")


def threshold(status: Status) -> str:
    """Whether the threshold moves, and within what."""
    found = status["threshold"]
    if not found["adaptive"]:
        return "pinned"
    return f"adaptive, {count(found['min_tokens'])} to {count(found['short_max_model_len'])}"


def pool_rows(pool: Status) -> list[tuple[str, str]]:
    """What is known of one pool; without fresh readings that is said."""
    standings = ", ".join(f"{number} {standing}" for standing, number in pool["instances"].items() if number)
    rows = [("instances", standings or "nobody asks them")]
    if pool["models"]:
        rows.append(("model", ", ".join(map(name_of, pool["models"]))))
    load = pool["load"]
    if load is None:
        rows.append(("load", "no fresh readings"))
    else:
        rows += [
            ("running", f"{load['running']:g} an instance"),
            ("waiting", f"{load['waiting']:g} an instance"),
            ("KV blocks in use", share(load["kv_usage"])),
            ("preemptions", f"{load['preemptions_per_s']:g} /s an instance"),
            ("rejections", f"{load['rejections_per_s']:g} /s an instance"),
        ]
        if pool["pressure"] is not None:
            rows.append(("pressure", f"{pool['pressure']:g}, needs relief from 1 on"))
    spilled = pool["spilled_share"]
    return [*rows, ("spilling away", f"{share(spilled)} of its requests" if spilled else "nothing")]


def answer_rows(status: Status) -> list[tuple[str, str]]:
    """What came back, and what went wrong with it."""
    answers, promise = status["answers"], status["promise"]
    return [
        (
            "went short and did not fit",
            f"{share(promise['realised'])} (promised: at most {share(promise['promised'])})",
        ),
        ("decisions judged", count(promise["judged"])),
        ("of these misrouted", f"{count(promise['under'])} under, {count(promise['over'])} over"),
        ("cut at the short pool's context", count(answers["truncated"])),
        ("escalated to the long pool", _of_kinds(answers["escalated"])),
        ("refused by the short pool", _of_kinds(answers["refused"])),
        ("answers read", f"{count(answers['read'])}, of which {count(answers['learned'])} taught"),
        ("in flight", f"{count(answers['streams'])} streams, {count(answers['awaited'])} answers awaited"),
        ("our own errors", count(status["internal_errors"])),
    ]


def operating_rows(status: Status) -> list[tuple[str, str]]:
    """Settings, state and the other workers."""
    settings, state, lessons = status["settings"], status["state"], status["lessons"]
    rows = [
        ("decisions followed", share(status["routed_share"])),
        ("settings file", settings["file"] or "none"),
        ("last read anew", _last(settings)),
    ]
    if settings["awaiting_restart"]:
        rows.append(("a restart would change", ", ".join(settings["awaiting_restart"])))
    kept = f"{count(state['saved'])} times, {count(state['failed'])} failed" if state["file"] else "in memory alone"
    rows.append(("state saved", kept))
    told = f"{count(lessons['sent'])} sent, {count(lessons['taken'])} taken, {count(lessons['lost'])} lost"
    return [*rows, ("lessons among workers", told if any(lessons.values()) else "none")]


def cell(value: Any) -> str:
    """One cell of a table of a status."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return name_of(value)
    return count(value) if isinstance(value, int) else f"{value:g}"


def heading(column: str) -> str:
    """A key of a status as people read it."""
    return column.replace("_", " ")


def _of_kinds(counts: dict[str, int]) -> str:
    total = count(sum(counts.values()))
    kinds = ", ".join(f"{kind} {count(number)}" for kind, number in counts.items())
    return f"{total} ({kinds})" if kinds else total


def _last(settings: Status) -> str:
    last = settings["last"]
    if last is None:
        return "not since the start"
    what = f"refused: {settings['complaint']}" if settings["complaint"] else "applied"
    return f"{instant(last['at'])}, {what}"
