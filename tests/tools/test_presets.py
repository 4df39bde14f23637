import importlib.util
import json
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from extproc.fleet.samples import rows_of_tables
from extproc.routing.values import Category

ROOT = Path(__file__).parents[2]
TRACES = ROOT.parent / "shared" / "data" / "traces"


@pytest.fixture
def tool() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("presets", ROOT / "tools" / "presets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_table_keeps_what_it_was_made_of(tool: ModuleType) -> None:
    """Bins cover all requests in order; an atom stands alone; means of prompts and outputs stay."""
    rng = np.random.default_rng(1)
    prompts = np.concatenate([rng.integers(1, 9000, 20_000), np.full(1000, 4000)])
    outputs = rng.geometric(0.01, len(prompts))
    part = tool.part_of(prompts, outputs, {Category.PROSE: 1.0})
    bins = part["bins"]
    assert sum(row[2] for row in bins) == part["requests"] == 21_000
    assert all(before[1] < after[0] for before, after in pairwise(bins))
    assert [row[1] for row in bins if row[0] == 4000] == [4000]
    rows = rows_of_tables([part])
    assert rows.prompt_tokens.mean() == pytest.approx(prompts.mean(), rel=0.005)
    assert rows.output_tokens.mean() == pytest.approx(outputs.mean(), rel=0.01)


def test_what_is_committed_is_what_the_tool_writes(tool: ModuleType, tmp_path: Path) -> None:
    """From the same traces, figure for figure."""
    if not TRACES.exists():
        pytest.skip("the traces are not at hand: the presets cannot be derived anew")
    azure = [f"--{part}={TRACES / f'AzureLLMInferenceTrace_{part}.csv'}" for part in ("code", "conv")]
    tables = [f"--lmsys={TRACES / 'lmsys_cdf.json'}", f"--agent-heavy={TRACES / 'agent_heavy_cdf.json'}"]
    mooncake = f"--mooncake={TRACES / 'mooncake_conversation_trace.jsonl.xz'}"
    tool.main([*azure, *tables, mooncake, f"--out={tmp_path}"])
    made = {path.name: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert made == {path.name: json.loads(path.read_text()) for path in tool.OUT.glob("*.json")}
    assert len(made) == 6
