import contextlib
import hashlib
import math
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from extproc.routing import exact, state
from extproc.routing.anytime import AnytimeEstimator
from extproc.routing.exact import Counted
from extproc.routing.exemplars import CAPACITY
from extproc.routing.features import COUNT, sample_features
from extproc.routing.judgement import Judgement
from extproc.routing.learned import EstimatorState, ExemplarsState, RidgeState, ServedState
from extproc.routing.linear import TERMS
from extproc.routing.margins import PRIOR_ERRORS
from extproc.routing.outputs import OutputModel, OutputState
from extproc.routing.served import Promise, Served, Truth, prompt_bytes
from extproc.routing.state import RouterState, StateError, absorb, decode, encode, snapshot
from extproc.routing.values import Category, Finish, RequestFacts, Stage, Usage

KINDS = {
    "the plain words of a chat ": 4.5,
    "x = f(y[0], {'k': 1})\n": 2.8,
    "2041,17.3,0.99\n": 1.7,
    "Привет всем ": 5.5,
    "   \t\n": 2.0,
}
"""Kinds of text and their bytes a token."""
HISTOGRAMS = ("errors", "positions", "distances")
PLAIN = Counted(2000, 0, 0, 2)
WITH_TOOLS = Counted(2000, 500, 60, 2)


def prompt(rng: Random) -> tuple[Any, RequestFacts, int]:
    """Features, sizes and tokens of a text of two kinds; the tokens as the kinds have them, give or take 3 %."""
    parts = [(kind, rng.randint(20, 200)) for kind in rng.sample(list(KINDS), 2)]
    text = "".join(kind * repeats for kind, repeats in parts)
    tokens = sum(len(kind.encode()) * repeats / KINDS[kind] for kind, repeats in parts)
    facts = RequestFacts(text_bytes=len(text.encode()), message_count=rng.randint(1, 4))
    return sample_features([text], ()).shares, facts, round(tokens * rng.uniform(0.97, 1.03)) + 25


def teach(served: Served, rng: Random, answers: int) -> None:
    """Answers of every kind, to each part of what is learned."""
    for _ in range(answers):
        shares, facts, tokens = prompt(rng)
        judgement = served.model.judge(shares, facts)
        for stage in served.margins:
            room = tokens * rng.uniform(0.5, 3.0)
            served.margins[stage].settles(judgement.position(math.log(room)))
            served.observe(stage, judgement, Truth(math.log(tokens), math.log(room), calibrates=True, weight=1.5))
        served.densities[Category.CODE].learn(prompt_bytes(facts), tokens)
        served.compare(Judgement(judgement.log_tokens + rng.gauss(0, 0.03), judgement.spread), judgement)
        served.model.learn(shares, facts, tokens)
        served.framing.learn(PLAIN, 2040 + rng.randint(0, 20))
        served.framing.learn(WITH_TOOLS, 2700 + rng.randint(0, 90))


@pytest.fixture(scope="module")
def taught() -> Served:
    """One model after 400 answers; not to be changed."""
    served = Served(Promise(), exact=True)
    teach(served, Random(1), 400)
    served.vigil.alarms, served.wanted = 2, 350
    served.vigil.answers, served.vigil.usual = 400, 0.02
    served.refresh()
    return served


@pytest.fixture(scope="module")
def learned(taught: Served) -> ServedState:
    """What it has learned, as values."""
    return snapshot("m", taught)


@pytest.fixture(scope="module")
def written(learned: ServedState) -> bytes:
    """The same, as a file would hold it, with what another model and the outputs taught."""
    other = Served(Promise())
    teach(other, Random(2), 5)
    outputs = OutputModel()
    for tokens in (10, 200, 3000):
        outputs.learn("m", Category.PROSE, None, Usage(10, tokens, finish=Finish.STOP))
    return encode(RouterState(EstimatorState([learned, snapshot("other", other)]), outputs.snapshot()))


def judgements(served: Served) -> list[float]:
    """What it makes of 50 prompts, of counted ones and of sizes: every number that decisions are made of."""
    rng = Random(9)
    found: list[float] = []
    for _ in range(50):
        shares, facts, _ = prompt(rng)
        found += astuple(served.model.judge(shares, facts))
        found += astuple(served.model.judge_rest(shares, facts))
        found += astuple(served.glance(Category.CODE, facts))
    found += [*astuple(served.framing.judge(PLAIN)), *astuple(served.framing.judge(WITH_TOOLS))]
    found.append(served.sampling_variance)
    for stage in sorted(served.margins):
        margin = served.margins[stage]
        found += [margin.short_at, margin.long_at, *(margin.doubt(step / 2) for step in range(-20, 21))]
    return found


def signed(body: bytes) -> bytes:
    """A body under a right head."""
    digest = hashlib.blake2b(body, digest_size=16).hexdigest()
    return f"dualpool state {state.VERSION} {digest}\n".encode() + body


def doubles(raw: bytes) -> list[float]:
    """An array of statistics."""
    return list(struct.unpack(f"<{len(raw) // 8}d", raw))


def packed_doubles(values: list[float]) -> bytes:
    """The same, back."""
    return struct.pack(f"<{len(values)}d", *values)


def floats(raw: bytes) -> list[float]:
    """An array of exemplars or errors."""
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def packed(values: list[float]) -> bytes:
    """The same, back."""
    return struct.pack(f"<{len(values)}f", *values)


# Writing and reading


def test_what_was_written_is_read(written: bytes) -> None:
    """And writing it again gives the same bytes."""
    read = decode(written)
    assert [served.model for served in read.estimator.served] == ["m", "other"]
    assert read.outputs != OutputState()
    assert encode(read) == written


def test_a_state_of_nothing_is_read() -> None:
    """A service that saw no answer saves one too."""
    assert decode(encode(RouterState())) == RouterState()


def test_a_full_state_is_far_within_the_bound(learned: ServedState) -> None:
    """Seventeen models, each with every exemplar there may be."""
    rows = CAPACITY * 4
    full = ExemplarsState(places=bytes(rows * COUNT), rows=bytes(rows * TERMS), learned=bytes(rows * 3))
    models = [replace(learned, model=f"{number:0128}", exemplars=full) for number in range(17)]
    raw = encode(RouterState(EstimatorState(models)))
    assert len(raw) < state.STATE_MAX_BYTES / 10
    assert len(decode(raw).estimator.served) == 17


def test_what_is_larger_than_the_bound_is_not_read(monkeypatch: pytest.MonkeyPatch, written: bytes) -> None:
    """Nothing is parsed of it."""
    monkeypatch.setattr(state, "STATE_MAX_BYTES", len(written))
    assert decode(written).estimator.served
    monkeypatch.setattr(state, "STATE_MAX_BYTES", len(written) - 1)
    with pytest.raises(StateError, match="not a state"):
        decode(written)


def test_every_flipped_byte_is_noticed(written: bytes) -> None:
    """All of the head, and the body at 400 places, each byte changed in one bit and in all."""
    head = written.index(b"\n") + 1
    places = [*range(head + 8), *Random(4).sample(range(head + 8, len(written)), 400), len(written) - 1]
    for place in places:
        for mask in (0x01, 0xFF):
            altered = bytearray(written)
            altered[place] ^= mask
            with pytest.raises(StateError):
                decode(bytes(altered))


def test_every_truncation_is_noticed(written: bytes) -> None:
    """At each length of the head and at 400 lengths of the body; and so are bytes too many."""
    head = written.index(b"\n") + 2
    for length in [*range(head), *Random(5).sample(range(head, len(written)), 400), len(written) - 1]:
        with pytest.raises(StateError):
            decode(written[:length])
    with pytest.raises(StateError):
        decode(written + b"\x00")


def test_other_formats_are_told_apart(written: bytes) -> None:
    """The operator reads which it was: no state at all, another version, or damage."""
    here, there = f"state {state.VERSION} ".encode(), f"state {state.VERSION + 1} ".encode()
    with pytest.raises(StateError, match="not a state"):
        decode(b"{}")
    with pytest.raises(StateError, match=f"another version; this one reads versions 1 to {state.VERSION}"):
        decode(written.replace(here, there, 1))
    with pytest.raises(StateError, match=r"damaged: its checksum"):
        decode(written[:-1])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        b"\x90",
        b"\x80\x80",
        msgspec.msgpack.encode({"estimator": 1}),
        msgspec.msgpack.encode({"estimator": {"served": [{"model": "m"}]}}),
        msgspec.msgpack.encode({"estimator": {"ratios": [{"model": "m", "category": "none"}]}}),
        b"\x81\xa9estimator\x81\xa6served\x91\x81\xa5model\xa1\xff",  # no UTF-8
        b"\x81\xa1z" + b"\x91" * 100_000 + b"\x01",  # deeper than the parser goes
    ],
    ids=["empty", "nil", "list", "more", "number", "missing", "unknown", "no text", "deep"],
)
def test_a_right_checksum_does_not_make_a_state(body: bytes) -> None:
    """Whoever writes the head can write anything after it."""
    with pytest.raises(StateError, match=r"damaged: its parts"):
        decode(signed(body))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300), st.sampled_from([bytes, signed, b"dualpool state 1 ".__add__]))
@example(b"", bytes)
@example(b"\n", b"dualpool state 1 ".__add__)
def test_random_bytes_are_a_state_or_an_error_that_says_so(raw: bytes, dress: Callable[[bytes], bytes]) -> None:
    """Bare, under a right head, and behind the first words of one."""
    with contextlib.suppress(StateError):
        assert isinstance(decode(dress(raw)), RouterState)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_state_altered_anywhere_under_a_right_checksum_never_raises_another_error(
    written: bytes, data: st.DataObject
) -> None:
    """It is refused, or taken in and still estimates."""
    body = bytearray(written[written.index(b"\n") + 1 :])
    for place in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[place] = data.draw(st.integers(0, 255))
    served = Served(Promise(), exact=True)
    try:
        for part in decode(signed(bytes(body))).estimator.served:
            absorb(served, part)
    except StateError:
        return
    assert all(map(math.isfinite, judgements(served)))


# Taking in


def test_a_cold_one_becomes_its_like(taught: Served, learned: ServedState) -> None:
    """Every judgement, margin and doubt is that of the one that was saved, but for the rounding to 32 bits."""
    cold = Served(Promise(), exact=True)
    absorb(cold, decode(encode(RouterState(EstimatorState([learned])))).estimator.served[0])
    assert judgements(cold) == pytest.approx(judgements(taught), rel=1e-4, abs=1e-4)
    assert cold.model.samples == taught.model.samples == 400
    assert vars(cold.vigil) == vars(taught.vigil)
    assert cold.wanted <= cold.model.samples  # the answers it has are those that were wanted


def test_margins_are_those_that_were_saved(taught: Served, learned: ServedState) -> None:
    """Not only what a single request may risk bounds them, but also how many requests lie where; nothing is lost."""
    cold = Served(Promise(), exact=True)
    absorb(cold, learned)
    for stage, margin in taught.margins.items():
        mine = cold.margins[stage]
        assert mine.distances == pytest.approx(margin.distances, rel=1e-6)
        assert mine.positions == pytest.approx(margin.positions, rel=0.01)
        assert (mine.short_at, mine.long_at) == (margin.short_at, margin.long_at)
    last = taught.margins[Stage.EXACT]
    assert last.short_at > last.above(50 * Promise().share)


def test_a_state_of_the_version_before_is_read(learned: ServedState) -> None:
    """It has errors alone: rooms, distances and what is usual begin anew."""
    old = msgspec.to_builtins(learned, builtin_types=(bytes,))
    for name in ("positions", "distances", "watched", "usual"):
        del old[name]
    body = msgspec.msgpack.encode({"estimator": {"served": [old]}})
    digest = hashlib.blake2b(body, digest_size=16).hexdigest()
    (read,) = decode(f"dualpool state 1 {digest}\n".encode() + body).estimator.served
    served = Served(Promise(), exact=True)
    absorb(served, read)
    margin = served.margins[Stage.TEXT]
    assert margin.errors.sum() > PRIOR_ERRORS.sum() + 100
    assert sum(margin.positions) == margin.distances.sum() == served.vigil.usual == served.vigil.answers == 0


def test_what_is_usual_follows_the_answers() -> None:
    """A tenth in one answer of four and nothing in the other three come to a fortieth."""
    together = Served(Promise())
    for answers, usual in ((300, 0.0), (100, 0.1)):
        one = Served(Promise())
        one.vigil.answers, one.vigil.usual = answers, usual
        absorb(together, snapshot("m", one))
    assert together.vigil.answers == 400
    assert together.vigil.usual == pytest.approx(0.025)


def test_it_goes_on_learning_like_the_one_that_was_saved(learned: ServedState) -> None:
    """The next hundred answers leave both alike, the order in which exemplars are forgotten included."""
    cold, taught = Served(Promise(), exact=True), Served(Promise(), exact=True)
    teach(taught, Random(1), 400)
    absorb(cold, learned)
    for served in (cold, taught):
        teach(served, Random(6), 100)
        served.refresh()
    assert judgements(cold) == pytest.approx(judgements(taught), rel=1e-3, abs=1e-3)


def test_a_cold_one_takes_over_the_doubt(learned: ServedState) -> None:
    """Also where the one that was saved had just been told by an alarm that it knows nothing."""
    cold = Served(Promise())
    absorb(cold, replace(learned, doubt=0.3))
    assert cold.model.doubt == 0.3


def test_the_sum_of_two_halves_judges_like_one_that_saw_all() -> None:
    """It errs by as much on new prompts, and the two differ by less than half of what they state as their deviation.

    More cannot be asked: each half forgot its own past alone, and which texts found exemplars depends on the order.
    """
    halves, whole = [Served(Promise(), exact=True) for _ in range(2)], Served(Promise(), exact=True)
    for seed, half in zip((11, 12), halves, strict=True):
        teach(half, Random(seed), 300)
        teach(whole, Random(seed), 300)
    together = Served(Promise(), exact=True)
    for half in halves:
        absorb(together, snapshot("m", half))
    rng, errors = Random(13), []
    for _ in range(300):
        shares, facts, tokens = prompt(rng)
        ours, theirs = together.model.judge(shares, facts), whole.model.judge(shares, facts)
        assert abs(ours.log_tokens - theirs.log_tokens) < 0.5 * theirs.spread
        assert 0.5 < ours.spread / theirs.spread < 2.0
        errors.append([math.log(tokens) - judged.log_tokens for judged in (ours, theirs)])
    of_ours, of_theirs = (math.hypot(*column) for column in zip(*errors, strict=True))
    assert of_ours == pytest.approx(of_theirs, rel=0.1)
    assert together.framing.judge(PLAIN).log_tokens == pytest.approx(whole.framing.judge(PLAIN).log_tokens, abs=0.001)
    assert together.model.samples == whole.model.samples == 600


def test_errors_of_two_halves_add_up() -> None:
    """Those that each has counted since its doubt was gone; the prior, which both had, counts once."""
    together, counted = Served(Promise()), 0.0
    for seed in (11, 12):
        half = Served(Promise())
        teach(half, Random(seed), 300)
        counted += half.margins[Stage.TEXT].errors.sum() - PRIOR_ERRORS.sum()
        absorb(together, snapshot("m", half))
    assert counted > 100
    assert together.margins[Stage.TEXT].errors.sum() == pytest.approx(counted + PRIOR_ERRORS.sum(), rel=1e-5)


def test_weights_follow_the_samples() -> None:
    """What nine hundred answers say outweighs what a hundred say, in either order; a kind of text has its own count."""
    few, many = Served(Promise()), Served(Promise())
    few.sampling_variance, many.sampling_variance = 0.01, 0.02
    few.model.samples, many.model.samples = 100, 900
    ours, theirs = few.densities[Category.CODE], many.densities[Category.CODE]
    ours.mean, ours.variance, ours.samples = -1.0, 0.2, 450
    theirs.mean, theirs.variance, theirs.samples = -1.5, 0.4, 50
    for first, second in ((few, many), (many, few)):
        together = Served(Promise())
        absorb(together, snapshot("m", first))
        absorb(together, snapshot("m", second))
        density = together.densities[Category.CODE]
        assert together.sampling_variance == pytest.approx(0.019)
        assert (density.mean, density.variance, density.samples) == pytest.approx((-1.05, 0.22, 500))


def test_replicas_that_know_a_kind_well_count_alike() -> None:
    """However many answers each has seen: neither is lost in the sum."""
    together = Served(Promise())
    for mean in (-1.0, -2.0):
        one = Served(Promise())
        one.densities[Category.LOGS].mean, one.densities[Category.LOGS].samples = mean, 500
        absorb(together, snapshot("m", one))
    assert together.densities[Category.LOGS].mean == pytest.approx(-1.5)


def test_a_cold_state_changes_nothing(taught: Served, learned: ServedState) -> None:
    """A replica that has seen no answer has nothing to say, and does not bring its doubt."""
    served = Served(Promise(), exact=True)
    absorb(served, learned)
    before = judgements(served)
    absorb(served, snapshot("m", Served(Promise(), exact=True)))
    assert judgements(served) == pytest.approx(before, rel=1e-6, abs=1e-6)
    assert served.model.doubt == taught.model.doubt


def test_answers_that_are_wanted_stay_wanted(learned: ServedState) -> None:
    """After an alarm at 50 of 350 answers, another replica's 400 are none of the 300 that are wanted."""
    served = Served(Promise(), exact=True)
    served.model.samples, served.wanted = 50, 350
    absorb(served, replace(learned, wanted=0))
    assert served.wanted - served.model.samples == 300
    other = Served(Promise(), exact=True)
    other.model.samples = 1000
    absorb(other, replace(learned, samples=50, wanted=350))
    assert other.wanted - other.model.samples == 300


def test_errors_of_a_stage_that_is_not_there_are_left_out(learned: ServedState) -> None:
    """The tokenizer was taken away: the rest of the state still holds."""
    served = Served(Promise())
    absorb(served, learned)
    assert Stage.EXACT in learned.errors
    assert Stage.EXACT not in served.margins


def test_exemplars_never_outgrow_their_table(learned: ServedState) -> None:
    """Thirty replicas' states fit."""
    served = Served(Promise())
    rng = Random(8)
    for number in range(30):
        width = CAPACITY * COUNT
        places = packed([rng.random() for _ in range(width)]) if number % 10 == 0 else learned.exemplars.places
        full = ExemplarsState(places, bytes(CAPACITY * TERMS * 4), packed([1.0, 0.0, 0.01] * CAPACITY))
        absorb(served, replace(learned, exemplars=full if number % 10 == 0 else learned.exemplars))
    assert len(served.model.exemplars.by_age()) <= CAPACITY


# Damage that only the arrays show


def with_value(raw: bytes, place: int, value: float) -> bytes:
    """An array with one number changed."""
    values = floats(raw)
    values[place] = value
    return packed(values)


def with_statistic(raw: bytes, place: int, value: float) -> bytes:
    """The same of statistics."""
    values = doubles(raw)
    values[place] = value
    return packed_doubles(values)


def ridge(found: RidgeState, **changes: Callable[[bytes], bytes]) -> RidgeState:
    """One whose arrays were changed."""
    return replace(found, **{name: change(getattr(found, name)) for name, change in changes.items()})


def exemplars(found: ExemplarsState, **changes: Callable[[bytes], bytes]) -> ExemplarsState:
    """One whose arrays were changed."""
    return replace(found, **{name: change(getattr(found, name)) for name, change in changes.items()})


def is_refused(damaged: ServedState) -> None:
    """With a `StateError`, and before anything of it was used."""
    served = Served(Promise(), exact=True)
    teach(served, Random(3), 20)
    before, samples = judgements(served), served.model.samples
    with pytest.raises(StateError, match="it is damaged"):
        absorb(served, damaged)
    assert judgements(served) == before
    assert (served.model.samples, served.wanted, served.vigil.alarms) == (samples, 0, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
@pytest.mark.parametrize("part", ["linear", "framing"])
@pytest.mark.parametrize("name", ["information", "moment"])
def test_statistics_that_are_no_numbers_are_refused(learned: ServedState, part: str, name: str, value: float) -> None:
    """Wherever they stand."""
    is_refused(
        replace(learned, **{part: ridge(getattr(learned, part), **{name: lambda raw: with_value(raw, 3, value)})})
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30, -1e3])
@pytest.mark.parametrize("name", ["places", "rows", "learned"])
def test_exemplars_that_are_no_numbers_are_refused(learned: ServedState, name: str, value: float) -> None:
    """One such number would be the nearest to all, or to none."""
    damaged = exemplars(learned.exemplars, **{name: lambda raw: with_value(raw, 2, value)})
    is_refused(replace(learned, exemplars=damaged))


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30, -1.0])
@pytest.mark.parametrize("stage", [Stage.SIZE, Stage.EXACT])
@pytest.mark.parametrize("name", HISTOGRAMS)
def test_counts_that_are_none_are_refused(learned: ServedState, name: str, stage: Stage, value: float) -> None:
    """A margin by them would be none."""
    counts = getattr(learned, name)
    is_refused(replace(learned, **{name: {**counts, stage: with_value(counts[stage], 7, value)}}))


@pytest.mark.parametrize("shape", [b"", packed([1.0]), packed([1.0] * 79), packed([1.0] * 160), b"abc"])
@pytest.mark.parametrize("name", HISTOGRAMS)
def test_counts_of_another_shape_are_refused(learned: ServedState, name: str, shape: bytes) -> None:
    """None, too few, twice as many, and bytes that are no numbers; nothing else of the state was taken in by then."""
    is_refused(replace(learned, **{name: {**getattr(learned, name), Stage.TEXT: shape}}))


@pytest.mark.parametrize("part", ["linear", "framing"])
@pytest.mark.parametrize("name", ["information", "moment"])
@pytest.mark.parametrize("change", [lambda _: b"", lambda raw: raw + raw, lambda raw: raw[:-4], lambda raw: raw[:-1]])
def test_statistics_of_another_shape_are_refused(
    learned: ServedState, part: str, name: str, change: Callable[[bytes], bytes]
) -> None:
    """None of them, twice as many, one less, and part of one."""
    is_refused(replace(learned, **{part: ridge(getattr(learned, part), **{name: change})}))


def test_statistics_of_other_terms_are_refused(learned: ServedState) -> None:
    """Written by a release that had one feature less."""
    less = TERMS - 1
    is_refused(replace(learned, linear=RidgeState(packed_doubles([0.0] * less * less), packed_doubles([0.0] * less))))


@pytest.mark.parametrize("name", ["places", "rows", "learned"])
def test_exemplars_of_another_shape_are_refused(learned: ServedState, name: str) -> None:
    """Their arrays belong together, row by row."""
    width = 4 * {"places": COUNT, "rows": TERMS, "learned": 3}[name]
    for change in (lambda raw: raw[:-width], lambda raw: raw[:-1], lambda _: b""):
        is_refused(replace(learned, exemplars=exemplars(learned.exemplars, **{name: change})))


def test_more_exemplars_than_a_table_holds_are_refused(learned: ServedState) -> None:
    """They would push each other out, at a cost nobody bounds."""
    rows = (CAPACITY + 1) * 4
    damaged = ExemplarsState(places=bytes(rows * COUNT), rows=bytes(rows * TERMS), learned=bytes(rows * 3))
    is_refused(replace(learned, exemplars=damaged))


@pytest.mark.parametrize("column", [0, 2])
def test_negative_counts_and_variances_of_exemplars_are_refused(learned: ServedState, column: int) -> None:
    """Samples and scatter; a mean may well be below zero."""
    is_refused(
        replace(learned, exemplars=exemplars(learned.exemplars, learned=lambda raw: with_value(raw, column, -1.0)))
    )
    mean = exemplars(learned.exemplars, learned=lambda raw: with_value(raw, 1, -1.0))
    absorb(Served(Promise()), replace(learned, exemplars=mean))


@pytest.mark.parametrize("part", ["linear", "framing"])
def test_statistics_that_no_rows_can_have_come_to_are_refused(learned: ServedState, part: str) -> None:
    """A negative square, one side that is not the other, and a product larger than its squares: none can be solved."""
    terms = {"linear": TERMS, "framing": exact.TERMS}[part]
    found = getattr(learned, part)
    for change in (
        lambda raw: with_statistic(raw, terms + 1, -1.0),
        lambda raw: with_statistic(raw, 1, doubles(raw)[1] + 1.0),
        lambda raw: with_statistic(with_statistic(raw, 1, 1e6), terms, 1e6),
    ):
        is_refused(replace(learned, **{part: ridge(found, information=change)}))


def test_errors_below_the_prior_leave_the_prior(learned: ServedState) -> None:
    """Zero counts everywhere cannot be divided by; the prior they lack is there already."""
    served = Served(Promise())
    absorb(served, replace(learned, errors={stage: bytes(4 * len(PRIOR_ERRORS)) for stage in learned.errors}))
    assert all((margin.errors == PRIOR_ERRORS).all() for margin in served.margins.values())


# All of an estimator


def test_an_estimator_takes_in_every_model_within_its_bound(learned: ServedState) -> None:
    """What finds no place of its own joins those that share one."""
    state_of_many = EstimatorState([replace(learned, model=f"model {number}", samples=10) for number in range(20)])
    estimator = AnytimeEstimator()
    estimator.absorb(state_of_many)
    standing = {row.model: row.samples for row in estimator.standing()}
    assert len(standing) == 17
    assert standing["*"] == 10 * (20 - 16)
