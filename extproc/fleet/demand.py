"""What a length distribution asks of an instance, per request: tokens, KV blocks held over steps, prefill work.

It knows vLLM's arithmetic of one request (block rounding, where an output ends), nothing of queues or of time.
"""

from dataclasses import dataclass

import numpy as np

from extproc.errors import ConfigurationError
from extproc.fleet.values import ABSENT, BLOCK_TOKENS, Floats, InstanceSpec, Ints, Overflow
from extproc.fleet.workload import Lengths

_CLASSES_PER_DOUBLING = 4
"""Of the output, in which requests are taken together."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests that an instance serves, with means over them; `steps` are engine steps.

    A request of P prompt tokens and O output tokens takes some prefill steps and then O − 1 decode steps, as the last
    chunk of its prefill yields its first token; in the j-th decode step P + j tokens of it are resident.
    """

    prompt_tokens: Ints
    """Different prompts, each once."""
    weight: Floats
    """Shares of the prompts; sums to 1."""
    blocks: Ints
    """KV blocks of each prompt."""
    final_blocks: Ints
    """Different numbers of KV blocks that a request holds in its last step."""
    output_weight: Floats
    """Their shares."""
    outputs: Floats
    """Decode steps of groups of requests with more than one output token."""
    outputs_weight: Floats
    """Their shares among such requests."""
    rejected: float
    """Share of the offered requests that the instance answers with an error; they are not among the columns."""
    prompt_mean: float
    decode_steps: float
    """Mean of O − 1."""
    decode_tokens: float
    """Mean over requests of the sum over decode steps of resident tokens."""
    decode_blocks: float
    """The same in KV blocks, each step's rounded up."""
    decode_blocks_squared: float
    """The same of the squares of the blocks: what the spread of KV use is made of."""

    def mean(self, column: Floats | Ints) -> float:
        """Mean over requests of a column that goes with `prompt_tokens`."""
        return float(self.weight @ column)


def demand(spec: InstanceSpec, lengths: Lengths) -> Demand:
    """Cut the lengths to what the instance serves of them.

    Rules of vLLM: a prompt must be shorter than max_model_len; declared tokens beyond it are clamped or the request
    is rejected, by `spec.overflow`; a request that the whole KV cache cannot hold never ends and counts as rejected.

    Raises:
        ConfigurationError: no request can be served, or the columns are empty.
    """
    if not len(lengths.weight) or lengths.weight.sum() <= 0:
        raise ConfigurationError("There are no requests to plan for: give a workload of at least one request.")
    served = _served(spec, lengths)
    if not served.any():
        raise ConfigurationError(
            f"No request of this workload fits a context of {spec.max_model_len} tokens: raise max_model_len."
        )
    prompt = lengths.prompt_tokens[served].astype(np.int64)
    output = output_tokens(spec, lengths)[served]
    weight = lengths.weight[served] / lengths.weight[served].sum()
    rejected = 1.0 - float(lengths.weight[served].sum() / lengths.weight.sum())
    return _with_means(prompt, output, weight, rejected)


def output_tokens(spec: InstanceSpec, lengths: Lengths) -> Ints:
    """Tokens written: least of what the model would write, what is declared and what the context leaves; at least 1."""
    room = spec.max_model_len - lengths.prompt_tokens
    declared = np.where(lengths.declared_tokens == ABSENT, room, lengths.declared_tokens)
    return np.maximum(1, np.minimum(np.minimum(lengths.output_tokens, declared), room)).astype(np.int64)


def _served(spec: InstanceSpec, lengths: Lengths) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which requests the instance neither refuses nor starves."""
    prompt, declared = lengths.prompt_tokens, lengths.declared_tokens
    served = prompt < spec.max_model_len
    if spec.overflow is Overflow.REJECT:
        served &= (declared == ABSENT) | (prompt + declared <= spec.max_model_len)
    last = prompt + output_tokens(spec, lengths) - 1
    fits: np.ndarray[tuple[int], np.dtype[np.bool_]] = served & (_blocks(last) <= spec.kv_blocks)
    return fits


def _with_means(prompt: Ints, output: Ints, weight: Floats, rejected: float) -> Demand:
    """Sum over decode steps j = 1 … O − 1 of P + j tokens, and of their blocks, in closed form."""
    decode = output - 1
    last = prompt + decode
    prompts, prompt_weight = _grouped(prompt, weight)
    finals, final_weight = _grouped(_blocks(last), weight)
    outputs, outputs_weight = _by_output(decode, weight)
    return Demand(
        prompt_tokens=prompts,
        weight=prompt_weight,
        blocks=_blocks(prompts),
        final_blocks=finals,
        output_weight=final_weight,
        outputs=outputs,
        outputs_weight=outputs_weight,
        rejected=rejected,
        prompt_mean=float(weight @ prompt),
        decode_steps=float(weight @ decode),
        decode_tokens=float(weight @ (decode * prompt + decode * output / 2)),
        decode_blocks=float(weight @ (_blocks_up_to(last) - _blocks_up_to(prompt))),
        decode_blocks_squared=float(weight @ (_squares_up_to(last) - _squares_up_to(prompt))),
    )


def _grouped(values: Ints, weight: Floats) -> tuple[Ints, Floats]:
    """Each value once, and its share; they are small enough to be counted, which is faster than to sort them."""
    once = np.flatnonzero(np.bincount(values)).astype(np.int64)
    return once, np.asarray(np.bincount(values, weight)[once], dtype=np.float64)


def _by_output(decode: Ints, weight: Floats) -> tuple[Floats, Floats]:
    """Group requests by decode steps in logarithmic classes: their mean steps and their shares."""
    has = decode > 0
    if not has.any():
        return np.empty(0), np.empty(0)
    decode, weight = decode[has], weight[has] / weight[has].sum()
    place = (np.log2(decode) * _CLASSES_PER_DOUBLING).astype(np.int64)
    share = np.asarray(np.bincount(place, weight), dtype=np.float64)
    steps = np.bincount(place, weight * decode)
    return steps[share > 0] / share[share > 0], share[share > 0]


def _blocks(tokens: Ints) -> Ints:
    """KV blocks that hold so many tokens."""
    return -(-tokens // BLOCK_TOKENS)


def _blocks_up_to(tokens: Ints) -> Ints:
    """Sum of the blocks of 1, 2, … tokens: 16 times each whole block, and what is left in the last."""
    whole, rest = np.divmod(tokens, BLOCK_TOKENS)
    return np.asarray(BLOCK_TOKENS * whole * (whole + 1) // 2 + rest * (whole + 1), dtype=np.int64)


def _squares_up_to(tokens: Ints) -> Ints:
    """Sum of the squares of the blocks of 1, 2, … tokens."""
    whole, rest = np.divmod(tokens, BLOCK_TOKENS)
    squares = BLOCK_TOKENS * whole * (whole + 1) * (2 * whole + 1) // 6 + rest * (whole + 1) ** 2
    return np.asarray(squares, dtype=np.int64)
