import httpx


def test_models_tell_the_context_length(mock: httpx.Client) -> None:
    """A router can find a pool's ceiling here."""
    card = mock.get("/v1/models").json()["data"][0]
    assert (card["id"], card["max_model_len"], card["owned_by"]) == ("mock-model", 8192, "vllm")


def test_health_is_an_empty_200(mock: httpx.Client) -> None:
    """The port opens once the instance can serve, so there is no readiness beside it."""
    assert (mock.get("/health").status_code, mock.get("/health").content) == (200, b"")
    assert mock.post("/ping").status_code == 200


def test_the_version_is_the_one_chosen(mock: httpx.Client) -> None:
    """Clients that look at the version see whose behaviour is shown."""
    assert mock.get("/version").json() == {"version": "0.33.0"}


def test_metrics_are_prometheus_text(mock: httpx.Client) -> None:
    """The exposition is in the format of the Accept header."""
    plain = mock.get("/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "vllm:num_requests_running{" in plain.text
    opened = mock.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert opened.text.endswith("# EOF\n")


def test_other_paths_are_404_in_fastapis_words(mock: httpx.Client) -> None:
    """Unknown paths and methods have FastAPI's body."""
    assert (mock.get("/nowhere").status_code, mock.get("/nowhere").json()) == (404, {"detail": "Not Found"})
    assert mock.get("/v1/chat/completions").status_code == 405
