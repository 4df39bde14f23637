"""The loop steers the router by what real instances say, never fails, and refuses what cannot be."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.mockvllm.settings import MockSettings
from extproc.pools.ask import PollOutcome
from extproc.pools.card import Card
from extproc.pools.urls import Address
from extproc.pools.watch import CARD_RETRY_ROUNDS
from extproc.routing.estimators import FixedRatioEstimator
from extproc.routing.orca import OrcaLoads
from extproc.routing.policy import TokenBudgetPolicy
from extproc.routing.router import Router
from extproc.routing.steering import PoolState, Steering
from extproc.routing.values import Pool
from extproc.server.modes import Modes
from extproc.server.steer import Helm, steering
from extproc.settings import Settings
from extproc.telemetry.ledger import Ledger
from tests.pools.servers import PAGE, Replier, free_port, http, instance, serving, vllm
from tests.routing.test_orca import outcome

BUSY = PAGE.replace(b"} 2.0", b"} 50.0")
CALM = PAGE.replace(b"} 8.0", b"} 0.0").replace(b"} 2.0", b"} 0.0").replace(b"} 0.5", b"} 0.0")


class Working(Replier):
    """A busy instance that generates: its tokens grow from question to question."""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.replies["metrics"] = http(BUSY.replace(b"} 500.0", b"} %d" % (500 + len(self.asked))))
        await super().talk(reader, writer)


class Stage:
    """A router, two pools and what steers it, on a clock of its own."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.now_s = 100.0
        self.router = Router(estimator=FixedRatioEstimator(), policy=TokenBudgetPolicy(8192))
        self.ledger, self.modes = Ledger(), Modes()
        self.orca = OrcaLoads(2.0)

    async def serve(self, replier: Replier) -> Address:
        """Start an instance."""
        return await self._stack.enter_async_context(serving(replier.talk))

    def helm(self, **settings: object) -> Helm:
        """What steers the router by these settings."""
        return Helm(
            Settings.model_validate(settings),
            router=self.router,
            ledger=self.ledger,
            modes=self.modes,
            orca=self.orca,
            clock=lambda: self.now_s,
        )

    async def rounds(self, helm: Helm, count: int = 1) -> None:
        """So many polls of both pools, two seconds apart, each with its step."""
        for _ in range(count):
            self.now_s += 2.0
            for pool, watch in helm._watches.items():
                await helm._round(pool, watch)
            helm.step()

    @property
    def threshold(self) -> int:
        """What the router goes by."""
        return self.router.policy.threshold_tokens

    @property
    def spilling(self) -> Pool | None:
        """Whose requests the router spills."""
        return self.router._relief.spill_from


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Nothing steered yet."""
    async with AsyncExitStack() as stack:
        yield Stage(stack)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another task does."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_pressure_spills_and_its_end_ends_it(stage: Stage) -> None:
    """A long queue in the short pool and room in the long one: the router relieves, and shows why."""
    short, long = vllm(page=BUSY), vllm(131072, page=CALM)
    helm = stage.helm(short_pool=str(await stage.serve(short)), long_pool=str(await stage.serve(long)))
    await stage.rounds(helm, 2)
    assert stage.spilling is Pool.SHORT
    assert stage.ledger.steering is not None
    assert stage.ledger.steering.spill_share > 0
    assert stage.ledger.pool_states == {
        Pool.SHORT: PoolState(1, 8.0, 50.0, 0.5),
        Pool.LONG: PoolState(1, 0.0, 0.0, 0.0),
    }
    standings = {"fresh": 1, "stale": 0, "implausible": 0, "silent": 0}
    assert stage.ledger.pool_instances == {Pool.SHORT: standings, Pool.LONG: standings}
    assert +stage.ledger.polls == {(Pool.SHORT, "read"): 2, (Pool.LONG, "read"): 2}
    assert stage.ledger.pressures == {Pool.SHORT: 50.0 / 4.0, Pool.LONG: 0.0}
    short.replies["metrics"] = http(CALM)
    await stage.rounds(helm, 2)
    assert stage.spilling is None


async def test_readings_that_grow_stale_end_all_steering(stage: Stage) -> None:
    """Nobody answers any more: three polls later nothing spills."""
    short, long = vllm(page=BUSY), vllm(131072, page=CALM)
    helm = stage.helm(short_pool=str(await stage.serve(short)), long_pool=str(await stage.serve(long)))
    await stage.rounds(helm, 2)
    short.replies["metrics"] = http(b"", status="503 Service Unavailable")
    await stage.rounds(helm, 2)
    assert stage.spilling is Pool.SHORT
    await stage.rounds(helm, 2)
    assert stage.spilling is None
    assert stage.ledger.pool_states[Pool.SHORT] is None
    assert stage.ledger.pressures.keys() == {Pool.LONG}
    assert stage.ledger.pool_instances[Pool.SHORT]["stale"] == 1
    assert stage.ledger.polls[Pool.SHORT, "status"] == 4


async def test_in_shadow_mode_it_is_only_shown(stage: Stage) -> None:
    """The router stays as the operator set it; when the mode ends it is steered."""
    stage.modes.shadow = True
    helm = stage.helm(
        short_pool=str(await stage.serve(vllm(page=BUSY))), long_pool=str(await stage.serve(vllm(131072, page=CALM)))
    )
    await stage.rounds(helm, 2)
    assert stage.spilling is None
    assert stage.ledger.steering is not None
    assert stage.ledger.steering.spill_from is Pool.SHORT
    stage.modes.shadow = False
    await stage.rounds(helm)
    assert stage.spilling is Pool.SHORT


async def test_the_threshold_moves_within_its_bounds(stage: Stage) -> None:
    """An adaptive one falls under pressure; each move is counted, and pinning it again takes it back."""
    short = str(await stage.serve(Working(**vllm().replies)))
    long = str(await stage.serve(vllm(131072, page=CALM)))
    helm = stage.helm(short_pool=short, long_pool=long, adaptive_threshold=True, spillover=False)
    await stage.rounds(helm, 60)
    assert 1024 <= stage.threshold < 8192
    assert stage.ledger.threshold_moves["down"] > 0
    assert stage.ledger.threshold_moves["up"] == 0
    helm.follow(Settings(short_pool=short, long_pool=long, threshold_tokens=4096))
    helm.step()
    assert stage.threshold == 4096


async def test_a_threshold_the_short_pool_cannot_hold_is_refused(stage: Stage) -> None:
    """The operator reads which instance, what it has, and what to do."""
    small, large = await stage.serve(vllm(4096)), await stage.serve(vllm(16384))
    helm = stage.helm(short_pool=f"{large},{small}")
    with pytest.raises(ConfigurationError) as refused:
        await helm.refuse_or_fit()
    assert str(refused.value) == (
        f"threshold_tokens is 8192, and {small} of short_pool has a max_model_len of 4096: budgets of 4097 to 8192 "
        "tokens would be sent where they do not fit. Set threshold_tokens to 4096 or less, or start that vLLM with "
        "--max-model-len 8192"
    )
    assert helm.refusal(4096) is None


async def test_what_the_short_pool_holds_is_known_before_the_first_request(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """The least of its instances counts; nothing to complain of is nothing said but that."""
    caplog.set_level(logging.INFO)
    one, other = await stage.serve(vllm(16384)), await stage.serve(vllm(12288))
    helm = stage.helm(short_pool=f"{one},{other}", long_pool=str(await stage.serve(vllm(131072))))
    await helm.refuse_or_fit()
    assert stage.router.short_max_model_len == 12288
    assert stage.threshold == 8192
    assert helm.cards[Pool.SHORT] == {str(one): Card("m", 16384), str(other): Card("m", 12288)}
    assert [record.message for record in caplog.records] == ["short pool: the least max_model_len is 12288"]


async def test_who_does_not_answer_at_the_start_refuses_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """The service starts, says so, and holds the threshold down when it turns out to be too large."""
    loading = vllm(4096)
    card = loading.replies.pop("models")
    helm = stage.helm(short_pool=str(await stage.serve(loading)), pool_poll_s=0.4)
    await helm.refuse_or_fit(within_s=0.2)
    assert caplog.messages == ["short pool: no instance has said its max_model_len yet; going on without"]
    assert stage.threshold == 8192
    loading.replies["models"] = card
    await stage.rounds(helm, CARD_RETRY_ROUNDS)
    assert (stage.threshold, stage.router.short_max_model_len) == (4096, 4096)
    assert stage.ledger.threshold_moves["down"] == 0
    assert "below threshold_tokens 8192: larger budgets go long" in caplog.text


async def test_the_operators_word_on_the_context_holds_if_it_is_less(stage: Stage) -> None:
    """A margin below what the instances have is kept; one above is not believed."""
    short = str(await stage.serve(vllm(16384)))
    helm = stage.helm(short_pool=short, short_max_model_len=12000)
    await helm.refuse_or_fit()
    assert stage.router.short_max_model_len == 12000
    helm.follow(Settings(short_pool=short, short_max_model_len=20000))
    helm.step()
    assert stage.router.short_max_model_len == 16384


async def test_interchanged_pools_are_warned_of(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """The long pool holding less than the short one is hardly meant."""
    helm = stage.helm(short_pool=str(await stage.serve(vllm(131072))), long_pool=str(await stage.serve(vllm(8192))))
    await helm.refuse_or_fit()
    assert "are the two pools interchanged?" in caplog.text


async def test_models_that_differ_are_warned_of_and_shown(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Instances of one pool that serve two models are hardly meant: an answer would depend on where a request went."""
    other = vllm(16384)
    other.replies["models"] = http(json.dumps({"data": [{"id": "other", "max_model_len": 16384}]}).encode())
    short = f"{await stage.serve(vllm(16384))},{await stage.serve(other)}"
    helm = stage.helm(short_pool=short, long_pool=str(await stage.serve(vllm(131072))))
    await helm.refuse_or_fit()
    assert "instances serve different models" in caplog.text
    assert stage.ledger.pool_models == {Pool.SHORT: ("m", "other"), Pool.LONG: ("m",)}


async def test_failures_are_counted_from_nothing(stage: Stage) -> None:
    """Every way to fail shows as 0 before it happens, for a rise from nothing is none that an alert sees."""
    helm = stage.helm(short_pool=str(await stage.serve(vllm())))
    assert stage.ledger.polls == {(Pool.SHORT, outcome): 0 for outcome in PollOutcome}
    await stage.rounds(helm, 2)
    helm.follow(Settings(short_pool=helm._settings.short_pool, pool_poll_s=1.0))
    assert stage.ledger.polls[Pool.SHORT, "read"] == 2


async def test_without_pools_the_threshold_is_pinned(stage: Stage) -> None:
    """Nobody is asked, nothing is shown, and the operator's threshold is followed when it changes."""
    helm = stage.helm()
    await helm.refuse_or_fit()
    helm.step()
    assert (stage.threshold, stage.ledger.steering, stage.ledger.pool_instances) == (8192, None, {})
    helm.follow(Settings(threshold_tokens=2048))
    helm.step()
    assert stage.threshold == 2048


async def test_answers_may_say_the_load_instead(stage: Stage) -> None:
    """Where nobody asks a pool its ORCA headers count, and where somebody does they do not."""
    for _ in range(10):
        stage.orca.heed(outcome("TEXT kv_cache_usage_perc=0.5,num_requests_waiting=50"), stage.now_s)
    helm = stage.helm(orca=True, long_pool=str(await stage.serve(vllm(131072, page=CALM))))
    await stage.rounds(helm, 2)
    assert stage.ledger.pool_states[Pool.SHORT] == PoolState(1, 0.0, 50.0, 0.5)
    assert stage.spilling is Pool.SHORT
    with free_port() as nobody:
        helm.follow(Settings(orca=True, short_pool=str(nobody)))
        await stage.rounds(helm)
    assert stage.ledger.pool_states[Pool.SHORT] is None
    assert Pool.LONG not in stage.ledger.pool_instances
    helm.follow(Settings())
    helm.step()
    assert stage.ledger.steering is None


async def test_what_is_known_of_a_pool_survives_a_change_elsewhere(stage: Stage) -> None:
    """New settings begin anew only for a pool that is somewhere else; impossible ones change nothing."""
    short, other = str(await stage.serve(vllm())), str(await stage.serve(vllm(16384)))
    helm = stage.helm(short_pool=short)
    await stage.rounds(helm)
    before = helm._watches[Pool.SHORT]
    helm.follow(Settings(short_pool=short, long_pool=other, pool_poll_s=5.0))
    assert helm._watches[Pool.SHORT] is before
    assert before.readings.poll_s == stage.orca.poll_s == 5.0
    with pytest.raises(ConfigurationError, match="long_pool"):
        helm.follow(Settings(short_pool=other, long_pool="nonsense"))
    assert helm._watches[Pool.SHORT] is before
    helm.follow(Settings(short_pool=other))
    assert helm.cards == {Pool.SHORT: {}}


async def test_a_bug_in_steering_pins_the_threshold(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted, told by place and not by text, and the next step goes on."""

    class Failing:
        """A steerer that is broken."""

        def fit(self, short_max_model_len: int) -> None:
            """Take it."""

        def step(self, *_: object) -> Steering:
            """Fail."""
            raise ValueError("what a user typed")

    helm = stage.helm(adaptive_threshold=True)
    whole, helm._steerer = helm._steerer, Failing()  # type: ignore[assignment]
    stage.router.steer(Steering(2000, Pool.SHORT, 0.5))
    for _ in range(3):
        helm.step()
    assert (stage.threshold, stage.spilling, stage.ledger.internal_errors) == (8192, None, 3)
    assert len(caplog.messages) == 1
    assert "internal error 1: ValueError at step:" in caplog.text
    assert "typed" not in caplog.text
    helm._steerer = whole
    helm.step()
    assert stage.ledger.internal_errors == 3


async def test_a_bug_in_asking_leaves_the_loop_running(stage: Stage) -> None:
    """At the start and in a round it is counted, and no more."""
    helm = stage.helm(short_pool=str(await stage.serve(vllm())))

    class Broken:
        """Places that fail."""

        failures = 0

        async def addresses(self, now_s: float) -> list[Address]:
            """Fail."""
            raise RuntimeError

    helm._watches[Pool.SHORT]._places = Broken()  # type: ignore[assignment]
    await helm.refuse_or_fit(within_s=1.0)
    await stage.rounds(helm)
    assert stage.ledger.internal_errors == 2
    assert stage.threshold == 8192


async def test_the_loop_runs_beside_the_service(stage: Stage, tmp_path: Path) -> None:
    """Real mock instances, a real clock: readings come for as long as the block lasts, and its end waits for nobody."""
    with instance(MockSettings(max_model_len=8192, speed=0)) as short:
        listed = tmp_path / "short.yaml"
        listed.write_text(f"- targets: ['{short.authority}']\n", encoding="utf-8")
        hanging = await stage.serve(Replier())
        helm = Helm(
            Settings(short_pool=f"file://{listed}", long_pool=str(hanging), pool_poll_s=0.2),
            router=stage.router,
            ledger=stage.ledger,
            modes=stage.modes,
        )
        async with steering(helm):
            await until(lambda: stage.ledger.polls[Pool.SHORT, "read"] >= 3)
            await until(lambda: stage.ledger.polls[Pool.LONG, "timeout"] >= 1)
        assert stage.ledger.pool_states == {Pool.SHORT: PoolState(1, 0.0, 0.0, 0.0), Pool.LONG: None}
        assert stage.ledger.internal_errors == 0
        asked = stage.ledger.polls.total()
        await asyncio.sleep(0)
        assert stage.ledger.polls.total() == asked


async def test_a_loop_that_breaks_begins_anew(stage: Stage) -> None:
    """Meanwhile the threshold is pinned: nothing that was told before stays in force."""
    helm = stage.helm(pool_poll_s=0.2)
    helm._watches = None  # type: ignore[assignment]
    stage.router.steer(Steering(2000, Pool.SHORT, 0.5))
    async with steering(helm):
        await until(lambda: stage.ledger.internal_errors)
        assert (stage.threshold, stage.spilling) == (8192, None)
        helm._watches = {}
        stage.router.steer(Steering(2000))
        await until(lambda: stage.threshold == 8192)


async def test_an_error_in_the_block_passes_through(stage: Stage) -> None:
    """As it is: a ConfigurationError reaches the command line as one."""
    with pytest.raises(ConfigurationError, match="theirs"):
        async with steering(stage.helm()):
            raise ConfigurationError("theirs")


async def test_a_context_below_the_threshold_holds_from_the_first_request(stage: Stage) -> None:
    """The operator's two numbers contradict each other: nothing goes short that does not fit, not even at first."""
    stage.router = Router(estimator=FixedRatioEstimator(), policy=TokenBudgetPolicy(16384), short_max_model_len=8192)
    helm = stage.helm(threshold_tokens=16384, short_max_model_len=8192)
    await helm.refuse_or_fit()
    assert stage.threshold == 8192
