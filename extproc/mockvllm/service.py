"""Admits work: which requests are served, how long their answers are, and the engine's ticket; knows no HTTP."""

import random
from dataclasses import dataclass, field
from typing import NamedTuple

from extproc.mockvllm.driver import Driver, Ticket
from extproc.mockvllm.engine import Engine, EngineShape
from extproc.mockvllm.errors import BACKLOG_FULL, QUEUE_FULL, Refusal, bad_request, unknown_model
from extproc.mockvllm.generate import Draft, Filler, draft
from extproc.mockvllm.limits import Extent, output_limit
from extproc.mockvllm.metricnames import BACKLOG_REASON, QUEUE_REASON
from extproc.mockvllm.metrics import Metrics
from extproc.mockvllm.reply import Reply
from extproc.mockvllm.sequence import Outcome, Sequence
from extproc.mockvllm.settings import MockSettings, Version
from extproc.mockvllm.tokens import Tokenizer
from extproc.mockvllm.work import Prompt, Work

CREATED_S = 1_767_225_600
"""`created` of the first answer, 2026-01-01 in Unix time: the mock's calendar starts there so that runs repeat."""

FULL_GATE_SINCE: Version = (0, 20)
"""Releases read up to 0.17.1 admit a sequence whose first chunk fits; from 0.20.2 on the whole must fit."""


@dataclass(slots=True)
class Load:
    """Requests being answered; counted only with --enable-server-load-tracking, as in vLLM."""

    requests: int = 0


class _Planned(NamedTuple):
    sequence: Sequence
    draft: Draft
    limit: int


@dataclass(frozen=True, slots=True)
class Service:
    """What one mock instance consists of."""

    settings: MockSettings
    tokenizer: Tokenizer
    filler: Filler
    metrics: Metrics
    driver: Driver
    ids: random.Random
    load: Load = field(default_factory=Load)

    def admit(self, work: Work, usage_factor: float, request_id: str | None) -> Reply | Refusal:
        """Check the request as vLLM does and hand its sequences to the engine."""
        refusal = self.unknown(work.model) or work.refusal()
        if refusal is not None:
            return refusal
        planned: list[_Planned] = []
        prompt_tokens = 0
        for prompt in work.prompts:
            extent = self._extent(prompt, work)
            if isinstance(extent, Refusal):
                return extent
            limit = output_limit(self.settings.version, self.settings.max_model_len, extent)
            if isinstance(limit, Refusal):
                return limit
            prompt_tokens += extent.prompt_tokens
            planned += [self._plan(work, prompt, extent, limit, index) for index in range(work.n)]
        return self._busy(len(planned)) or self._start(work, planned, prompt_tokens, usage_factor, request_id)

    def unknown(self, model: str | None) -> Refusal | None:
        """404 where another model than the served one is asked for."""
        served = self.settings.served_model_name
        return unknown_model(model) if model and served and model != served else None

    def count_only(self, prompt: Prompt, truncate: int | None) -> int | Refusal:
        """Tokens of a prompt that nothing is generated for; it may fill the whole context."""
        tokens = _truncated(prompt.tokens, truncate, self.settings.max_model_len)
        if isinstance(tokens, Refusal):
            return tokens
        if tokens == self.settings.max_model_len:
            return tokens
        extent = Extent(tokens, prompt.characters, None, "max_tokens")
        limit = output_limit(self.settings.version, self.settings.max_model_len, extent)
        return limit if isinstance(limit, Refusal) else tokens

    def _extent(self, prompt: Prompt, work: Work) -> Extent | Refusal:
        most = self.settings.max_model_len - 1
        tokens = _truncated(prompt.tokens, work.truncate_prompt_tokens, most)
        if isinstance(tokens, Refusal):
            return tokens
        characters = prompt.characters if work.truncate_prompt_tokens is None else None
        return Extent(tokens, characters, work.asked_tokens, work.asked_field)

    def _plan(self, work: Work, prompt: Prompt, extent: Extent, limit: int, index: int) -> _Planned:
        seed = self.settings.seed if work.seed is None else work.seed
        drawn = draft(seed, prompt.fingerprint, index, self.settings.mean_output_tokens)
        natural = max(drawn.tokens, work.min_tokens)
        ends = not work.ignore_eos and natural <= limit
        sequence = Sequence(
            prompt_tokens=extent.prompt_tokens,
            output_tokens=natural if ends else limit,
            ending=Outcome.STOP if ends else Outcome.LENGTH,
            arrival_s=self.driver.now_s,
        )
        return _Planned(sequence, drawn, limit)

    def _busy(self, count: int) -> Refusal | None:
        """The two queue limits, unlimited unless set."""
        engine, settings = self.driver.engine, self.settings
        queued = len(engine.running) + len(engine.waiting)
        if settings.max_num_queued_reqs is not None and queued + count > settings.max_num_queued_reqs:
            self.metrics.rejected(QUEUE_REASON)
            return QUEUE_FULL
        most = settings.max_num_queued_tokens
        if most is not None and engine.prefill_backlog_tokens >= most:
            self.metrics.rejected(BACKLOG_REASON)
            return BACKLOG_FULL
        return None

    def _start(
        self, work: Work, planned: list[_Planned], prompt_tokens: int, usage_factor: float, request_id: str | None
    ) -> Reply:
        ticket = Ticket([each.sequence for each in planned], max(each.limit for each in planned), work.stream)
        self.driver.submit(ticket)
        return Reply(
            id=request_id or work.request_id or f"{self.ids.getrandbits(128):032x}",
            created=CREATED_S + int(self.driver.now_s),
            model=work.model or self.settings.model,
            work=work,
            ticket=ticket,
            drafts=[each.draft for each in planned],
            filler=self.filler,
            prompt_tokens=prompt_tokens,
            usage_factor=usage_factor,
        )


def build(settings: MockSettings) -> Service:
    """Compose an instance; loads the vocabulary."""
    tokenizer = Tokenizer(settings.tokenizer)
    metrics = Metrics(settings)
    engine = Engine(
        EngineShape(
            max_num_seqs=min(settings.max_num_seqs, settings.max_num_batched_tokens),
            max_num_batched_tokens=settings.max_num_batched_tokens,
            num_gpu_blocks=settings.num_gpu_blocks,
            reserve_full_sequence=settings.version >= FULL_GATE_SINCE,
        )
    )
    driver = Driver(engine, metrics, settings.speed)
    ids = random.Random(settings.seed)  # noqa: S311  # ids repeat on purpose
    return Service(settings, tokenizer, Filler(tokenizer), metrics, driver, ids)


def _truncated(tokens: int, truncate: int | None, most: int) -> int | Refusal:
    """truncate_prompt_tokens keeps so many; -1 keeps the most there is room for."""
    if truncate is None:
        return tokens
    if not -1 <= truncate <= most or truncate == 0:
        return bad_request(
            f"truncate_prompt_tokens={truncate} must be -1 or between 1 and {most}.", "truncate_prompt_tokens"
        )
    return min(tokens, most if truncate == -1 else truncate)
