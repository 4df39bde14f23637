"""How the service stands, as one plain value fit for JSON: what `/status`, the page and `dualpool status` all show.

Read on another thread than routing, so of everything that grows it takes a copy. Knows numbers, enums and models'
names, which are a client's strings: whoever shows them escapes them.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from extproc.routing.anytime import AnytimeEstimator
from extproc.routing.estimators import ALL_MODELS
from extproc.routing.router import Router
from extproc.routing.values import Misroute, Pool, Reason
from extproc.settings import Settings
from extproc.telemetry.labels import LessonOutcome, ReloadOutcome, SaveOutcome
from extproc.telemetry.ledger import Ledger

VERSION = metadata.version("dualpool")
Status = dict[str, Any]
"""Of JSON's types alone."""
MAX_ROWS = 64
"""Bound on rows of a table: models are few, ratios and outputs up to 512. Those with the most samples stand first."""


@dataclass(slots=True)
class Running:
    """The process as it runs: the settings in force and what became of the last attempt to change them."""

    settings: Settings
    began_s: float
    """Unix time."""
    settings_file: str = ""
    worker: int = 0
    """Its place among the workers of one service."""
    reloaded_s: float | None = None
    """Unix time of the last attempt to read the settings anew."""
    complaint: str = ""
    """Why that changed nothing; empty where it was applied."""
    awaiting_restart: tuple[str, ...] = ()
    """Settings that the file has otherwise than they are in force."""


def status_of(running: Running, router: Router, ledger: Ledger, *, now_s: float) -> Status:
    """Everything an operator asks first.

    Args:
        running: the process.
        router: what it has learned.
        ledger: what it has done.
        now_s: Unix time.
    """
    settings = running.settings
    return {
        "version": VERSION,
        "began": _instant(running.began_s),
        "uptime_s": round(max(0.0, now_s - running.began_s)),
        "worker": running.worker,
        "mode": "shadow" if settings.shadow else "routing",
        "routed_share": 0.0 if settings.shadow else settings.routed_share,
        "estimator": settings.estimator,
        "threshold": _threshold(settings, router),
        "pools": {pool.value: _pool(pool, ledger) for pool in Pool},
        "decisions": _decisions(ledger),
        "promise": _promise(settings, ledger),
        "answers": _answers(router, ledger),
        "models": _models(router),
        "ratios": _ratios(router),
        "outputs": _outputs(router),
        "settings": _settings(running, ledger),
        "state": _state(settings, ledger),
        "lessons": {outcome.value: ledger.peer_lessons[outcome] for outcome in LessonOutcome},
        "internal_errors": ledger.internal_errors,
    }


def _threshold(settings: Settings, router: Router) -> Status:
    return {
        "tokens": router.policy.threshold_tokens,
        "adaptive": settings.adaptive_threshold,
        "set_tokens": settings.threshold_tokens,
        "min_tokens": settings.threshold_min_tokens if settings.adaptive_threshold else settings.threshold_tokens,
        "short_max_model_len": router.short_max_model_len,
    }


def _pool(pool: Pool, ledger: Ledger) -> Status:
    """Instances by standing, means over those whose readings are fresh, what these come to, and what is sent away."""
    state, steering = ledger.pool_states.get(pool), ledger.steering
    relieved = steering is not None and steering.spill_from is pool
    pressure = ledger.pressures.get(pool)
    return {
        "instances": dict(ledger.pool_instances.get(pool, {})),
        "models": list(ledger.pool_models.get(pool, ())),
        "load": None
        if state is None
        else {
            "running": round(state.running, 2),
            "waiting": round(state.waiting, 2),
            "kv_usage": round(state.kv_usage, 4),
            "preemptions_per_s": round(state.preemptions_per_s, 3),
            "rejections_per_s": round(state.rejections_per_s, 3),
        },
        "pressure": None if pressure is None else round(pressure, 3),
        "spilled_share": steering.spill_share if relieved and steering is not None else 0.0,
    }


def _decisions(ledger: Ledger) -> Status:
    counts: Counter[tuple[Pool, Reason]] = Counter()
    for (pool, reason, _, _), count in list(ledger.decisions.items()):
        counts[pool, reason] += count
    total = counts.total()
    by_pool = {pool: sum(count for (to, _), count in counts.items() if to is pool) for pool in Pool}
    return {
        "total": total,
        "undecided": sum(list(ledger.undecided.values())),
        "by_pool": {pool.value: {"requests": count, "share": _share(count, total)} for pool, count in by_pool.items()},
        "by_reason": [
            {"pool": pool.value, "reason": reason.value, "requests": count, "share": _share(count, total)}
            for (pool, reason), count in counts.most_common()
        ],
    }


def _promise(settings: Settings, ledger: Ledger) -> Status:
    realised = ledger.under_realised
    return {
        "promised": settings.promise,
        "realised": None if realised is None else round(realised, 6),
        "judged": ledger.judged,
        "under": ledger.misroutes[Misroute.UNDER],
        "over": ledger.misroutes[Misroute.OVER],
    }


def _answers(router: Router, ledger: Ledger) -> Status:
    return {
        "streams": ledger.streams,
        "awaited": router.observing,
        "read": sum(list(ledger.answers_read.values())),
        "learned": ledger.learned,
        "truncated": ledger.truncations,
        "escalated": _by_name(ledger.escalations),
        "refused": _by_name(ledger.refusals),
    }


def _models(router: Router) -> list[Status]:
    estimator = router.estimator
    if not isinstance(estimator, AnytimeEstimator):
        return []
    rows = [
        {
            "model": model.model,
            "samples": model.samples,
            "doubt": round(model.doubt, 4),
            "drift_alarms": model.alarms,
            "answers_since_alarm": model.answers_since_alarm,
        }
        for model in estimator.standing()
    ]
    return _first(rows)


def _ratios(router: Router) -> list[Status]:
    rows = [
        {
            "model": ratio.model,
            "category": ratio.category.value,
            "bytes_per_token": round(ratio.bytes_per_token, 3),
            "samples": ratio.samples,
        }
        for ratio in router.ratios()
    ]
    return _first(rows)


def _outputs(router: Router) -> list[Status]:
    if router.outputs is None:
        return []
    rows = [
        {
            "model": learned.model,
            "category": learned.category.value if learned.category else ALL_MODELS,
            "output_tokens": learned.output_tokens,
            "samples": round(learned.samples),
        }
        for learned in router.outputs.learned()
    ]
    return _first(rows)


def _settings(running: Running, ledger: Ledger) -> Status:
    last = None
    if running.reloaded_s is not None:
        last = {
            "at": _instant(running.reloaded_s),
            "outcome": (ReloadOutcome.REFUSED if running.complaint else ReloadOutcome.APPLIED).value,
        }
    return {
        "file": running.settings_file,
        "applied": ledger.reloads[ReloadOutcome.APPLIED],
        "refused": ledger.reloads[ReloadOutcome.REFUSED],
        "last": last,
        "complaint": running.complaint,
        "awaiting_restart": list(running.awaiting_restart),
    }


def _state(settings: Settings, ledger: Ledger) -> Status:
    saves = ledger.state_saves
    return {"file": settings.state_file, "saved": saves[SaveOutcome.SAVED], "failed": saves[SaveOutcome.FAILED]}


def _first(rows: list[Status]) -> list[Status]:
    return sorted(rows, key=lambda row: int(row["samples"]), reverse=True)[:MAX_ROWS]


def _by_name(counts: Mapping[Any, int]) -> dict[str, int]:
    return {str(name): count for name, count in list(counts.items()) if count}


def _share(count: int, total: int) -> float:
    return round(count / total, 4) if total else 0.0


def _instant(unix_s: float) -> str:
    return datetime.fromtimestamp(int(unix_s), UTC).isoformat().replace("+00:00", "Z")
