"""Applies the settings file when it changes, or on SIGHUP; knows which settings can change while requests are served.

A file that cannot be used changes nothing. One that can is applied in one step between two messages: exchanges that
began before keep their pool, and teach as they would have. A file is read once it has stood still for a second, so that
one half written is not taken for all of it.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import time_ns
from typing import NamedTuple

from extproc.assembly import build_router
from extproc.errors import ConfigurationError, DualpoolError
from extproc.pools.aside import Aside
from extproc.routing.router import Router
from extproc.server.modes import Modes
from extproc.server.steer import Helm
from extproc.server.waiting import happens
from extproc.settings import Settings, load_settings
from extproc.telemetry.labels import ReloadOutcome
from extproc.telemetry.ledger import Ledger
from extproc.telemetry.status import Running

LIVE = frozenset({
    "adaptive_threshold", "ema_decay", "explain_headers", "learning_samples", "log_level", "long_pool",
    "margin_deviations", "max_observed", "observe_share", "pool_poll_s", "promise", "routed_share", "shadow",
    "short_max_model_len", "short_pool", "spillover", "spillover_kv_usage", "spillover_share", "spillover_waiting",
    "streams_carry_usage", "template_tokens", "threshold_min_tokens", "threshold_tokens", "undeclared_output",
    "warm_up_samples",
})  # fmt: skip
"""Settings that are applied while the service runs."""
AT_START = frozenset({
    "access_log", "access_log_max_mb", "conversation_memory", "drain_s", "estimator", "listen", "log_format",
    "metrics_listen", "orca", "otlp_endpoint", "state_file", "state_peers", "state_save_s", "tokenizer_json",
    "trace_share",
})  # fmt: skip
"""Settings that hold until the next start: sockets, files, tables, and what is built of them."""
_LOOK_S = 1.0
_PAUSE_S = 0.5
"""Between two that were asked for: however many hangups come, requests have the time of the process."""
_STAT_S, _READ_S = 5.0, 30.0
"""How long a file system may take; it is not waited for on the path of any request."""
_COMPLAINT_MAX_CHARS = 1000
"""A file that is not meant as one of settings may have any number of mistakes."""
_NS = 1e9
_log = logging.getLogger(__name__)


class Mark(NamedTuple):
    """By what a changed file is told: an editor's rename, a ConfigMap's swapped link and a write in place all show."""

    inode: int
    device: int
    modified_ns: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Source:
    """Where settings come from: a file, with the environment and the flags of the command line on top."""

    path: Path | None = None
    flags: Mapping[str, object] = field(default_factory=dict)
    began: Mark | None = field(init=False, default=None)
    """The file before it was ever loaded, so that no change while the service starts is missed."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "began", self.mark())

    def load(self) -> Settings:
        """The settings as they stand now.

        Raises:
            ConfigurationError: they cannot be used.
        """
        return load_settings(self.path, **self.flags)

    def mark(self) -> Mark | None:
        """What tells the file from what it was; None where there is none."""
        if self.path is None:
            return None
        try:
            found = self.path.stat()
        except OSError:
            return None
        return Mark(found.st_ino, found.st_dev, found.st_mtime_ns, found.st_size)


class Reloader:
    """Watches one source for one process. Runs on its event loop."""

    def __init__(
        self, source: Source, running: Running, *, router: Router, modes: Modes, ledger: Ledger, helm: Helm | None
    ) -> None:
        """A reloader of which the settings in force are the newest it knows.

        Args:
            source: where they came from.
            running: has those in force, and is told of each attempt.
            router: follows them.
            modes: follow them.
            ledger: counts attempts.
            helm: follows them; None where nothing steers.
        """
        self._source = source
        self._running = running
        self._router = router
        self._modes = modes
        self._ledger = ledger
        self._helm = helm
        self._aside = Aside()
        self._handled = self._seen = source.began
        self._told = ""

    async def run(self, asked: asyncio.Event, *, look_s: float = _LOOK_S) -> None:
        """Look every so often, and at once when asked; until cancelled. Never fails."""
        while True:
            by_hand = await happens(asked, within_s=look_s)
            asked.clear()
            try:
                await self.look(by_hand=by_hand)
            except Exception as error:  # noqa: BLE001 - a bug here must not end the service
                self._refuse(f"internal error, {type(error).__name__}", by_hand=by_hand)
            if by_hand:
                await asyncio.sleep(_PAUSE_S)

    async def look(self, *, by_hand: bool = False) -> None:
        """Apply the settings if they have changed and stood still since the last look, or if somebody asks for it."""
        before, self._seen = self._seen, await self._mark()
        if not by_hand and (self._seen == self._handled or self._seen != before):
            return
        self._handled = self._seen
        try:
            wanted, fresh = await self._aside.run(self._prepare, _READ_S)
            self._apply(wanted, fresh)
        except TimeoutError:
            self._refuse("the file system takes too long", by_hand=by_hand)
        except DualpoolError as error:
            self._refuse(" ".join(str(error).split())[:_COMPLAINT_MAX_CHARS], by_hand=by_hand)

    async def _mark(self) -> Mark | None:
        """As it was last, while the file system hangs."""
        try:
            return await self._aside.run(self._source.mark, _STAT_S)
        except TimeoutError:
            return self._seen

    def _prepare(self) -> tuple[Settings, Router]:
        """The settings wanted, and a router of those that can be had at once, which is thereby known to be possible."""
        _heed(_vain(self._source.mark()))
        wanted = self._source.load()
        # A tokenizer takes a second to load, and is not taken over.
        return wanted, build_router(_merged(self._running.settings, wanted).model_copy(update={"tokenizer_json": ""}))

    def _apply(self, wanted: Settings, fresh: Router) -> None:
        """All of it, between two messages; what may still refuse it comes first."""
        before, settings = self._running.settings, _merged(self._running.settings, wanted)
        if self._helm is not None:
            same_pool = settings.short_pool == before.short_pool  # another one has not said what it holds
            if same_pool and settings.threshold_tokens != before.threshold_tokens:
                _heed(self._helm.refusal(settings.threshold_tokens))
            self._helm.follow(settings)
        self._router.adopt(fresh)
        self._modes.explain, self._modes.shadow = settings.explain_headers, settings.shadow
        self._modes.routed_share = settings.routed_share
        self._ledger.record_settings(settings)
        if self._helm is not None:
            self._helm.step()  # a threshold that has moved by itself is where it was
        logging.getLogger("extproc").setLevel(settings.log_level.upper())
        self._running.settings = settings
        self._tell_applied(before, settings, wanted)

    def _tell_applied(self, before: Settings, settings: Settings, wanted: Settings) -> None:
        changed = _differing(LIVE, before, settings)
        values = ", ".join(f"{name}={getattr(settings, name)}" for name in changed)
        _log.info("settings read anew: %s", values or "nothing to change")
        awaiting = tuple(_differing(AT_START, settings, wanted))
        if awaiting and awaiting != self._running.awaiting_restart:
            _log.warning("these settings have changed, and hold after a restart: %s", ", ".join(awaiting))
        self._running.awaiting_restart = awaiting
        self._ledger.settings_awaiting_restart = len(awaiting)
        self._note(ReloadOutcome.APPLIED, "")

    def _refuse(self, why: str, *, by_hand: bool) -> None:
        """Said once for each mistake, and whenever somebody asks."""
        if by_hand or why != self._told:
            _log.error("settings not read anew, those in force stay: %s", why)
        self._note(ReloadOutcome.REFUSED, why)

    def _note(self, outcome: ReloadOutcome, complaint: str) -> None:
        self._told = self._running.complaint = complaint
        self._ledger.settings_refused = outcome is ReloadOutcome.REFUSED
        self._running.reloaded_s = time_ns() / _NS
        self._ledger.reloads[outcome] += 1


@contextlib.asynccontextmanager
async def reloading(reloader: Reloader) -> AsyncIterator[None]:
    """Watch the settings for as long as the block lasts; SIGHUP asks for it at once, and no longer ends the process."""
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGHUP)
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(reloader.run(asked))
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            signal.signal(signal.SIGHUP, before)  # ignored, where the state is yet to be saved
            task.cancel()


def _merged(running: Settings, wanted: Settings) -> Settings:
    """What is wanted, as far as it can be had without a restart."""
    return running.model_copy(update={name: getattr(wanted, name) for name in LIVE})


def _differing(names: frozenset[str], one: Settings, other: Settings) -> list[str]:
    return sorted(name for name in names if getattr(one, name) != getattr(other, name))


def _vain(mark: Mark | None) -> str | None:
    """Why a file is not read at all: without a word in it every setting would fall back to its default.

    Also a pipe, which gives its content once, and a device, which may never end; a file that is gone says so itself.
    """
    if mark is None or mark.size_bytes:
        return None
    return "the settings file is empty, or no plain file: remove a setting to have its default, not all of them"


def _heed(refusal: str | None) -> None:
    if refusal is not None:
        raise ConfigurationError(refusal)
