"""One run of one estimator over one seed's stream, and the files that all runs share; judges nothing itself."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import msgspec

from extproc.errors import ConfigurationError
from extproc.evaluate.change import Change, change
from extproc.evaluate.contenders import RouterRules, build_router
from extproc.evaluate.figures import Figures, figures, log_density
from extproc.evaluate.lengths import Lengths, read_lengths
from extproc.evaluate.options import Contender, EvaluateOptions
from extproc.evaluate.record import Record
from extproc.evaluate.replay import Replay, ReplayRules
from extproc.evaluate.rows import Requests, Row, read_rows
from extproc.evaluate.sessions import Call, read_calls
from extproc.evaluate.stream import Arrival, StreamRules, arrivals
from extproc.routing.estimators import EmaRules
from extproc.tokenizer.exact import ExactCounter


@dataclass(frozen=True, slots=True)
class Material:
    """What every run of an evaluation shares."""

    options: EvaluateOptions
    rows: list[Row]
    left_out: dict[str, int]
    """Rows of the file that are of no use → how many, by what is wrong with them."""
    requests: Requests
    lengths: Lengths | None
    calls: list[Call]
    """Of the log of sessions."""
    counter: ExactCounter | None

    @classmethod
    def load(cls, options: EvaluateOptions) -> "Material":
        """Read the files.

        Raises:
            ConfigurationError: one of them cannot be used, or no such category can be held back.
            MissingPartError: counting exactly is asked for, and the package for it is not installed.
        """
        tokenizer = options.tokenizer
        counted = {tokenizer, tokenizer.other} if options.swap_tokenizer_at is not None else {tokenizer}
        rows, left_out = read_rows(options.requests, counted) if options.requests else ([], {})
        if rows and options.held_back is not None:
            _refuse_unknown(options.held_back, {row.category for row in rows})
        return cls(
            options,
            rows,
            left_out,
            Requests(rows),
            lengths=read_lengths(options.trace) if options.trace else None,
            calls=read_calls(options.sessions) if options.sessions else [],
            counter=ExactCounter(options.tokenizer_json) if options.tokenizer_json else None,
        )


def _refuse_unknown(held_back: str, categories: set[str]) -> None:
    if held_back not in categories or len(categories) == 1:
        known = ", ".join(sorted(categories))
        raise ConfigurationError(f"--hold-back {held_back}: expected one of several categories; the file has {known}")


class StreamOutcome(msgspec.Struct, frozen=True):
    """What one run came to."""

    figures: Figures
    log_density: float
    changes: dict[str, Change]
    """What changed in the middle of the stream → how the estimator came through."""
    margin_deviations: float | None


@dataclass(frozen=True, slots=True)
class StreamRun:
    """One estimator, one seed."""

    contender: Contender
    seed: int
    ema: EmaRules

    def perform(self, material: Material) -> StreamOutcome:
        """Route the seed's stream, which is the same for every estimator."""
        options, records = material.options, self._records(material)
        return StreamOutcome(
            figures=figures(records),
            log_density=log_density(records, options.threshold_tokens),
            changes=_changes(records, options),
            margin_deviations=self.ema.margin_deviations if self.contender.is_ema else None,
        )

    def _records(self, material: Material) -> list[Record]:
        options = material.options
        router = build_router(
            self.contender,
            RouterRules(
                options.threshold_tokens,
                promise=options.promise,
                ema=self.ema,
                remembers=bool(options.memory),
                counter=material.counter,
                observe_share=options.observe_share,
                streams_carry_usage=options.streams_carry_usage,
            ),
        )
        rules = ReplayRules(
            tokenizer=options.tokenizer,
            threshold_tokens=options.threshold_tokens,
            in_flight=options.in_flight,
            answers=options.answers,
            change_at=options.change_at,
            counted_category=options.held_back,
            swaps_tokenizer=options.swap_tokenizer_at is not None,
            told=self.contender.told,
            held_out=self._held_out(len(material.rows), options.held_out_share),
        )
        replay = Replay(router, material.rows, material.requests, rules, self._random("answers"))
        return replay.run(self._stream(material), time.perf_counter_ns)

    def _stream(self, material: Material) -> Iterator[Arrival]:
        options = material.options
        rules = StreamRules(
            count=options.count,
            lengths=material.lengths,
            output_mix=options.output_mix,
            escaped_share=options.escaped_share,
            held_back=options.held_back,
            held_back_until=options.change_at or 0,
        )
        tokens = [row.tokens(options.tokenizer) for row in material.rows]
        return arrivals(rules, tokens, [row.category for row in material.rows], self._random("stream"))

    def _held_out(self, rows: int, share: float) -> frozenset[int]:
        """Other rows for each seed."""
        return frozenset(self._random("held out").sample(range(rows), round(share * rows)))

    def _random(self, purpose: str) -> Random:
        return Random(f"{self.seed}/{purpose}")  # noqa: S311 - a simulation


def _changes(records: list[Record], options: EvaluateOptions) -> dict[str, Change]:
    """Of a category held back also what became of its own requests; its own answers are counted for either."""
    since = records[options.change_at :] if options.change_at is not None else []
    if options.swap_tokenizer_at is not None:
        return {"swap": change(since, options.promise)}
    if options.held_back is None:
        return {}
    itself = [record for record in since if record.category == options.held_back]
    return {"held_back": change(since, options.promise), "held_back_itself": change(itself, options.promise)}
