import json
import math

import numpy as np
import pytest

from extproc.fleet.banks import BANK_CHARS, Bank, banks, toolsets
from extproc.routing.density import Density
from extproc.routing.kinds import category_of
from extproc.routing.values import MAX_BYTES_PER_TOKEN, Category

EACH = [(category, bank) for category, kinds in banks().items() for bank in kinds]


@pytest.mark.parametrize("category", [category for category in Category if category is not Category.TOOLS])
def test_veins_of_a_kind_differ_around_its_mean(category: Category) -> None:
    """The mean of the logarithm is what was measured; the veins lie up to a quarter from it, and not together."""
    of_kind = banks()[category]
    logs = [-math.log(bank.bytes_per_token) for bank in of_kind]
    assert sum(logs) / len(logs) == pytest.approx(Density(category).mean, abs=0.05)
    assert 0.05 < max(logs) - min(logs) < 0.5


@pytest.mark.parametrize("bank", [bank for _, bank in EACH])
def test_cuts_are_as_long_as_they_say(bank: Bank) -> None:
    """Bytes are counted, near what was wanted, from every place and beyond the end of the bank."""
    starts, wanted = np.array([0, 17, BANK_CHARS - 7, BANK_CHARS - 1, 5]), np.array([1, 1000, 5000, 3000, 2_000_000])
    chars = bank.chars_of(wanted)
    texts = [bank.cut(start, count) for start, count in zip(starts.tolist(), chars.tolist(), strict=True)]
    assert bank.bytes_of(starts, chars).tolist() == [len(text.encode()) for text in texts]
    assert bank.bytes_of(starts, chars) == pytest.approx(wanted, rel=0.12, abs=4)


@pytest.mark.parametrize(("category", "bank"), EACH)
def test_the_router_sees_the_kind_that_is_meant(category: Category, bank: Bank) -> None:
    """At most places of a bank; tools stand beside prose."""
    meant = Category.PROSE if category is Category.TOOLS else category
    chars = int(bank.chars_of(np.array([4000]))[0])
    seen = [category_of([bank.cut(797 * place, chars)]) for place in range(40)]
    assert seen.count(meant) >= 36
    assert bank.bytes_per_token < MAX_BYTES_PER_TOKEN


def test_banks_are_always_the_same() -> None:
    """What was made once is what would be made again: its numbers stand here."""
    assert len(EACH) == 33
    assert banks()[Category.CODE][0].tiled.startswith("def ")
    assert banks() is banks()


def test_toolsets_grow() -> None:
    """Each is JSON with so many tools, larger than the one before."""
    sets = toolsets()
    assert all(len(json.loads(toolset.json_text)) == toolset.tools for toolset in sets)
    assert [toolset.tools for toolset in sets] == sorted({toolset.tools for toolset in sets})
    assert (sets[0].tools, sets[-1].tools) == (1, 400)
