import math

from prometheus_client.parser import text_string_to_metric_families

from extproc.mockvllm.engine import Engine, EngineShape, StepCost
from extproc.mockvllm.metricnames import QUEUE_REASON
from extproc.mockvllm.metrics import Metrics
from extproc.mockvllm.sequence import Outcome, Sequence
from extproc.mockvllm.settings import MockSettings

SETTINGS = MockSettings(served_model_name="m", max_model_len=1000)


def samples(metrics: Metrics) -> dict[str, float]:
    """Every sample by name and the labels that tell it from its siblings."""
    _, text = metrics.exposition("")
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            own = {key: value for key, value in sample.labels.items() if key not in {"model_name", "engine"}}
            found[sample.name + "".join(f"|{value}" for value in own.values())] = sample.value
    return found


def loaded(horizon_s: float) -> Metrics:
    """Two requests, of 3 and 11 tokens, run to their end in steps of one second."""
    metrics = Metrics(SETTINGS)
    engine = Engine(EngineShape(8, 512, 101, cost=StepCost(base_s=1.0, prefill_token_s=0.0, sequence_s=0.0)))
    for output in (3, 11):
        engine.submit(Sequence(16, output, Outcome.STOP if output == 3 else Outcome.LENGTH, 0.0))
        metrics.admitted(1, 100)
    now_s = 0.0
    while engine.busy:
        step = engine.schedule(now_s, horizon_s=horizon_s)
        now_s += step.duration_s
        metrics.record(engine, step, engine.complete(step, now_s))
    return metrics


def test_tokens_times_and_outcomes_add_up() -> None:
    """Counters and histograms show what the engine did."""
    found = samples(loaded(0.0))
    assert found["vllm:prompt_tokens_total"] == 32
    assert found["vllm:generation_tokens_total"] == 14
    assert found["vllm:request_success_total|stop"] == found["vllm:request_success_total|length"] == 1
    assert found["vllm:time_to_first_token_seconds_sum"] == 2.0
    assert found["vllm:inter_token_latency_seconds_count"] == 12
    assert found["vllm:e2e_request_latency_seconds_sum"] == 14.0
    assert found["vllm:iteration_tokens_total_count"] == 11
    assert found["vllm:request_params_max_tokens_bucket|100.0"] == 2
    assert found["vllm:request_params_max_tokens_bucket|50.0"] == 0
    assert found["vllm:num_requests_running"] == 0


def test_steps_taken_together_are_observed_as_often_as_they_stand_for() -> None:
    """The exposition is the same whether equal steps were lumped or not."""
    assert samples(loaded(math.inf)) == samples(loaded(0.0))


def test_gauges_move_with_the_engine() -> None:
    """Running, waiting and KV use show the engine's state after a refresh."""
    metrics, engine = Metrics(SETTINGS), Engine(EngineShape(1, 512, 101))
    for _ in range(3):
        engine.submit(Sequence(160, 5, Outcome.STOP, 0.0))
    engine.schedule(0.0)
    metrics.refresh(engine)
    found = samples(metrics)
    assert found["vllm:num_requests_running"] == 1
    assert found["vllm:num_requests_waiting"] == found["vllm:num_requests_waiting_by_reason|capacity"] == 2
    assert found["vllm:kv_cache_usage_perc"] == 0.1


def test_aborts_and_rejections_are_counted() -> None:
    """An abort is an outcome of its own and has no latency; a refusal has a reason."""
    metrics, gone = Metrics(SETTINGS), Sequence(8, 5, Outcome.STOP, 0.0)
    gone.outcome = Outcome.ABORT
    metrics.finished(gone)
    metrics.rejected(QUEUE_REASON)
    found = samples(metrics)
    assert found["vllm:request_success_total|abort"] == 1
    assert found["vllm:e2e_request_latency_seconds_count"] == 0
    assert found[f"vllm:admission_rejections_total|{QUEUE_REASON}"] == 1


def test_the_exposition_has_vllms_labels() -> None:
    """Each sample names the model and the engine; the cache's configuration is an info gauge."""
    content_type, text = Metrics(SETTINGS).exposition("")
    assert content_type.startswith("text/plain; version=0.0.4")
    assert 'vllm:num_requests_running{engine="0",model_name="m"} 0.0' in text.decode()
    assert 'block_size="16"' in text.decode()


def test_openmetrics_is_sent_where_it_is_accepted() -> None:
    """The Accept header chooses the format."""
    content_type, text = Metrics(SETTINGS).exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")


def test_instances_do_not_share_numbers() -> None:
    """Two instances in one process keep separate registries."""
    busy, idle = loaded(0.0), Metrics(SETTINGS)
    assert samples(busy)["vllm:generation_tokens_total"] == 14
    assert samples(idle)["vllm:generation_tokens_total"] == 0
