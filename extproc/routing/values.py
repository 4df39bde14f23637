"""The nouns that pass between the parts of the core; they know no behaviour beyond arithmetic on themselves.

They are msgspec structs rather than dataclasses: one is made for every request, in an eighth of the time.
Every enum here is fit for a metric label: few members, lower-case values, never a client's string.
"""

from enum import StrEnum

import msgspec


class Pool(StrEnum):
    """Where a request goes."""

    SHORT = "short"
    LONG = "long"


class Category(StrEnum):
    """The kind of text a prompt is mostly made of; a bytes-per-token ratio is learned for each."""

    PROSE = "prose"
    CODE = "code"
    JSON = "json"
    LOGS = "logs"
    DENSE = "dense"
    CJK = "cjk"
    CYRILLIC = "cyrillic"
    OTHER_SCRIPT = "other_script"
    TOOLS = "tools"


class Provenance(StrEnum):
    """How a decision came to be known."""

    CERTAIN = "certain"
    """True whatever the tokenizer does."""
    CALIBRATED = "calibrated"
    """Judged by what was learned from responses."""
    COLD = "cold"
    """Too little is learned yet."""
    FALLBACK = "fallback"
    """The budget could not be told from the request."""


class Stage(StrEnum):
    """The effort that settled a decision; each costs about ten times the one before it."""

    NONE = "none"
    """Nothing was measured: a flaw, the headers alone, or an output that nobody limits."""
    BOUNDS = "bounds"
    """Size bounds settle it, whatever the tokenizer."""
    MEMORY = "memory"
    """The request extends a conversation whose usage was seen."""
    SIZE = "size"
    """Its bytes, and what text of its kind has cost so far; the kind is told at a glance."""
    SAMPLE = "sample"
    """Features of a small fixed sample of the text."""
    TEXT = "text"
    """Features of all text."""
    EXACT = "exact"
    """A local tokenizer counted the text."""


class Reason(StrEnum):
    """Why a request went where it went."""

    FITS_WHATEVER_TOKENIZER = "fits_whatever_tokenizer"
    FITS = "fits"
    EXCEEDS = "exceeds"
    OUTPUT_EXCEEDS = "output_exceeds"
    CONTENT_LENGTH = "content_length"
    ESTIMATOR_COLD = "estimator_cold"
    OUTPUT_UNDECLARED = "output_undeclared"
    LENGTH_NOT_IN_BODY = "length_not_in_body"
    MEDIA = "media"
    UNREADABLE = "unreadable"
    COMPRESSED = "compressed"
    BODY_INCOMPLETE = "body_incomplete"
    NOT_INFERENCE = "not_inference"
    SINGLE_POOL = "single_pool"
    SPILLED_FROM_SHORT = "spilled_from_short"
    SPILLED_FROM_LONG = "spilled_from_long"


class Flaw(StrEnum):
    """What keeps a request's budget from being told; each has a `Reason` of the same value."""

    LENGTH_NOT_IN_BODY = "length_not_in_body"
    MEDIA = "media"
    UNREADABLE = "unreadable"
    COMPRESSED = "compressed"
    BODY_INCOMPLETE = "body_incomplete"
    NOT_INFERENCE = "not_inference"


MAX_BYTES_PER_TOKEN = 8.0
"""Real text has 6.5 bytes a token at most (Russian, of 1,941 bodies in 18 kinds of text), code full of white space 8.
Only runs of one character have more, and they say nothing of text: answers above it teach nothing."""
NEGLIGIBLE_SHARE = 0.1
"""Structure that is at most this share of a prompt's bytes is estimated, and learned from, as part of its text."""


class RequestFacts(msgspec.Struct, frozen=True, gc=False):
    """What a request says, before any judgement."""

    text_bytes: int = 0
    """UTF-8 bytes of the longest prompt: what the tokenizer will see, JSON escapes undone; structure included."""
    structure_bytes: int = 0
    """The part of `text_bytes` that is JSON the chat template writes anew (tools, tool calls, documents), written
    without white space or escapes, however the client wrote it."""
    escape_bytes: int = 0
    """Bytes that the template adds at most where it writes a tool's answer as a JSON string, or indents JSON beyond
    twenty levels."""
    total_text_bytes: int = 0
    """`text_bytes` summed over all prompts of the request; `usage.prompt_tokens` answers for this sum."""
    token_ids: int = 0
    """Tokens of the longest prompt that came as ids: an exact count."""
    message_count: int = 0
    """Messages that the chat template frames, and what it may frame alike: a further part of a content counts one, a
    tool's call or answer two. 0 where no template is applied."""
    tool_count: int = 0
    """Tool definitions rendered into the prompt."""
    prompt_count: int = 1
    """Prompts of the request; the numbers here that do not say otherwise are of the longest."""
    n: int = 1
    """Sequences sampled for each prompt; `usage.completion_tokens` is their sum."""
    output_tokens: int | None = None
    """Output the client reserves for one sequence; None where it names no limit."""
    prompt_cap_tokens: int | None = None
    """`truncate_prompt_tokens`: the server cuts longer prompts to this."""
    cut: bool = False
    """The server may cut the prompt, to that or to its own ceiling: its count is then of what is left."""
    model: str = ""
    """The serving model's name, as the client wrote it: bounded before it keys anything."""
    mixed: bool = False
    """The prompts are of several kinds, so that the longest in bytes need not be the longest in tokens."""
    usage_expected: bool = True
    """The answer will carry `usage` unless the server leaves it out."""
    teaches: bool = True
    """The relation of `total_text_bytes` to `usage.prompt_tokens` holds, so the answer may be learned from."""
    flaw: Flaw | None = None
    """Set where the budget cannot be told; the numbers above then mean nothing."""


class Estimate(msgspec.Struct, frozen=True, gc=False):
    """What an estimator makes of a prompt, chat template included, in tokens."""

    mean_tokens: int
    """Without margin: the estimate whose error is reported."""
    conservative_tokens: int
    """With margin: what is compared with the room in the short pool."""
    calibrated: bool
    """Whether it rests on what enough answers taught."""
    stage: Stage = Stage.SAMPLE
    """The effort it took."""
    doubt: float | None = None
    """How likely the prompt is on the other side of the room than `conservative_tokens` is; None where the estimator
    does not say."""
    may_decide: bool = True
    """Whether a decision may rest on it: the published estimator's may not while it is cold."""


class Budget(msgspec.Struct, frozen=True, gc=False):
    """The tokens one sequence of a request may occupy."""

    certain_prompt_tokens: int
    """No tokenizer makes more of the prompt than this."""
    output_tokens: int | None
    """Output reserved in full; None where nobody names a limit, so that it may fill the context."""
    prompt_tokens: int
    """The prompt as it was compared with the threshold: an estimate with its margin, or the certain bound."""
    mean_prompt_tokens: int | None = None
    """The estimate without its margin; None where no estimate was needed."""

    @property
    def total_tokens(self) -> int | None:
        """Prompt with its margin, and the output; None where the output has no limit."""
        return None if self.output_tokens is None else self.prompt_tokens + self.output_tokens


class Decision(msgspec.Struct, frozen=True, gc=False):
    """Where a request goes and why; carries what completing it needs, so nothing is kept by request id."""

    pool: Pool
    reason: Reason
    provenance: Provenance
    facts: RequestFacts
    budget: Budget | None = None
    """None where no budget could be told."""
    stage: Stage = Stage.NONE
    """The effort that settled it."""
    category: Category | None = None
    """The kind of text; set where the answer is observed."""
    doubt: float | None = None
    """How likely the other pool would have been right; 0 where it is certain, None where nobody can tell."""
    observe: bool = False
    """Whether the answer should be read for usage."""
    weight: float = 1.0
    """How many requests like it an observed one stands for: one by the share of such requests that is observed."""
    lesson: object = None
    """What the estimator needs to learn from the answer: numbers, never text. Set where the answer is observed."""
    ticket: int | None = None
    """Under which the output model waits for the answer, if it does."""
    threshold_tokens: int = 0
    """The largest budget that the short pool took when this was decided; 0 where nothing was compared with it."""


class Finish(StrEnum):
    """How generation ended; of several choices the one that stands last here speaks for all."""

    UNKNOWN = "unknown"
    """The answer does not say: embeddings, scores, or a gateway that left it out."""
    STOP = "stop"
    """The model came to its end, or to a tool call. vLLM says so too of a tool call that a limit cut short."""
    OTHER = "other"
    """Ended from outside: aborted, failed, filtered, cancelled."""
    LENGTH = "length"
    """Cut at a limit: the client's, the server's, or the end of the context."""


class Usage(msgspec.Struct, frozen=True, gc=False):
    """What a response says it cost, in OpenAI's words."""

    prompt_tokens: int
    """Cached tokens included: the prefix cache changes what a prompt costs to compute, not how long it is."""
    completion_tokens: int = 0
    """Summed over all choices; reasoning included."""
    reasoning_tokens: int = 0
    """The part of `completion_tokens` that was thought; 0 also where it is not stated."""
    multimodal_tokens: int = 0
    """The part of `prompt_tokens` that stands for media, so that no bytes of text answer for it; 0 also where it is not
    stated."""
    finish: Finish = Finish.UNKNOWN
    """How generation ended; in a stream of several choices, of those that ended last."""


class Misroute(StrEnum):
    """A decision that the true usage contradicts."""

    OVER = "over"
    """Fits the short pool and went long: costs a long slot."""
    UNDER = "under"
    """Does not fit the short pool and went there: costs the user a truncation or an error."""


class Correction(msgspec.Struct, frozen=True, gc=False):
    """The truth beside the estimate that was made, compared before the estimator learned from it."""

    pool: Pool
    category: Category
    provenance: Provenance
    stage: Stage
    estimated_prompt_tokens: int
    """The mean estimate that stood when the request was routed."""
    usage: Usage
    learned: bool
    """Whether the estimator took it in."""
    judged: bool = False
    """Whether the truth says which pool was right: it answers for one prompt, and the output had a limit."""
    misroute: Misroute | None = None
    """How the decision was wrong, if it was judged and was."""
    weight: float = 1.0
    """How many requests it stands for."""
    truncated: bool = False
    """Whether the short pool cut the answer at the end of its context, short of what the client reserved."""

    @property
    def relative_error(self) -> float:
        """(estimate − truth) / truth; negative where the prompt was longer than thought."""
        return self.estimated_prompt_tokens / self.usage.prompt_tokens - 1.0
