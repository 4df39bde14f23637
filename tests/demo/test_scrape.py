from extproc.demo.scrape import Learned, learned_ratios

EXPOSITION = """\
# HELP dualpool_bytes_per_token learned
# TYPE dualpool_bytes_per_token gauge
dualpool_bytes_per_token{category="prose",model="busy"} 4.5
dualpool_bytes_per_token{category="prose",model="idle"} 4.0
dualpool_bytes_per_token{category="code",model="busy"} 3.5
# TYPE dualpool_bytes_per_token_samples gauge
dualpool_bytes_per_token_samples{category="prose",model="busy"} 70
dualpool_bytes_per_token_samples{category="prose",model="idle"} 2
# TYPE dualpool_decisions_total counter
dualpool_decisions_total{pool="short"} 9
"""


def test_busiest_model_speaks_for_a_category() -> None:
    """Of several models' ratios the one with most samples counts, and a ratio without samples has none."""
    assert learned_ratios(EXPOSITION) == {"prose": Learned(4.5, 70), "code": Learned(3.5, 0)}


def test_nothing_exposed() -> None:
    """No text, no ratios."""
    assert learned_ratios("") == {}
