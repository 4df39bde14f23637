from extproc.telemetry.modelnames import LENGTH_MAX, NAMES_MAX, OTHER, ModelNames


def test_names_are_kept_as_they_are() -> None:
    """Answered or not; a request without a name has none."""
    names = ModelNames()
    assert names.known("llama", answered=False) == "llama"
    assert names.known("llama", answered=True) == "llama"
    assert names.known("", answered=True) is None


def test_inventions_take_no_places_from_models_that_answer() -> None:
    """After any number of names that nothing answered to, an answered one is still told apart."""
    names = ModelNames()
    asked = [names.known(f"invented-{at}", answered=False) for at in range(NAMES_MAX + 1)]
    assert asked[-2:] == [f"invented-{NAMES_MAX - 1}", OTHER]
    assert names.known("llama", answered=True) == "llama"
    assert names.known("llama", answered=False) == "llama"
    assert names.known("invented-0", answered=False) == "invented-0"


def test_answered_names_are_bounded_too() -> None:
    """A server that answers to anything does not grow the log's vocabulary for ever."""
    names = ModelNames()
    for at in range(NAMES_MAX):
        names.known(f"model-{at}", answered=True)
    assert names.known("one-too-many", answered=True) == OTHER


def test_what_does_not_print_is_escaped_and_long_names_are_cut() -> None:
    """Control codes cannot reach a terminal through the log, nor a book its lines."""
    names = ModelNames()
    assert names.known("a\x1b[2Jb", answered=False) == "a\\x1b[2Jb"
    assert names.known("\ud800", answered=False) == "\\ud800"
    assert names.known("x" * 1000, answered=False) == "x" * LENGTH_MAX
    assert len(names.known("\x00" * 1000, answered=False) or "") <= LENGTH_MAX
