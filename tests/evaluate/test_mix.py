import pytest

from extproc.errors import ConfigurationError
from extproc.evaluate.mix import parse_mix


def test_values_come_by_their_shares() -> None:
    """Shares need not sum to one, and spaces do no harm."""
    mix = parse_mix("256:3, 512:.5,1024:1.5")
    assert [mix.at(draw) for draw in (0.0, 0.59, 0.61, 0.69, 0.71, 0.9999)] == [256, 256, 512, 512, 1024, 1024]


def test_rounding_leaves_no_gap_at_the_end() -> None:
    """Ten tenths sum to a little less than one; the last value covers the rest."""
    mix = parse_mix(",".join(f"{value}:.1" for value in range(1, 11)))
    assert mix.at(1.0 - 2**-53) == 10


@pytest.mark.parametrize(
    "text", ["", "256", "256:x", "a:1", "256:.3,", "0:1", "256:-1,512:2", "256:0", "256:inf", "1:nan"]
)
def test_what_is_no_mix_is_refused(text: str) -> None:
    """The mistake shows how it is written."""
    with pytest.raises(ConfigurationError, match=r"expected TOKENS:SHARE"):
        parse_mix(text)
