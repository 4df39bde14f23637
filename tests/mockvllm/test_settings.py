import pytest

from extproc.errors import ConfigurationError
from extproc.mockvllm.settings import MockSettings


def test_defaults_describe_one_gpu_that_holds_the_whole_context() -> None:
    """An instance with nothing chosen can serve a request of its own max_model_len."""
    settings = MockSettings()
    assert settings.kv_capacity_tokens >= settings.max_model_len
    assert settings.num_gpu_blocks == 28_000


def test_a_long_context_gets_the_blocks_it_needs() -> None:
    """Where the default pool is too small for the context, the pool grows and keeps its null block."""
    settings = MockSettings(max_model_len=1_000_000)
    assert settings.num_gpu_blocks == 62_501
    assert settings.kv_capacity_tokens == 1_000_000


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"num_gpu_blocks_override": 10, "max_model_len": 160}, "num_gpu_blocks_override holds 144 tokens"),
        ({"max_num_queued_reqs": 4, "vllm_version": "0.28.0"}, "since vLLM 0.29"),
        ({"sse_keep_alive_interval_s": 1.0, "vllm_version": "0.29.1"}, "since vLLM 0.30"),
        ({"sse_keep_alive_interval_s": -1.0}, "must be positive"),
        ({"vllm_version": "newest"}, "must look like"),
        ({"speed": -1.0}, "speed"),
        ({"stream_interval": 0}, "stream_interval must be at least 1"),
    ],
)
def test_what_vllm_would_refuse_at_start_is_refused(chosen: dict[str, object], message: str) -> None:
    """Settings that cannot go together raise an error that names the option."""
    with pytest.raises(ConfigurationError, match=message):
        MockSettings(**chosen)  # type: ignore[arg-type]  # each case is wrong in one way on purpose


def test_versions_compare_by_number() -> None:
    """0.9 is older than 0.10, with or without a leading v."""
    assert MockSettings(vllm_version="v0.9.2").version < MockSettings(vllm_version="0.10.2").version


def test_the_api_key_is_not_shown() -> None:
    """The key stays out of anything that prints the settings."""
    assert "secret" not in repr(MockSettings(api_key="secret"))
