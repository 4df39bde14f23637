from extproc.mockvllm.errors import BACKLOG_FULL, FAULT, QUEUE_FULL, Refusal, bad_request, malformed, unknown_model


def test_bodies_are_nested_since_0_10() -> None:
    """The code is an integer, and the error stands in an object of its own."""
    assert bad_request("No.", "n").body((0, 10)) == {
        "error": {"message": "No.", "type": "BadRequestError", "param": "n", "code": 400}
    }


def test_bodies_are_flat_before() -> None:
    """Releases up to 0.9 say `object: error` beside the fields."""
    assert bad_request("No.").body((0, 9)) == {
        "object": "error",
        "message": "No.",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }


def test_each_kind_has_vllms_type() -> None:
    """Status and type go together as in vLLM."""
    types = {
        refusal.status: refusal.body((0, 33))["error"]["type"]
        for refusal in (unknown_model("x"), QUEUE_FULL, FAULT, Refusal(418, "Tea."), Refusal(599, "Odd."))
    }
    assert types == {
        404: "NotFoundError",
        503: "Service Unavailable",
        500: "InternalServerError",
        418: "I'm a Teapot",
        599: "InternalServerError",
    }


def test_malformed_bodies_are_worded_as_fastapi_words_them() -> None:
    """The message counts the problems and the type is the status phrase."""
    error = malformed(["a", "b"]).body((0, 33))["error"]
    assert error["message"] == "2 validation errors:\n  a\n  b"
    assert error["type"] == "Bad Request"


def test_the_two_queue_limits_differ_only_in_their_words() -> None:
    """Both invite a retry elsewhere."""
    assert QUEUE_FULL.status == BACKLOG_FULL.status == 503
    assert "currently busy" in QUEUE_FULL.message
    assert "prefill token backlog limit" in BACKLOG_FULL.message
    assert all(each.message.endswith("on a different instance.") for each in (QUEUE_FULL, BACKLOG_FULL))


def test_messages_have_anthropics_body() -> None:
    """/v1/messages wraps the same error in another shape."""
    assert bad_request("No.").anthropic_body() == {
        "type": "error",
        "error": {"type": "BadRequestError", "message": "No."},
    }
