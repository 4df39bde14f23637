from extproc.fleet.dispatch import Routed, usage_of
from extproc.fleet.packed import packed, unpacked
from extproc.fleet.workload import Options, synthetic
from extproc.settings import Settings

WORKLOAD = synthetic(Options(rate_per_s=1.0))


def decided(routed: Routed, seed: int, requests: int = 200) -> list[tuple[str, str, float | None]]:
    """What a router makes of requests, each answered at once."""
    found = []
    for batch in WORKLOAD.batches(seed=seed, requests=requests):
        rows = zip(batch.prompt_tokens.tolist(), batch.output_tokens.tolist(), strict=True)
        for decision, (prompt, output) in zip(routed.decide(batch, 0), rows, strict=True):
            routed.complete(decision, usage_of(prompt, output, cut=False) if decision.observe else None)
            found.append((decision.pool.value, decision.stage.value, decision.doubt))
    return found


def test_a_packed_router_goes_on_as_it_would_have() -> None:
    """What it learned, remembers and draws is there; each copy is one of its own, and what was packed stays."""
    routed = Routed(Settings(threshold_tokens=1200), seed=1)
    decided(routed, seed=2)
    content = packed(routed)
    one, other = (decided(unpacked(content), seed=3) for _ in range(2))
    assert one == other == decided(routed, seed=3)
    assert one != decided(Routed(Settings(threshold_tokens=1200), seed=1), seed=3)
