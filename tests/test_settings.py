"""Settings come from file, environment and command line, the last the strongest, and mistakes are named."""

from pathlib import Path

import pytest

from extproc.errors import ConfigurationError
from extproc.settings import Settings, defaults_yaml, load_settings, split_host_port


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A settings file."""
    path = tmp_path / "settings.yaml"
    path.write_text("threshold_tokens: 100\nobserve_share: 0.5\ndrain_s: 3\n")
    return path


def test_the_command_line_wins_over_the_environment_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source fills what the stronger ones leave open; an option that was not given counts for nothing."""
    monkeypatch.setenv("DUALPOOL_THRESHOLD_TOKENS", "200")
    monkeypatch.setenv("DUALPOOL_OBSERVE_SHARE", "0.25")
    settings = load_settings(file, threshold_tokens=300, listen=None)
    assert (settings.threshold_tokens, settings.observe_share, settings.drain_s) == (300, 0.25, 3.0)
    assert settings.listen == Settings().listen


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("treshold_tokens: 1", r"treshold_tokens: unknown setting; did you mean threshold_tokens\?"),
        ("threshold: 1", r"threshold: unknown setting; did you mean threshold_tokens\?"),
        ("colour: blue", "colour: unknown setting$"),
        ("threshold_tokens: 0", "threshold_tokens"),
        ("undeclared_output: plenty", "undeclared_output"),
        ("observe_share: 1.5", "observe_share"),
        ("estimator: any_time", "estimator: .*'anytime'"),
        ("promise: 0", "promise: .*greater than 0"),
        ("promise: 0.6", "promise: .*less than or equal to 0.5"),
        ("conversation_memory: -1", "conversation_memory"),
        ("state_save_s: 0", "state_save_s"),
        ("warm_up_samples: 0", "warm_up_samples"),
        ("listen: nowhere", "listen"),
        ("listen: 127.0.0.1:99999", "listen: expected HOST:PORT"),
        ("listen: '::1:50051'", "listen: expected HOST:PORT"),
        ("margin_deviations: .inf", "margin_deviations: .*finite"),
        ("drain_s: .nan", "drain_s: .*finite"),
        ("- threshold_tokens", "the file must be a mapping of settings"),
        ("threshold_tokens", "the file must be a mapping of settings"),
        ("1: 2", "the file must be a mapping of settings"),
        ("a: [", r"settings\.yaml is not YAML: .* line 1, column 5"),
        ("a: !!timestamp x", r"settings\.yaml is not YAML"),
        ("a: " + "[" * 5_000, r"settings\.yaml is not YAML"),
        ("a: \x07", r"settings\.yaml is not YAML"),
        ("promise: 0.1\n\npromise: 0.2", r"settings\.yaml is not YAML: the key 'promise' stands in line 1 .*, line 3,"),
        ("#" * 300_000, "larger than 262144 bytes"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, named: str) -> None:
    """Unknown keys, values out of range and files that are no mapping are refused, saying which."""
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=named):
        load_settings(path)


NUMBERS = [
    *("short_max_model_len", "undeclared_output"),
    *(name for name, field in Settings.model_fields.items() if type(field.default) in (int, float)),
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["1e308", "1" + "0" * 400])
def test_no_number_is_so_large_that_it_overflows(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has an upper bound, and the message names the setting."""
    monkeypatch.setenv(f"DUALPOOL_{name.upper()}", value)
    with pytest.raises(ConfigurationError, match=name):
        load_settings()


def test_the_largest_access_log_is_named() -> None:
    """The message has the bound."""
    with pytest.raises(ConfigurationError, match=r"access_log_max_mb: .* less than or equal to 1000000"):
        load_settings(access_log_max_mb=1e308)


def test_a_mistake_shows_nothing_of_its_line(tmp_path: Path) -> None:
    """Complaints are logged and shown to whoever asks, and the line may hold a password."""
    path = tmp_path / "settings.yaml"
    for content in (b'otlp_endpoint: "http://me:hunter2@host\n', b"otlp_endpoint: hunter2\xff\n"):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match="is not YAML") as raised:
            load_settings(path)
        assert "hunter2" not in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that was asked for and is not there is an error, not the defaults."""
    with pytest.raises(ConfigurationError, match=r"gone\.yaml"):
        load_settings(tmp_path / "gone.yaml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """It is named for what it is."""
    with pytest.raises(ConfigurationError, match=r"(?i)is a directory"):
        load_settings(tmp_path)


def test_an_empty_file_leaves_the_defaults(tmp_path: Path) -> None:
    """Also one of comments alone."""
    path = tmp_path / "settings.yaml"
    path.write_text("# nothing yet\n")
    assert load_settings(path) == Settings()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DUALPOOL_TRESHOLD_TOKENS", "DUALPOOL_THRESHOLD_TOKENS"),
        ("DUALPOOL_THRESHOLD", "DUALPOOL_THRESHOLD_TOKENS"),
        ("DUALPOOL_EXPLAIN_HEADER", "DUALPOOL_EXPLAIN_HEADERS"),
    ],
)
def test_a_misspelt_variable_is_refused(name: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the one that was probably meant."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigurationError, match=rf"{name}: unknown setting; did you mean {meant}\?"):
        load_settings()


def test_variables_that_others_set_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets these for Services named dualpool and dualpool-metrics, the demo reads DUALPOOL_ENVOY."""
    of_services = ("SERVICE_HOST", "SERVICE_PORT_GRPC", "PORT", "PORT_50051_TCP", "PORT_50051_TCP_ADDR")
    for name in (*of_services, *(f"METRICS_{name}" for name in of_services), "ENVOY"):
        monkeypatch.setenv(f"DUALPOOL_{name}", "tcp://10.0.0.1:50051")
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("text", "pair"),
    [("127.0.0.1:50051", ("127.0.0.1", 50051)), ("[::1]:9464", ("::1", 9464)), ("gateway:0", ("gateway", 0))],
)
def test_an_address_is_split(text: str, pair: tuple[str, int]) -> None:
    """Brackets belong to the writing of an IPv6 host, not to the host."""
    assert split_host_port(text) == pair
    assert load_settings(listen=text, metrics_listen=text).metrics_listen == text


@pytest.mark.parametrize("text", ["::1:80", "[]:80", "[::1:80", "::1]:80", "[gateway]:80", ":80", "host:", "host:٣"])
def test_what_is_no_address_is_not_split(text: str) -> None:
    """An IPv6 host without brackets neither: where it ends would be a guess."""
    with pytest.raises(ValueError, match="expected HOST:PORT"):
        split_host_port(text)


def test_the_printed_defaults_are_a_settings_file(tmp_path: Path) -> None:
    """Read back they give the defaults, each named once and explained above."""
    path = tmp_path / "settings.yaml"
    path.write_text(defaults_yaml())
    assert load_settings(path) == Settings()
    for name, field in Settings.model_fields.items():
        before = defaults_yaml().split(f"\n{name}: ")[0].rsplit("\n\n", 1)[1]
        assert " ".join(before.replace("#", "").split()) == " ".join((field.description or "").split())


@pytest.mark.parametrize("value", ["learned", "long", "2048"])
def test_undeclared_output_takes_a_word_or_a_number(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment too, where everything is text."""
    monkeypatch.setenv("DUALPOOL_UNDECLARED_OUTPUT", value)
    assert str(load_settings().undeclared_output) == value


@pytest.mark.parametrize("url", ["", "http://collector:4318", "https://[::1]:4318/", "https://example.com/otlp"])
def test_a_collector_has_a_url(url: str) -> None:
    """With or without a path in front of OTLP's own; empty is none."""
    assert load_settings(otlp_endpoint=url).otlp_endpoint == url


@pytest.mark.parametrize(
    "url", ["collector:4318", "secret@collector", "grpc://secret:4317", "http://", "http://secret:x", "http://[secret"]
)
def test_a_collector_that_could_never_be_reached_is_refused(url: str) -> None:
    """At the start and with an example, not at each sending; what may be a password is not shown."""
    with pytest.raises(ConfigurationError, match="for example http://collector:4318") as refused:
        load_settings(otlp_endpoint=url)
    assert "secret" not in str(refused.value)


def test_metrics_can_be_turned_off() -> None:
    """An empty address means none."""
    assert load_settings(metrics_listen="").metrics_listen == ""
