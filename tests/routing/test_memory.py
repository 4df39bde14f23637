import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.mockvllm.settings import TokenizerName
from extproc.mockvllm.tokens import Tokenizer
from extproc.mockvllm.wire import ChatMessage
from extproc.mockvllm.work import conversation
from extproc.routing.memory import ConversationMemory, MemoryRules, Recall, worth_observing
from extproc.routing.request import Request, flawed, read_request
from extproc.routing.transcript import MESSAGES_MAX
from extproc.routing.values import Flaw, Usage

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
KEY = b"0123456789abcdef"
SYSTEM = {"role": "system", "content": "You are a patient assistant who answers in whole sentences."}
USER = {"role": "user", "content": "Which of the moons of Jupiter was found first, and by whom was it found?"}
REPLY = {"role": "assistant", "content": "Io, Europa, Ganymede and Callisto were found together in 1610 by Galilei."}
USER_2 = {"role": "user", "content": "And which of them is the largest?"}
REPLY_2 = {"role": "assistant", "content": "Ganymede is the largest of them, and of all moons."}
USER_3 = {"role": "user", "content": "How large is it?"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"moon": "Ganymede"}'}}
    ],
}
TOOL = {"role": "tool", "tool_call_id": "call_1", "content": "Ganymede measures 5,268 km, Titan 5,150 km."}
THOUGHT = {**CALL, "reasoning_content": "The user wants a number. I should look it up rather than guess."}
TALK = [SYSTEM, USER, REPLY, USER_2, REPLY_2, USER_3]
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
USAGE = Usage(prompt_tokens=48, completion_tokens=20)


def chat(*messages: dict[str, Any], **fields: Any) -> Request:
    """A chat request as it comes through the door."""
    return read_request(CHAT, json.dumps({"model": "m", "messages": messages, **fields}).encode())


def remember(memory: ConversationMemory, request: Request, usage: Usage = USAGE) -> bool:
    """The answer to a request came back."""
    bookmark = memory.bookmark(request)
    assert bookmark is not None
    return memory.remember(bookmark, usage)


def memory_of(request: Request, usage: Usage = USAGE) -> ConversationMemory:
    """A memory of one answer."""
    memory = ConversationMemory(KEY)
    assert remember(memory, request, usage)
    return memory


def recalled(memory: ConversationMemory, request: Request) -> Recall:
    """What memory knows, and it does know something."""
    recall = memory.recall(request)
    assert recall is not None
    return recall


def test_a_conversation_that_goes_on_starts_from_its_count() -> None:
    """The prompt and the reply are known; the user's next message is all that is left."""
    recall = recalled(memory_of(chat(SYSTEM, USER)), chat(SYSTEM, USER, REPLY, USER_2))
    assert (recall.prompt_tokens, recall.reply_tokens, recall.known_tokens) == (48, 20, 68)
    assert recall.rest.pieces == [USER_2["content"]]
    assert (recall.rest.message_count, recall.rest.text_bytes) == (1, len(USER_2["content"]))


def test_all_that_came_since_is_left_over() -> None:
    """Turns whose answers were not read are estimated, calls and what tools said included."""
    recall = recalled(memory_of(chat(SYSTEM, USER)), chat(SYSTEM, USER, REPLY, USER_2, CALL, TOOL))
    assert recall.rest.pieces == [USER_2["content"], TOOL["content"], TOOL["tool_call_id"]]
    assert [json.loads(structure) for structure in recall.rest.structures] == [CALL["tool_calls"]]


def test_the_longest_part_that_was_seen_counts() -> None:
    """In whatever order the parts were seen."""
    memory = memory_of(chat(SYSTEM, USER, REPLY, USER_2), Usage(100, 15))
    remember(memory, chat(SYSTEM, USER))
    assert recalled(memory, chat(*TALK)).known_tokens == 115


def test_a_prompt_that_was_seen_is_known_whole() -> None:
    """A client that tries again, or samples the same prompt many times, leaves nothing to estimate."""
    recall = recalled(memory_of(chat(*TALK), Usage(120, 15)), chat(*TALK))
    assert (recall.known_tokens, recall.rest.text_bytes, recall.rest.message_count) == (120, 0, 0)


def test_the_last_answer_is_the_one_remembered() -> None:
    """A prompt seen twice is one entry."""
    memory = memory_of(chat(SYSTEM, USER))
    remember(memory, chat(SYSTEM, USER), Usage(50, 19))
    assert len(memory) == 1
    assert recalled(memory, chat(SYSTEM, USER, REPLY, USER_2)).known_tokens == 69


@pytest.mark.parametrize("request_", [chat(), chat(USER), chat(SYSTEM, USER), chat(REPLY, USER)])
def test_what_extends_nothing_recalls_nothing(request_: Request) -> None:
    """A reply must stand somewhere after the first message."""
    memory = memory_of(chat(SYSTEM, USER))
    assert memory.recall(request_) is None


CONVERSATIONS = st.lists(st.sampled_from([SYSTEM, USER, REPLY, USER_2, CALL, TOOL, REPLY_2]), min_size=1, max_size=8)


@given(CONVERSATIONS, CONVERSATIONS)
def test_any_conversation_that_goes_on_is_found(messages: list[Any], more: list[Any]) -> None:
    """Whatever it consists of, wherever it was seen; known and rest are all of it."""
    seen = chat(*messages, USER)
    whole = chat(*messages, USER, REPLY, *more)
    assert seen.prompt is not None
    assert whole.prompt is not None
    memory = memory_of(seen, Usage(seen.prompt.text_bytes // 4 + 1, 15))
    recall = recalled(memory, whole)
    reply_bytes = whole.prompt.text_bytes - seen.prompt.text_bytes - recall.rest.text_bytes
    assert (reply_bytes > 0) == (recall.reply_tokens == 15)
    assert recall.rest.message_count <= whole.prompt.message_count - seen.prompt.message_count


SHAPING: dict[str, Any] = {
    "tools": TOOLS,
    "chat_template_kwargs": {"thinking": "no"},
    "documents": [{"text": "On moons."}],
    "response_format": {"type": "json_object"},
}
PREFIX: dict[str, Any] = {
    "model": "m",
    "messages": [SYSTEM, USER, CALL, {**TOOL, "name": "look_up"}, USER_2],
    **SHAPING,
}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the texts of a JSON value stand."""
    if isinstance(value, str):
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [leaf for key, item in items for leaf in leaves(item, (*path, key))]


def body_of(fields: dict[str, Any], *more: dict[str, Any]) -> Request:
    """A chat request of whole fields, with more messages."""
    return read_request(CHAT, json.dumps({**fields, "messages": [*fields["messages"], *more]}).encode())


@given(st.sampled_from(leaves(PREFIX)), st.floats(0, 1, exclude_max=True), st.characters(exclude_categories=["Cs"]))
def test_another_character_is_another_conversation(leaf: tuple[Any, ...], where: float, letter: str) -> None:
    """Anywhere in the messages, the model's name, the tools or whatever else shapes the prompt."""
    memory = memory_of(body_of(PREFIX), Usage(150, 20))
    changed = json.loads(json.dumps(PREFIX))
    holder = changed
    for key in leaf[:-1]:
        holder = holder[key]
    text = holder[leaf[-1]]
    index = int(where * len(text))
    holder[leaf[-1]] = text[:index] + letter + text[index + 1 :]
    assert recalled(memory, body_of(PREFIX, REPLY, USER_3)).known_tokens == 170
    same = text[index] == letter
    assert (memory.recall(body_of(changed, REPLY, USER_3)) is not None) == same


@pytest.mark.parametrize("field", ["model", *SHAPING])
def test_what_shapes_the_prompt_may_not_be_left_out(field: str) -> None:
    """Tools that are gone take their tokens with them."""
    memory = memory_of(body_of(PREFIX), Usage(150, 20))
    left = {name: value for name, value in PREFIX.items() if name != field}
    assert memory.recall(body_of(left, REPLY, USER_3)) is None


@pytest.mark.parametrize(
    "messages",
    [
        [USER, SYSTEM, REPLY, USER_2],
        [SYSTEM, USER, USER_2, REPLY, USER_2],
        [USER, REPLY, USER_2],
        [SYSTEM, REPLY, USER, REPLY],
        [{**SYSTEM, "role": "user"}, USER, REPLY, USER_2],
        [SYSTEM, {**USER, "content": [{"type": "text", "text": USER["content"]}]}, REPLY, USER_2],
    ],
)
def test_messages_count_in_their_order_and_form(messages: list[dict[str, Any]]) -> None:
    """One more, one fewer, another order, another role, parts in place of a string: not what was seen."""
    assert memory_of(chat(SYSTEM, USER)).recall(chat(*messages)) is None


def test_another_key_finds_nothing() -> None:
    """Digests say nothing to whoever does not know the key."""
    bookmark = ConversationMemory(KEY).bookmark(chat(SYSTEM, USER))
    assert bookmark is not None
    other = ConversationMemory(KEY[::-1])
    assert other.remember(bookmark, USAGE)
    assert other.recall(chat(SYSTEM, USER, REPLY, USER_2)) is None


def test_little_is_kept_and_no_text() -> None:
    """Sixteen bytes and four numbers, however long the conversation."""
    bookmarks = [ConversationMemory(KEY).bookmark(chat(*TALK * count, USER)) for count in (1, 100)]
    for bookmark in bookmarks:
        assert bookmark is not None
        assert len(bookmark.digest) == 16
        assert all(isinstance(value, int) for value in msgspec.structs.astuple(bookmark)[1:])


FOREVER_UNKNOWN = [
    flawed(Flaw.UNREADABLE),
    chat(),
    chat(SYSTEM, USER, truncate_prompt_tokens=4000),
    chat(SYSTEM, USER, truncate_prompt_tokens=-1),
    chat(SYSTEM, USER, truncation="auto"),
    chat(SYSTEM, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}),
    chat(SYSTEM, USER, chat_template="{{ messages }}"),
    chat(SYSTEM, USER, REPLY),
    chat(SYSTEM, USER, CALL),
    chat(*[USER] * (MESSAGES_MAX + 1)),
    read_request("/v1/completions", b'{"model": "m", "prompt": "Once upon a time"}'),
    read_request("/v1/embeddings", b'{"model": "m", "messages": [{"role": "user", "content": "Once"}]}'),
]


@pytest.mark.parametrize("request_", FOREVER_UNKNOWN)
def test_some_prompts_are_never_remembered(request_: Request) -> None:
    """Flawed, cut by the server, with media or a template of the client's, ending in words of the model, too many."""
    assert ConversationMemory(KEY).bookmark(request_) is None
    assert not worth_observing(request_, None, 0)


def test_too_long_a_conversation_is_not_looked_at() -> None:
    """Its beginning may well have been seen."""
    memory = memory_of(chat(SYSTEM, USER))
    assert memory.recall(chat(SYSTEM, USER, REPLY, *[USER] * (MESSAGES_MAX - 3))) is not None
    assert memory.recall(chat(SYSTEM, USER, REPLY, *[USER] * (MESSAGES_MAX - 2))) is None


def test_a_flawed_request_recalls_nothing() -> None:
    """There is no prompt to look at."""
    assert memory_of(chat(SYSTEM, USER)).recall(flawed(Flaw.MEDIA)) is None


def test_a_prompt_that_ended_in_words_of_the_model_may_go_on_from_before_them() -> None:
    """What was seen is the part before; how much of the reply is rendered tells its count."""
    recall = recalled(memory_of(chat(SYSTEM, USER)), chat(SYSTEM, USER, REPLY))
    assert (recall.known_tokens, recall.rest.text_bytes) == (68, 0)


@pytest.mark.parametrize("reply", [REPLY, {**REPLY, "content": [{"type": "text", "text": REPLY["content"]}]}, CALL])
def test_a_reply_given_back_as_it_was_written_needs_no_estimate(reply: dict[str, Any]) -> None:
    """Text in either form, and calls: templates write them nearly as the model did."""
    recall = recalled(memory_of(chat(SYSTEM, USER)), chat(SYSTEM, USER, reply, TOOL))
    assert (recall.known_tokens, recall.rest.pieces) == (68, [TOOL["content"], TOOL["tool_call_id"]])


@pytest.mark.parametrize(
    ("reply", "completion_tokens"),
    [
        ({**REPLY, "content": "4"}, 3),
        ({**REPLY, "content": ""}, 1),
        (
            {
                **CALL,
                "tool_calls": [{"id": "chatcmpl-tool-" + 32 * "0", "function": {"name": "ls", "arguments": "{}"}}],
            },
            11,
        ),
    ],
)
def test_short_replies_are_mostly_what_stands_around_them(reply: dict[str, Any], completion_tokens: int) -> None:
    """The end of a turn counts in a word or in nothing; ids of calls and quotes in quotes do not."""
    memory = memory_of(chat(SYSTEM, USER), Usage(48, completion_tokens))
    assert recalled(memory, chat(SYSTEM, USER, reply, TOOL)).reply_tokens == completion_tokens


@pytest.mark.parametrize(
    ("reply", "completion_tokens"),
    [
        ([REPLY], 200),
        ([REPLY], 60),
        ([REPLY], 8),
        ([REPLY], 0),
        ([CALL], 5),
        ([CALL], 200),
        ([{**REPLY, "content": None}], 30),
        ([{**REPLY, "content": "<think>They ask for moons.</think>" + REPLY["content"]}], 20),
        ([THOUGHT], 30),
        ([REPLY, REPLY_2], 30),
    ],
)
def test_a_reply_that_is_not_plainly_the_one_counted_is_estimated(
    reply: list[dict[str, Any]], completion_tokens: int
) -> None:
    """Too many tokens for its bytes, too few, reasoning that may be stripped, words that may be the client's."""
    memory = memory_of(chat(SYSTEM, USER), Usage(48, completion_tokens))
    recall = recalled(memory, chat(SYSTEM, USER, *reply, TOOL))
    assert (recall.prompt_tokens, recall.reply_tokens) == (48, 0)
    whole = chat(*reply, TOOL).prompt
    assert whole is not None
    assert (recall.rest.pieces, recall.rest.structures) == (whole.pieces, whole.structures)


def test_reasoning_that_was_counted_apart_is_not_in_the_reply() -> None:
    """The client gives back the answer alone, and that is what is rendered."""
    memory = memory_of(chat(SYSTEM, USER), Usage(48, 220, reasoning_tokens=200))
    assert recalled(memory, chat(SYSTEM, USER, REPLY, USER_2)).known_tokens == 68


def test_a_reasoning_count_beyond_the_completion_leaves_no_reply() -> None:
    """A server that contradicts itself is not believed."""
    memory = memory_of(chat(SYSTEM, USER), Usage(48, 20, reasoning_tokens=200))
    assert recalled(memory, chat(SYSTEM, USER, REPLY, USER_2)).known_tokens == 48


def test_the_sum_of_several_replies_stands_for_none_of_them() -> None:
    """With n above one the prompt is counted once, the completions together."""
    memory = memory_of(chat(SYSTEM, USER, n=2), Usage(48, 20))
    assert recalled(memory, chat(SYSTEM, USER, REPLY, USER_2)).known_tokens == 48


def test_reasoning_stays_while_tools_are_called_and_goes_when_the_user_speaks() -> None:
    """Counted with the reasoning, the prompt is known only until templates strip it."""
    memory = memory_of(chat(SYSTEM, USER, THOUGHT, TOOL), Usage(120, 20))
    assert recalled(memory, chat(SYSTEM, USER, THOUGHT, TOOL, REPLY, TOOL)).known_tokens == 140
    assert memory.recall(chat(SYSTEM, USER, THOUGHT, TOOL, REPLY, USER_2)) is None
    remember(memory, chat(SYSTEM, USER))
    assert recalled(memory, chat(SYSTEM, USER, THOUGHT, TOOL, REPLY, USER_2)).known_tokens == 48


@pytest.mark.parametrize("tokens", [1, 15, 10_000, 2**31 - 1])
def test_a_count_that_no_such_prompt_has_is_not_remembered(tokens: int) -> None:
    """Above eight bytes a token, or more than one token a byte and any template: a fault, or a lie."""
    memory = ConversationMemory(KEY)
    assert not remember(memory, chat(SYSTEM, USER), Usage(tokens, 20))
    assert len(memory) == 0


@pytest.mark.parametrize("tokens", [17, 4000])
def test_a_count_that_is_possible_is_believed(tokens: int) -> None:
    """Whether it is likely is for an estimator to say."""
    assert remember(ConversationMemory(KEY), chat(SYSTEM, USER), Usage(tokens, 20))


def test_an_empty_prompt_costs_a_token_at_least() -> None:
    """Zero tokens are no count."""
    assert not remember(ConversationMemory(KEY), chat({"role": "user", "content": ""}), Usage(0))


def test_text_that_a_template_may_leave_out_says_nothing_of_the_least() -> None:
    """Reasoning of earlier turns may be stripped from what is counted."""
    request_ = chat(SYSTEM, USER, {**REPLY, "reasoning_content": "Let me think. " * 200}, USER_2)
    assert remember(ConversationMemory(KEY), request_, Usage(80, 20))


def test_a_prompt_with_media_tokens_is_not_remembered() -> None:
    """Something in it counts that its text does not show."""
    assert not remember(ConversationMemory(KEY), chat(SYSTEM, USER), Usage(48, 20, multimodal_tokens=10))


def variants(count: int) -> list[Request]:
    """Conversations that differ in a letter or so."""
    return [chat(SYSTEM, {**USER, "content": f"{USER['content']} {number}"}) for number in range(count)]


def extended(number: int) -> Request:
    """One of the variants, gone on."""
    return chat(SYSTEM, {**USER, "content": f"{USER['content']} {number}"}, REPLY, USER_2)


def test_the_least_recently_used_is_forgotten_first() -> None:
    """Recalling counts as use; so does being seen again."""
    memory = ConversationMemory(KEY, MemoryRules(prompts=3))
    first, second, third, fourth, fifth = variants(5)
    for request_ in (first, second, third):
        remember(memory, request_)
    assert memory.recall(extended(0)) is not None
    remember(memory, fourth)
    assert memory.recall(extended(1)) is None
    remember(memory, third)
    remember(memory, fifth)
    assert [memory.recall(extended(number)) is not None for number in range(5)] == [False, False, True, True, True]


@given(st.lists(st.integers(0, 120), max_size=60))
def test_memory_is_bounded(numbers: list[int]) -> None:
    """Whatever is remembered how often, nothing is left of what was forgotten."""
    memory = ConversationMemory(KEY, MemoryRules(prompts=5))
    for number in numbers:
        remember(memory, variants_by_number[number])
    assert len(memory) == min(5, len(set(numbers)))
    assert sum(memory._places.values()) == len(memory)
    assert all(memory._places.values())


variants_by_number = variants(121)


def test_a_memory_of_nothing_remembers_nothing() -> None:
    """An operator may turn it off."""
    memory = ConversationMemory(KEY, MemoryRules(prompts=0))
    remember(memory, chat(SYSTEM, USER))
    assert memory.recall(chat(SYSTEM, USER, REPLY, USER_2)) is None


def test_all_turns_of_a_long_conversation_can_be_known() -> None:
    """However far back the last one that was read lies."""
    turns = [message for number in range(200) for message in ({**USER, "content": f"{number}?"}, REPLY)]
    memory = memory_of(chat(*turns[:1]), Usage(10, 20))
    recall = recalled(memory, chat(*turns, USER))
    assert recall.known_tokens == 30
    remember(memory, chat(*turns[:301]), Usage(4000, 20))
    assert recalled(memory, chat(*turns, USER)).known_tokens == 4020


COUNTS = {name: Tokenizer(name) for name in TokenizerName}


def tokens(name: TokenizerName, messages: list[dict[str, Any]], tools: list[Any]) -> int:
    """What a server counts of a conversation under a real vocabulary and chat template."""
    tokenizer = COUNTS[name]
    return tokenizer.count(tokenizer.render(conversation(msgspec.convert(messages, list[ChatMessage])), tools))


@pytest.mark.parametrize("tools", [[], TOOLS])
@pytest.mark.parametrize("name", TokenizerName)
def test_known_and_rest_are_what_templates_render(name: TokenizerName, tools: list[Any]) -> None:
    """At every turn of a talk with calls: the rest's text and up to eight tokens of framing for each message of it."""
    talk: list[dict[str, Any]] = [SYSTEM, USER, REPLY, USER_2, CALL, TOOL, REPLY_2, USER_3]
    memory = ConversationMemory(KEY)
    for end in (index for index in range(2, len(talk)) if talk[index]["role"] == "assistant"):
        written = [str(talk[end]["content"] or '{"name": "look_up", "parameters": {"moon": "Ganymede"}}')]
        completion_tokens = COUNTS[name].count(written) + 1
        remember(memory, chat(*talk[:end], tools=tools), Usage(tokens(name, talk[:end], tools), completion_tokens))
        later = next(index for index in range(end + 1, len(talk)) if talk[index]["role"] != "assistant") + 1
        recall = recalled(memory, chat(*talk[:later], tools=tools))
        assert recall.reply_tokens == completion_tokens
        rest_tokens = tokens(name, talk[:later], tools) - recall.known_tokens
        framing_tokens = rest_tokens - COUNTS[name].count([talk[later - 1]["content"]])
        assert 0 < framing_tokens <= 8 * (recall.rest.message_count + 1)  # with the turn that is opened for the reply


def responses(*items: dict[str, Any], **fields: Any) -> Request:
    """A Responses request."""
    return read_request(RESPONSES, json.dumps({"model": "m", "input": items, **fields}).encode())


def test_responses_conversations_are_known_too() -> None:
    """A reply of several items is one reply; instructions are part of what was seen."""
    call = {"type": "function_call", "name": "look_up", "arguments": '{"moon": "Ganymede"}', "call_id": "call_1"}
    output = {"type": "function_call_output", "call_id": "call_1", "output": TOOL["content"]}
    memory = ConversationMemory(KEY)
    remember(memory, responses(USER, instructions="Be brief."))
    longer = [USER, {"type": "message", **REPLY_2}, call, output]
    recall = recalled(memory, responses(*longer, instructions="Be brief."))
    assert (recall.known_tokens, recall.rest.pieces) == (68, [TOOL["content"], "call_1"])
    assert memory.recall(responses(*longer, instructions="Be long.")) is None
    assert memory.recall(responses(*longer)) is None


def anthropic(*messages: dict[str, Any], system: str) -> Request:
    """An Anthropic request."""
    body = {"model": "m", "system": system, "messages": messages, "max_tokens": 10}
    return read_request(MESSAGES, json.dumps(body).encode())


def test_anthropic_conversations_are_known_too() -> None:
    """Calls and their answers are parts of messages; marks for caches may move."""
    use = {"type": "tool_use", "id": "toolu_1", "name": "look_up", "input": {"moon": "Ganymede"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": TOOL["content"]}
    marked = {"type": "text", "text": USER["content"], "cache_control": {"type": "ephemeral"}}
    memory = ConversationMemory(KEY)
    remember(memory, anthropic({"role": "user", "content": [marked]}, system="Be brief."))
    unmarked = {"role": "user", "content": [{"type": "text", "text": USER["content"]}]}
    reply = {"role": "assistant", "content": [{"type": "text", "text": "I will look it up."}, use]}
    longer: list[dict[str, Any]] = [unmarked, reply, {"role": "user", "content": [result]}]
    recall = recalled(memory, anthropic(*longer, system="Be brief."))
    assert (recall.known_tokens, recall.rest.pieces) == (68, [TOOL["content"], "toolu_1"])
    assert memory.recall(anthropic(*longer, system="Be long.")) is None


def test_first_requests_are_worth_reading_only_with_tools() -> None:
    """Most stay alone; one that brings tools will go on."""
    assert not worth_observing(chat(SYSTEM, USER), None)
    assert worth_observing(chat(SYSTEM, USER, tools=TOOLS), None)


def test_a_conversation_is_worth_reading_until_it_is_known() -> None:
    """And again when enough came since."""
    request_ = chat(*TALK)
    assert worth_observing(request_, None)
    memory = memory_of(chat(SYSTEM, USER))
    assert worth_observing(request_, memory.recall(request_))
    remember(memory, chat(SYSTEM, USER, REPLY, USER_2), Usage(90, 16))
    assert not worth_observing(request_, memory.recall(request_))
    assert worth_observing(request_, memory.recall(request_), 0.01)
    remember(memory, request_, Usage(120, 16))
    assert not worth_observing(request_, memory.recall(request_), 0)
