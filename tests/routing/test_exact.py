"""What a local tokenizer counts, and how the template's part of a prompt is learned beside it."""

import math
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.routing.exact import Counted, Framing, counted
from extproc.routing.text import Prompt

PLAIN = Counted(text_tokens=4000, structure_tokens=0, structure_lines=0, message_count=3)
WITH_TOOLS = Counted(text_tokens=4000, structure_tokens=900, structure_lines=120, message_count=3)
CLAMP = 4.0
"""Stated deviations that one usage counts for at most, as the module states it."""


class Words:
    """Counts a token a word; nothing in texts that hold "unknown"."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def count(self, texts: Sequence[str]) -> int | None:
        """As said."""
        self.asked.append(list(texts))
        return None if any("unknown" in text for text in texts) else sum(len(text.split()) for text in texts)


def template(count: Counted) -> int:
    """A chat template that nobody has seen: every term is another than before the first answer."""
    tools = 140 + 0.1 * count.structure_tokens + 0.8 * count.structure_lines
    known = count.text_tokens + count.structure_tokens
    return round(known + 33 + 9 * count.message_count + (tools if count.structure_tokens else 0))


def any_count(rng: Random) -> Counted:
    """A prompt of 300 to 10,000 tokens and up to 60 messages, half of them with tools."""
    structure = rng.randint(100, 3000) if rng.random() < 0.5 else 0
    return Counted(rng.randint(300, 7000), structure, round(structure * rng.uniform(0.05, 0.2)), rng.randint(1, 60))


def error(framing: Framing, count: Counted, tokens: int) -> float:
    """|estimate / truth − 1|."""
    return abs(math.exp(framing.judge(count).log_tokens) / tokens - 1.0)


# Counting


def test_text_and_structure_are_counted_apart() -> None:
    """Two questions, one for each, and the lines are those that a template would break the JSON into."""
    prompt = Prompt(message_count=2)
    prompt.add_text("one two three", "four")
    prompt.structures += [b'{"a":[1,2],"b":{"c":null}}', b'[{"d":1}]']
    counter = Words()
    found = counted(counter, prompt)
    assert counter.asked == [["one two three", "four"], ['{"a":[1,2],"b":{"c":null}}', '[{"d":1}]']]
    assert found == Counted(
        text_tokens=4, structure_tokens=2, structure_lines=(1 + 4 + 1) + (0 + 2 + 1), message_count=2
    )


@pytest.mark.parametrize(("text", "structure"), [("unknown", b"{}"), ("plain", b'"unknown"')])
def test_what_is_not_counted_in_full_is_not_counted(text: str, structure: bytes) -> None:
    """Half a count would look like a short prompt."""
    prompt = Prompt(pieces=[text], structures=[structure])
    assert counted(Words(), prompt) is None


def test_structure_that_is_not_utf_8_is_counted_all_the_same() -> None:
    """It is the client's JSON: whatever it holds must not raise."""
    found = counted(Words(), Prompt(structures=[b'"\xff\xfe"']))
    assert found is not None
    assert found.structure_tokens == 1


# The template's part


def test_an_unseen_template_is_learned_to_half_a_percent() -> None:
    """Intercept, messages, tools and lines each differ from the prior; 400 answers, then prompts never seen."""
    rng, framing = Random(3), Framing()
    before = [error(framing, count, template(count)) for count in (any_count(rng) for _ in range(200))]
    for _ in range(400):
        count = any_count(rng)
        framing.learn(count, template(count))
    after = [error(framing, count, template(count)) for count in (any_count(rng) for _ in range(200))]
    assert max(after) < 0.005 < max(before)


def test_a_template_that_changed_is_learned_anew() -> None:
    """The past fades: 2,000 answers under one template, 2,000 under another with 60 tokens more a prompt."""
    rng, framing = Random(5), Framing()
    for extra in (0, 60):
        for _ in range(2000):
            count = any_count(rng)
            framing.learn(count, template(count) + extra)
    counts = [any_count(rng) for _ in range(100)]
    assert max(error(framing, count, template(count) + 60) for count in counts) < 0.005


def test_usage_below_the_count_teaches_nothing() -> None:
    """Text that spells special tokens is counted too high; nothing follows from that for the template."""
    framing, untouched = Framing(), Framing()
    for count in (PLAIN, WITH_TOOLS):
        framing.learn(count, count.text_tokens + count.structure_tokens - 1)
    assert framing.judge(PLAIN) == untouched.judge(PLAIN)
    assert framing.judge(WITH_TOOLS) == untouched.judge(WITH_TOOLS)
    assert not framing.ridge.information.any()


def test_usage_that_equals_the_count_teaches_that_nothing_is_added() -> None:
    """A template may add nothing; only less than nothing is impossible."""
    framing = Framing()
    for _ in range(300):
        framing.learn(PLAIN, PLAIN.text_tokens)
    assert error(framing, PLAIN, PLAIN.text_tokens) < 0.001


def test_each_kind_has_its_own_scatter() -> None:
    """Plain prompts that come out to the token say nothing of how templates write tools."""
    framing, untouched = Framing(), Framing()
    for _ in range(100):
        framing.learn(PLAIN, template(PLAIN))
    assert framing.judge(PLAIN).spread < 0.2 * untouched.judge(PLAIN).spread
    assert framing.judge(WITH_TOOLS).spread == untouched.judge(WITH_TOOLS).spread
    for index in range(100):
        framing.learn(WITH_TOOLS, template(WITH_TOOLS) + 400 * (index % 2))
    assert framing.judge(WITH_TOOLS).spread > 5 * framing.judge(PLAIN).spread


def test_it_is_never_surer_than_a_thousandth() -> None:
    """However often it was right to the token: templates print dates and ids."""
    framing = Framing()
    for _ in range(2000):
        framing.learn(PLAIN, template(PLAIN))
    assert framing.judge(PLAIN).spread == pytest.approx(0.001)


@pytest.mark.parametrize("count", [PLAIN, WITH_TOOLS])
def test_absurd_usage_moves_no_more_than_an_unlucky_one(count: Counted) -> None:
    """A billion tokens teach what an error of four stated deviations would."""
    absurd, unlucky = Framing(), Framing()
    expected = unlucky.judge(count)
    absurd.learn(count, 10**9)
    unlucky.learn(count, round(math.exp(expected.log_tokens + CLAMP * expected.spread)))
    assert absurd.judge(count).log_tokens == pytest.approx(unlucky.judge(count).log_tokens, abs=1e-4)
    assert absurd.judge(count).spread == pytest.approx(unlucky.judge(count).spread, rel=0.01)
    assert absurd.judge(count).log_tokens - expected.log_tokens <= CLAMP * expected.spread


counts = st.builds(
    Counted,
    text_tokens=st.integers(0, 10**6),
    structure_tokens=st.integers(0, 10**6),
    structure_lines=st.integers(0, 10**6),
    message_count=st.integers(0, 2000),
)


@settings(deadline=None)
@given(st.lists(st.tuples(counts, st.integers(1, 10**9)), max_size=12), counts)
def test_whatever_it_was_taught_an_estimate_is_a_number_of_tokens(
    answers: list[tuple[Counted, int]], asked: Counted
) -> None:
    """At least one token, finite, with a spread above zero, after any counts and usages."""
    framing = Framing()
    for count, tokens in answers:
        framing.learn(count, tokens)
    judged = framing.judge(asked)
    assert 0.0 <= judged.log_tokens < math.inf
    assert 0.001 <= judged.spread < math.inf
    assert np.isfinite(framing.ridge.weights).all()
