"""What is timed as telemetry is what the servicer does for it."""

from extproc.bench.recording import recordings


def test_each_message_is_timed_as_in_service() -> None:
    """Two readings of the clock for each of two messages, or of four where the answer is read; a span needs none."""
    readings = 0

    def clock_s() -> float:
        nonlocal readings
        readings += 1
        return float(readings)

    with recordings(clock_s) as recorded:
        made = []
        for record in recorded.values():
            record()
            made.append(readings)
    assert made == [4, 12, 12]
