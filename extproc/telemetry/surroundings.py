"""What goes on around the exchanges: pools, steering, files, other workers; whoever sees it writes it here."""

from collections import Counter
from collections.abc import Mapping

from extproc.routing.steering import PoolState, Steering
from extproc.routing.values import Pool
from extproc.settings import Settings
from extproc.telemetry.labels import Direction, LessonOutcome, LineOutcome, ReloadOutcome, SaveOutcome, Setting, Signal


class Surroundings:
    """How things stand, and counts since the process began. Written by the event loop, read by anyone."""

    def __init__(self) -> None:
        self.state_saves: Counter[SaveOutcome] = Counter()
        """Times the state file was written; empty where there is none."""
        self.pool_states: dict[Pool, PoolState | None] = dict.fromkeys(Pool)
        """How each pool stands; None without readings that can be used."""
        self.pool_instances: dict[Pool, dict[str, int]] = {}
        """Instances of each pool that is asked, by standing: fresh, stale, implausible, silent."""
        self.pool_models: dict[Pool, tuple[str, ...]] = {}
        """The models that each pool's instances say they serve."""
        self.pressures: Mapping[Pool, float] = {}
        """How hard each pool is pressed, of those that are seen."""
        self.polls: Counter[tuple[Pool, str]] = Counter()
        """Times instances were asked, by how it went."""
        self.steering: Steering | None = None
        """What the router follows; None where nothing steers it."""
        self.threshold_moves: Counter[str] = Counter(dict.fromkeys(Direction, 0))
        self.shadow = False
        """Decisions are recorded and not followed."""
        self.reloads: Counter[str] = Counter(dict.fromkeys(ReloadOutcome, 0))
        """Times settings were read anew, by whether they were taken."""
        self.settings_refused = False
        """The settings file is one that cannot be used."""
        self.settings_awaiting_restart = 0
        """Settings that the file has otherwise than they are in force."""
        self.access_log_lines: Counter[str] = Counter(dict.fromkeys(LineOutcome, 0))
        self.peer_lessons: Counter[str] = Counter(dict.fromkeys(LessonOutcome, 0))
        """Answers that workers told each other of."""
        self.otlp_failures: Counter[str] = Counter(dict.fromkeys(Signal, 0))
        """Times a collector did not take what it was sent; each written by the thread that sends it."""
        self.settings: dict[str, float] = {}
        """Settings in force that others of these are compared with; empty until somebody records them."""

    def record_settings(self, settings: Settings) -> None:
        """Take in the settings at the start, and whenever they change."""
        self.shadow = settings.shadow
        self.settings.update((setting, float(getattr(settings, setting))) for setting in Setting)
