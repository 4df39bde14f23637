import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.mockvllm.errors import Refusal
from extproc.mockvllm.limits import Extent, output_limit

VERSIONS = [(0, 6), (0, 9), (0, 10), (0, 13), (0, 17), (0, 20), (0, 30), (0, 31), (0, 32), (0, 33)]
CONTEXT = 8192


def limit(version: tuple[int, int], prompt: int, asked: int | None, *, text: bool = True) -> int | Refusal:
    """The resolved limit in a context of 8192 tokens."""
    return output_limit(version, CONTEXT, Extent(prompt, prompt * 4 if text else None, asked, "max_tokens"))


def message(version: tuple[int, int], prompt: int, asked: int | None, *, text: bool = True) -> str:
    """The words of a refusal."""
    refusal = limit(version, prompt, asked, text=text)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 400
    return refusal.message


@pytest.mark.parametrize("version", VERSIONS)
def test_what_fits_gets_what_it_asks_for(version: tuple[int, int]) -> None:
    """Within the context every release grants the request, and fills the context where nothing is asked."""
    assert limit(version, 1000, 100) == 100
    assert limit(version, 8000, 192) == 192
    assert limit(version, 1000, None) == 7192


@pytest.mark.parametrize("version", VERSIONS)
def test_more_output_than_the_context_is_refused_everywhere(version: tuple[int, int]) -> None:
    """M > L is a 400 in every release, however short the prompt."""
    assert "8192" in message(version, 10, 65_535)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_release_decides_between_refusing_and_clamping(version: tuple[int, int]) -> None:
    """P + M > L with both below L: 400 up to 0.31, a silently shorter output from 0.32 on."""
    outcome = limit(version, 8000, 1000)
    assert (outcome == 192) if version >= (0, 32) else isinstance(outcome, Refusal)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("prompt", [CONTEXT, CONTEXT + 1])
def test_a_prompt_that_leaves_no_room_is_refused_everywhere(version: tuple[int, int], prompt: int) -> None:
    """Not one token could be generated."""
    assert isinstance(limit(version, prompt, None), Refusal)


WORDS = [
    (
        (0, 9),
        8192,
        None,
        (
            "This model's maximum context length is 8192 tokens. However, you requested 8192 tokens in the messages, "
            "Please reduce the length of the messages."
        ),
    ),
    (
        (0, 9),
        8000,
        1000,
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens (8000 in the "
            "messages, 1000 in the completion). Please reduce the length of the messages or completion."
        ),
    ),
    (
        (0, 13),
        9000,
        10,
        (
            "This model's maximum context length is 8192 tokens. However, your request has 9000 input tokens. "
            "Please reduce the length of the input messages."
        ),
    ),
    (
        (0, 13),
        8000,
        1000,
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 1000. This model's maximum context length is 8192 "
            "tokens and your request has 8000 input tokens (1000 > 8192 - 8000)."
        ),
    ),
    (
        (0, 17),
        8000,
        1000,
        (
            "You passed 7193 input tokens and requested 1000 output tokens. However, the model's context length is "
            "only 8192 tokens, resulting in a maximum input length of 7192 tokens. Please reduce the length of the "
            "input prompt. (parameter=input_tokens, value=7193)"
        ),
    ),
    (
        (0, 31),
        8000,
        1000,
        (
            "This model's maximum context length is 8192 tokens. However, you requested 1000 output tokens and your "
            "prompt contains at least 7193 input tokens, for a total of at least 8193 tokens. Please reduce the length "
            "of the input prompt or the number of requested output tokens. (parameter=input_tokens, value=7193)"
        ),
    ),
    (
        (0, 33),
        9000,
        1000,
        (
            "This model's maximum context length is 8192 tokens. However, your prompt contains at least 8193 input "
            "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input "
            "prompt. (parameter=input_tokens, value=8193)"
        ),
    ),
    (
        (0, 17),
        10,
        9000,
        (
            "max_tokens=9000cannot be greater than max_model_len=max_total_tokens=8192. Please request fewer output "
            "tokens. (parameter=max_tokens, value=9000)"
        ),
    ),
    (
        (0, 30),
        10,
        9000,
        (
            "max_tokens=9000 cannot be greater than max_model_len=max_total_tokens=8192. Please request fewer output "
            "tokens. (parameter=max_tokens, value=9000)"
        ),
    ),
    (
        (0, 31),
        10,
        9000,
        (
            "max_tokens=9000 cannot be greater than max_model_len=8192. Please request fewer output tokens. "
            "(parameter=max_tokens, value=9000)"
        ),
    ),
    ((0, 33), 8192, 10, "max_tokens must be at least 1, got 0."),
    ((0, 33), 10, 0, "max_tokens must be at least 1, got 0."),
]


@pytest.mark.parametrize(("version", "prompt", "asked", "words"), WORDS)
def test_each_release_has_its_words(version: tuple[int, int], prompt: int, asked: int | None, words: str) -> None:
    """The message is the release's own, number by number."""
    assert message(version, prompt, asked) == words


def test_token_ids_are_counted_exactly() -> None:
    """Only text is tokenised up to the limit; a list of ids is as long as it is."""
    words = message((0, 31), 9000, 1000, text=False)
    assert "contains 9000 input tokens, for a total of 10000 tokens" in words


@pytest.mark.parametrize(
    ("version", "start"), [((0, 17), "You passed 1048577 input"), ((0, 33), "This model's maximum")]
)
def test_text_no_tokenizer_could_fit_is_refused_by_its_characters(version: tuple[int, int], start: str) -> None:
    """More than 128 characters a token cannot fit, so the refusal speaks of characters."""
    refusal = output_limit(version, CONTEXT, Extent(8000, 1_048_577, None, "max_tokens"))
    assert isinstance(refusal, Refusal)
    assert refusal.param == "input_text"
    assert refusal.message.startswith(start)
    assert "1048576 characters" in refusal.message


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(VERSIONS),
    st.integers(1, 20_000),
    st.integers(0, 200_000),
    st.none() | st.integers(-5, 100_000),
)
def test_a_granted_limit_fits_context_and_request(
    version: tuple[int, int], context: int, prompt: int, asked: int | None
) -> None:
    """Whatever is granted is at least 1, no more than asked, and fits beside the prompt."""
    granted = output_limit(version, context, Extent(prompt, prompt * 3, asked, "max_tokens"))
    if isinstance(granted, int):
        assert granted >= 1
        assert prompt + granted <= context
        assert asked is None or granted <= asked
