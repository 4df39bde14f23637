"""What came of one request, and how it should have been routed by its true length; knows no transport."""

from dataclasses import dataclass, field

from extproc.demo.mix import Ask
from extproc.routing.values import Misroute


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the service said of a request, read from the headers that Envoy copies to the answer."""

    pool: str = ""
    reason: str = ""
    provenance: str = ""
    category: str = ""


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
    elapsed_s: float = 0.0
    """From sending the request to the last byte of its answer."""

    def misroute(self, threshold_tokens: int) -> Misroute | None:
        """The way it was misrouted, if it was and the truth is known.

        A request fits the short pool where its true prompt and the output it reserves stay within the threshold; one
        without a limit on its output reserves the whole context, so it never fits.
        """
        if self.prompt_tokens is None:
            return None
        reserved = self.ask.output_tokens
        fits = reserved is not None and self.prompt_tokens + reserved <= threshold_tokens
        if fits == (self.instance == "short"):
            return None
        return Misroute.OVER if fits else Misroute.UNDER
