from extproc.mockvllm.usage import messages_usage, openai_usage, responses_usage


def test_each_family_of_routes_has_its_field_names() -> None:
    """The same two counts, as OpenAI's two interfaces and Anthropic's name them."""
    assert openai_usage(3, 4) == {
        "prompt_tokens": 3,
        "total_tokens": 7,
        "completion_tokens": 4,
        "prompt_tokens_details": None,
    }
    responses = responses_usage(3, 4)
    assert (responses["input_tokens"], responses["output_tokens"], responses["total_tokens"]) == (3, 4, 7)
    assert messages_usage(3, 4) == {"input_tokens": 3, "output_tokens": 4}
