"""Conversations whose usage was seen: a request that extends one starts from its count. Knows hashes and counts alone.

It must not keep text, nor estimate: what its counts do not cover it hands back to be estimated. A conversation is told
by a keyed hash over everything that shapes its prompt: the model's name, tools, documents, instructions and arguments
of the template, then the messages in order. Change a byte of any of them and it is another conversation.

Never remembered: prompts the server may cut, whose count is of what is left, and prompts that end with words of the
model, which the server may continue rather than close. Prompts with media have a flaw and never come here. Whether a
generation prompt is added or the last message left open (`add_generation_prompt`, `continue_final_message`) moves a few
tokens between prompt and reply, and the dates that some templates print are of one length.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from extproc.routing.prompts import gather_chat
from extproc.routing.request import Request
from extproc.routing.schemas import ChatBody, Message
from extproc.routing.text import Prompt
from extproc.routing.transcript import MESSAGES_MAX, Transcript, transcribe
from extproc.routing.turns import carries_reasoning, is_reply, reply_end, reply_starts, rerendered
from extproc.routing.values import MAX_BYTES_PER_TOKEN, Usage

UNCOVERED_SHARE = 0.15
"""Share of a prompt's bytes outside memory from which its answer is worth reading. Only what is outside is estimated:
an error of 10 % there is one of 1.5 % of the prompt. A conversation is thus read about once for each 15 % it grows by,
however many turns that takes."""
_DIGEST_BYTES = 16
"""128 bits under a key that clients do not know: nobody finds two conversations of one digest."""
_LEAST_REPLY_BYTES_PER_TOKEN = 2
"""Physically one. But a reply below two is digits, or the model also wrote what the client does not give back, such as
reasoning that its server does not count apart."""
_FRAME_TOKENS = 16
"""A reply's tokens beside its text: the end of the turn, the marks around a call."""
_TEMPLATE_TOKENS = 4096
"""More than templates print of their own: default system prompts, prefaces to tools."""
_TEMPLATE_TOKENS_PER_MESSAGE = 32


@dataclass(frozen=True, slots=True)
class MemoryRules:
    """How much is kept."""

    prompts: int = 16_384
    """Prompts remembered, one for each turn whose answer was read; the least recently used is forgotten first."""


class Bookmark(msgspec.Struct, frozen=True, gc=False):
    """What must be kept of a request until its answer came, to remember it by: a digest and a few numbers."""

    digest: bytes
    place: int
    """How much was hashed, as `Transcript.places` says it."""
    least_tokens: int
    most_tokens: int
    """A count outside of these is no count of such a prompt."""
    one_reply: bool
    """`completion_tokens` will count a single reply, not the sum of several sequences."""


class Recall(msgspec.Struct, frozen=True, gc=False):
    """What memory knows of a request's prompt."""

    prompt_tokens: int
    """The part that was seen, as the server counted it."""
    reply_tokens: int
    """The reply after it, as counted while it was written, without reasoning; 0 where it is estimated with the rest."""
    rest: Prompt
    """What these two do not cover."""

    @property
    def known_tokens(self) -> int:
        """Tokens that need no estimate."""
        return self.prompt_tokens + self.reply_tokens


class _Seen(msgspec.Struct, frozen=True, gc=False):
    prompt_tokens: int
    reply_tokens: int
    place: int


class ConversationMemory:
    """Remembers what prompts cost. Bounded; one per process, not thread-safe."""

    def __init__(self, key: bytes, rules: MemoryRules | None = None) -> None:
        """An empty memory.

        Args:
            key: 16 to 64 random bytes that nobody else knows; what is remembered under another key is not found.
            rules: how much is kept.
        """
        self._hasher = hashlib.blake2b(key=key, digest_size=_DIGEST_BYTES)
        self._rules = rules or MemoryRules()
        self._seen: OrderedDict[bytes, _Seen] = OrderedDict()
        self._places: dict[int, int] = {}  # place → prompts remembered there

    def __len__(self) -> int:
        """Prompts remembered."""
        return len(self._seen)

    def recall(self, request: Request) -> Recall | None:
        """The longest part of a request that was seen and is rendered as it was, be it all; None where there is none.

        A request without a reply extends nothing and is not looked at; one of which nothing as long was seen is not
        hashed.
        """
        prompt = request.prompt
        if prompt is None or not self._seen or not 1 < len(prompt.messages) <= MESSAGES_MAX:
            return None
        starts = reply_starts(prompt.messages)
        sightings = self._sightings(request.facts.model, prompt, starts) if starts else ()
        if not sightings:
            return None
        stale = rerendered(prompt.messages)
        for cut, digest in reversed(sightings):
            if cut not in stale:
                self._seen.move_to_end(digest)
                return _recall(prompt.messages, cut, self._seen[digest])
        return None

    def bookmark(self, request: Request) -> Bookmark | None:
        """What to keep until the answer comes; None where its count would not hold for a longer conversation."""
        prompt = _lasting_prompt(request)
        if prompt is None:
            return None
        transcript = _transcribe(request.facts.model, prompt, reply_starts(prompt.messages))
        hasher = self._hasher.copy()
        for run in transcript.runs:
            hasher.update(run)
        return Bookmark(hasher.digest(), transcript.places[-1], *_possible_tokens(prompt), request.facts.n == 1)

    def remember(self, bookmark: Bookmark, usage: Usage) -> bool:
        """Take in what the server says a prompt cost; False where no such prompt costs that."""
        if not bookmark.least_tokens <= usage.prompt_tokens <= bookmark.most_tokens or usage.multimodal_tokens:
            return False
        reply_tokens = usage.completion_tokens - usage.reasoning_tokens if bookmark.one_reply else 0
        self._forget(bookmark.digest)
        self._seen[bookmark.digest] = _Seen(usage.prompt_tokens, reply_tokens, bookmark.place)
        self._places[bookmark.place] = self._places.get(bookmark.place, 0) + 1
        if len(self._seen) > self._rules.prompts:
            self._forget(next(iter(self._seen)))
        return True

    def clear(self) -> None:
        """Forget everything: the tokenizer has changed, and no count holds any more."""
        self._seen.clear()
        self._places.clear()

    def _sightings(self, model: str, prompt: Prompt, starts: list[int]) -> list[tuple[int, bytes]]:
        """Where a prompt was seen, the longest last. One pass over the text, whatever was seen."""
        transcript = _transcribe(model, prompt, starts)
        hits = [place in self._places for place in transcript.places]
        if True not in hits:
            return []
        found = []
        hasher = self._hasher.copy()
        for cut, run, hit in zip(transcript.cuts, transcript.runs, hits, strict=True):
            hasher.update(run)
            if hit and (digest := hasher.copy().digest()) in self._seen:
                found.append((cut, digest))
        return found

    def _forget(self, digest: bytes) -> None:
        seen = self._seen.pop(digest, None)
        if seen is None:
            return
        self._places[seen.place] -= 1
        if not self._places[seen.place]:
            del self._places[seen.place]


def worth_observing(request: Request, recall: Recall | None, uncovered_share: float = UNCOVERED_SHARE) -> bool:
    """Whether the answer to a request should be read for memory's sake. Ask only where size bounds did not settle it.

    A conversation that has come to a reply will likely go on, and so will one that brings tools; of other first
    requests most stay alone. Where memory covers all but a small share already, reading teaches little more.

    Args:
        request: any.
        recall: what memory said of it.
        uncovered_share: of the prompt's bytes, from which on reading is worth it; 0 reads every turn.
    """
    prompt = request.prompt
    if prompt is None or (len(prompt.messages) == 1 and not prompt.tool_count):
        return False
    if _lasting_prompt(request) is None:
        return False
    if recall is not None:
        return recall.rest.text_bytes > uncovered_share * prompt.text_bytes
    return prompt.tool_count > 0 or any(map(is_reply, prompt.messages))


def _lasting_prompt(request: Request) -> Prompt | None:
    """The prompt, if what the server counts of it holds for whatever extends it."""
    prompt = request.prompt
    if prompt is None or request.facts.cut or not 0 < len(prompt.messages) <= MESSAGES_MAX:
        return None
    return None if is_reply(prompt.messages[-1]) else prompt


def _transcribe(model: str, prompt: Prompt, starts: list[int]) -> Transcript:
    return transcribe(model, prompt, [*starts, len(prompt.messages)])


def _possible_tokens(prompt: Prompt) -> tuple[int, int]:
    """A poisoned usage may lie only as far as this: real text at one end, one token a byte at the other."""
    least = int((prompt.text_bytes - prompt.doubtful_bytes) / MAX_BYTES_PER_TOKEN)
    framing = _TEMPLATE_TOKENS + _TEMPLATE_TOKENS_PER_MESSAGE * (prompt.message_count + prompt.tool_count)
    return max(1, least), prompt.text_bytes + prompt.structure_bytes + prompt.escape_bytes + framing


def _recall(messages: Sequence[Message], cut: int, seen: _Seen) -> Recall:
    end = reply_end(messages, cut)
    if _is_as_written(messages[cut:end], seen.reply_tokens):
        return Recall(seen.prompt_tokens, seen.reply_tokens, _gather(messages[end:]))
    return Recall(seen.prompt_tokens, 0, _gather(messages[cut:]))


def _is_as_written(reply: Sequence[Message], tokens: int) -> bool:
    """Whether a reply is plainly what the server counted while writing it, so that its count stands for it.

    Not with reasoning, which is rendered or not; nor where several messages of the assistant stand in a row, of which
    some may be the client's. Calls are written anew by the template, nearly as the model wrote them; about half of
    their JSON (ids, quotes that are escaped) is never rendered.
    """
    if sum(message.role == "assistant" for message in reply) > 1 or any(map(carries_reasoning, reply)):
        return False
    given = _gather(reply)
    frame = _FRAME_TOKENS * given.message_count
    least = (given.text_bytes - given.structure_bytes // 2) / MAX_BYTES_PER_TOKEN
    return least <= tokens <= given.text_bytes / _LEAST_REPLY_BYTES_PER_TOKEN + frame


def _gather(messages: Sequence[Message]) -> Prompt:
    """Messages of any dialect are gathered alike."""
    return gather_chat(ChatBody(messages=list(messages)))
