"""Numbers as people read them: 1,234 and 2.9 M$ and 41.9 %. Knows no plan; what is not finite becomes a dash."""

import math
from collections.abc import Callable

from extproc.fleet.answers import Interval

ABSENT = "–"
"""In a table, where there is nothing to say."""
_WORTH_A_RANGE = 1e-9


def count(value: float) -> str:
    """`1,234`; one decimal where there are few and they are not whole."""
    if not math.isfinite(value):
        return ABSENT
    whole = abs(value) >= 100 or value == round(value)  # noqa: PLR2004 - tenths of a hundred tell nobody anything
    return _minus(f"{value:,.0f}" if whole else f"{value:,.1f}")


def per_second(value: float) -> str:
    """`1,234`, `12.3`, `0.001`: a rate, with three digits that count."""
    if not math.isfinite(value):
        return ABSENT
    if abs(value) >= 100 or value == 0:  # noqa: PLR2004 - three digits
        return _minus(f"{value:,.0f}")
    decimals = min(9, 2 - math.floor(math.log10(abs(value))))
    return _minus(f"{value:.{decimals}f}".rstrip("0").rstrip("."))


def usd(value: float) -> str:
    """`2.9 M$`, `286 k$`, `950 $`."""
    if not math.isfinite(value):
        return ABSENT
    for unit, name in ((1e9, "bn$"), (1e6, "M$")):
        if abs(value) >= 0.99995 * unit:
            return _minus(f"{value / unit:,.1f} {name}")
    return _minus(f"{value / 1e3:,.0f} k$" if abs(value) >= 1e4 else f"{value:,.0f} $")  # noqa: PLR2004 - 9,999 $ is readable


def usd_exact(value: float) -> str:
    """`1,582.36`: what can be multiplied on a pocket calculator."""
    return _minus(f"{value:,.2f}") if math.isfinite(value) else ABSENT


def percent(share: float) -> str:
    """`41.9 %`; shares below 0.1 % keep two digits that count, and what is not all is never shown as 100 %."""
    value = 100 * share
    if not math.isfinite(value):
        return ABSENT
    if abs(value) < 1e-4:  # noqa: PLR2004 - one in a million is none
        return "0 %"
    if value == 100:  # noqa: PLR2004 - all of them
        return "100 %"
    if 1e-4 < 100 - value < 0.05:  # noqa: PLR2004 - would be rounded to 100
        return f"{value:.{-math.floor(math.log10(100 - value))}f} %"
    return _minus(f"{value:,.1f} %" if abs(value) >= 0.1 else f"{value:.2g} %")  # noqa: PLR2004 - as the docstring says


def change(share: float) -> str:
    """`+3.1 %`, `−41.9 %`."""
    return f"+{percent(share)}" if math.isfinite(share) and percent(share)[0] not in "−0" else percent(share)


def seconds(value_s: float) -> str:
    """`1.82 s`, `62 ms`, `4.2 ms`; what is round stays round: `2 s`."""
    if not math.isfinite(value_s):
        return ABSENT
    size_s = abs(value_s)
    if size_s < 1e-7:  # noqa: PLR2004 - nothing here takes so little
        return "0 s"
    if size_s < 0.0995:  # noqa: PLR2004 - from here on milliseconds would have three digits
        return _minus(f"{1000 * value_s:.2g} ms" if size_s < 0.00995 else f"{1000 * value_s:.0f} ms")  # noqa: PLR2004
    if value_s == float(f"{value_s:.1g}"):
        return _minus(f"{value_s:,.1f} s" if size_s < 1 else f"{value_s:,.0f} s")
    digits = 2 if size_s < 10 else int(size_s < 100)  # noqa: PLR2004 - three that count
    return _minus(f"{value_s:,.{digits}f} s")


def per_mille(value: float) -> str:
    """`8.7 ‰`, of a number that already counts thousandths."""
    if not math.isfinite(value):
        return ABSENT
    if abs(value) < 1e-4:  # noqa: PLR2004 - one in ten million is none
        return "0 ‰"
    return _minus(f"{value:,.1f} ‰" if abs(value) >= 0.1 else f"{value:.2g} ‰")  # noqa: PLR2004 - two digits that count


def spread(found: Interval, shown: Callable[[float], str]) -> str:
    """`41.9 % (40.1 to 43.6 %)`; the mean alone where the interval has no width or no bounds."""
    mean, low, high = (shown(value) for value in found)
    if ABSENT in {low, high} or found.high - found.low <= _WORTH_A_RANGE * abs(found.mean) or low == high == mean:
        return mean
    return f"{mean} ({_without_unit_of(low, high)} to {high})"


def _without_unit_of(low: str, high: str) -> str:
    value, _, unit = low.partition(" ")
    return value if unit == high.partition(" ")[2] else low


def tokens(value: int) -> str:
    """`8,192`."""
    return f"{value:,}"


def plural(value: float, noun: str) -> str:
    """`1 GPU`, `2 GPUs`."""
    return f"{count(value)} {noun}" + ("" if value == 1 else "s")


def _minus(text: str) -> str:
    """A minus sign as long as a plus; none before a zero."""
    return text.replace("-", "−" if any(digit in text for digit in "123456789") else "")
