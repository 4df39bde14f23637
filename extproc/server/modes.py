"""What the service does beside routing, as it is set at present; read once for each exchange."""

from dataclasses import dataclass


@dataclass(slots=True)
class Modes:
    """Changed when settings are read anew; an exchange keeps what it began with."""

    explain: bool = False
    """Set the headers that say why, beside the pool header."""
    shadow: bool = False
    """Decide and record, and change no request."""
    routed_share: float = 1.0
    """Of exchanges, the share whose decision is followed; the others are decided and recorded, as in shadow."""
