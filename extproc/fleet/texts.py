"""Requests with text for given true token counts, as the router reads them: something real for estimators to learn.

A prompt is a slice of one bank of text, as many bytes as its tokens should have there, times noise that nothing
explains. Its true tokens are those it was asked for, so what an estimator makes of the bytes has a truth to miss.
Depends on the seed and the request's number only.
"""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from extproc.fleet.banks import BANK_CHARS, banks, toolsets
from extproc.fleet.values import ABSENT, CATEGORIES, Floats, Ints
from extproc.routing.density import Density
from extproc.routing.request import Request
from extproc.routing.schemas import NULL, Message
from extproc.routing.text import Prompt
from extproc.routing.values import Category, RequestFacts

PATH = "/v1/chat/completions"
TEMPLATE_TOKENS, MESSAGE_TOKENS = 27, 5
"""What the chat template of Llama 3.1 adds to a conversation (its default system message, the start of the answer) and
to each message."""
_TEMPLATE_SHARE_MAX = 0.5
"""Of a prompt: traces count prompts shorter than this template, for other models had other ones."""
NOISE = 0.04
"""Standard deviation of the logarithm of bytes per token between requests of one bank."""
_TOOLS_SHARE = 0.8
"""Most of a prompt that its tools are."""
_TOOLS_DEVIATION = 0.08
"""Of the logarithm of bytes per token between sets of tools."""
_CHOICES = 64
"""A bank has an eighth or so of its kind's requests: several of these."""
_NOISES = 65_536
_SYSTEM_SHARE = 0.25
"""Of requests that begin with a system message."""
_SYSTEM_BYTES = (150, 400, 900, 2_000)
Bits = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]


class _System(NamedTuple):
    message: Message
    text: str
    text_bytes: int
    tokens: float


class RequestMaker:
    """Makes requests. What it draws from never changes; one may serve many simulations."""

    def __init__(self, seed: int, model: str = "") -> None:
        """A maker.

        Args:
            seed: of the share of each bank, and of what is drawn for each request.
            model: the name that requests ask for.
        """
        rng = np.random.default_rng(seed)
        self._seed = int(rng.integers(2**63))
        self._model = model
        self._noise: Floats = np.exp(rng.normal(0.0, NOISE, _NOISES))
        self._banks = [bank for category in CATEGORIES for bank in banks()[category]]
        self._bytes_per_token: Floats = np.array([bank.bytes_per_token for bank in self._banks])
        self._is_wide: Mask = np.array([bank.ends is not None for bank in self._banks])
        self._chosen: Ints = _shares(rng)
        self._systems = _systems(rng)
        self._system_tokens: Floats = np.array([np.inf if each is None else each.tokens for each in self._systems])
        self._toolsets = toolsets()
        deviations = rng.normal(-Density(Category.TOOLS).mean, _TOOLS_DEVIATION, len(self._toolsets))
        tokens = np.exp(-deviations) * [len(toolset.json_text) for toolset in self._toolsets]
        self._toolset_tokens: Floats = np.maximum.accumulate(tokens)

    def make(
        self, prompt_tokens: Ints, declared_tokens: Ints, categories: npt.NDArray[np.int8], first: int
    ) -> Iterator[Request]:
        """Requests whose prompts are so many tokens, chat template included, one after another.

        Args:
            prompt_tokens: the truth; at least 1. Shape (n,), like the other two.
            declared_tokens: `max_tokens`, or `ABSENT`.
            categories: positions in `CATEGORIES`. Very short prompts of tools have none, very long ones mostly text.
            first: number of the first request in its workload; a request depends on its own, not on those beside it.
        """
        drawn = _mixed(np.arange(first, first + len(prompt_tokens), dtype=np.uint64), self._seed)
        chosen = self._chosen[categories, _bits(drawn, 0, _CHOICES)]
        toolsets, systems, tokens = self._framed(prompt_tokens, categories == _TOOLS, _bits(drawn, 22, _CHOICES))
        noise, starts = self._noise[_bits(drawn, 6, _NOISES)], _bits(drawn, 28, BANK_CHARS)
        wanted_bytes = np.maximum(1, (tokens * self._bytes_per_token[chosen] * noise).astype(np.int64))
        chars, sizes = self._measured(chosen, starts, wanted_bytes)
        columns = (chosen, starts, chars, sizes, toolsets, systems, declared_tokens)
        for bank, start, count, size, toolset, system, declared in zip(*(c.tolist() for c in columns), strict=True):
            prompt = self._prompt(self._banks[bank].cut(start, count), size, toolset, self._systems[system])
            yield self._request(prompt, declared)

    def _framed(self, prompt_tokens: Ints, is_tools: Mask, systems: Ints) -> tuple[Ints, Ints, Floats]:
        """What stands around each text: the toolset and the system message, or `_NONE`, and the tokens they leave.

        Tools are most of the bytes, where there are so many and so few.
        """
        alone = prompt_tokens - _framing(prompt_tokens, 1)
        toolsets = np.searchsorted(self._toolset_tokens, _TOOLS_SHARE * alone, side="right") - 1
        toolsets[~is_tools] = _NONE
        has_system = ~is_tools & (2 * self._system_tokens[systems] <= prompt_tokens)
        tokens = np.where(toolsets == _NONE, alone, alone - self._toolset_tokens[toolsets])
        after_system = prompt_tokens - _framing(prompt_tokens, 2) - self._system_tokens[systems]
        return toolsets, np.where(has_system, systems, _NONE), np.where(has_system, after_system, tokens)

    def _measured(self, chosen: Ints, starts: Ints, wanted_bytes: Ints) -> tuple[Ints, Ints]:
        """Characters and bytes of each text."""
        chars, sizes = wanted_bytes.copy(), wanted_bytes.copy()
        for number in np.unique(chosen[self._is_wide[chosen]]).tolist():
            bank, of_bank = self._banks[number], chosen == number
            chars[of_bank] = bank.chars_of(wanted_bytes[of_bank])
            sizes[of_bank] = bank.bytes_of(starts[of_bank], chars[of_bank])
        return chars, sizes

    def _prompt(self, text: str, text_bytes: int, toolset: int, system: _System | None) -> Prompt:
        """A message, after another one or beside tools."""
        user = Message(role="user", content=text)
        if system is not None:
            turns, text_bytes = [system.message, user], text_bytes + system.text_bytes
            return Prompt([system.text, text], [], turns, _NO_CONTEXT, text_bytes, message_count=2)
        if toolset == _NONE:
            return Prompt([text], [], [user], _NO_CONTEXT, text_bytes, message_count=1)
        json_text, count = self._toolsets[toolset]
        context = (msgspec.Raw(json_text), *_NO_CONTEXT[1:])
        text_bytes += len(json_text)
        return Prompt(
            [text], [json_text], [user], context, text_bytes, len(json_text), message_count=1, tool_count=count
        )

    def _request(self, prompt: Prompt, declared: int) -> Request:
        facts = RequestFacts(
            text_bytes=prompt.text_bytes,
            structure_bytes=prompt.structure_bytes,
            total_text_bytes=prompt.text_bytes,
            message_count=prompt.message_count,
            tool_count=prompt.tool_count,
            output_tokens=None if declared == ABSENT else declared,
            model=self._model,
        )
        return Request(facts, prompt)


def body_of(request: Request, *, escaped: bool = False) -> bytes:
    r"""The JSON body of a made request, which `extproc.routing.request.read_request` reads as the same.

    Args:
        request: what `RequestMaker.make` gave.
        escaped: write characters outside ASCII as \uXXXX, as many clients do.
    """
    assert request.prompt is not None
    facts, prompt = request.facts, request.prompt
    fields = {"model": facts.model, "max_tokens": facts.output_tokens, "tools": prompt.context[0]}
    named = {name: value for name, value in fields.items() if value not in (None, "", NULL)}
    text = msgspec.json.encode({**named, "messages": prompt.messages})
    return _escaped(text) if escaped else text


def _escaped(text: bytes) -> bytes:
    r"""Characters outside ASCII stand only in strings of a JSON text, so each may be written as \uXXXX."""
    units = (char if char.isascii() else _as_units(char) for char in text.decode())
    return "".join(units).encode()


def _as_units(char: str) -> str:
    encoded = char.encode("utf-16-be")
    return "".join(f"\\u{encoded[at : at + 2].hex()}" for at in range(0, len(encoded), 2))


def _mixed(numbers: Bits, seed: int) -> Bits:
    """64 bits each that look random: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return mixed ^ mixed >> np.uint64(31)


def _bits(drawn: Bits, begin: int, count: int) -> Ints:
    """A number below `count`, a power of two, from the bits that begin there."""
    return (drawn >> np.uint64(begin) & np.uint64(count - 1)).astype(np.int64)


def _framing(prompt_tokens: Ints, messages: int) -> Floats:
    """Tokens of the template around so many messages."""
    framing: Floats = np.minimum(TEMPLATE_TOKENS + MESSAGE_TOKENS * messages, _TEMPLATE_SHARE_MAX * prompt_tokens)
    return framing


def _shares(rng: np.random.Generator) -> Ints:
    """Banks of each kind as often as they are chosen: some workloads have much of one, none has only one.

    Numbers of all kinds' banks in a row; shape (kinds, _CHOICES).
    """
    chosen, before = [], 0
    for count in (len(banks()[category]) for category in CATEGORIES):
        chosen.append(before + rng.choice(count, _CHOICES, p=rng.dirichlet(np.full(count, 3.0))))
        before += count
    return np.array(chosen)


def _systems(rng: np.random.Generator) -> list[_System | None]:
    """What applications tell the model first: few texts, each again and again; mostly none, and none at the end."""
    some = [_system(rng, number) for number in range(int(_SYSTEM_SHARE * _CHOICES))]
    return some + [None] * (_CHOICES - len(some))


def _system(rng: np.random.Generator, number: int) -> _System:
    bank = banks()[Category.PROSE][number % 3]
    start, size = int(rng.integers(BANK_CHARS)), _SYSTEM_BYTES[number % len(_SYSTEM_BYTES)]
    text = bank.cut(start, size)
    assert bank.ends is None, "a character is a byte"
    return _System(Message(role="system", content=text), text, size, size / bank.bytes_per_token)


_NONE = -1
"""In place of a toolset's or a system message's position; the last of those is none."""
_NO_CONTEXT = (NULL,) * 6
"""No tools, no choice among them, no effort, documents, format or arguments: the order of `gather_chat`."""
_TOOLS = CATEGORIES.index(Category.TOOLS)
