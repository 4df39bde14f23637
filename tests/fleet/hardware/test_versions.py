import pytest

from extproc.errors import ConfigurationError
from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.instances import instance_of
from extproc.fleet.hardware.versions import LATEST, defaults, settled
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


def test_the_full_gate_by_release() -> None:
    """Older releases admit a prompt whose first chunk fits, and an instance of theirs does so in the simulator."""
    llama, gpu = builtin().model("llama-3.1-8b"), builtin().gpu("a100-80gb")
    gated = {vllm: defaults(vllm, gpu).reserve_full_sequence for vllm in ("0.17.1", "0.19.0", LATEST)}
    assert gated == {"0.17.1": False, "0.19.0": True, LATEST: True}
    for vllm, gate in gated.items():
        assert instance_of(llama, gpu, 1, max_model_len=8192, vllm=vllm).reserve_full_sequence is gate


def test_records_without_a_release() -> None:
    """Unknown ones and builds without a tag are of the latest; a tagged build is of its release."""
    named = (None, "unknown", "main", "0.1.dev1+g5daddb2", "0.19.1rc2.dev3+gabc", "0.19.0")
    assert [settled(each) for each in named] == [LATEST] * 4 + ["0.19.1rc2.dev3+gabc", "0.19.0"]
