from extproc.demo.scrape import Learned, Scraped, scraped

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
# TYPE dualpool_promise gauge
dualpool_promise 0.001
# TYPE dualpool_under_realised gauge
dualpool_under_realised 0.0005
# TYPE dualpool_drift_alarms_total counter
dualpool_drift_alarms_total{model="busy"} 2
dualpool_drift_alarms_total{model="idle"} 1
"""


def test_busiest_model_speaks_for_a_category() -> None:
    """Of several models' ratios the one with most samples counts, and a ratio without samples has none."""
    assert scraped(EXPOSITION).ratios == {"prose": Learned(4.5, 70), "code": Learned(3.5, 0)}


def test_promise_and_alarms_are_read() -> None:
    """The promise, what became of it, and the alarms of all models together."""
    found = scraped(EXPOSITION)
    assert (found.promise, found.under_realised, found.alarms) == (0.001, 0.0005, 3)


def test_nothing_exposed() -> None:
    """No text, nothing known."""
    assert scraped("") == Scraped()
