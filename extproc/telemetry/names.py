"""Every instrument of the service in one table: name, kind, unit, meaning, labels; it knows nobody's numbers.

Names are OpenTelemetry's: `gen_ai.*` where its conventions have one (they are still in development, which is why they
stand in one place), `dualpool.*` otherwise. Every label's values come from an enum or are bounded in number, for each
set of them is a series that somebody stores.
"""

from dataclasses import dataclass
from enum import StrEnum

from extproc.routing.exchange import Undecided
from extproc.routing.readings import Standing
from extproc.routing.refusal import Refusal
from extproc.routing.response import ReadOutcome
from extproc.routing.values import Category, Misroute, Pool, Provenance, Reason, Stage
from extproc.telemetry.labels import (
    Direction,
    LessonOutcome,
    LineOutcome,
    Operation,
    Phase,
    ReloadOutcome,
    SaveOutcome,
    Setting,
    Signal,
    StatusClass,
)


class Kind(StrEnum):
    """What Prometheus calls the type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Label:
    """A label, and what it can say."""

    name: str
    values: tuple[str, ...] = ()
    """All there are; empty where `bound` says what there may be."""
    bound: str = ""


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric."""

    name: str
    kind: Kind
    unit: str
    """UCUM; words in braces are a note to people and no part of Prometheus's name."""
    meaning: str
    """One sentence."""
    labels: tuple[Label, ...] = ()
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, but for the last, which has none."""

    @property
    def prometheus_name(self) -> str:
        """As a scrape has it, but for what Prometheus appends to the series of a histogram."""
        suffix = "_seconds" if self.unit == "s" else "_per_second" if self.unit.endswith("/s") else ""
        return self.name.replace(".", "_") + suffix + ("_total" if self.kind is Kind.COUNTER else "")


def _of(name: str, values: type[StrEnum]) -> Label:
    return Label(name, tuple(values))


_POOL = _of("pool", Pool)
_CATEGORY = _of("category", Category)
_ANY_CATEGORY = Label("category", (*Category, "*"))
_MODEL = Label("model", bound="as many models as the estimator keeps, and * for all others")
_POLLED = (
    "read", "implausible", "unreachable", "timeout", "status", "encoded", "too_large", "malformed", "unlisted",
)  # fmt: skip
"""As `extproc.pools.ask` has them, which is none of ours to import."""
_TOKENS = (*(float(bound) for power in range(7, 20) for bound in (2**power, 3 * 2 ** (power - 1))), 2.0**20)
"""128 to 2^20, two to each doubling: a budget's side of any threshold can be told to within a third."""
_ERRORS = (-0.5, -0.3, -0.2, -0.15, -0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
_SECONDS = (25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 1.0)
_USAGE = tuple(4.0**power for power in range(14))
"""What the convention asks for."""
_COUNTER, _GAUGE, _HISTOGRAM = Kind

DECISIONS = Instrument(
    "dualpool.decisions",
    _COUNTER,
    "{decision}",
    "Requests routed, by pool, reason, provenance and the stage that settled them.",
    (_POOL, _of("reason", Reason), _of("provenance", Provenance), _of("stage", Stage)),
)
OBSERVED = Instrument("dualpool.decisions.observed", _COUNTER, "{decision}", "Decisions whose answer is to be read.")
FOLLOWED = Instrument(
    "dualpool.decisions.followed",
    _COUNTER,
    "{decision}",
    "Decisions that requests went by, so none of shadow mode or beyond routed_share; counted when their exchange ends.",
    (_POOL,),
)
BUDGET = Instrument(
    "dualpool.budget",
    _HISTOGRAM,
    "{token}",
    "Budgets of the decisions that have one: prompt as it was compared with the threshold, and reserved output.",
    (_POOL,),
    _TOKENS,
)
UNDECIDED = Instrument(
    "dualpool.undecided", _COUNTER, "{stream}", "Streams without a decision.", (_of("reason", Undecided),)
)
INTERNAL_ERRORS = Instrument(
    "dualpool.internal.errors",
    _COUNTER,
    "{error}",
    "Our own bugs; each of these exchanges went on without us, to the long pool if it was not routed yet.",
)
STREAMS = Instrument("dualpool.streams", _GAUGE, "{stream}", "gRPC streams open.")
PHASE_DURATION = Instrument(
    "dualpool.phase.duration",
    _HISTOGRAM,
    "s",
    "Time from having a message of Envoy's to having the answer to it.",
    (_of("phase", Phase),),
    _SECONDS,
)
SHADOW = Instrument("dualpool.shadow", _GAUGE, "", "1 while decisions are recorded and not followed, otherwise 0.")

ANSWERS_READ = Instrument(
    "dualpool.answers.read", _COUNTER, "{answer}", "Answers read for usage.", (_of("outcome", ReadOutcome),)
)
LEARNED = Instrument("dualpool.learned", _COUNTER, "{answer}", "Answers the estimator took in.")
COMPARED = Instrument(
    "dualpool.estimates.compared", _COUNTER, "{estimate}", "Estimates compared with usage.", (_CATEGORY,)
)
ABS_ERROR = Instrument(
    "dualpool.estimates.abs_error",
    _COUNTER,
    "",
    "Sum of |estimate - truth| / truth over the compared estimates, without margin, before learning.",
    (_CATEGORY,),
)
ESTIMATE_ERROR = Instrument(
    "dualpool.estimate.error",
    _HISTOGRAM,
    "",
    "(estimate - truth) / truth of the compared estimates, without margin, before learning; below 0 it was too small.",
    (_CATEGORY,),
    _ERRORS,
)
TOKEN_USAGE = Instrument(
    "gen_ai.client.token.usage",
    _HISTOGRAM,
    "{token}",
    "Tokens that the answers which were read say they used.",
    (
        Label("gen_ai.token.type", ("input", "output")),
        _of("gen_ai.operation.name", Operation),
        Label("gen_ai.provider.name", ("vllm",)),
        Label("gen_ai.request.model", bound="the first 32 models that answered, and _OTHER for all others"),
    ),
    _USAGE,
)

JUDGED = Instrument("dualpool.judged", _COUNTER, "{request}", "Decisions of which it is known whether they were right.")
MISROUTES = Instrument(
    "dualpool.misroutes", _COUNTER, "{request}", "Of those, the wrong ones.", (_of("direction", Misroute),)
)
JUDGED_WEIGHTED = Instrument(
    "dualpool.judged.weighted",
    _COUNTER,
    "{request}",
    "Requests that the judged decisions stand for, by the share of their like that is observed.",
)
MISROUTES_WEIGHTED = Instrument(
    "dualpool.misroutes.weighted",
    _COUNTER,
    "{request}",
    "Requests that the wrong decisions stand for.",
    (_of("direction", Misroute),),
)
UNDER_REALISED = Instrument(
    "dualpool.under.realised",
    _GAUGE,
    "",
    "Share of requests that went short and did not fit, by their weights; half-life 100,000 requests.",
)
TRUNCATIONS = Instrument(
    "dualpool.truncations", _COUNTER, "{answer}", "Answers that the end of the short pool's context cut, as observed."
)
TRUNCATIONS_WEIGHTED = Instrument(
    "dualpool.truncations.weighted", _COUNTER, "{answer}", "Answers that the truncated ones stand for."
)
ESCALATIONS = Instrument(
    "dualpool.escalations",
    _COUNTER,
    "{request}",
    "Requests that the short pool failed and Envoy then sent to the long one, as observed, by what that answered.",
    (_of("status_class", StatusClass),),
)
ESCALATIONS_WEIGHTED = Instrument(
    "dualpool.escalations.weighted",
    _COUNTER,
    "{request}",
    "Requests that the escalated ones stand for.",
    (_of("status_class", StatusClass),),
)
REFUSALS = Instrument(
    "dualpool.refusals",
    _COUNTER,
    "{request}",
    "Requests that the short pool refused, as observed, and nobody asked the long one.",
    (_of("refusal", Refusal),),
)

POOL_RUNNING = Instrument(
    "dualpool.pool.running", _GAUGE, "{request}", "Requests in the engine's batch, mean of the instances.", (_POOL,)
)
POOL_WAITING = Instrument(
    "dualpool.pool.waiting", _GAUGE, "{request}", "Requests in the engine's queue, mean of the instances.", (_POOL,)
)
POOL_KV_USAGE = Instrument(
    "dualpool.pool.kv_usage", _GAUGE, "", "Share of KV blocks in use, mean of the instances.", (_POOL,)
)
POOL_PREEMPTIONS = Instrument(
    "dualpool.pool.preemptions",
    _GAUGE,
    "{preemption}/s",
    "Preemptions in a second, mean of the instances.",
    (_POOL,),
)
POOL_REJECTIONS = Instrument(
    "dualpool.pool.rejections",
    _GAUGE,
    "{request}/s",
    "Requests refused with 503 in a second, mean of the instances.",
    (_POOL,),
)
POOL_PRESSURE = Instrument(
    "dualpool.pool.pressure",
    _GAUGE,
    "",
    "How hard a pool is pressed, by which it is steered: 0 not at all, from 1 on it needs relief.",
    (_POOL,),
)
POOL_INSTANCES = Instrument(
    "dualpool.pool.instances",
    _GAUGE,
    "{instance}",
    "Instances of a pool, by what their last reading is worth.",
    (_POOL, _of("standing", Standing)),
)
POOL_POLLS = Instrument(
    "dualpool.pool.polls",
    _COUNTER,
    "{poll}",
    "Times an instance was asked for its load.",
    (_POOL, Label("outcome", _POLLED)),
)

THRESHOLD = Instrument("dualpool.threshold", _GAUGE, "{token}", "Largest budget the short pool takes.")
THRESHOLD_MOVES = Instrument(
    "dualpool.threshold.moves", _COUNTER, "{move}", "Times the threshold moved.", (_of("direction", Direction),)
)
SPILL_SHARE = Instrument(
    "dualpool.spill.share",
    _GAUGE,
    "",
    "Of a pool's requests, how many the other one takes at present, if it can hold them; 0 while it is not relieved.",
    (_POOL,),
)
SHORT_MAX_MODEL_LEN = Instrument(
    "dualpool.short.max_model_len", _GAUGE, "{token}", "Largest budget the short pool can hold, as far as is known."
)

SETTING = Instrument(
    "dualpool.setting",
    _GAUGE,
    "",
    "Settings in force that others are compared with; 0 and 1 stand for no and yes.",
    (_of("setting", Setting),),
)

PROMISE = Instrument("dualpool.promise", _GAUGE, "", "Acceptable share of requests that go short and do not fit.")
BYTES_PER_TOKEN = Instrument(
    "dualpool.bytes_per_token",
    _GAUGE,
    "",
    "Learned bytes per token, by model and category.",
    (_MODEL, _ANY_CATEGORY),
)
BYTES_PER_TOKEN_SAMPLES = Instrument(
    "dualpool.bytes_per_token.samples", _GAUGE, "", "Answers each ratio was learned from.", (_MODEL, _ANY_CATEGORY)
)
OBSERVING = Instrument("dualpool.observing", _GAUGE, "{answer}", "Answers being waited for.")
MODEL_SAMPLES = Instrument("dualpool.model.samples", _GAUGE, "", "Answers learned, by model.", (_MODEL,))
DRIFT_DOUBT = Instrument(
    "dualpool.drift.doubt",
    _GAUGE,
    "",
    "Doubt added to every estimate of a model (deviation of its logarithm): not 0 while it is new or has changed.",
    (_MODEL,),
)
DRIFT_ALARMS = Instrument(
    "dualpool.drift.alarms",
    _COUNTER,
    "{alarm}",
    "How often a model's errors left what was stated for them.",
    (_MODEL,),
)
MEMORY_PROMPTS = Instrument(
    "dualpool.memory.prompts", _GAUGE, "{prompt}", "Prompts remembered, so that what extends them is known."
)
OUTPUT_RESERVED = Instrument(
    "dualpool.output.reserved",
    _GAUGE,
    "{token}",
    "Output reserved where a chat names no limit, once enough is learned to promise it.",
    (_MODEL, _ANY_CATEGORY),
)

STATE_SAVES = Instrument(
    "dualpool.state.saves", _COUNTER, "{save}", "Times the state file was written.", (_of("outcome", SaveOutcome),)
)
SETTINGS_RELOADS = Instrument(
    "dualpool.settings.reloads",
    _COUNTER,
    "{reload}",
    "Times the settings file was read anew; a refused one changed nothing.",
    (_of("outcome", ReloadOutcome),),
)
SETTINGS_REFUSED = Instrument(
    "dualpool.settings.refused",
    _GAUGE,
    "",
    "1 while the settings file is one that cannot be used, and the settings before it hold, otherwise 0.",
)
SETTINGS_AWAITING_RESTART = Instrument(
    "dualpool.settings.awaiting_restart",
    _GAUGE,
    "{setting}",
    "Settings that the file has otherwise than they are in force, and that hold after a restart.",
)
ACCESS_LOG_LINES = Instrument(
    "dualpool.access_log.lines",
    _COUNTER,
    "{line}",
    "Lines of the access log; dropped ones waited for a slow disk, or found it full.",
    (_of("outcome", LineOutcome),),
)
PEERS_LESSONS = Instrument(
    "dualpool.peers.lessons",
    _COUNTER,
    "{lesson}",
    "Answers that workers told each other of.",
    (_of("outcome", LessonOutcome),),
)
OTLP_FAILURES = Instrument(
    "dualpool.otlp.failures",
    _COUNTER,
    "{export}",
    "Times the collector did not take what it was sent.",
    (_of("signal", Signal),),
)
SPANS_DROPPED = Instrument(
    "dualpool.spans.dropped",
    _COUNTER,
    "{span}",
    "Sampled exchanges without a span, as there were too many in a second.",
)

INSTRUMENTS = tuple(value for value in tuple(vars().values()) if isinstance(value, Instrument))
"""All of them, in the order they stand here."""
