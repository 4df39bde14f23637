"""What came of one request, and how it should have been routed by its true length; knows no transport."""

from dataclasses import dataclass, field

from extproc.demo.mix import Ask
from extproc.routing.values import Finish, Misroute, Reason


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the service said of a request, read from the headers that Envoy copies to the answer."""

    pool: str = ""
    reason: str = ""
    provenance: str = ""
    category: str = ""
    stage: str = ""
    """Empty where nothing was measured."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request and its answer."""

    ask: Ask
    status: int = 0
    """0 where no answer came."""
    fault: str = ""
    """Why the request failed; empty where it did not."""
    instance: str = ""
    """The pool that answered, by its own word: where the request landed, whatever the service said."""
    verdict: Verdict = field(default_factory=Verdict)
    prompt_tokens: int | None = None
    """True prompt tokens; None where they could not be told."""
    has_usage: bool = False
    """The answer itself told them, so the service could have learned from it."""
    completion_tokens: int = 0
    finish: str = ""
    """Why generation ended, in the answer's own word."""
    reply: str = ""
    """What the model said, where somebody will answer to it."""
    elapsed_s: float = 0.0
    """From sending the request to the last byte of its answer."""

    def misroute(self, threshold_tokens: int) -> Misroute | None:
        """The way it was misrouted, if it was and the truth is known.

        A request fits the short pool where its true prompt and the output it reserves stay within the threshold. One
        without a limit is as long as its answer turned out, and does not fit where the short pool's context cut that;
        nothing is judged where no output could be told for it, nor where no answer told its length.
        """
        fits = self._fits(threshold_tokens)
        if fits is None or fits == (self.instance == "short"):
            return None
        return Misroute.OVER if fits else Misroute.UNDER

    def _fits(self, threshold_tokens: int) -> bool | None:
        if self.prompt_tokens is None:
            return None
        if self.ask.output_tokens is not None:
            return self.prompt_tokens + self.ask.output_tokens <= threshold_tokens
        if self.verdict.reason == Reason.OUTPUT_UNDECLARED or not self.has_usage:
            return None
        if self.instance == "short" and self.finish == Finish.LENGTH:
            return False
        return self.prompt_tokens + self.completion_tokens <= threshold_tokens
