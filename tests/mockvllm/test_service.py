from dataclasses import replace

import pytest

from extproc.mockvllm.errors import BACKLOG_FULL, QUEUE_FULL, Refusal
from extproc.mockvllm.reply import Reply
from extproc.mockvllm.sequence import Outcome
from extproc.mockvllm.service import Service, build
from extproc.mockvllm.settings import MockSettings
from extproc.mockvllm.work import Prompt, Work

WORK = Work(model="m", prompts=(Prompt(1000, 4000, 7),), asked_tokens=50, asked_field="max_tokens")


def service(**chosen: object) -> Service:
    """An instance with a context of 8192 tokens whose engine nobody steps."""
    return build(MockSettings(max_model_len=8192, **chosen))  # type: ignore[arg-type]  # the tests pass fitting values


def admitted(subject: Service, work: Work) -> Reply:
    """The reply to work that is served."""
    reply = subject.admit(work, 1.0, None)
    assert isinstance(reply, Reply)
    return reply


def test_the_natural_length_or_the_limit_ends_an_answer() -> None:
    """A limit above the natural length gives `stop`, one below gives `length`."""
    subject = service(mean_output_tokens=100)
    natural = admitted(subject, replace(WORK, asked_tokens=None)).ticket.sequences[0]
    assert natural.ending is Outcome.STOP
    cut = admitted(subject, replace(WORK, asked_tokens=natural.output_tokens - 1)).ticket.sequences[0]
    assert (cut.output_tokens, cut.ending) == (natural.output_tokens - 1, Outcome.LENGTH)
    exact = admitted(subject, replace(WORK, asked_tokens=natural.output_tokens)).ticket.sequences[0]
    assert exact.ending is Outcome.STOP


def test_ignore_eos_and_min_tokens_lengthen_an_answer() -> None:
    """Without an end the limit decides; a minimum keeps short answers going."""
    subject = service(mean_output_tokens=10)
    endless = admitted(subject, replace(WORK, asked_tokens=900, ignore_eos=True)).ticket.sequences[0]
    assert (endless.output_tokens, endless.ending) == (900, Outcome.LENGTH)
    longer = admitted(subject, replace(WORK, asked_tokens=900, min_tokens=500)).ticket.sequences[0]
    assert (longer.output_tokens, longer.ending) == (500, Outcome.STOP)


def test_an_absent_limit_fills_the_remaining_context() -> None:
    """The resolved limit is what the context leaves."""
    reply = admitted(service(), replace(WORK, asked_tokens=None, ignore_eos=True))
    assert reply.ticket.max_tokens == reply.ticket.sequences[0].output_tokens == 7192


def test_every_prompt_gets_n_answers_and_counts_once() -> None:
    """Two prompts with n=3 are six sequences and two prompts' tokens."""
    reply = admitted(service(), replace(WORK, prompts=(Prompt(10, 40, 1), Prompt(20, 80, 2)), n=3))
    assert [each.prompt_tokens for each in reply.ticket.sequences] == [10, 10, 10, 20, 20, 20]
    assert reply.prompt_tokens == 30


def test_one_prompt_too_long_refuses_the_request() -> None:
    """Nothing of a refused request reaches the engine."""
    subject = service()
    refusal = subject.admit(replace(WORK, prompts=(Prompt(10, 40, 1), Prompt(9000, 36_000, 2))), 1.0, None)
    assert isinstance(refusal, Refusal)
    assert not subject.driver.engine.busy


@pytest.mark.parametrize(("truncate", "tokens"), [(None, 9000), (-1, 8191), (100, 100)])
def test_truncation_shortens_the_prompt(truncate: int | None, tokens: int) -> None:
    """-1 leaves room for one token; a number keeps so many; without it 9000 tokens are refused."""
    reply = service().admit(
        replace(WORK, prompts=(Prompt(9000, 36_000, 1),), asked_tokens=1, truncate_prompt_tokens=truncate), 1.0, None
    )
    assert (reply.prompt_tokens == tokens) if isinstance(reply, Reply) else tokens == 9000


@pytest.mark.parametrize("truncate", [0, -2, 8192])
def test_truncation_out_of_range_is_refused(truncate: int) -> None:
    """Only lengths a prompt can have are taken."""
    assert isinstance(service().admit(replace(WORK, truncate_prompt_tokens=truncate), 1.0, None), Refusal)


def test_the_queue_limit_counts_every_sequence() -> None:
    """With room for four, n=3 is served once and then refused, n=1 still fits."""
    subject = service(max_num_queued_reqs=4)
    admitted(subject, replace(WORK, n=3))
    assert subject.admit(replace(WORK, n=3), 1.0, None) is QUEUE_FULL
    admitted(subject, WORK)


def test_the_token_limit_looks_at_the_backlog() -> None:
    """A request is taken while the backlog is below the limit, whatever its own length."""
    subject = service(max_num_queued_tokens=500)
    admitted(subject, WORK)
    assert subject.admit(WORK, 1.0, None) is BACKLOG_FULL


def test_one_model_is_served_where_one_is_named() -> None:
    """Other names get 404; without --served-model-name every name is taken."""
    refusal = service(served_model_name="a").admit(WORK, 1.0, None)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.param) == (404, "model")
    assert admitted(service(served_model_name="m"), WORK).model == "m"
    assert admitted(service(), replace(WORK, model=None)).model == "mock-model"


def test_ids_come_from_the_client_or_the_seed() -> None:
    """X-Request-Id wins, then the body; else ids repeat by seed."""
    named = service().admit(replace(WORK, request_id="body"), 1.0, "header")
    assert isinstance(named, Reply)
    assert named.id == "header"
    assert admitted(service(), replace(WORK, request_id="body")).id == "body"
    assert admitted(service(seed=3), WORK).id == admitted(service(seed=3), WORK).id


def test_answers_repeat_by_seed() -> None:
    """The request's own seed takes the place of the instance's."""
    mine = admitted(service(seed=1), WORK).drafts
    assert mine == admitted(service(seed=1), WORK).drafts
    assert mine != admitted(service(seed=2), WORK).drafts
    assert mine == admitted(service(seed=2), replace(WORK, seed=1)).drafts


def test_counting_may_fill_the_whole_context() -> None:
    """Where nothing is generated the prompt may be as long as the context, and no longer."""
    subject = service()
    assert subject.count_only(Prompt(8192, 30_000, 1), None) == 8192
    assert isinstance(subject.count_only(Prompt(8193, 30_000, 1), None), Refusal)
    assert subject.count_only(Prompt(9000, 30_000, 1), -1) == 8192


def test_releases_differ_in_the_admission_gate() -> None:
    """The full-sequence gate came after 0.17."""
    assert service().driver.engine.shape.reserve_full_sequence
    assert not service(vllm_version="0.17.1").driver.engine.shape.reserve_full_sequence
