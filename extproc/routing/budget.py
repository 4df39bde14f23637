"""Facts, then an estimate → the tokens one sequence may occupy; the only place that knows what is certain of them.

Budget = prompt + output in full, per sequence: `n` and list prompts start more sequences, each with its own context.
"""

from dataclasses import dataclass

from extproc.routing.values import Budget, Estimate, RequestFacts


@dataclass(frozen=True, slots=True)
class BudgetRules:
    """What the operator says of output nobody limits, and of the chat template."""

    undeclared_output_tokens: int | None = None
    """Reserved where the client names no limit; None reserves the whole context, so such requests go long."""
    template_tokens: int = 512
    """At most this many tokens around the messages: special tokens, a default system prompt, the preface to tools."""
    template_tokens_per_message: int = 16
    """At most this many tokens around one message (5 with Llama-3.1's and Qwen3's templates)."""
    template_tokens_per_tool: int = 32
    """At most this many tokens around one tool definition."""


def bounds_of(facts: RequestFacts, rules: BudgetRules) -> Budget:
    """The budget of a request without flaw, by what is certain of its prompt. `truncate_prompt_tokens` caps it.

    One token a byte and the template's allowance: this holds for byte-level and byte-fallback vocabularies (Llama,
    Qwen, Mistral, DeepSeek, Gemma, gpt-oss). JSON that the template writes anew counts twice: indenting adds at most
    one white-space token to each mark; beyond twenty levels, a token for each space. (Not bounded: lists of numbers in
    exponent notation.) Qwen's NFC lengthens a few characters, at most threefold (musical notes); the rest of any text
    makes up for them. Token ids count exactly.
    """
    framing = (
        rules.template_tokens_per_message * facts.message_count + rules.template_tokens_per_tool * facts.tool_count
    )
    most = facts.text_bytes + facts.structure_bytes + facts.escape_bytes + framing
    most = max(facts.token_ids, most + rules.template_tokens if most else 0)
    if facts.prompt_cap_tokens is not None:
        most = min(most, facts.prompt_cap_tokens)
    output = rules.undeclared_output_tokens if facts.output_tokens is None else facts.output_tokens
    return Budget(certain_prompt_tokens=most, output_tokens=output, prompt_tokens=most)


def budget_of(facts: RequestFacts, bounds: Budget, estimate: Estimate) -> Budget:
    """The same budget by an estimate, which is never above what is certain, nor below what came as token ids."""
    most = bounds.certain_prompt_tokens
    return Budget(
        certain_prompt_tokens=most,
        output_tokens=bounds.output_tokens,
        prompt_tokens=min(most, max(facts.token_ids, estimate.conservative_tokens)),
        mean_prompt_tokens=min(most, max(facts.token_ids, estimate.mean_tokens)),
    )
