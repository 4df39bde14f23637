import numpy as np
import pytest

from extproc.fleet.recording import Requests
from extproc.fleet.replay import Replayed, replay
from extproc.fleet.values import InstanceSpec, StepTimes

STEP_S = 0.1


def instance(*, kv_blocks: int = 1000, prefix_caching: bool = False) -> InstanceSpec:
    """Every step takes a tenth of a second, whatever is in it, and takes 1,024 tokens."""
    steps = StepTimes(np.full(1025, STEP_S), np.zeros(65), 0.0, 0.0, 0.0)
    return InstanceSpec(16_000, 64, 1024, kv_blocks, steps, prefix_caching=prefix_caching)


def requests(*rows: tuple[float, int, int]) -> Requests:
    """Arrival, prompt, output of each; nothing recorded of what became of them."""
    arrivals, prompts, outputs = np.array(rows).T
    unknown = np.full(len(rows), np.nan)
    return Requests(arrivals, prompts.astype(np.int64), outputs.astype(np.int64), unknown, unknown, unknown, unknown)


def ttft_s(found: Replayed) -> list[float]:
    """Of each, from when the engine took it in."""
    times: list[float] = (found.first_token_s - found.queued_s).tolist()
    return times


def test_an_idle_engine_begins_at_once() -> None:
    """A prompt of one chunk takes one step, each further token another one."""
    found = replay(requests((0, 500, 11)), instance())
    assert ttft_s(found) == pytest.approx([STEP_S])
    assert found.last_token_s == pytest.approx([11 * STEP_S])


def test_a_long_prompt_takes_its_chunks() -> None:
    """2,500 tokens are three steps of 1,024."""
    assert ttft_s(replay(requests((0, 2500, 2)), instance())) == pytest.approx([3 * STEP_S])


@pytest.mark.parametrize(("async_scheduling", "steps"), [(False, 1), (True, 2)])
def test_a_busy_engine_takes_requests_in_between_steps(async_scheduling: bool, steps: int) -> None:  # noqa: FBT001
    """It came in the middle of the third step; the fourth is already scheduled where that is done ahead."""
    found = replay(requests((0, 500, 50), (0.25, 500, 5)), instance(), async_scheduling=async_scheduling)
    assert found.queued_s[1] == pytest.approx(0.3)
    assert ttft_s(found)[1] == pytest.approx(steps * STEP_S, abs=1e-5)


def test_requests_that_came_in_one_step_keep_their_order() -> None:
    """The engine takes both in at its end, and with one place left only the first of them runs."""
    tight = instance(kv_blocks=40)
    found = replay(requests((0, 100, 300), (0.21, 300, 10), (0.22, 300, 10)), tight)
    assert found.queued_s[1] == found.queued_s[2]
    assert found.first_token_s[1] < found.first_token_s[2]


def test_data_parallel_engines_take_turns() -> None:
    """Each is alone on its own: neither waits for the other's prompt."""
    both = requests((0, 1024, 2), (0, 1024, 2))
    assert ttft_s(replay(both, instance(), instances=2)) == pytest.approx([STEP_S, STEP_S])
    assert replay(both, instance()).first_token_s[1] > 2 * STEP_S


def test_every_request_ends_and_writes_what_it_wrote() -> None:
    """Under load and preemption; the timeline ends with an idle engine."""
    rng = np.random.default_rng(5)
    rows = [(0.05 * number, int(rng.integers(20, 700)), int(rng.integers(2, 200))) for number in range(120)]
    found = replay(requests(*rows), instance(kv_blocks=120))
    assert found.complete.all()
    assert found.preemptions.sum() > 0
    assert found.timeline.preemptions == found.preemptions.sum()
    assert (found.timeline.running[-1], found.timeline.waiting[-1]) == (0, 0)
    assert found.timeline.kv_share is not None
    assert found.timeline.kv_share.max() <= 1
    assert np.diff(found.timeline.time_s) == pytest.approx(1.0)


def test_what_is_left_of_a_preempted_prompt_is_not_computed_anew() -> None:
    """With prefix caching the run is over no later, and prompts share nothing with each other."""
    rows = [(0.0, 2100, 300), (0.0, 2100, 300), (0.0, 2100, 300)]
    plain, caching = (
        replay(requests(*rows), instance(kv_blocks=420, prefix_caching=caches)) for caches in (False, True)
    )
    assert plain.preemptions.sum() > 0
    assert caching.preemptions.sum() > 0
    assert caching.last_token_s.max() < plain.last_token_s.max()
    assert caching.first_token_s[0] == plain.first_token_s[0]


def test_a_request_that_can_never_fit_is_not_complete() -> None:
    """The others are."""
    found = replay(requests((0, 5000, 10), (0, 100, 10)), instance(kv_blocks=50))
    assert found.complete.tolist() == [False, True]


def test_samples_are_taken_at_equal_distances() -> None:
    """Twelve steps of one running request, three or four between two looks."""
    found = replay(requests((0, 10, 12)), instance(), every_s=0.35)
    assert found.timeline.time_s == pytest.approx([0.35, 0.7, 1.05, 1.4])
    assert found.timeline.running.tolist() == [1, 1, 1, 0]


def test_spans_in_which_no_step_ended_have_no_row() -> None:
    """As vLLM writes its statistics: two requests far apart leave two rows with work behind them, and none between."""
    found = replay(requests((0, 500, 5), (10.05, 500, 5)), instance())
    assert found.timeline.time_s.tolist() == [1.0, 11.0]
    assert found.timeline.running.tolist() == [0.0, 0.0]


def test_a_long_step_has_no_rows_of_its_own() -> None:
    """Steps of a tenth of a second, looked at each 0.07: the first and the fourth find that nothing ended since."""
    found = replay(requests((0, 500, 3)), instance(), every_s=0.07)
    assert found.timeline.time_s == pytest.approx([0.14, 0.21, 0.35])
    assert found.timeline.running.tolist() == [1.0, 1.0, 0.0]


def test_prompts_of_one_text_are_found_in_the_cache() -> None:
    """The second of 2,500 tokens computes what is beyond its last whole 512: one chunk in place of three."""
    both = requests((0, 2500, 2), (5, 2500, 2))
    same, other = (replay(both, instance(prefix_caching=True), texts=np.array(texts)) for texts in ([7, 7], [7, 8]))
    assert ttft_s(same)[1] == pytest.approx(STEP_S)
    assert ttft_s(other)[1] == pytest.approx(3 * STEP_S)
