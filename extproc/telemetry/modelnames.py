"""Which names of models are told apart, of those that clients write; knows nothing else of a request."""

LENGTH_MAX = 128
"""Characters of a name that are kept."""
NAMES_MAX = 128
"""Names that were answered; of names that were never answered as many again."""
OTHER = "_OTHER"


class ModelNames:
    """Bounded, and never forgets: inventions cannot take the places of models that answer."""

    def __init__(self, names_max: int = NAMES_MAX) -> None:
        self._names_max = names_max
        self._answered: set[str] = set()
        self._asked: set[str] = set()

    def known(self, name: str, *, answered: bool) -> str | None:
        """The name as it is shown; None where there is none.

        Args:
            name: as the client wrote it.
            answered: a model answered to it.
        """
        if not name:
            return None
        name = name[:LENGTH_MAX]
        if name in self._answered or (name in self._asked and not answered):
            return _shown(name)
        places = self._answered if answered else self._asked
        if len(places) >= self._names_max:
            return _shown(name) if name in self._asked else OTHER
        places.add(name)
        return _shown(name)


def _shown(name: str) -> str:
    """Without what would not print, as Python writes it: control codes, lone surrogates."""
    return name if name.isprintable() else ascii(name)[1:-1][:LENGTH_MAX]
