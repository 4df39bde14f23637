"""Replays a log of conversations through the core and compares every estimate with the truth; judges no pool.

Calls come in the order in which they began. Each is answered before the next: a log's own times overlap even where one
call holds the answer to another. Every answer is read unless a share is asked for; then the router says which are.
"""

from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import msgspec

from extproc.evaluate.contenders import RouterRules, build_router
from extproc.evaluate.figures import Errors, error_figures, share_of
from extproc.evaluate.options import Contender
from extproc.evaluate.replay import error_of
from extproc.evaluate.runs import Material
from extproc.evaluate.sessions import Place, Turn, turns
from extproc.routing.request import read_request
from extproc.routing.router import Router
from extproc.routing.values import Decision, Finish, Stage, Usage

_PATH = "/v1/chat/completions"
_SEED = "sessions"


class SessionFigures(msgspec.Struct, frozen=True):
    """What one estimator came to on a log of conversations."""

    calls: int
    """Answered calls, all of them routed."""
    failed: int
    """Calls left out, because the log has no count for them."""
    extending: Errors
    """Of calls that extend an answered one."""
    others: Errors
    """Of calls that open a conversation, or whose messages became fewer."""
    unmatched: int
    """Calls that extend an answered one and were not recognised as doing so."""
    observed_share: float
    """Of the answers, how many were read."""


class _Routed(NamedTuple):
    turn: Turn
    decision: Decision
    observed: bool


@dataclass(frozen=True, slots=True)
class SessionRun:
    """One estimator over the whole log, its conversation memory on unless the options say otherwise."""

    contender: Contender

    def perform(self, material: Material) -> SessionFigures:
        """Route and complete every answered call."""
        options = material.options
        rules = RouterRules(
            options.threshold_tokens,
            promise=options.promise,
            ema=options.ema,
            remembers=options.memory is not False,
            counter=material.counter,
            observe_share=1.0 if options.observe_share is None else options.observe_share,
        )
        router, draws = build_router(self.contender, rules), Random(_SEED)  # noqa: S311 - a simulation
        reads_all = options.observe_share is None
        routed = [_exchange(router, turn, draws.random(), reads_all=reads_all) for turn in turns(material.calls)]
        return _figures(routed, failed=len(material.calls) - len(routed))


def _exchange(router: Router, turn: Turn, draw: float, *, reads_all: bool) -> _Routed:
    """Read whatever the router has learned, if all are, so that memory knows of each call."""
    decision = router.route(read_request(_PATH, turn.body), draw=0.0 if reads_all else draw)
    usage = Usage(turn.call.input_tokens, turn.call.output_tokens, finish=Finish.STOP)
    observed = reads_all or decision.observe
    router.complete(decision, usage if observed else None)
    return _Routed(turn, decision, observed)


def _figures(routed: list[_Routed], failed: int) -> SessionFigures:
    errors: dict[bool, list[float]] = {True: [], False: []}
    unmatched = 0
    for turn, decision, _ in routed:
        extends = turn.place is Place.EXTENDS
        error = error_of(decision, turn.call.input_tokens)
        if error is not None:
            errors[extends].append(error)
        unmatched += extends and decision.stage is not Stage.MEMORY
    extending, others = error_figures(errors[True]), error_figures(errors[False])
    observed_share = share_of(routed, lambda call: call.observed)
    return SessionFigures(len(routed), failed, extending, others, unmatched, observed_share)
