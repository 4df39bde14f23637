from extproc.mockvllm.sequence import Outcome, Sequence


def test_a_new_sequence_has_its_prompt_to_compute() -> None:
    """Nothing is computed and nothing generated."""
    sequence = Sequence(prompt_tokens=10, output_tokens=3, ending=Outcome.STOP, arrival_s=0.0)
    assert (sequence.tokens, sequence.pending) == (10, 10)


def test_moments_and_gaps_are_kept() -> None:
    """The first token has no gap; several later ones share theirs equally."""
    sequence = Sequence(prompt_tokens=10, output_tokens=9, ending=Outcome.STOP, arrival_s=0.0)
    sequence.note_tokens(1, 2.0)
    assert (sequence.first_token_s, sequence.last_gap_s) == (2.0, None)
    sequence.note_tokens(4, 4.0)
    assert (sequence.first_token_s, sequence.last_token_s, sequence.last_gap_s) == (2.0, 4.0, 0.5)
    assert sequence.generated == 5
