"""The loop that asks the pools, asks the steerer, and tells the router; knows no rule by which it is steered.

It never fails, and on any doubt the threshold stays where the operator has put it and nothing spills. Requests do not
wait for it: it runs beside them, in small steps, and what it tells the router holds until it says otherwise.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

from extproc.assembly import steering_rules
from extproc.errors import ConfigurationError
from extproc.pools.ask import Asker, PollOutcome
from extproc.pools.card import Card
from extproc.pools.places import Places, parse_places
from extproc.pools.watch import PoolWatch
from extproc.routing.orca import OrcaLoads
from extproc.routing.router import Router
from extproc.routing.steerer import Steerer
from extproc.routing.steering import PoolState, Steering
from extproc.routing.values import Pool
from extproc.server.confession import confess
from extproc.server.herald import Herald
from extproc.server.modes import Modes
from extproc.settings import Settings
from extproc.telemetry.labels import Direction
from extproc.telemetry.ledger import Ledger

INTRODUCTION_S = 2.0
"""How long the start of the service waits for the pools to say what context they have."""
_MODELS_SHOWN = 4
_log = logging.getLogger(__name__)


class Helm:
    """Steers one router. Runs on one event loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        router: Router,
        ledger: Ledger,
        modes: Modes,
        orca: OrcaLoads | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Nobody was asked yet.

        Args:
            settings: where the pools are, and what steers.
            router: who is told.
            ledger: where it is shown.
            modes: whether decisions are followed: if not, the router is left alone, and only shown what it would be.
            orca: what answers say of the load; looked at where `settings.orca` says so.
            clock: seconds, never backwards; the same as `orca` is fed with.

        Raises:
            ConfigurationError: a pool's setting names no place.
        """
        self._router, self._ledger, self._modes, self._orca = router, ledger, modes, orca
        self._clock = clock
        self._herald = Herald()
        self._asker: Asker | None = None
        self._watches: dict[Pool, PoolWatch] = {}
        self._settings = Settings()
        self._held: int | None = None  # what the short pool said last that it holds, while nobody says otherwise
        self._held_by = ""  # the setting of the pool that said so
        self._steerer = Steerer(
            steering_rules(settings),
            threshold_tokens=settings.threshold_tokens,
            short_max_model_len=router.short_max_model_len,
        )
        self.follow(settings)

    @property
    def cards(self) -> dict[Pool, dict[str, Card]]:
        """What each instance that is asked says of its model, by pool and URL."""
        return {pool: watch.cards for pool, watch in self._watches.items()}

    def follow(self, settings: Settings) -> None:
        """Go by these settings from now on; what is known of a pool that stays where it is is kept.

        Raises:
            ConfigurationError: a pool's setting names no place; then nothing has changed.
        """
        watches = {pool: watch for pool in Pool if (watch := self._watch_of(pool, settings)) is not None}
        rules = steering_rules(settings)
        for watch in watches.values():
            watch.readings.poll_s = settings.pool_poll_s
        if self._orca is not None:
            self._orca.poll_s = settings.pool_poll_s
        if rules != self._steerer.rules:
            self._steerer.change(rules)
        if settings.threshold_tokens != self._settings.threshold_tokens:
            self._steerer.pin(settings.threshold_tokens)
        self._watches, self._settings = watches, settings
        for pool in watches:  # counted from 0, so that the first failure is a rise
            self._ledger.polls.update(dict.fromkeys(((pool, outcome.value) for outcome in PollOutcome), 0))

    def refusal(self, threshold_tokens: int) -> str | None:
        """Why a threshold cannot be, as far as the short pool has said what it holds; None where it can.

        What it said last holds while no instance is known, as where a list is empty for a moment.
        """
        least = _least(self._watches.get(Pool.SHORT))
        if least is None and self._held is not None and self._held_by == self._settings.short_pool:
            least = "what was known last", self._held
        if least is None or least[1] >= threshold_tokens:
            return None
        instance, tokens = least
        return (
            f"threshold_tokens is {threshold_tokens}, and {instance} of short_pool has a max_model_len of {tokens}: "
            f"budgets of {tokens + 1} to {threshold_tokens} tokens would be sent where they do not fit. "
            f"Set threshold_tokens to {tokens} or less, or start that vLLM with --max-model-len {threshold_tokens}"
        )

    async def refuse_or_fit(self, within_s: float = INTRODUCTION_S) -> None:
        """Before the first request: ask the pools what they hold, and do not start on a threshold that cannot be.

        Instances that do not answer in time refuse nothing: they may still be loading their model. The threshold is
        held down when they turn out to have less.

        Raises:
            ConfigurationError: an instance of the short pool holds less than the threshold.
        """
        try:
            await asyncio.gather(*(watch.introduce(self._clock, within_s) for watch in self._watches.values()))
        except Exception as error:  # noqa: BLE001 - a bug in asking must not keep the service from starting
            confess(self._ledger, error)
        complaint = self.refusal(self._settings.threshold_tokens)
        if complaint is not None:
            raise ConfigurationError(complaint)
        for pool, watch in self._watches.items():
            if not watch.cards:
                _log.warning("%s pool: no instance has said its max_model_len yet; going on without", pool)
        self._fit()

    async def run(self) -> None:
        """Steer until it is cancelled. Never fails: what is told to the router would stay in force."""
        while True:
            try:
                await self._run()
            except Exception as error:  # noqa: BLE001 - begun anew, with the threshold pinned meanwhile
                confess(self._ledger, error)
                self._pin()
                await asyncio.sleep(self._settings.pool_poll_s)

    def step(self) -> None:
        """Tell the router what follows from what is known now. Never fails."""
        now_s = self._clock()
        try:
            self._fit()
            self._tell(self._steerer.step(now_s, *(self._seen(pool, now_s) for pool in Pool)), now_s)
        except Exception as error:  # noqa: BLE001 - our bug in steering must not become a wrong route
            confess(self._ledger, error)
            self._pin()

    async def _run(self) -> None:
        rounds: dict[PoolWatch, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                due_s = self._clock() + self._settings.pool_poll_s
                rounds = self._begin(rounds, group)
                if rounds:
                    await asyncio.wait(rounds.values(), timeout=self._settings.pool_poll_s)
                self.step()
                await asyncio.sleep(max(0.0, due_s - self._clock()))

    def _watch_of(self, pool: Pool, settings: Settings) -> PoolWatch | None:
        """Who watches a pool: as before where its setting is as before, nobody where it is empty."""
        name = f"{pool}_pool"
        value = getattr(settings, name)
        if not value.strip():
            return None
        if value == getattr(self._settings, name):
            return self._watches[pool]
        if self._asker is None:
            self._asker = Asker()
        return PoolWatch(Places(name, parse_places(name, value)), self._asker, poll_s=settings.pool_poll_s)

    def _begin(
        self, rounds: dict[PoolWatch, asyncio.Task[None]], group: asyncio.TaskGroup
    ) -> dict[PoolWatch, asyncio.Task[None]]:
        """A round of each pool, unless the one before is still under way."""
        begun = {}
        for pool, watch in self._watches.items():
            task = rounds.get(watch)
            begun[watch] = task if task and not task.done() else group.create_task(self._round(pool, watch))
        return begun

    async def _round(self, pool: Pool, watch: PoolWatch) -> None:
        try:
            outcomes = await watch.round(self._clock)
        except Exception as error:  # noqa: BLE001 - our bug in asking leaves readings to grow stale, no more
            confess(self._ledger, error)
        else:
            for outcome, count in outcomes.items():
                self._ledger.polls[pool, outcome.value] += count

    def _seen(self, pool: Pool, now_s: float) -> PoolState | None:
        """How a pool stands, shown to whoever looks."""
        watch, orca = self._watches.get(pool), self._orca if self._settings.orca else None
        state = None
        if watch is not None:
            state, standings = watch.readings.state(now_s), watch.readings.standings(now_s)
            self._ledger.pool_instances[pool] = {standing.value: count for standing, count in standings.items()}
            self._herald.pool(pool, state, standings, now_s)
        else:
            self._ledger.pool_instances.pop(pool, None)
            state = None if orca is None else orca.state(pool, now_s)
        self._ledger.pool_states[pool] = state
        return state

    def _fit(self) -> None:
        """Hold the router to what the short pool's instances have, or to what the operator says if that is less.

        Instances that come and go leave what was said last in force; without anybody's word the threshold stands for
        it, so that a setting that is taken back holds nothing down any more.
        """
        least, long = _least(self._watches.get(Pool.SHORT)), _least(self._watches.get(Pool.LONG))
        if least is not None or Pool.SHORT not in self._watches:
            self._held, self._held_by = least and least[1], self._settings.short_pool
        said = [tokens for tokens in (self._settings.short_max_model_len, self._held) if tokens]
        self._router.fit(min(said, default=self._settings.threshold_tokens))
        self._steerer.fit(self._router.short_max_model_len)
        now_s = self._clock()
        if least is not None:
            self._herald.context(*least, self._settings.threshold_tokens, now_s)
        if least is not None and long is not None and long[1] < least[1]:
            self._herald.order(*long, least[1], now_s)
        models = {pool: _models(watch) for pool, watch in self._watches.items()}
        self._ledger.pool_models = models
        self._herald.models(models, now_s)

    def _tell(self, steering: Steering, now_s: float) -> None:
        """In shadow mode the router stays where the operator has put it, and what it would be told is only shown."""
        before = self._router.policy.threshold_tokens
        self._router.steer(Steering(self._settings.threshold_tokens) if self._modes.shadow else steering)
        moved = self._router.policy.threshold_tokens - before
        if moved:
            self._ledger.threshold_moves[Direction.UP if moved > 0 else Direction.DOWN] += 1
        sees = self._watches or self._settings.orca
        self._ledger.steering = steering if sees else None
        self._ledger.pressures = self._steerer.pressures
        if not self._modes.shadow:
            self._herald.steering(steering, now_s)

    def _pin(self) -> None:
        self._router.steer(Steering(self._settings.threshold_tokens))


@asynccontextmanager
async def steering(helm: Helm) -> AsyncIterator[None]:
    """Steer for as long as the block lasts. What was asked last at its end is not waited for."""
    task = asyncio.get_running_loop().create_task(helm.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _models(watch: PoolWatch) -> tuple[str, ...]:
    """What a pool's instances say they serve, a few if they are many."""
    return tuple(sorted({card.model for card in watch.cards.values()})[:_MODELS_SHOWN])


def _least(watch: PoolWatch | None) -> tuple[str, int] | None:
    """The instance of a pool with the least context, and that; None where none is known."""
    cards = {} if watch is None else watch.cards
    return min(((instance, card.max_model_len) for instance, card in cards.items()), key=lambda it: it[1], default=None)
