"""Replays a log of conversations through the core and compares every estimate with the truth; judges no pool.

Calls come in the order in which they began. Each is answered, and its answer read, before the next: a log's own times
overlap even where one call holds the answer to another.
"""

from dataclasses import dataclass

import msgspec

from extproc.evaluate.contenders import RouterRules, build_router
from extproc.evaluate.figures import Errors, error_figures
from extproc.evaluate.options import Contender
from extproc.evaluate.replay import error_of
from extproc.evaluate.runs import Material
from extproc.evaluate.sessions import Place, Turn, turns
from extproc.routing.request import read_request
from extproc.routing.router import Router
from extproc.routing.values import Decision, Finish, Stage, Usage

_PATH = "/v1/chat/completions"


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
            observe_share=1.0,
        )
        router = build_router(self.contender, rules)
        routed = [(turn, _exchange(router, turn)) for turn in turns(material.calls)]
        return _figures(routed, failed=len(material.calls) - len(routed))


def _exchange(router: Router, turn: Turn) -> Decision:
    """Observed whatever the router has learned, so that there is an estimate to compare even where bounds decide."""
    decision = router.route(read_request(_PATH, turn.body), draw=0.0)
    router.complete(decision, Usage(turn.call.input_tokens, turn.call.output_tokens, finish=Finish.STOP))
    return decision


def _figures(routed: list[tuple[Turn, Decision]], failed: int) -> SessionFigures:
    errors: dict[bool, list[float]] = {True: [], False: []}
    unmatched = 0
    for turn, decision in routed:
        extends = turn.place is Place.EXTENDS
        error = error_of(decision, turn.call.input_tokens)
        if error is not None:
            errors[extends].append(error)
        unmatched += extends and decision.stage is not Stage.MEMORY
    return SessionFigures(len(routed), failed, error_figures(errors[True]), error_figures(errors[False]), unmatched)
