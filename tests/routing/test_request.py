import json
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from extproc.routing.features import COUNT, sample_features, text_features
from extproc.routing.request import Request, flawed, is_inference, read_request
from extproc.routing.text import Prompt
from extproc.routing.values import Category, Flaw, RequestFacts

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
EMBEDDINGS = "/v1/embeddings"
POOLING = (EMBEDDINGS, "/pooling", "/classify", "/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank")
ROUTES = (CHAT, COMPLETIONS, RESPONSES, MESSAGES, *POOLING)
OTHERS = (
    "/",
    "",
    "/health",
    "/metrics",
    "/tokenize",
    "/detokenize",
    "/v1/models",
    "/v1/chat/completions/render",
    "/v1/chat/completions/batch",
    "/v1/completions/render",
    "/v1/messages/count_tokens",
    "/v1/responses/resp_1",
    "/v1/responses/resp_1/cancel",
    "/v1/audio/transcriptions",
    "/invocations",
    "/v1/chat",
    "/v1/chat/completions?/v1/completions/../x/y",
)
SMALLEST: dict[str, dict[str, Any]] = {
    CHAT: {"messages": []},
    COMPLETIONS: {"prompt": ""},
    RESPONSES: {"input": ""},
    MESSAGES: {"messages": []},
    **{path: {"input": "", "query": ""} for path in POOLING},
}
PROSE = "The quick brown fox jumps over the lazy dog while the cat looks on from the wall. " * 10
PROSE_BYTES = 820


def request(path: str, **fields: Any) -> Request:
    """A body with these fields, read."""
    return read_request(path, json.dumps(fields).encode())


def chatting(content: Any = PROSE, **fields: Any) -> Request:
    """A chat of one message, read."""
    return request(CHAT, messages=[{"role": "user", "content": content}], **fields)


def facts_of(path: str, body: bytes) -> RequestFacts:
    """The facts of a body."""
    return read_request(path, body).facts


def read(path: str, **fields: Any) -> RequestFacts:
    """The facts of a body with these fields."""
    return request(path, **fields).facts


def chat(content: Any = PROSE, **fields: Any) -> RequestFacts:
    """The facts of a chat of one message."""
    return chatting(content, **fields).facts


def flaw_of(path: str, body: bytes) -> Flaw | None:
    """What keeps a body from being told; it leaves nothing else behind."""
    found = read_request(path, body)
    flaw = found.facts.flaw
    assert flaw is None or (found.facts, found.prompt) == (flawed(flaw).facts, None)
    return flaw


# Routes


@pytest.mark.parametrize("path", ROUTES)
def test_a_post_to_a_route_that_occupies_a_context_is_inference(path: str) -> None:
    """Behind any prefix, with a query or a trailing slash."""
    assert all(
        is_inference("POST", spelling) for spelling in (path, f"/team-a/vllm{path}", f"{path}?beta=true", f"{path}/")
    )


@pytest.mark.parametrize("path", OTHERS[:-1])
def test_other_routes_are_not(path: str) -> None:
    """Counting, rendering and housekeeping need no pool, and their bodies need no reading."""
    assert not is_inference("POST", path)
    assert flaw_of(path, b'{"messages": [], "max_tokens": 1}') is Flaw.NOT_INFERENCE


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "post", ""])
def test_other_methods_are_not(method: str) -> None:
    """Only POST starts an inference."""
    assert not any(is_inference(method, path) for path in ROUTES)


def test_a_query_does_not_make_a_route() -> None:
    """Only what stands before the question mark is looked at."""
    assert not is_inference("POST", "/v1/models?next=/v1/chat/completions")
    assert is_inference("POST", OTHERS[-1])


# The whole of it


def test_the_facts_of_a_chat() -> None:
    """Everything a plain body says."""
    assert chat("abc", model="m", max_tokens=7, n=2) == RequestFacts(
        text_bytes=3,
        total_text_bytes=3,
        message_count=1,
        n=2,
        output_tokens=7,
        model="m",
    )


def test_the_facts_of_a_list_of_prompts() -> None:
    """The longest decides the budget, the sum answers for usage."""
    assert read(COMPLETIONS, prompt=["中国" * 200, "国" * 150], n=3) == RequestFacts(
        text_bytes=1200,
        total_text_bytes=1650,
        prompt_count=2,
        n=3,
        output_tokens=16,
    )


def test_the_facts_of_token_ids() -> None:
    """An exact count, which has no bytes to teach by."""
    assert read(COMPLETIONS, prompt=[[1] * 900, [2] * 1000]) == RequestFacts(
        token_ids=1000, prompt_count=2, output_tokens=16, teaches=False
    )


# Output


OUTPUTS: list[tuple[str, dict[str, Any], int | None]] = [
    (CHAT, {}, None),
    (CHAT, {"max_tokens": 5}, 5),
    (CHAT, {"max_completion_tokens": 6}, 6),
    (CHAT, {"max_tokens": 5, "max_completion_tokens": 6}, 6),
    (CHAT, {"max_tokens": 6, "max_completion_tokens": 5}, 5),
    (CHAT, {"max_tokens": 5, "max_completion_tokens": None}, 5),
    (CHAT, {"max_tokens": 5, "max_completion_tokens": 0}, 5),
    (CHAT, {"max_tokens": None, "max_completion_tokens": 0}, None),
    (CHAT, {"max_tokens": None}, None),
    (CHAT, {"max_output_tokens": 5}, None),
    (COMPLETIONS, {}, 16),
    (COMPLETIONS, {"max_tokens": None}, None),
    (COMPLETIONS, {"max_completion_tokens": 6}, 16),
    (COMPLETIONS, {"max_completion_tokens": 60}, 60),
    (COMPLETIONS, {"max_tokens": 5, "max_completion_tokens": 6}, 6),
    (COMPLETIONS, {"max_tokens": 6, "max_completion_tokens": 5}, 6),
    (COMPLETIONS, {"max_tokens": 6, "max_completion_tokens": None}, 6),
    (COMPLETIONS, {"max_tokens": None, "max_completion_tokens": 6}, None),
    (COMPLETIONS, {"max_tokens": 0}, 0),
    (COMPLETIONS, {"max_tokens": 5}, 5),
    (COMPLETIONS, {"max_completion_tokens": 5}, 16),
    (RESPONSES, {}, None),
    (RESPONSES, {"max_output_tokens": 5}, 5),
    (RESPONSES, {"max_tokens": 5}, None),
    (MESSAGES, {}, None),
    (MESSAGES, {"max_tokens": 5}, 5),
    *((path, {"max_tokens": 5}, 0) for path in POOLING),
]


@pytest.mark.parametrize(("path", "fields", "output_tokens"), OUTPUTS)
def test_the_output_reserved_is_what_the_route_reads(
    path: str, fields: dict[str, Any], output_tokens: int | None
) -> None:
    """Each route has its own field; the newer wins unless null; completions have a default; pooling has none."""
    facts = read(path, **SMALLEST[path], **fields)
    assert (facts.flaw, facts.output_tokens) == (None, output_tokens)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("16", 16),
        ("16.0", 16),
        ('"16"', 16),
        ("1.6e1", 16),
        ("0", 0),
        ("-0", 0),
        ("1" + "0" * 30, 2**31 - 1),
        ("1e300", 2**31 - 1),
        ('"1' + "0" * 4000 + '"', 2**31 - 1),
    ],
)
def test_counts_are_read_as_vllm_reads_them(text: str, count: int) -> None:
    """Whole numbers in any spelling; beyond any context they are bounded, so that they fit wherever they go."""
    facts = facts_of(MESSAGES, f'{{"messages": [], "max_tokens": {text}}}'.encode())
    assert (facts.flaw, facts.output_tokens) == (None, count)


BAD_COUNTS = ("-2", "16.5", '"16.5"', '"many"', '""', "true", "[]", "{}", "1e999", "NaN", "1" * 5000, f'"{"1" * 5000}"')


@pytest.mark.parametrize("text", BAD_COUNTS)
@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens", "truncate_prompt_tokens", "n"])
def test_a_count_that_is_none_makes_a_body_unreadable(field: str, text: str) -> None:
    """The server refuses it, from the long pool as well as from any."""
    body = f'{{"messages": [], "max_tokens": 1, "{field}": {text}}}'
    assert flaw_of(CHAT, body.encode()) is Flaw.UNREADABLE


# Sequences


@pytest.mark.parametrize(("value", "n"), [(None, 1), (1, 1), (4, 4), ("4", 4), (4.0, 4), (0, 1), (10**30, 2**31 - 1)])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_the_sequences_asked_for_are_counted(path: str, value: Any, n: int) -> None:
    """Usage will sum their output; one is the default, and a bounded number counts for any larger."""
    assert read(path, **SMALLEST[path], n=value).n == n


@pytest.mark.parametrize("path", [RESPONSES, MESSAGES, *POOLING])
def test_other_routes_answer_once(path: str) -> None:
    """They know no such field, so that nothing in it matters."""
    assert read(path, **SMALLEST[path], n="many") == read(path, **SMALLEST[path])
    assert read(path, **SMALLEST[path]).n == 1


# Prompts that are cut


@pytest.mark.parametrize(
    ("value", "cap", "cut"),
    [
        (None, None, False),
        (100, 100, True),
        ("100", 100, True),
        (-1, None, True),
        ("-1", None, True),
        (0, None, True),
    ],
)
def test_a_prompt_that_may_be_cut_is_capped_and_never_teaches(value: Any, cap: int | None, *, cut: bool) -> None:
    """−1 cuts at the pool's own ceiling, which is no bound before a pool is chosen; usage counts what is left."""
    facts = chat(truncate_prompt_tokens=value)
    assert (facts.prompt_cap_tokens, facts.cut, facts.teaches) == (cap, cut, not cut)


@pytest.mark.parametrize(("path", "fields"), [(RESPONSES, {"input": PROSE}), (MESSAGES, {"messages": []})])
def test_a_cap_that_the_route_does_not_know_caps_nothing(path: str, fields: dict[str, Any]) -> None:
    """The server passes over it there, so a prompt is as long as it is."""
    assert read(path, **fields, truncate_prompt_tokens=10) == read(path, **fields)


@pytest.mark.parametrize(("truncation", "cut"), [(None, False), ("disabled", False), ("auto", True)])
def test_automatic_truncation_never_teaches(truncation: str | None, *, cut: bool) -> None:
    """The Responses API's word for −1."""
    facts = read(RESPONSES, input=PROSE, truncation=truncation)
    assert (facts.prompt_cap_tokens, facts.cut, facts.teaches) == (None, cut, not cut)


# Lists of prompts

BLOB = "aGVsbG8gd29ybGQ5MTIzNDU2Nzg5MA" * 30


@pytest.mark.parametrize(
    ("prompts", "mixed"),
    [
        ([PROSE], False),
        ([PROSE, PROSE], False),
        ([PROSE, BLOB], True),
        ([BLOB, PROSE], True),
        ([PROSE * 10, BLOB], False),
        ([PROSE * 10, BLOB * 9], True),
        ([PROSE] * 64, False),
        ([PROSE] * 65, True),
        ([PROSE * 10, *[PROSE] * 65], False),
    ],
)
def test_the_longest_of_several_kinds_of_text_need_not_have_the_most_tokens(prompts: list[str], *, mixed: bool) -> None:
    """Texts of more than an eighth of the longest are compared, up to 64; a mixed list never teaches."""
    facts = read(COMPLETIONS, prompt=prompts)
    assert (facts.mixed, facts.teaches) == (mixed, not mixed)


@pytest.mark.parametrize(("query", "mixed"), [(PROSE, False), (BLOB, True), ("abc", False)])
def test_pairs_of_several_kinds_are_mixed(query: str, *, mixed: bool) -> None:
    """Half of a pair may cost more than its share of the bytes."""
    assert read("/v1/rerank", query=query, documents=[PROSE, PROSE]).mixed is mixed


# Flaws


def test_a_flawed_request_expects_and_teaches_nothing() -> None:
    """Nobody should wait for its answer."""
    facts = flawed(Flaw.MEDIA).facts
    assert facts == RequestFacts(flaw=Flaw.MEDIA, usage_expected=False, teaches=False)


@pytest.mark.parametrize("path", ROUTES)
def test_prefill_transferred_from_elsewhere_hides_the_length(path: str) -> None:
    """The prompt's tokens are named in the transfer, not in the body."""
    body = json.dumps({**SMALLEST[path], "kv_transfer_params": {"prompt_token_ids": [1]}})
    assert flaw_of(path, body.encode()) is Flaw.LENGTH_NOT_IN_BODY


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"messages": [], "chat_template": "{{ messages }}"}),
        (COMPLETIONS, {"prompt_embeds": "AAAA"}),
        (RESPONSES, {"input": "x", "previous_response_id": "resp_1"}),
        (RESPONSES, {"input": "x", "conversation": "conv_1"}),
        (RESPONSES, {"input": "x", "tools": [{"type": "web_search"}]}),
    ],
)
def test_a_prompt_that_is_not_in_the_body_is_a_flaw(path: str, fields: dict[str, Any]) -> None:
    """It comes out as a value: nothing raises."""
    assert flaw_of(path, json.dumps(fields).encode()) is Flaw.LENGTH_NOT_IN_BODY


def test_an_image_of_five_megabytes_is_skipped_quickly() -> None:
    """Its bytes are passed over, not decoded, and do not count."""
    url = "data:image/png;base64," + "iVBORw0KGgo" * 500_000
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    body = json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 5}).encode()
    start_s = time.process_time()
    flaw = flaw_of(CHAT, body)
    assert time.process_time() - start_s < 0.1
    assert flaw is Flaw.MEDIA


def test_bytes_in_unused_fields_do_not_count() -> None:
    """Only what the template shows the model is prompt."""
    assert chat("abc", metadata={"blob": "x" * 100_000}, user="y" * 100_000) == chat("abc")


UNREADABLE: list[bytes] = [
    b"",
    b" ",
    b"null",
    b"16",
    b'"text"',
    b"[]",
    b'[{"messages": []}]',
    b"{",
    b'{"messages": [',
    b'{"messages": [], "max_tokens": 1} x',
    b'{"messages": []}{"messages": []}',
    b"{'messages': []}",
    b'{"messages": [],}',
    b'\xef\xbb\xbf{"messages": []}',
    '{"messages": []}'.encode("utf-16"),
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    b"\x00" * 100,
    b'{"messages": {}}',
    b'{"messages": null}',
    b'{"messages": "text"}',
    b'{"messages": ["text"]}',
    b'{"messages": [{"content": 16}]}',
    b'{"messages": [{"content": {"type": "text"}}]}',
    b'{"messages": [{"content": [16]}]}',
    b'{"messages": [{"content": [{"type": null, "text": "x"}]}]}',
    b'{"messages": [{"content": "\xff\xfe"}]}',
    b'{"messages": [{"content": "\\ud800"}]}',
    b'{"messages": [{"content": "\\udc00\\ud800"}]}',
    b'{"messages": [{"content": "\n"}]}',
    b'{"messages": [], "metadata": "\\ud800"}',
    b'{"messages": [], "model": 16}',
    b'{"messages": [], "stream": "perhaps"}',
    b'{"messages": [], "stream_options": []}',
    b'{"messages": [], "tools": {}}',
    b'{"messages": [], "tools": [16]}',
    b'{"messages": [], "documents": {"\xff": 1, "\\u0444": 2}}',
    b'{"messages": [], "metadata": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"messages": [], "documents": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    b'{"messages": [{"content": ' + b'[{"type": "tool_result", "content": ' * 10_000 + b'"x"' + b"}]" * 10_000 + b"}]}",
]


@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: repr(body[:60]))
def test_what_cannot_be_read_is_a_flaw(body: bytes) -> None:
    """Broken JSON, wrong types, wrong encodings, nesting without end."""
    assert flaw_of(CHAT, body) is Flaw.UNREADABLE


def test_nesting_within_reason_is_read() -> None:
    """Results of tools in results of tools; the bound is the interpreter's."""
    content: Any = "x"
    for _ in range(20):
        content = [{"type": "tool_result", "content": content}]
    assert read(MESSAGES, messages=[{"role": "user", "content": content}], max_tokens=1).text_bytes == 1


def test_text_that_is_not_utf_8_passes_where_nobody_reads_it() -> None:
    """A field that does not make the budget is skipped, whatever is in it."""
    body = b'{"messages": [{"refers": "\xff", "content": "abc"}], "user": "\xff\xfe", "max_tokens": 1}'
    assert facts_of(CHAT, body).text_bytes == 3


def test_of_duplicate_keys_the_last_wins() -> None:
    """As in vLLM, so that a client cannot show us one body and the server another."""
    body = b"""{"messages": [{"content": "abc", "content": "a"}], "max_tokens": 1,
                "max\\u005ftokens": 99, "messages": [{"content": "abcdef", "content": "ab"}]}"""
    facts = facts_of(CHAT, body)
    assert (facts.text_bytes, facts.output_tokens) == (2, 99)


# What facts are made of


def test_escapes_make_no_difference() -> None:
    r"""A body written with \uXXXX and one in UTF-8 say the same, in text and in structure."""
    tool = {"type": "function", "function": {"name": "найти", "description": "ищет “текст” 😀"}}
    call = [{"id": "1", "type": "function", "function": {"name": "найти", "arguments": '{"q": "текст"}'}}]
    messages = [{"role": "user", "content": "Привет, мир! " * 100}, {"role": "assistant", "tool_calls": call}]
    body = {"model": "модель", "messages": messages, "tools": [tool], "max_tokens": 5}
    requests = [
        read_request(CHAT, json.dumps(body, ensure_ascii=ensure_ascii, indent=indent).encode())
        for ensure_ascii in (True, False)
        for indent in (None, 2)
    ]
    assert len({asked.facts for asked in requests}) == 1
    assert {asked.category() for asked in requests} == {Category.CYRILLIC}
    assert all((asked.text().shares == requests[0].text().shares).all() for asked in requests)


def test_the_name_of_a_model_is_bounded() -> None:
    """It keys what is learned, so a client cannot make it a megabyte."""
    assert chat("abc", model="m" * 1_000_000).model == "m" * 128
    assert chat("abc").model == ""


SCHEMA = {"type": "function", "function": {"name": "f", "description": "x" * 1000}}


@pytest.mark.parametrize(("field", "value"), [("response_format", SCHEMA), ("documents", [SCHEMA])])
def test_structure_that_few_templates_render_does_not_teach(field: str, value: Any) -> None:
    """It counts, as some templates do render it."""
    facts = chat("abc", **{field: value})
    assert (facts.structure_bytes > 1000, facts.teaches) == (True, False)


@pytest.mark.parametrize(("part_bytes", "teaches"), [(100, True), (101, False)])
def test_a_tenth_of_the_prompt_is_negligible(part_bytes: int, *, teaches: bool) -> None:
    """Beside 900 bytes of text: of reasoning, which templates drop."""
    facts = read(CHAT, messages=[{"content": "x" * 900, "reasoning_content": "x" * part_bytes}])
    assert (facts.text_bytes, facts.teaches) == (900 + part_bytes, teaches)


@pytest.mark.parametrize(
    ("content", "teaches"), [("", False), ("x", True), ("x" * 511, True), ([{"type": "text", "text": ""}], False)]
)
def test_a_prompt_without_text_does_not_teach(content: Any, *, teaches: bool) -> None:
    """There is nothing for its tokens to be in relation to; what little is enough, the estimators know."""
    assert chat(content).teaches is teaches


def test_pairs_do_not_teach() -> None:
    """Some models read a pair at once, others each text on its own."""
    assert not read("/v1/rerank", query=PROSE, documents=[PROSE]).teaches


STREAMS: list[tuple[str, dict[str, Any], bool]] = [
    (CHAT, {}, True),
    (CHAT, {"stream": False}, True),
    (CHAT, {"stream": None}, True),
    (CHAT, {"stream": True}, False),
    (CHAT, {"stream": True, "stream_options": {"include_usage": True}}, True),
    (CHAT, {"stream": True, "stream_options": {"include_usage": False}}, False),
    (CHAT, {"stream": True, "stream_options": {}}, False),
    (CHAT, {"stream": True, "stream_options": None}, False),
    (COMPLETIONS, {"stream": True}, False),
    (COMPLETIONS, {"stream": True, "stream_options": {"include_usage": True}}, True),
    (RESPONSES, {"stream": True}, True),
    (MESSAGES, {"stream": True}, True),
    (EMBEDDINGS, {"stream": True}, True),
]


@pytest.mark.parametrize(("path", "fields", "expected"), STREAMS)
def test_a_chat_stream_carries_usage_only_if_asked(path: str, fields: dict[str, Any], *, expected: bool) -> None:
    """Streams of the younger APIs carry it always, bodies do everywhere."""
    assert read(path, **SMALLEST[path], **fields).usage_expected is expected


# What is looked at when it is needed


def made(text: str, structure_bytes: int) -> Request:
    """A request whose facts say that so many of its thousand bytes are structure."""
    return Request(RequestFacts(text_bytes=1000, structure_bytes=structure_bytes), Prompt(pieces=[text]))


def test_features_are_those_of_the_longest_prompt() -> None:
    """Its text and its structure, a sample or all of it."""
    asked = chatting(PROSE * 20, tools=[SCHEMA])
    assert asked.prompt is not None
    assert asked.prompt.structures
    pieces, structures = asked.prompt.pieces, asked.prompt.structures
    assert (asked.sample().shares == sample_features(pieces, structures).shares).all()
    assert (asked.text().shares == text_features(pieces, structures).shares).all()
    assert (asked.sample().shares != asked.text().shares).any()
    assert request(COMPLETIONS, prompt=["国" * 150, "abc " * 200]).category() is Category.PROSE


@pytest.mark.parametrize("look", [Request.sample, Request.text])
def test_text_is_looked_at_once_and_not_before_it_is_asked_for(look: Any) -> None:
    """Most requests are settled without a look; those that are not are asked several times."""
    asked = made("words and words", 0)
    assert asked.prompt is not None
    asked.prompt.pieces[0] = "1,2,3,4,5"
    features = look(asked)
    asked.prompt.pieces[0] = "words and words"
    assert look(asked) is features
    assert (features.shares == text_features(["1,2,3,4,5"], ()).shares).all()


def test_the_kind_of_text_is_told_once_and_not_before_it_is_asked_for() -> None:
    """It is what the text was when somebody first wanted to know."""
    asked = made("words and words", 0)
    assert asked.prompt is not None
    asked.prompt.pieces[0] = "1,2,3,4,5"
    assert asked.category() is Category.DENSE
    asked.prompt.pieces[0] = "words and words"
    assert asked.category() is Category.DENSE


def test_a_request_that_could_not_be_read_looks_like_no_text() -> None:
    """Asking is harmless."""
    asked = flawed(Flaw.UNREADABLE)
    assert not asked.sample().shares.any()
    assert not asked.text().shares.any()
    assert asked.category() is Category.PROSE


@pytest.mark.parametrize(
    ("prose_bytes", "category"),
    [(0, Category.TOOLS), (820, Category.TOOLS), (3280, Category.PROSE), (16400, Category.PROSE)],
)
def test_a_prompt_that_is_mostly_definitions_is_one_of_tools(prose_bytes: int, category: Category) -> None:
    """About 1070 bytes of a tool beside more and more text; all of them have a relation to their tokens."""
    asked = chatting("prose and more of it " * (prose_bytes // 20), tools=[SCHEMA])
    assert (asked.category(), asked.facts.tool_count, asked.facts.teaches) == (category, 1, True)


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("1,2.5,33\n", Category.DENSE),
        ("数据很多", Category.CJK),
        ("Много слов. ", Category.TOOLS),
        ("call(x); // all\n", Category.TOOLS),
    ],
)
def test_text_poorer_than_schemas_is_not_estimated_as_schemas(text: str, category: Category) -> None:
    """About 430 bytes of it beside 1070 of a tool: numbers cost twice what schemas do."""
    assert chatting(text * (430 // len(text.encode())), tools=[SCHEMA]).category() is category


@pytest.mark.parametrize(
    ("text", "structure_bytes", "category"),
    [
        ("plain words", 500, Category.PROSE),
        ("plain words", 501, Category.TOOLS),
        ("1,2,3,4,5,6", 501, Category.DENSE),
        ("1,2,3,4,5,6", 900, Category.DENSE),
        ("1,2,3,4,5,6", 901, Category.TOOLS),
    ],
)
def test_structure_dominates_from_half_and_rules_from_nine_tenths(
    text: str, structure_bytes: int, category: Category
) -> None:
    """Of a thousand bytes; poor text keeps its kind until hardly any of it is left."""
    assert made(text, structure_bytes).category() is category


# Any bytes at all


FIELDS = (
    *("messages", "prompt", "input", "system", "instructions", "suffix", "query", "documents", "text_1", "text_2"),
    *("content", "type", "text", "name", "role", "refusal", "thinking", "reasoning", "reasoning_content", "output"),
    *(
        "summary",
        "arguments",
        "call_id",
        "tool_call_id",
        "items",
        "output_config",
        "chat_template_kwargs",
        "tool_calls",
        "tools",
        "response_format",
        "chat_template",
        "prompt_embeds",
        "model",
    ),
    *("max_tokens", "max_completion_tokens", "max_output_tokens", "n", "truncate_prompt_tokens", "truncation"),
    *("stream", "stream_options", "include_usage", "kv_transfer_params", "conversation", "previous_response_id"),
)
WORDS = st.sampled_from(
    ("text", "tool_use", "tool_result", "image_url", "function", "auto", "-1", "16", "中", "\x01", "")
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=8)


@settings(max_examples=150)
@given(path=st.sampled_from(ROUTES), body=st.binary(max_size=200))
@example(path=CHAT, body=b"{}")
def test_any_bytes_make_facts(path: str, body: bytes) -> None:
    """Nothing raises, and a flaw has no numbers beside it."""
    found = read_request(path, body)
    assert found.facts.flaw is None or found.facts == flawed(found.facts.flaw).facts
    assert found.category() in Category
    assert found.text().shares.shape == (COUNT,)


@settings(max_examples=150)
@given(path=st.sampled_from(ROUTES), body=BODIES, data=st.data())
def test_any_json_makes_facts_also_when_it_is_damaged(path: str, body: dict[str, Any], data: st.DataObject) -> None:
    """The fields' own names with any values, whole and with a piece cut out, doubled or overwritten."""
    text = json.dumps(body, ensure_ascii=data.draw(st.booleans())).encode(errors="surrogatepass")
    begin, end = sorted((data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))))
    middle = data.draw(st.sampled_from((text[begin:end], b"", text[begin:end] * 2)) | st.binary(max_size=8))
    found = read_request(path, text[:begin] + middle + text[end:])
    facts = found.facts
    assert isinstance(facts, RequestFacts)
    assert facts.n >= 1
    assert found.category() in Category
    assert found.text().shares.shape == (COUNT,)
    assert facts.total_text_bytes >= facts.text_bytes >= facts.structure_bytes >= 0
    assert facts.prompt_count >= 1
    assert facts.escape_bytes >= 0
    assert facts.output_tokens is None or 0 <= facts.output_tokens < 2**31


def test_the_worst_body_is_read_in_bounded_time() -> None:
    """The most objects that fit what is read at all, 192 KB: a few times ten milliseconds, where text takes a tenth."""
    body = b'{"messages": [' + b",".join([b"{}"] * 65_000) + b"]}"
    start_s = time.process_time()
    assert facts_of(CHAT, body).message_count == 65_000
    assert time.process_time() - start_s < 1.0
