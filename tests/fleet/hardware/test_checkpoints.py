from pathlib import Path

import pytest

from extproc.fleet.hardware.catalog import Catalog, builtin
from extproc.fleet.hardware.checkpoints import YOURS, unnamed
from extproc.fleet.hardware.instances import instance_of

LIKE = "like: llama-3.1-70b\nname: mine\n"
KNOWN = "meta-llama/Llama-3.1-70B"


@pytest.mark.parametrize(
    ("written", "served", "at_start"),
    [
        (LIKE, KNOWN, False),
        (f"{LIKE}max_context: 8192\nkv_dtype: fp8\ndtype: bf16\n", KNOWN, False),
        (f"{LIKE}dtype: fp8\n", KNOWN, True),
        (f"{LIKE}dtype: fp8\nsource: nvidia/Llama-3.1-70B-Instruct-FP8\n", "nvidia/Llama-3.1-70B-Instruct-FP8", False),
        (f"{LIKE}dtype: int4\n", YOURS, False),
        (f"{LIKE}layers: 79\ndtype: fp8\n", YOURS, False),
        ("like: deepseek-v3\nname: mine\ndtype: bf16\n", YOURS, False),
    ],
)
def test_a_file_serves_what_it_was_sized_by(tmp_path: Path, written: str, served: str, *, at_start: bool) -> None:
    """The repository of the entry that it is like serves only where it holds such weights, or vLLM makes them of it."""
    path = tmp_path / "mine.yaml"
    path.write_text(written)
    flags = instance_of(builtin().model(str(path)), builtin().gpu("b200"), 8, max_model_len=8192).flags
    assert flags[0] == served
    assert (" --quantization fp8" in " ".join(flags)) is at_start


def test_what_is_like_a_file_of_ones_own_is_served_as_that_is(tmp_path: Path) -> None:
    """Weights made at the start stay so; a source of its own ends that."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"{LIKE}dtype: fp8\n")
    known: Catalog = builtin().extended(models=path)
    path.write_text("a: {like: mine}\nb: {like: mine, source: me/mine-fp8}\n")
    found = known.extended(models=path).models
    assert [(found[name].source, found[name].quantized_at_start) for name in "ab"] == [
        (KNOWN, True), ("me/mine-fp8", False),
    ]  # fmt: skip


def test_a_checkpoint_that_is_not_known_is_asked_for() -> None:
    """By the format that was sized; sixteen bits where vLLM makes eight of them."""
    model = builtin().model("qwen3-32b-awq")
    said = "qwen3-32b: no repository is known to hold its weights in {}: name your own in place of YOUR-CHECKPOINT."
    assert unnamed(model) == said.format("int4")
    assert unnamed(model.model_copy(update={"dtype": "fp8", "quantized_at_start": True})) == said.format("bf16")
    assert unnamed(builtin().model("Qwen/Qwen3-32B-AWQ")) is None
