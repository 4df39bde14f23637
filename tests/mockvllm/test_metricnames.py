import pytest

from extproc.mockvllm.metricnames import families, one_two_five


def names(version: tuple[int, int]) -> set[str]:
    """The metrics of a release."""
    return {family.name for family in families(version)}


@pytest.mark.parametrize(
    ("name", "present", "absent"),
    [
        ("vllm:gpu_cache_usage_perc", [(0, 8), (0, 10)], [(0, 11), (0, 33)]),
        ("vllm:kv_cache_usage_perc", [(0, 9), (0, 33)], [(0, 8)]),
        ("vllm:time_per_output_token_seconds", [(0, 9), (0, 13)], [(0, 17)]),
        ("vllm:inter_token_latency_seconds", [(0, 10), (0, 33)], [(0, 9)]),
        ("vllm:request_time_per_output_token_seconds", [(0, 11)], [(0, 10)]),
        ("vllm:num_requests_waiting_by_reason", [(0, 20)], [(0, 17)]),
        ("vllm:gpu_prefix_cache_hits", [(0, 8)], [(0, 13)]),
        ("vllm:request_num_preemptions", [(0, 30)], [(0, 29)]),
        ("vllm:admission_rejections", [(0, 32)], [(0, 31)]),
        ("vllm:num_preemptions", [(0, 8), (0, 33)], []),
    ],
)
def test_names_come_and_go_with_releases(
    name: str, present: list[tuple[int, int]], absent: list[tuple[int, int]]
) -> None:
    """A dashboard made for a release finds the names of that release."""
    assert all(name in names(version) for version in present)
    assert not any(name in names(version) for version in absent)


def test_names_are_unique_in_each_release() -> None:
    """No release exposes one name twice."""
    for version in [(0, 8), (0, 10), (0, 13), (0, 33)]:
        assert len(names(version)) == len(families(version))


def test_token_buckets_follow_the_one_two_five_series() -> None:
    """The buckets end at the context length."""
    assert one_two_five(100) == (1, 2, 5, 10, 20, 50, 100)
    assert one_two_five(8192)[-1] == 5000
