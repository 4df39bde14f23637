"""Requests with text for given true token counts, as the router reads them: something real for estimators to learn.

A prompt is a slice of one bank of text, as many bytes as its tokens should have there, times noise that nothing
explains. Its true tokens are those it was asked for, so what an estimator makes of the bytes has a truth to miss.
Depends on the seed and the request's number only.
"""

from bisect import bisect_right
from typing import NamedTuple

import msgspec
import numpy as np

from extproc.fleet.banks import Bank, banks, toolsets
from extproc.fleet.values import ABSENT, CATEGORIES
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
_MASK = 2**64 - 1


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
        self._noise: list[float] = np.exp(rng.normal(0.0, NOISE, _NOISES)).tolist()
        self._banks = [_shares(banks()[category], rng) for category in CATEGORIES]
        self._systems = _systems(rng)
        self._toolsets = toolsets()
        deviations = rng.normal(-Density(Category.TOOLS).mean, _TOOLS_DEVIATION, len(self._toolsets))
        tokens = np.exp(-deviations) * [len(toolset.json_text) for toolset in self._toolsets]
        self._toolset_tokens: list[float] = np.maximum.accumulate(tokens).tolist()

    def make(self, prompt_tokens: int, output_declared: int, category: int, number: int) -> Request:
        """A request whose prompt is so many tokens, chat template included.

        Args:
            prompt_tokens: the truth; at least 1.
            output_declared: `max_tokens`, or `ABSENT`.
            category: position in `CATEGORIES`. Very short prompts of tools have none, very long ones mostly text.
            number: of the request in its workload.
        """
        drawn = _mixed(number, self._seed)
        bank = self._banks[category][drawn & (_CHOICES - 1)]
        noise = self._noise[drawn >> 6 & (_NOISES - 1)]
        place = drawn >> 28
        if CATEGORIES[category] is Category.TOOLS:
            return self._with_tools(prompt_tokens, output_declared, bank, noise, place)
        system = self._systems[drawn >> 22 & (_CHOICES - 1)]
        if system is None or 2 * system.tokens > prompt_tokens:
            tokens = prompt_tokens - _framing(prompt_tokens, 1)
            return self._plain(tokens, output_declared, bank, noise, place)
        tokens = prompt_tokens - _framing(prompt_tokens, 2) - system.tokens
        text, text_bytes = bank.cut(place, max(1, int(tokens * bank.bytes_per_token * noise)))
        turns, text_bytes = [system.message, _user(text)], text_bytes + system.text_bytes
        prompt = Prompt([system.text, text], [], turns, _NO_CONTEXT, text_bytes, message_count=2)
        return self._request(prompt, output_declared)

    def _with_tools(self, prompt_tokens: int, output_declared: int, bank: Bank, noise: float, place: int) -> Request:
        """Tools are most of the bytes, where there are so many and so few."""
        tokens = prompt_tokens - _framing(prompt_tokens, 1)
        at = bisect_right(self._toolset_tokens, _TOOLS_SHARE * tokens) - 1
        if at < 0:
            return self._plain(tokens, output_declared, bank, noise, place)
        json_text, count = self._toolsets[at]
        left = tokens - self._toolset_tokens[at]
        text, text_bytes = bank.cut(place, max(1, int(left * bank.bytes_per_token * noise)))
        context = (msgspec.Raw(json_text), *_NO_CONTEXT[1:])
        text_bytes += len(json_text)
        prompt = Prompt([text], [json_text], [_user(text)], context, text_bytes, len(json_text), message_count=1)
        prompt.tool_count = count
        return self._request(prompt, output_declared)

    def _plain(self, tokens: float, output_declared: int, bank: Bank, noise: float, place: int) -> Request:
        """One message."""
        text, text_bytes = bank.cut(place, max(1, int(tokens * bank.bytes_per_token * noise)))
        prompt = Prompt([text], [], [_user(text)], _NO_CONTEXT, text_bytes, message_count=1)
        return self._request(prompt, output_declared)

    def _request(self, prompt: Prompt, output_declared: int) -> Request:
        facts = RequestFacts(
            text_bytes=prompt.text_bytes,
            structure_bytes=prompt.structure_bytes,
            total_text_bytes=prompt.text_bytes,
            message_count=prompt.message_count,
            tool_count=prompt.tool_count,
            output_tokens=None if output_declared == ABSENT else output_declared,
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


def _mixed(number: int, seed: int) -> int:
    """64 bits that look random: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    mixed = number * 0x9E3779B97F4A7C15 + seed & _MASK
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
    return mixed ^ mixed >> 31


def _framing(prompt_tokens: int, messages: int) -> float:
    return min(TEMPLATE_TOKENS + MESSAGE_TOKENS * messages, _TEMPLATE_SHARE_MAX * prompt_tokens)


def _user(text: str) -> Message:
    return Message(role="user", content=text)


def _shares(of_kind: tuple[Bank, ...], rng: np.random.Generator) -> list[Bank]:
    """Banks as often as they are chosen: some workloads have much of one, none has only one."""
    return [of_kind[at] for at in rng.choice(len(of_kind), _CHOICES, p=rng.dirichlet(np.full(len(of_kind), 3.0)))]


def _systems(rng: np.random.Generator) -> list[_System | None]:
    """What applications tell the model first: few texts, each again and again; mostly none."""
    some: list[_System | None] = []
    for number in range(int(_SYSTEM_SHARE * _CHOICES)):
        bank = banks()[Category.PROSE][number % 3]
        text, text_bytes = bank.cut(int(rng.integers(bank.chars)), _SYSTEM_BYTES[number % len(_SYSTEM_BYTES)])
        some.append(_System(Message(role="system", content=text), text, text_bytes, text_bytes / bank.bytes_per_token))
    return some + [None] * (_CHOICES - len(some))


_NO_CONTEXT = (NULL,) * 6
"""No tools, no choice among them, no effort, documents, format or arguments: the order of `gather_chat`."""
