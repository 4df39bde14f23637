from extproc.routing.headers import EXPLAIN_HEADERS, HEADER_PREFIX, OWN_HEADERS, POOL_HEADER


def test_every_header_is_lower_case_under_the_prefix_and_named_once() -> None:
    """Envoy compares names in lower case, and drops a client's by the prefix."""
    assert all(name == name.lower() and name.startswith(HEADER_PREFIX) for name in OWN_HEADERS)
    assert len(set(OWN_HEADERS)) == len(OWN_HEADERS)


def test_the_pool_is_no_mere_explanation() -> None:
    """It is set whether explanations are on or off."""
    assert set(OWN_HEADERS) - set(EXPLAIN_HEADERS) == {POOL_HEADER}
