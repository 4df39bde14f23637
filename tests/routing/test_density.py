import math
import random
from itertools import pairwise
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.routing.density import Density
from extproc.routing.request import Request
from extproc.routing.served import prompt_bytes
from extproc.routing.values import Category

Measured = tuple[Request, int, int]
PRIOR_TOKENS = {
    Category.CYRILLIC: 1845,
    Category.PROSE: 2516,
    Category.JSON: 2618,
    Category.CJK: 2618,
    Category.OTHER_SCRIPT: 2645,
    Category.CODE: 2808,
    Category.TOOLS: 3042,
    Category.LOGS: 4148,
    Category.DENSE: 7047,
}
"""Of 10,000 bytes of each kind before the first answer, ascending."""
STEADY = 0.2
"""The least spread, and that of a kind whose prompts all cost the same."""


def taught(prompt_tokens: int, times: int, *, prompt_bytes: int = 1000) -> Density:
    """What prose teaches that always costs the same."""
    density = Density(Category.PROSE)
    for _ in range(times):
        density.learn(prompt_bytes, prompt_tokens)
    return density


# Before the first answer


def test_every_kind_has_a_density_of_its_own() -> None:
    """What a prompt of 10,000 bytes is taken for: numbers cost nearly four times what Russian does."""
    found = {kind: math.exp(Density(kind).judge(10_000, 0.0).log_tokens) for kind in Category}
    assert found == pytest.approx(PRIOR_TOKENS, abs=1.0)
    assert all(less <= more for less, more in pairwise(found[kind] for kind in PRIOR_TOKENS))


@pytest.mark.parametrize("tokenizer", [0, 1], ids=["llama3", "qwen3"])
def test_real_requests_lie_around_the_densities_of_their_kinds(
    measured_requests: list[Measured], tokenizer: int
) -> None:
    """On average, under either vocabulary, nearer than the spread that is stated for a single one."""
    errors: dict[Category, list[float]] = {}
    for request, *truths in measured_requests:
        kind = request.category()
        judgement = Density(kind).judge(prompt_bytes(request.facts), 0.0)
        errors.setdefault(kind, []).append(judgement.position(math.log(truths[tokenizer])))
    assert len(errors) > 5
    assert all(abs(fmean(of_kind)) < 1.0 for of_kind in errors.values())


@pytest.mark.parametrize("kind", Category)
@pytest.mark.parametrize(("doubt", "spread"), [(0.0, 0.3), (0.4, 0.5)])
def test_a_stranger_is_judged_with_caution(kind: Category, doubt: float, spread: float) -> None:
    """A doubt about the whole model adds to the scatter as independent errors do."""
    assert Density(kind).judge(1000, doubt).spread == pytest.approx(spread)


def test_no_bytes_are_judged_as_one() -> None:
    """There is no logarithm of nothing."""
    density = Density(Category.PROSE)
    assert density.judge(0, 0.0) == density.judge(1, 0.0)


@given(prompt_bytes=st.integers(1, 10**6), factor=st.integers(2, 100))
def test_tokens_grow_with_the_bytes(prompt_bytes: int, factor: int) -> None:
    """So many times the bytes are so many times the tokens, known as well as they were."""
    density = Density(Category.CODE)
    one, many = density.judge(prompt_bytes, 0.1), density.judge(factor * prompt_bytes, 0.1)
    assert many.log_tokens - one.log_tokens == pytest.approx(math.log(factor))
    assert many.spread == one.spread


# Learning


@pytest.mark.parametrize(("tokens", "logarithm"), [(200, math.log(0.2)), (250, math.log(0.25)), (400, math.log(0.4))])
def test_what_prompts_cost_is_learned(tokens: int, logarithm: float) -> None:
    """The prior weighs ten answers, so 90 of a constant source leave a tenth of the distance, and 3000 none."""
    start = Density(Category.PROSE).mean
    assert taught(tokens, 90).mean == pytest.approx(logarithm + 0.1 * (start - logarithm))
    assert taught(tokens, 3000).mean == pytest.approx(logarithm, abs=1e-3)


@pytest.mark.parametrize("scatter", [0.25, 0.4])
def test_the_scatter_of_prompts_is_learned(scatter: float) -> None:
    """Mean and deviation of a thousand prompts of random cost, to within the noise of as many."""
    rng, density = random.Random(1), Density(Category.LOGS)
    for _ in range(1000):
        density.learn(100_000, round(100_000 * math.exp(rng.gauss(-1.0, scatter))))
    judgement = density.judge(1000, 0.0)
    assert judgement.log_tokens == pytest.approx(math.log(1000) - 1.0, abs=0.03)
    assert judgement.spread == pytest.approx(scatter, rel=0.1)


def test_it_is_never_surer_than_over_sources_of_a_kind() -> None:
    """Three thousand prompts that all cost the same say nothing of the next source; a doubt comes on top."""
    density = taught(250, 3000)
    assert density.variance < 0.01
    assert density.judge(1000, 0.0).spread == pytest.approx(STEADY)
    assert density.judge(1000, 0.15).spread == pytest.approx(0.25)


@pytest.mark.parametrize(("tokens", "error"), [(1, -1.5), (10**9, 1.5)])
def test_one_absurd_answer_moves_it_by_little(tokens: int, error: float) -> None:
    """A repetitive client, or a count that is not this prompt's, counts as a factor of e to the 1.5."""
    density = Density(Category.PROSE)
    start, variance = density.mean, density.variance
    density.learn(1000, tokens)
    assert density.mean == pytest.approx(start + error / 11)
    assert density.variance == pytest.approx(variance + (error**2 - variance) / 11)


def test_an_old_answer_weighs_ever_less() -> None:
    """From 500 answers on the mean moves by one part in 510, however many there were: a changed source is followed."""
    density = taught(200, 2000)
    assert density.samples == 500
    before = density.mean
    density.learn(1000, 300)
    assert density.mean - before == pytest.approx((math.log(0.3) - before) / 510)


# Replicas


@pytest.mark.parametrize(
    ("mine", "others", "share", "samples"),
    [(500, 500, 0.5, 500), (100, 300, 0.75, 400), (300, 100, 0.25, 400), (0, 7, 1.0, 7), (7, 0, 0.0, 7), (0, 0, 0, 0)],
)
def test_what_another_replica_learned_weighs_by_its_samples(mine: int, others: int, share: float, samples: int) -> None:
    """Means and variances as of all answers together, up to the number at which the mean moves."""
    density, other = taught(200, mine), taught(400, others)
    mean, variance = density.mean, density.variance
    density.absorb(other.mean, other.variance, other.samples)
    assert density.mean == pytest.approx(mean + share * (other.mean - mean))
    assert density.variance == pytest.approx(variance + share * (other.variance - variance))
    assert density.samples == samples
