"""vLLM's V1 scheduler in small: token budget, KV blocks, preemption; sans-IO, and time is an argument.

One step is planned by `schedule` and takes effect in `complete`, as in vLLM, so that a request can be aborted in
between. The rules: running sequences first, in order of admission, each as many tokens as the budget leaves; where the
blocks run out the last admitted is preempted (its blocks are freed, its tokens computed anew, it waits in front).
Then, if nothing was preempted, the waiting ones in order of arrival: the first whose whole sequence does not fit the
free blocks stops the queue. Nothing is reserved for output that may come. There is no prefix cache.
"""

from collections import deque
from dataclasses import dataclass, field

from extproc.mockvllm.sequence import Outcome, Sequence
from extproc.mockvllm.settings import BLOCK_TOKENS


@dataclass(frozen=True, slots=True)
class StepCost:
    """Seconds one step takes: the sum of three terms, near an 8B model in bf16 on one H100."""

    base_s: float = 0.007
    """Reading 16 GB of weights at 80 % of 3.35 TB/s, and about 1 ms of launches and bookkeeping."""
    prefill_token_s: float = 32e-6
    """16 GFLOP a token at half of 989 TFLOP/s."""
    sequence_s: float = 50e-6
    """Reading the KV of about a thousand tokens (128 KiB each) for every sequence that decodes."""


@dataclass(frozen=True, slots=True)
class EngineShape:
    """What bounds a step."""

    max_num_seqs: int
    max_num_batched_tokens: int
    num_gpu_blocks: int
    """One of them is vLLM's null block and never used."""
    reserve_full_sequence: bool = True
    """Admit only what fits whole (vLLM's scheduler_reserve_full_isl); without it the first chunk is enough."""
    cost: StepCost = field(default_factory=StepCost)


@dataclass(frozen=True, slots=True)
class Step:
    """Planned work: which sequences compute how many tokens, and how long that takes."""

    batch: list[tuple[Sequence, int]]
    repeats: int
    """Equal decode steps taken together; 1 in any step that prefills."""
    duration_s: float
    prefill_tokens: int
    preemptions: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What a step brought about."""

    advanced: list[Sequence]
    """Each generated as many tokens as the step had repeats."""
    finished: list[Sequence]


class Engine:
    """The scheduler and its block pool; not safe for threads, one owner."""

    def __init__(self, shape: EngineShape) -> None:
        self.shape = shape
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self.free_blocks = shape.num_gpu_blocks - 1

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self.running or self.waiting)

    @property
    def kv_usage(self) -> float:
        """Share of the block pool in use, 0 to 1."""
        usable = self.shape.num_gpu_blocks - 1
        return (usable - self.free_blocks) / usable

    @property
    def prefill_backlog_tokens(self) -> int:
        """Prompt tokens of admitted and waiting sequences that are not computed yet."""
        return sum(max(0, each.prompt_tokens - each.computed) for each in (*self.running, *self.waiting))

    def submit(self, sequence: Sequence) -> None:
        """Queue a new sequence; it must fit the pool alone."""
        assert sequence.output_tokens >= 1
        assert _blocks_of(sequence.prompt_tokens + sequence.output_tokens) <= self.shape.num_gpu_blocks - 1
        self.waiting.append(sequence)

    def abort(self, sequence: Sequence, now_s: float) -> bool:
        """Drop a sequence and free its blocks; False where it has ended already."""
        if sequence.outcome is not None:
            return False
        (self.running if sequence in self.running else self.waiting).remove(sequence)
        self._end(sequence, Outcome.ABORT, now_s)
        return True

    def schedule(self, now_s: float, *, horizon_s: float = 0.0) -> Step:
        """Plan the next step; equal decode steps are taken together while they fit `horizon_s`. Must be busy."""
        repeats = self._equal_decodes(horizon_s)
        step = self._decode(repeats) if repeats else self._mixed(now_s)
        assert step.batch, "a busy engine always has something to compute"
        return step

    def complete(self, step: Step, now_s: float) -> Progress:
        """Let a step take effect; sequences aborted since it was planned are passed over."""
        progress = Progress([], [])
        for sequence, tokens in step.batch:
            if sequence.outcome is not None:
                continue
            sequence.computed += tokens * step.repeats
            if sequence.computed >= sequence.tokens:
                self._advance(sequence, step.repeats, now_s, progress)
        self.running = [each for each in self.running if each.outcome is None] if progress.finished else self.running
        return progress

    def _equal_decodes(self, horizon_s: float) -> int:
        """How many coming steps only decode and change nothing but lengths; 0 where the next one may do more."""
        running = self.running
        if not running or len(running) > self.shape.max_num_batched_tokens or self._can_admit():
            return 0
        if any(each.pending != 1 for each in running):
            return 0
        most = min(each.output_tokens - each.generated for each in running)
        fitting = horizon_s / self._decode_s(len(running))
        repeats = max(1, int(min(fitting, most)))
        wanted = sum(_blocks_of(each.computed + repeats) - each.blocks for each in running)
        return repeats if wanted <= self.free_blocks else 0

    def _decode(self, repeats: int) -> Step:
        for sequence in self.running:
            self._grow(sequence, repeats)
        batch = [(sequence, 1) for sequence in self.running]
        return Step(batch, repeats, repeats * self._decode_s(len(batch)), prefill_tokens=0, preemptions=0)

    def _mixed(self, now_s: float) -> Step:
        batch: list[tuple[Sequence, int]] = []
        budget, preemptions = self._schedule_running(batch)
        if not preemptions:
            self._admit(batch, budget, now_s)
        prefill = sum(tokens for sequence, tokens in batch if sequence.pending > 1)
        decoding = sum(1 for sequence, _ in batch if sequence.pending == 1)
        duration_s = self._decode_s(decoding) + prefill * self.shape.cost.prefill_token_s
        return Step(batch, 1, duration_s, prefill, preemptions)

    def _schedule_running(self, batch: list[tuple[Sequence, int]]) -> tuple[int, int]:
        budget, preemptions, index = self.shape.max_num_batched_tokens, 0, 0
        while index < len(self.running) and budget:
            sequence = self.running[index]
            tokens = min(sequence.pending, budget)
            while not self._grow(sequence, tokens):
                victim = self.running.pop()
                self._preempt(victim)
                preemptions += 1
                if victim is sequence:
                    return budget, preemptions
            batch.append((sequence, tokens))
            budget -= tokens
            index += 1
        return budget, preemptions

    def _preempt(self, sequence: Sequence) -> None:
        self._release(sequence)
        sequence.computed = 0
        sequence.preemptions += 1
        self.waiting.appendleft(sequence)

    def _can_admit(self) -> bool:
        if not self.waiting or len(self.running) >= self.shape.max_num_seqs:
            return False
        head = self.waiting[0]
        needed = head.pending if self.shape.reserve_full_sequence else 1
        return _blocks_of(needed) <= self.free_blocks

    def _admit(self, batch: list[tuple[Sequence, int]], budget: int, now_s: float) -> None:
        while budget and self._can_admit():
            sequence = self.waiting[0]
            tokens = min(sequence.pending, budget)
            if not self._grow(sequence, tokens):
                return
            self.running.append(self.waiting.popleft())
            if sequence.scheduled_s is None:
                sequence.scheduled_s = now_s
            batch.append((sequence, tokens))
            budget -= tokens

    def _advance(self, sequence: Sequence, tokens: int, now_s: float, progress: Progress) -> None:
        sequence.note_tokens(tokens, now_s)
        progress.advanced.append(sequence)
        if sequence.generated >= sequence.output_tokens:
            self._end(sequence, sequence.ending, now_s)
            progress.finished.append(sequence)

    def _end(self, sequence: Sequence, outcome: Outcome, now_s: float) -> None:
        assert sequence.outcome is None, "a sequence ends once"
        sequence.outcome = outcome
        sequence.finished_s = now_s
        self._release(sequence)

    def _grow(self, sequence: Sequence, tokens: int) -> bool:
        """Take the blocks for so many more tokens; all of them or none."""
        wanted = _blocks_of(sequence.computed + tokens) - sequence.blocks
        if wanted > self.free_blocks:
            return False
        sequence.blocks += wanted
        self.free_blocks -= wanted
        return True

    def _release(self, sequence: Sequence) -> None:
        self.free_blocks += sequence.blocks
        sequence.blocks = 0

    def _decode_s(self, sequences: int) -> float:
        return self.shape.cost.base_s + sequences * self.shape.cost.sequence_s


def _blocks_of(tokens: int) -> int:
    return -(-tokens // BLOCK_TOKENS)
