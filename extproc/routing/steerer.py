"""Turns readings of both pools into what the router is told: the threshold, and whose requests spill.

Two rules, one quick and one slow: spillover answers within seconds and gives back what it took; the threshold follows
over minutes. No clock, no network: the service and the simulator push the same object.
"""

from dataclasses import dataclass, field

from extproc.routing.adaptive import AdaptiveRules, AdaptiveThreshold
from extproc.routing.pressure import PressureRules, pressure_of
from extproc.routing.spillover import Load, Spill, Spillover, SpilloverRules
from extproc.routing.steering import PoolState, Steering
from extproc.routing.values import Pool


@dataclass(frozen=True, slots=True)
class SteeringRules:
    """What steers, and from when on; the default spills and leaves the threshold alone."""

    pressure: PressureRules = field(default_factory=PressureRules)
    """What counts as pressure, for both."""
    spillover: SpilloverRules | None = field(default_factory=SpilloverRules)
    """None to spill nothing."""
    adaptive: AdaptiveRules | None = None
    """None to pin the threshold where the operator has put it."""


class Steerer:
    """Owns what is remembered from one reading to the next. One per router, not thread-safe.

    Where both rules are on, a pool that is relieved counts as pressed by the share of the relief that it takes, so that
    the threshold follows and the spilling ends: the quick rule for what passes, the slow one for what stays.
    """

    def __init__(self, rules: SteeringRules, *, threshold_tokens: int, short_max_model_len: int) -> None:
        """A steerer that has seen nothing yet.

        Args:
            rules: what it does.
            threshold_tokens: where the operator has put the threshold.
            short_max_model_len: the context of the short pool's instances; no threshold exceeds it.
        """
        self.rules = rules
        """What it does."""
        self.pressures: dict[Pool, float] = {}
        """How hard each pool was pressed at the last step, of those that had readings. For whoever shows it."""
        self._most_tokens = short_max_model_len
        self._wanted_tokens = threshold_tokens
        self._spillover = None if rules.spillover is None else Spillover(rules.spillover)
        self._adaptive = self._begin(rules.adaptive)

    @property
    def threshold_tokens(self) -> int:
        """The largest budget that goes short now."""
        if self._adaptive is None:
            return min(self._wanted_tokens, self._most_tokens)
        return self._adaptive.tokens

    def step(self, now_s: float, short: PoolState | None, long: PoolState | None) -> Steering:
        """What the router is to follow until the next step.

        Args:
            now_s: of any clock that does not run backwards; the same one each time.
            short: the short pool; None without fresh and plausible readings, and then nothing spills or moves.
            long: the long pool, likewise.
        """
        loads = [None if state is None else self._load(state) for state in (short, long)]
        self.pressures = {pool: load.pressure for pool, load in zip(Pool, loads, strict=True) if load is not None}
        spill = self._spill(now_s, *loads)
        if self._adaptive is not None:
            self._adaptive.step(now_s, *self._pressures(loads, spill))
        return Steering(self.threshold_tokens, spill.spill_from, spill.share)

    def fit(self, short_max_model_len: int) -> None:
        """The short pool's instances turned out to have this context: no threshold exceeds it from now on."""
        self._most_tokens = short_max_model_len
        if self._adaptive is not None:
            self._adaptive.fit(short_max_model_len)

    def pin(self, threshold_tokens: int) -> None:
        """The operator has put the threshold elsewhere: it is there now, and moves from there if it moves at all."""
        self._wanted_tokens = threshold_tokens
        if self._adaptive is not None:
            self._adaptive.pin(threshold_tokens)

    def change(self, rules: SteeringRules) -> None:
        """Follow other rules from now on. What they do not change goes on as it was."""
        before, self.rules = self.rules, rules
        if rules.spillover != before.spillover:
            self._spillover = None if rules.spillover is None else Spillover(rules.spillover)
        if rules.adaptive != before.adaptive:
            self._adaptive = self._begin(rules.adaptive)

    def _begin(self, rules: AdaptiveRules | None) -> AdaptiveThreshold | None:
        """A threshold at the operator's."""
        if rules is None:
            return None
        return AdaptiveThreshold(rules, threshold_tokens=self._wanted_tokens, short_max_model_len=self._most_tokens)

    def _load(self, state: PoolState) -> Load:
        return Load(pressure_of(state, self.rules.pressure), state.instances)

    def _spill(self, now_s: float, short: Load | None, long: Load | None) -> Spill:
        if self._spillover is None:
            return Spill()
        holds_more = self.threshold_tokens < self._most_tokens
        return self._spillover.step(now_s, short, long, short_holds_more=holds_more)

    def _pressures(self, loads: list[Load | None], spill: Spill) -> list[float | None]:
        """Of the short and the long pool, what is taken from them included."""
        pressures = [None if load is None else load.pressure for load in loads]
        if self.rules.spillover is not None and spill.spill_from is not None:
            relieved = 0 if spill.spill_from is Pool.SHORT else 1
            pressures[relieved] = max(pressures[relieved] or 0.0, spill.share / self.rules.spillover.share_max)
        return pressures
