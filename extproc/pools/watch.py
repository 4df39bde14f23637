"""Keeps watch over one pool: finds its instances, asks each, and judges what they say; steers nothing.

A round asks every instance that answered the time before, and a few of those that did not, so that many dead ones
cannot make the readings of the living stale.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable

from extproc.pools import card, scrape
from extproc.pools.ask import Asker, AskError, PollOutcome
from extproc.pools.card import Card, CardSink, card_of
from extproc.pools.places import Places
from extproc.pools.scrape import Sifter, reading_of
from extproc.pools.urls import Address
from extproc.routing.readings import FRESH_POLLS, PoolReadings

ASKED_AT_ONCE = 16
"""Questions under way at the same time, of one pool."""
MISSING_A_ROUND = 16
"""Of the instances that did not answer the time before, so many are asked in a round, in turn."""
ANSWER_S = 2.0
"""How long an answer may take at most; of those that did not answer the time before, half as long."""
CARD_ROUNDS = 30
"""After so many an instance is asked for its model anew; at once where it did not answer for a while."""
CARD_RETRY_ROUNDS = 5
"""After so many, where that question alone was in vain: it took a slot for as long as an answer may take."""


class PoolWatch:
    """What is known of one pool. Runs on one event loop."""

    def __init__(self, places: Places, asker: Asker, *, poll_s: float) -> None:
        """Nothing is known yet.

        Args:
            places: where the instances are.
            asker: who asks them.
            poll_s: how often.
        """
        self.readings = PoolReadings(poll_s)
        """What was said, judged."""
        self._places = places
        self._asker = asker
        self._turns = asyncio.Semaphore(ASKED_AT_ONCE)
        self._missing: list[Address] = []  # those that did not answer, who waited longest first
        self._cards: dict[Address, Card] = {}
        self._card_rounds: dict[Address, int] = {}  # when each was asked for it
        self._round = 0

    @property
    def cards(self) -> dict[str, Card]:
        """The instances that said which model and context they have, by URL."""
        return {str(address): known for address, known in self._cards.items()}

    async def introduce(self, clock: Callable[[], float], within_s: float) -> None:
        """Ask every instance for its card alone; what is known when time is up is kept."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s), asyncio.TaskGroup() as group:
                for address in await self._found(clock()):
                    group.create_task(self._learn_card(address, within_s))

    async def round(self, clock: Callable[[], float]) -> Counter[PollOutcome]:
        """Ask the instances once.

        Args:
            clock: seconds, never backwards.

        Returns:
            How it went: so many times each outcome.
        """
        self._round += 1
        failed_before = self._places.failures
        addresses = await self._found(clock())
        outcomes = Counter({PollOutcome.UNLISTED: self._places.failures - failed_before})
        async with asyncio.TaskGroup() as group:
            tasks = {address: group.create_task(self._ask(address, clock)) for address in self._chosen(addresses)}
        for address, task in tasks.items():
            outcomes[task.result()] += 1
            self._rank(address, task.result())
        return +outcomes

    async def _found(self, now_s: float) -> list[Address]:
        """The pool's instances; what is known of others is forgotten."""
        addresses = await self._places.addresses(now_s)
        here = set(addresses)
        self.readings.know(map(str, addresses))
        self._missing = [address for address in self._missing if address in here]
        self._cards = {address: known for address, known in self._cards.items() if address in here}
        self._card_rounds = {address: asked for address, asked in self._card_rounds.items() if address in here}
        return addresses

    def _chosen(self, addresses: list[Address]) -> list[Address]:
        missing = set(self._missing)
        return [address for address in addresses if address not in missing] + self._missing[:MISSING_A_ROUND]

    def _rank(self, address: Address, outcome: PollOutcome) -> None:
        """The missing queue up: whoever was asked now comes last."""
        if address in self._missing:
            self._missing.remove(address)
        if outcome not in _ANSWERED:
            self._missing.append(address)
            self._card_rounds.pop(address, None)

    async def _ask(self, address: Address, clock: Callable[[], float]) -> PollOutcome:
        async with self._turns:
            within_s = min(ANSWER_S, self.readings.poll_s * FRESH_POLLS / 2)
            sifter, asked_s = Sifter(), clock()
            try:
                await self._asker.get(
                    address,
                    scrape.PATH,
                    sifter,
                    accept=scrape.ACCEPT,
                    within_s=within_s / 2 if address in self._missing else within_s,
                )
                reading = await reading_of(sifter.lines, asked_s, self._asker.pace)
            except AskError as error:
                return error.outcome
        plausible = self.readings.take(str(address), reading)
        if self._round - self._card_rounds.get(address, -CARD_ROUNDS) >= CARD_ROUNDS:
            await self._learn_card(address, within_s)
        return PollOutcome.READ if plausible else PollOutcome.IMPLAUSIBLE

    async def _learn_card(self, address: Address, within_s: float) -> None:
        """An instance that does not say keeps the card it had, and is asked again in a while."""
        self._card_rounds[address] = self._round - CARD_ROUNDS + CARD_RETRY_ROUNDS
        sink, known = CardSink(), None
        try:
            async with self._turns:
                await self._asker.get(address, card.PATH, sink, accept=card.ACCEPT, within_s=within_s)
            known = card_of(sink.body)
        except AskError as error:
            if error.outcome in (PollOutcome.TIMEOUT, PollOutcome.UNREACHABLE):
                return
        self._card_rounds[address] = self._round
        if known is not None:
            self._cards[address] = known


_ANSWERED = (PollOutcome.READ, PollOutcome.IMPLAUSIBLE)
