import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.versions import defaults
from extproc.fleet.values import Overflow


@pytest.mark.parametrize(
    ("gpu", "vllm", "batched", "sequences", "utilization"),
    [
        ("a100-80gb", "0.33", 2048, 256, 0.92),
        ("h100", "0.33", 8192, 1024, 0.92),
        ("mi300x", "0.33", 16_384, 1024, 0.92),
        ("mi300x", "0.24.0", 8192, 1024, 0.92),
        ("rtx-4090", "0.19.0", 2048, 256, 0.90),
    ],
)
def test_defaults(gpu: str, vllm: str, batched: int, sequences: int, utilization: float) -> None:
    """What nobody set is vLLM's default of the release for the memory class of the GPU."""
    found = defaults(vllm, builtin().gpu(gpu))
    assert found[:3] == (batched, sequences, utilization)


def test_overflow_by_release() -> None:
    """Releases from 0.32 on shorten outputs, older ones reject."""
    gpu = builtin().gpu("h100")
    assert [defaults(vllm, gpu).overflow for vllm in ("0.31.0", "v0.32.0")] == [Overflow.REJECT, Overflow.CLAMP]
    with pytest.raises(ConfigurationError, match="cannot be read"):
        defaults("newest", gpu)
