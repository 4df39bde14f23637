"""Facts and an estimate → the tokens one sequence may occupy; the only place that adds output to prompt.

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


def budget_of(facts: RequestFacts, estimate: Estimate, rules: BudgetRules) -> Budget:
    """The budget of a request without flaw. Token ids count exactly; `truncate_prompt_tokens` caps the prompt.

    A ratio of text says nothing of messages without text, so the framing of all messages is the least with margin.
    """
    least = max(facts.token_ids, rules.template_tokens_per_message * facts.message_count)
    most = max(facts.token_ids, certain_prompt_tokens(facts, rules))
    if facts.prompt_cap_tokens is not None:
        most = min(most, facts.prompt_cap_tokens)
    return Budget(
        prompt_tokens=min(most, max(least, estimate.conservative_tokens)),
        mean_prompt_tokens=min(most, max(facts.token_ids, estimate.mean_tokens)),
        certain_prompt_tokens=most,
        output_tokens=rules.undeclared_output_tokens if facts.output_tokens is None else facts.output_tokens,
        calibrated=estimate.calibrated or not facts.text_bytes,
    )


def certain_prompt_tokens(facts: RequestFacts, rules: BudgetRules) -> int:
    """No tokenizer makes more: one token a byte, and the template's allowance.

    Holds for byte-level and byte-fallback vocabularies (Llama, Qwen, Mistral, DeepSeek, Gemma, gpt-oss). JSON that the
    template writes anew counts twice: indenting adds at most one white-space token to each mark. Qwen's NFC lengthens
    a few characters, at most threefold (musical notes); the rest of any text makes up for them.
    """
    if not facts.text_bytes and not facts.message_count:
        return 0
    framing = rules.template_tokens + rules.template_tokens_per_message * facts.message_count
    return facts.text_bytes + facts.structure_bytes + framing + rules.template_tokens_per_tool * facts.tool_count
