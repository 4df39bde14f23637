import json
from typing import Any, TypeVar

import msgspec
import pytest
from msgspec.structs import replace

from extproc.routing.prompts import (
    NotInBody,
    gather_chat,
    gather_completion,
    gather_messages,
    gather_pooling,
    gather_responses,
)
from extproc.routing.schemas import ChatBody, CompletionBody, MessagesBody, PoolingBody, ResponsesBody
from extproc.routing.text import Prompt
from extproc.routing.values import Flaw

Body = TypeVar("Body", bound=msgspec.Struct)
PIXEL = "data:image/png;base64,iVBORw0KGgo="
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
TOOL_BYTES = len('{"type":"function","function":{"name":"find","parameters":{"type":"object"}}}')


def decode(schema: type[Body], **fields: Any) -> Body:
    """A body as a client sends it."""
    return msgspec.json.decode(json.dumps(fields).encode(), type=schema)


def chat(*messages: dict[str, Any], **fields: Any) -> Prompt:
    """The prompt of a chat."""
    return gather_chat(decode(ChatBody, messages=messages, **fields))


def responses(*items: dict[str, Any], **fields: Any) -> Prompt:
    """The prompt of a Responses call."""
    return gather_responses(decode(ResponsesBody, input=items, **fields))


def turns(*messages: dict[str, Any], **fields: Any) -> Prompt:
    """The prompt of an Anthropic call."""
    return gather_messages(decode(MessagesBody, messages=messages, **fields))


def counted(prompt: Prompt) -> Prompt:
    """What is counted of a prompt, without what a conversation is known again by."""
    return replace(prompt, messages=(), context=())


def parts(*content: dict[str, Any] | str) -> dict[str, Any]:
    """A message whose content is a list."""
    return {"role": "user", "content": content}


# Chat


def test_a_chat_is_the_text_of_its_messages() -> None:
    """Content as a string, as parts, as null; each message is framed, and so may be a second part."""
    prompt = chat({"role": "system", "content": "abc"}, parts({"type": "text", "text": "de"}, "f"), {"content": None})
    assert counted(prompt) == Prompt(pieces=["abc", "de", "f"], text_bytes=6, message_count=4)


@pytest.mark.parametrize("role", ["tool", "ipython", "developer"])
def test_a_tools_answer_may_be_escaped_and_is_framed_twice(role: str) -> None:
    """Llama's template writes it as JSON: a quote becomes two bytes, an ESC six. A short role is no text."""
    prompt = chat({"role": role, "content": 'a"\n\x1b'}, {"role": "user", "content": '"\n\x1b'})
    assert (prompt.text_bytes, prompt.escape_bytes, prompt.message_count) == (7, 1 + 1 + 5, 3)


def test_the_id_of_a_call_is_doubtful_text() -> None:
    """Mistral's templates print it, most do not."""
    prompt = chat({"role": "tool", "content": "abc", "tool_call_id": "call_1"})
    assert (prompt.text_bytes, prompt.doubtful_bytes) == (9, 6)


@pytest.mark.parametrize(("role", "text_bytes"), [("r" * 16, 3), ("r" * 17, 20), ("é" * 9, 21), ("x" * 90_000, 90_003)])
def test_a_long_role_is_text(role: str, text_bytes: int) -> None:
    """Templates print whatever role they do not know."""
    assert chat({"role": role, "content": "abc"}).text_bytes == text_bytes


def test_a_developer_may_define_tools() -> None:
    """The server hands the tools of such a message to the template."""
    prompt = chat({"role": "developer", "content": "abc", "tools": [TOOL]})
    assert (prompt.tool_count, prompt.structure_bytes) == (1, TOOL_BYTES + len("[]"))


def test_names_and_refusals_are_text() -> None:
    """Templates may write them out."""
    prompt = chat({"name": "ada", "content": [{"type": "refusal", "refusal": "no"}]})
    assert sorted(prompt.pieces) == ["ada", "no"]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_earlier_reasoning_counts_and_is_doubtful(field: str) -> None:
    """Most templates drop it: it may fill the context, but must not teach."""
    prompt = chat({"role": "assistant", "content": "abc", field: "hmm…"})
    assert (prompt.text_bytes, prompt.doubtful_bytes) == (9, 6)


def test_tool_definitions_are_structure() -> None:
    """The template writes their JSON anew, so their size is that of the compact JSON."""
    prompt = chat(tools=[TOOL, TOOL])
    assert (prompt.tool_count, prompt.structure_bytes) == (2, 2 * TOOL_BYTES + len("[,]"))
    assert prompt.text_bytes == prompt.structure_bytes
    assert prompt.doubtful_bytes == 0
    assert [json.loads(structure) for structure in prompt.structures] == [[TOOL, TOOL]]


def test_tool_calls_are_structure() -> None:
    """An assistant's earlier calls are rendered like the definitions."""
    calls = [{"id": "1", "type": "function", "function": {"name": "find", "arguments": '{"q": "x"}'}}]
    prompt = chat({"role": "assistant", "content": None, "tool_calls": calls})
    assert prompt.structure_bytes == len(json.dumps(calls, separators=(",", ":")))
    assert [json.loads(structure) for structure in prompt.structures] == [calls]


@pytest.mark.parametrize("field", ["documents", "response_format", "chat_template_kwargs"])
def test_what_only_some_templates_render_is_doubtful_structure(field: str) -> None:
    """It may fill the context, but must not teach."""
    prompt = chat(**{field: {"a": 1}})
    assert (prompt.structure_bytes, prompt.doubtful_bytes) == (7, 7)


@pytest.mark.parametrize("field", ["tools", "documents", "response_format"])
def test_null_structure_is_none(field: str) -> None:
    """Some clients send every optional field."""
    assert counted(chat(**{field: None})) == Prompt()


def test_a_template_of_the_client_hides_the_length() -> None:
    """It may add anything."""
    with pytest.raises(NotInBody) as caught:
        chat(chat_template="{{ messages }}")
    assert caught.value.flaw is Flaw.LENGTH_NOT_IN_BODY


MEDIA_PARTS = {
    "openai image": {"type": "image_url", "image_url": {"url": PIXEL}},
    "openai image by address": {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    "openai audio": {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    "vllm audio": {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,UklGRg=="}},
    "vllm video": {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
    "vllm embeddings": {"type": "image_embeds", "image_embeds": "AAAA"},
    "vllm image without a type": {"image_url": PIXEL, "text": "caption"},
    "openai file": {"type": "file", "file": {"file_data": "JVBERg=="}},
    "responses image": {"type": "input_image", "image_url": PIXEL},
    "responses file": {"type": "input_file", "file_data": "JVBERg=="},
    "anthropic image": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
    "anthropic document": {"type": "document", "source": {"type": "base64", "data": "JVBERg=="}},
    "anthropic image in a tool's result": {
        "type": "tool_result",
        "content": [{"type": "image", "source": {"type": "base64", "data": "iVBO"}}],
    },
    "text that is none": {"type": "text"},
}


@pytest.mark.parametrize("gather", [chat, responses, turns])
@pytest.mark.parametrize("part", MEDIA_PARTS.values(), ids=MEDIA_PARTS.keys())
def test_a_part_that_shows_no_text_is_media(gather: Any, part: dict[str, Any]) -> None:
    """In every dialect, beside however much text: its bytes say nothing about its tokens."""
    with pytest.raises(NotInBody) as caught:
        gather(parts({"type": "text", "text": "What is this?"}, part))
    assert caught.value.flaw is Flaw.MEDIA


def test_an_empty_text_part_is_text() -> None:
    """Clients send them; there is nothing in them to count."""
    assert counted(chat(parts({"type": "text", "text": ""}))) == Prompt(message_count=1)


# Completions, embeddings


PROMPT_FORMS: list[tuple[Any, Prompt]] = [
    ("abc", Prompt(pieces=["abc"], text_bytes=3)),
    ("", Prompt()),
    (
        ["abc", "中国", ""],
        Prompt(pieces=["中国"], text_bytes=6, prompt_count=3, other_text_bytes=3, texts=["abc", "中国", ""]),
    ),
    ([1, 2, 3], Prompt(token_ids=3)),
    ([[1, 2], [3, 4, 5], []], Prompt(token_ids=3, prompt_count=3)),
    (["abc", [1, 2]], Prompt(pieces=["abc"], text_bytes=3, token_ids=2, prompt_count=2)),
    (["abc", 1, 2], Prompt(pieces=["abc"], text_bytes=3, token_ids=2, prompt_count=2)),
    ([], Prompt()),
]


@pytest.mark.parametrize(("form", "prompt"), PROMPT_FORMS)
def test_of_a_list_the_longest_prompt_counts_and_the_others_are_summed(form: Any, prompt: Prompt) -> None:
    """String, strings, ids, lists of ids: each element is a sequence of its own."""
    assert gather_completion(decode(CompletionBody, prompt=form)) == prompt
    assert gather_pooling(decode(PoolingBody, input=form)) == prompt


def test_a_suffix_belongs_to_the_prompt() -> None:
    """Text to be filled in is read on both sides of the gap."""
    prompt = gather_completion(decode(CompletionBody, prompt="abc", suffix="de"))
    assert prompt == Prompt(pieces=["abc", "de"], text_bytes=5)


@pytest.mark.parametrize("fields", [{}, {"prompt": None}, {"prompt": "abc", "prompt_embeds": "AAAA"}])
def test_a_completion_without_text_hides_its_length(fields: dict[str, Any]) -> None:
    """Embeddings stand for tokens that are not in the body."""
    with pytest.raises(NotInBody) as caught:
        gather_completion(decode(CompletionBody, **fields))
    assert caught.value.flaw is Flaw.LENGTH_NOT_IN_BODY


# Responses


def test_a_responses_call_is_its_instructions_and_input() -> None:
    """A string stands for one message."""
    prompt = gather_responses(decode(ResponsesBody, instructions="abc", input="de"))
    assert counted(prompt) == Prompt(pieces=["abc", "de"], text_bytes=5, message_count=1)


def test_the_items_of_a_conversation_are_text() -> None:
    """Messages, reasoning, calls of functions and custom tools, and what they gave, framed twice."""
    prompt = responses(
        {"role": "user", "content": "a"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "bb"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "ccc"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "dddd"}]},
        {"type": "function_call", "call_id": "1", "name": "find", "arguments": '{"q":1}'},
        {"type": "function_call_output", "call_id": "1", "output": "eeeee"},
        {"type": "custom_tool_call", "name": "run", "input": "ffffff"},
        {"type": "custom_tool_call_output", "output": [{"type": "input_text", "text": "ggggggg"}]},
    )
    assert set(prompt.pieces) == {
        *("a", "bb", "ccc", "dddd", "eeeee", "ffffff", "ggggggg"),
        *("find", "run", "1"),
    }
    assert prompt.message_count == 8 + 3


def test_the_arguments_of_a_call_are_structure() -> None:
    """Templates write them anew: each mark may get a space. A call without any is framed as a call all the same."""
    prompt = responses(
        {"type": "function_call", "call_id": "fc_1", "name": "find", "arguments": "[1,2]"},
        {"type": "function_call", "arguments": ""},
    )
    assert (prompt.text_bytes, prompt.structure_bytes, prompt.doubtful_bytes) == (4 + 4 + 5, 5, 4)
    assert prompt.message_count == 4
    assert prompt.structures == [b"[1,2]", b""]


def test_tools_and_text_format_of_a_responses_call_are_structure() -> None:
    """Functions and custom tools are rendered; a format is by some templates alone."""
    prompt = responses(tools=[{"type": "custom"}, {"type": "function"}], text={"a": 1}, chat_template_kwargs={"b": 2})
    tools_bytes, format_bytes = len('[{"type":"custom"},{"type":"function"}]'), len('{"a":1}{"b":2}')
    assert (prompt.tool_count, prompt.structure_bytes) == (2, tools_bytes + format_bytes)
    assert prompt.doubtful_bytes == format_bytes


HIDDEN: list[dict[str, Any]] = [
    {"input": None},
    {"input": "x", "previous_response_id": "resp_1"},
    {"input": "x", "background": True, "store": True},
    {"input": "x", "conversation": "conv_1"},
    {"input": "x", "conversation": {"id": "conv_1"}},
    {"input": "x", "prompt": {"id": "pmpt_1"}},
    {"input": "x", "previous_response": {"id": "resp_1"}},
    {"input": "x", "previous_input_messages": [{"role": "user", "content": "y"}]},
    {"input": [{"type": "item_reference", "id": "msg_1"}]},
    {"input": [{"type": "web_search_call", "id": "ws_1"}]},
    {"input": "x", "tools": [{"type": "web_search"}]},
    {"input": "x", "tools": [{"type": "function"}, {"type": "mcp", "server_url": "https://example.org"}]},
    {"input": "x", "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
    {"input": "x", "tools": [{}]},
]


@pytest.mark.parametrize("fields", HIDDEN)
def test_what_the_server_keeps_or_fetches_is_not_in_the_body(fields: dict[str, Any]) -> None:
    """Stored conversations and templates, references, and tools the server runs itself."""
    with pytest.raises(NotInBody) as caught:
        gather_responses(decode(ResponsesBody, **fields))
    assert caught.value.flaw is Flaw.LENGTH_NOT_IN_BODY


@pytest.mark.parametrize("fields", [{"store": True}, {"store": False, "background": False}, {"background": None}])
def test_an_answer_that_is_only_stored_is_like_any_other(fields: dict[str, Any]) -> None:
    """Every client stores by default, and most never come back to it."""
    plain, stored = (gather_responses(decode(ResponsesBody, input="x", **more)) for more in ({}, fields))
    assert counted(stored) == counted(plain)


# Anthropic's messages


@pytest.mark.parametrize("system", ["abc", [{"type": "text", "text": "abc", "cache_control": {"type": "ephemeral"}}]])
def test_an_anthropic_call_is_its_system_text_and_turns(system: Any) -> None:
    """The system text may be a string or parts."""
    prompt = turns({"role": "user", "content": "de"}, system=system)
    assert counted(prompt) == Prompt(pieces=["abc", "de"], text_bytes=5, message_count=1)


def test_tool_use_and_its_result_count() -> None:
    """The input is structure, the result is text, and so is the tool's name."""
    prompt = turns(
        parts({"type": "tool_use", "id": "1", "name": "find", "input": {"q": 1}}),
        parts({"type": "tool_result", "tool_use_id": "2", "content": [{"type": "text", "text": "abc"}]}),
        parts({"type": "tool_result", "tool_use_id": "3", "content": "de"}),
        tools=[{"name": "find", "input_schema": {}}],
    )
    assert prompt.pieces == ["find", "1", "abc", "2", "de", "3"]
    assert prompt.doubtful_bytes == 3
    assert prompt.structure_bytes == len('{"q":1}') + len('[{"name":"find","input_schema":{}}]')
    assert prompt.tool_count == 1


def test_tool_parts_become_messages_of_their_own() -> None:
    """A thousand empty ones are a long prompt; what they hold may be escaped, in JSON and before that in Python."""
    uses = parts(*[{"type": "tool_use", "name": "f", "input": {}}] * 400)
    results = parts(*[{"type": "tool_result", "content": [{"type": "text", "text": "\n"}]}] * 400)
    prompt = turns(uses, results)
    assert prompt.message_count >= 2 * 800
    assert prompt.escape_bytes >= 400 * 2


def test_what_is_not_a_tools_answer_is_not_escaped() -> None:
    """Before it, after it, and between two of them; an answer inside an answer is escaped once."""
    text, inner = {"type": "text", "text": "\n"}, {"type": "tool_result", "content": "\n"}
    assert turns(parts(inner)).escape_bytes == 1
    assert turns(parts(text, inner, text), parts(text)).escape_bytes == 1
    assert turns(parts({"type": "tool_result", "content": [inner, text]}, text)).escape_bytes == 1 + 3


@pytest.mark.parametrize("field", ["output_config", "chat_template_kwargs"])
def test_what_only_some_templates_render_of_an_anthropic_call_is_doubtful(field: str) -> None:
    """A format to answer in, and arguments of the template's own."""
    prompt = turns(**{field: {"a": 1}})
    assert (prompt.structure_bytes, prompt.doubtful_bytes) == (7, 7)


def test_thinking_counts_and_is_doubtful() -> None:
    """Its redacted form shows nothing and is dropped by the server."""
    prompt = turns(parts({"type": "thinking", "thinking": "abc"}, {"type": "redacted_thinking", "data": "AAAA"}))
    assert (prompt.text_bytes, prompt.doubtful_bytes) == (3, 3)


# Pooling


PAIRS = [
    {"query": "abc", "documents": ["中国", "d"]},
    {"queries": "abc", "documents": [{"text": "中国"}, "d"]},
    {"queries": ["abc", "a"], "items": ["中国", {"text": "d"}]},
    {"text_1": "abc", "text_2": ["中国", "d"]},
    {"data_1": ["abc", "a"], "data_2": ["中国", "d"]},
]


@pytest.mark.parametrize("fields", PAIRS)
def test_a_query_is_paired_with_the_longest_document(fields: dict[str, Any]) -> None:
    """Two pairs, of 3 + 6 and 3 + 1 bytes; how usage counts them depends on the model, so all of it is doubtful."""
    prompt = gather_pooling(decode(PoolingBody, **fields))
    assert (prompt.pieces, prompt.text_bytes, prompt.prompt_count) == (["abc", "中国"], 9, 2)
    assert (prompt.other_text_bytes, prompt.doubtful_bytes) == (4, 13)
    assert {"abc", "中国", "d"} <= set(prompt.texts)


def test_pooling_takes_messages_too() -> None:
    """Embeddings of a chat are framed as one."""
    prompt = gather_pooling(decode(PoolingBody, messages=[{"role": "user", "content": "abc"}]))
    assert prompt == Prompt(pieces=["abc"], text_bytes=3, message_count=1)


def test_arguments_of_the_template_are_doubtful_when_pooling() -> None:
    """As in a chat."""
    prompt = gather_pooling(decode(PoolingBody, messages=[], chat_template_kwargs={"a": 1}))
    assert (prompt.structure_bytes, prompt.doubtful_bytes) == (7, 7)


@pytest.mark.parametrize(
    ("fields", "flaw"),
    [
        ({}, Flaw.LENGTH_NOT_IN_BODY),
        ({"query": "abc"}, Flaw.LENGTH_NOT_IN_BODY),
        ({"query": "abc", "documents": []}, Flaw.LENGTH_NOT_IN_BODY),
        ({"items": ["abc"]}, Flaw.LENGTH_NOT_IN_BODY),
        ({"messages": [], "chat_template": "{{ messages }}"}, Flaw.LENGTH_NOT_IN_BODY),
        (
            {"query": "abc", "documents": [{"content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}]},
            Flaw.MEDIA,
        ),
    ],
)
def test_pooling_without_text_hides_its_length(fields: dict[str, Any], flaw: Flaw) -> None:
    """No input, half a pair, a template of the client's own, and a document that shows no text."""
    with pytest.raises(NotInBody) as caught:
        gather_pooling(decode(PoolingBody, **fields))
    assert caught.value.flaw is flaw


# What a conversation is known again by


@pytest.mark.parametrize(
    ("prompt", "roles"),
    [
        (chat({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}), ["user", "assistant"]),
        (responses({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}), ["user", "assistant"]),
        (turns({"role": "user", "content": "a"}, system="s"), ["user"]),
        (chat(), []),
        (gather_responses(decode(ResponsesBody, input="a")), []),
        (gather_completion(decode(CompletionBody, prompt="a")), []),
        (gather_pooling(decode(PoolingBody, messages=[{"role": "user", "content": "a"}])), []),
    ],
)
def test_the_turns_of_a_conversation_are_kept_in_order(prompt: Prompt, roles: list[str]) -> None:
    """Where there is one: a single input and what is only embedded will not go on."""
    assert [message.role for message in prompt.messages] == roles


SHAPING = [
    *((chat, field) for field in ("tools", "documents")),
    *((chat, field) for field in ("tool_choice", "reasoning_effort", "response_format", "chat_template_kwargs")),
    *((responses, field) for field in ("instructions", "tools", "tool_choice", "reasoning", "text")),
    *((turns, field) for field in ("system", "tools", "tool_choice", "thinking", "output_config")),
    *((gather, "chat_template_kwargs") for gather in (responses, turns)),
]


@pytest.mark.parametrize(("gather", "field"), SHAPING)
def test_what_shapes_a_prompt_beside_its_turns_is_kept(gather: Any, field: str) -> None:
    """The same turns with another value are another conversation; with the same, the same."""
    lists = field in {"tools", "documents"}
    one, same, other = (
        gather(**{field: [{"type": "function", "name": value}] if lists else value}) for value in ("a", "a", "b")
    )
    assert one.context == same.context != other.context


@pytest.mark.parametrize("gather", [chat, responses, turns])
def test_what_does_not_shape_a_prompt_is_not_kept(gather: Any) -> None:
    """Limits and sampling change from one turn to the next."""
    assert gather(max_tokens=5, temperature=0.5, stream=True, user="u").context == gather().context


def test_all_structure_is_kept_as_it_was_counted() -> None:
    """Definitions, calls and formats, each without white space."""
    calls = [{"id": "1", "type": "function", "function": {"name": "find", "arguments": "{}"}}]
    prompt = chat({"role": "assistant", "tool_calls": calls}, tools=[TOOL], response_format={"type": "json_object"})
    assert [json.loads(structure) for structure in prompt.structures] == [calls, [TOOL], {"type": "json_object"}]
    assert sum(map(len, prompt.structures)) == prompt.structure_bytes
