"""An answer under way: which text and usage it has so far; knows neither route nor wire."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from extproc.mockvllm.driver import Ticket
from extproc.mockvllm.generate import Draft, Filler
from extproc.mockvllm.work import Work


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of one choice."""

    index: int
    text: str
    finish_reason: str | None
    """Set with the last text."""
    completion_tokens: int
    """Of this choice, up to and with this text."""


@dataclass(slots=True, eq=False)
class Reply:
    """One request's answer, read while the engine generates it."""

    id: str
    """Without the prefix that each route puts before it."""
    created: int
    model: str
    work: Work
    ticket: Ticket
    drafts: list[Draft]
    filler: Filler
    prompt_tokens: int
    """Over all prompts, each counted once however many answers it gets."""
    usage_factor: float = 1.0
    events: int = 0
    """Numbered events so far, for routes that number them."""
    _sent: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Nothing is sent yet."""
        self._sent = [0] * len(self.drafts)

    @property
    def usage(self) -> tuple[int, int]:
        """Prompt tokens and completion tokens so far, as reported."""
        return self.reported(self.prompt_tokens, sum(each.generated for each in self.ticket.sequences))

    def reported(self, prompt_tokens: int, completion_tokens: int) -> tuple[int, int]:
        """Counts as `usage` shows them, wrong where that was asked for."""
        if self.usage_factor == 1.0:
            return prompt_tokens, completion_tokens
        return round(prompt_tokens * self.usage_factor), round(completion_tokens * self.usage_factor)

    def text(self, index: int) -> str:
        """Everything one choice says."""
        return self.filler.text(self.drafts[index], 0, self.ticket.sequences[index].generated)

    def finish_reason(self, index: int) -> str:
        """Why one choice ended: `stop` or `length`."""
        return str(self.ticket.sequences[index].outcome)

    def news(self, interval: int) -> Iterator[Delta]:
        """What came since the last call, in pieces of `interval` tokens; the first token goes alone, at once."""
        for index, sequence in enumerate(self.ticket.sequences):
            ended = sequence.outcome is not None
            while (fresh := sequence.generated - self._sent[index]) > 0:
                size = 1 if self._sent[index] == 0 else min(interval, fresh)
                if size < interval and self._sent[index] and not ended:
                    break
                yield self._delta(index, size, ended=ended and size == fresh)

    def _delta(self, index: int, size: int, *, ended: bool) -> Delta:
        start = self._sent[index]
        self._sent[index] = start + size
        text = self.filler.text(self.drafts[index], start, start + size)
        return Delta(index, text, self.finish_reason(index) if ended else None, start + size)
