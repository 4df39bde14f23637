from extproc.mockvllm.driver import Ticket
from extproc.mockvllm.generate import Draft, Filler
from extproc.mockvllm.reply import Reply
from extproc.mockvllm.sequence import Outcome, Sequence
from extproc.mockvllm.settings import TokenizerName
from extproc.mockvllm.tokens import Tokenizer
from extproc.mockvllm.work import Work

FILLER = Filler(Tokenizer(TokenizerName.LLAMA3))


def reply(count: int = 1, usage_factor: float = 1.0) -> Reply:
    """An answer with so many choices, nothing generated."""
    sequences = [Sequence(10, 20, Outcome.STOP, 0.0) for _ in range(count)]
    return Reply(
        id="x",
        created=0,
        model="m",
        work=Work(model="m", prompts=(), asked_tokens=None, asked_field="max_tokens"),
        ticket=Ticket(sequences, 20, streams=True),
        drafts=[Draft(20, index) for index in range(count)],
        filler=FILLER,
        prompt_tokens=10,
        usage_factor=usage_factor,
    )


def test_the_first_token_goes_alone_and_others_by_the_interval() -> None:
    """Chunks hold `stream_interval` tokens, the first and the last may hold fewer."""
    subject = reply()
    sequence = subject.ticket.sequences[0]
    sequence.generated = 12
    assert [delta.completion_tokens for delta in subject.news(5)] == [1, 6, 11]
    sequence.generated = 13
    assert list(subject.news(5)) == []
    sequence.outcome = Outcome.STOP
    last = list(subject.news(5))
    assert [(delta.completion_tokens, delta.finish_reason) for delta in last] == [(13, "stop")]


def test_chunks_make_the_whole_text() -> None:
    """What is streamed is what a whole answer would say."""
    subject = reply()
    sequence = subject.ticket.sequences[0]
    texts = []
    for generated in (1, 2, 7, 20):
        sequence.generated = generated
        texts += [delta.text for delta in subject.news(1)]
    assert "".join(texts) == subject.text(0)
    assert len(texts) == 20


def test_usage_counts_the_prompt_once_and_every_choice() -> None:
    """Prompt tokens are those of the request, completion tokens the sum over its choices."""
    subject = reply(count=3)
    for sequence in subject.ticket.sequences:
        sequence.generated = 5
    assert subject.usage == (10, 15)


def test_usage_can_be_wrong_on_purpose() -> None:
    """The factor applies to both counts."""
    assert reply(usage_factor=1.5).reported(10, 3) == (15, 4)
