import math
from random import Random

import pytest

from extproc.routing.exact import Counted
from extproc.routing.features import sample_features
from extproc.routing.judgement import Judgement
from extproc.routing.served import Promise, Served, Truth, prompt_bytes
from extproc.routing.values import Category, RequestFacts, Stage

SHARES = sample_features(["Some plain words of a chat, and some more. " * 40], ()).shares
FACTS = RequestFacts(text_bytes=1720, total_text_bytes=1720, message_count=1)
TRUTH = Judgement(math.log(1000), 0.05)
LAST = {False: {Stage.MEMORY, Stage.TEXT}, True: {Stage.EXACT}}
"""Stages that leave nothing to another, without a local tokenizer and with it."""


def learned(answers: int = 300, promise: Promise | None = None) -> Served:
    """One that is no stranger any more: it has no doubt left."""
    served = Served(promise or Promise())
    for _ in range(answers):
        served.model.learn(SHARES, FACTS, 400)
    return served


def said(tokens: int, room: int = 100_000, *, calibrates: bool = True) -> Truth:
    """What an answer says; the room far above the prompt unless it matters."""
    return Truth(math.log(tokens), math.log(room), calibrates)


def scattered(served: Served, stage: Stage, rng: Random, errors: int = 2000) -> None:
    """Truths around the judgement as far as it says."""
    for _ in range(errors):
        served.observe(stage, TRUTH, said(round(1000 * math.exp(rng.gauss(0, TRUTH.spread)))))


# Settling


@pytest.mark.parametrize("exact", [False, True])
def test_the_last_stage_settles_everything_and_the_others_leave_a_gap(*, exact: bool) -> None:
    """Where nothing comes after, long begins where short ends."""
    margins = Served(Promise(), exact=exact).margins
    assert LAST[exact] <= set(margins)
    for stage, margin in margins.items():
        assert (margin.short_at == margin.long_at) == (stage in LAST[exact]), stage
        assert margin.long_at <= margin.short_at


def test_without_a_tokenizer_there_is_no_stage_for_it() -> None:
    """So nothing waits for a count that never comes."""
    assert Stage.EXACT not in Served(Promise()).margins
    assert Stage.EXACT in Served(Promise(), exact=True).margins


@pytest.mark.parametrize("exact", [False, True])
def test_stages_together_use_up_the_promise_and_no_more(*, exact: bool) -> None:
    """Every stage has a part of it, and the parts add up to it."""
    served = Served(Promise(share=0.01), exact=exact)
    assert sum(served._shares.values()) == pytest.approx(1.0)
    assert set(served._shares) == set(served.margins)


def test_a_stranger_holds_back_widely() -> None:
    """Before the first answer no stage sends anything short within two stated deviations of the room."""
    assert all(margin.short_at > 2.0 for margin in Served(Promise()).margins.values())


def test_an_even_promise_holds_nothing_back() -> None:
    """From one half on the estimate itself decides; a stage that is not the last still leaves what is close."""
    margins = Served(Promise(share=0.5)).margins
    assert margins[Stage.TEXT].short_at == margins[Stage.TEXT].long_at == 0.0
    assert margins[Stage.SAMPLE].long_at < 0.0 < margins[Stage.SAMPLE].short_at


def test_a_stricter_promise_makes_wider_margins() -> None:
    """In every stage, for the same traffic."""
    strict, lax = Served(Promise(share=0.0001)), Served(Promise(share=0.01))
    for served in (strict, lax):
        for stage in served.margins:
            for step in range(-40, 41):
                served.margins[stage].settles(step / 4)
        served.refresh()
    assert all(strict.margins[stage].short_at > lax.margins[stage].short_at for stage in strict.margins)


def test_a_higher_risk_settles_more_early() -> None:
    """It is the price of a look at all text."""
    eager, careful = Served(Promise(share=0.2, escalation_risk=0.2)), Served(Promise(share=0.2, escalation_risk=0.01))
    for stage in (Stage.SIZE, Stage.SAMPLE):
        assert careful.margins[stage].long_at < eager.margins[stage].long_at
        assert eager.margins[stage].short_at < careful.margins[stage].short_at


def test_margins_are_computed_anew_after_so_many_requests() -> None:
    """Not at each, which would cost more than the estimate; and not by time, which the core does not know."""
    served = learned()
    scattered(served, Stage.TEXT, Random(1))
    before = served.margins[Stage.TEXT].short_at
    for _ in range(64):
        served.count()
    assert served.margins[Stage.TEXT].short_at == before
    served.count()
    assert served.margins[Stage.TEXT].short_at < before


def test_the_promise_is_about_all_requests() -> None:
    """The same few near the room need a narrower margin where many lie far from it; memory's requests count too."""
    alone, among_many, among_turns = learned(), learned(), learned()
    for served in (alone, among_many, among_turns):
        scattered(served, Stage.TEXT, Random(1))
        for step in range(400):
            served.margins[Stage.TEXT].settles(step / 100)
            served.margins[Stage.SIZE].settles(step / 100)
    for _ in range(20_000):
        among_many.margins[Stage.SIZE].settles(9.0)
        among_turns.margins[Stage.MEMORY].settles(9.0)
    for served in (alone, among_many, among_turns):
        served.refresh()
    assert among_many.margins[Stage.TEXT].short_at < alone.margins[Stage.TEXT].short_at
    assert among_turns.margins[Stage.TEXT].short_at == among_many.margins[Stage.TEXT].short_at


def test_however_few_are_at_risk_none_goes_short_at_even_odds() -> None:
    """One request in a million near the room: the promise about all of them would let it go at any odds."""
    served = learned()
    scattered(served, Stage.TEXT, Random(1))
    for _ in range(100_000):
        served.margins[Stage.SIZE].settles(9.0)
    served.margins[Stage.TEXT].settles(0.0)
    served.refresh()
    margin = served.margins[Stage.TEXT]
    assert margin.doubt(margin.short_at) <= 50 * Promise().share


# Errors


def test_an_error_is_told_in_stated_deviations() -> None:
    """Two of them above the estimate are +2, whatever is done with it."""
    served = learned(1)
    assert served.observe(Stage.TEXT, TRUTH, said(round(1000 * math.exp(0.1)))) == pytest.approx(2.0, abs=0.02)
    assert served.observe(Stage.TEXT, TRUTH, said(round(1000 * math.exp(-0.05)))) == pytest.approx(-1.0, abs=0.02)


def test_errors_calibrate_only_once_the_doubt_is_gone() -> None:
    """While deviations are stated too wide on purpose, errors in terms of them would promise too much later."""
    doubting, sure = learned(100), learned(300)
    for served in (doubting, sure):
        before = served.margins[Stage.TEXT].errors.copy()
        served.observe(Stage.TEXT, TRUTH, said(1000))
        assert (served.margins[Stage.TEXT].errors == before).all() == (served is doubting)
    assert (sure.margins[Stage.SAMPLE].errors == doubting.margins[Stage.SAMPLE].errors).all()


def test_errors_on_requests_that_no_estimate_decided_do_not_calibrate() -> None:
    """Those that bounds or memory settled are easier than those the stage has to decide."""
    served = learned()
    before = served.margins[Stage.TEXT].errors.copy()
    assert served.observe(Stage.TEXT, TRUTH, said(1000, calibrates=False)) == pytest.approx(0.0, abs=0.02)
    assert (served.margins[Stage.TEXT].errors == before).all()


def test_how_far_the_room_lay_from_the_truth_is_counted() -> None:
    """In the same deviations, whatever the estimate made of it."""
    served = learned()
    served.observe(Stage.TEXT, TRUTH, said(1000, round(1000 * math.exp(-0.2))))
    margin = served.margins[Stage.TEXT]
    assert margin.distances.sum() == 1.0
    expected = Served(Promise()).margins[Stage.TEXT]
    expected.observe(0.0, -4.0 + 0.001)
    assert (margin.distances == expected.distances).all()


def test_the_scatter_of_samples_is_followed() -> None:
    """From the first guess towards what samples are off by; one absurd sample moves it little."""
    served = Served(Promise())
    for _ in range(600):
        served.compare(Judgement(TRUTH.log_tokens + 0.02, 0.05), TRUTH)
    assert served.sampling_variance == pytest.approx(0.02**2, rel=0.05)
    served.compare(Judgement(TRUTH.log_tokens + 50.0, 0.05), TRUTH)
    assert served.sampling_variance < 0.04**2


# Drift


def alarm(served: Served) -> int:
    """Errors of ten deviations until that raises an alarm; how many it took."""
    return next(count for count in range(1, 100) if served.watch(10.0))


def test_an_alarm_widens_and_relearns() -> None:
    """Doubt is back, margins and the template's part start from their priors, and 300 answers are wanted."""
    served = learned()
    counted = Counted(1000, 0, 0, 1)
    for _ in range(50):
        served.framing.learn(counted, 1500)
    scattered(served, Stage.TEXT, Random(2))
    served.refresh()
    narrow = served.margins[Stage.TEXT].short_at
    assert alarm(served) < 20
    fresh = Served(Promise())
    assert served.model.doubt == fresh.model.doubt
    assert served.margins[Stage.TEXT].short_at > narrow
    assert all((margin.errors == fresh.margins[stage].errors).all() for stage, margin in served.margins.items())
    assert served.framing.judge(counted) == fresh.framing.judge(counted)
    assert served.wanted == served.model.samples + 300
    assert served.vigil.alarms == 1


@pytest.mark.parametrize(("error", "wanted"), [(2.1, 10), (-2.1, 10), (1.9, 0), (-1.9, 0)])
def test_an_odd_error_asks_for_the_next_answers(error: float, wanted: int) -> None:
    """Ten, to either side; another one begins anew, and they are counted down to none."""
    served = learned()
    for _ in range(2):
        served.watch(error)
        assert served.inquiries == wanted
        served.inquire()
    for _ in range(20):
        served.inquire()
    assert served.inquiries == 0


def test_odd_errors_among_answers_that_were_wanted_ask_for_no_more() -> None:
    """So that there is an end to it where one error in ten is odd; they count towards an alarm like all others."""
    served, alike = learned(), learned()
    alarmed = [served.watch(10.0, by_chance=False) for _ in range(20)]
    assert served.inquiries == 0
    assert alarmed == [alike.watch(10.0) for _ in range(20)]
    assert any(alarmed)


def test_errors_as_stated_raise_no_alarm() -> None:
    """Five thousand of them, from a normal distribution."""
    served, rng = learned(), Random(3)
    assert not any(served.watch(rng.gauss(0, 1)) for _ in range(5000))
    assert served.wanted == 0


def test_while_in_doubt_no_error_is_watched() -> None:
    """The stated deviations are wide then: they say little, and doubt is all that an alarm could bring."""
    served = learned(10)
    assert not any(served.watch(10.0) for _ in range(100))
    assert (served.vigil.alarms, served.inquiries) == (0, 0)


# A glance


def test_a_prompt_of_no_bytes_has_a_size_too() -> None:
    """An empty prompt, and one of empty messages, where the template is all there is."""
    served = Served(Promise())
    none, some, many = (served.glance(Category.PROSE, RequestFacts(message_count=count)) for count in (0, 1, 1000))
    assert math.isfinite(none.log_tokens)
    assert none.log_tokens < some.log_tokens < many.log_tokens
    assert math.exp(many.log_tokens) > 2500  # five each, where text has four bytes a token


def test_a_glance_settles_nothing_short_that_is_near() -> None:
    """However often it was right to the token about texts of this kind: the next may be of another source."""
    served = learned()
    for _ in range(5000):
        served.margins[Stage.SIZE].observe(0.0, 9.0)
        served.margins[Stage.SIZE].settles(9.0)
        served.densities[Category.PROSE].learn(prompt_bytes(FACTS), 400)
    served.refresh()
    judged = served.glance(Category.PROSE, FACTS)
    room = math.exp(judged.log_tokens + served.margins[Stage.SIZE].short_at * judged.spread)
    assert math.exp(judged.log_tokens) == pytest.approx(400, rel=0.01)
    assert room > 1.4 * 400


def test_each_kind_of_text_has_its_own_glance() -> None:
    """What one kind costs says nothing of another; doubt about the model is about all of them."""
    served = Served(Promise())
    before = served.glance(Category.LOGS, FACTS)
    for _ in range(100):
        served.densities[Category.PROSE].learn(prompt_bytes(FACTS), 300)
    assert served.glance(Category.LOGS, FACTS) == before
    served.model.doubt = 0.0
    assert served.glance(Category.LOGS, FACTS).spread < before.spread
