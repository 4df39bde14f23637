"""What an operator can set, with every default; read from one YAML file and `DUALPOOL_*`; knows no part that uses it.

Unknown keys are refused: a misspelt setting that is silently ignored is found out in production.
"""

import json
import os
import textwrap
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from extproc import strictyaml
from extproc.errors import ConfigurationError

_PREFIX = "DUALPOOL_"
_LIKENESS = 0.8
"""From which two names count as one misspelt. Names Kubernetes makes for a Service called dualpool stay below 0.75."""
_MAX_PORT = 65_535
_COUNT_MAX = 2**31 - 1
"""As of counts in requests: a larger one means the same, and need not fit a float, a metric or a table."""
_DAY_S = 86_400.0
_MANY = 1e6
"""Far above what anybody means, far below what overflows: requests waiting, megabytes of a log."""
_FILE_MAX_BYTES = 256 * 1024
"""Of a settings file: twenty times what all settings with their meanings take. What is larger was not meant."""


def split_host_port(value: str) -> tuple[str, int]:
    """HOST:PORT as host and port; an IPv6 host is written in brackets, and given back without them.

    Raises:
        ValueError: it is no such thing.
    """
    host, _, port = value.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    well_bracketed = host == (f"[{bare}]" if ":" in bare else bare)
    if not (bare and well_bracketed and port.isascii() and port.isdecimal() and int(port) <= _MAX_PORT):
        raise ValueError("expected HOST:PORT, for example 127.0.0.1:50051 or [::1]:50051")
    return bare, int(port)


def _host_port(value: str) -> str:
    split_host_port(value)
    return value


def _http_url(value: str) -> str:
    """Empty, or a URL of a host; the message quotes nothing of it, as there may be a password in it."""
    try:
        parts = urlsplit(value)
        fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fit = False
    if value and not fit:
        raise ValueError(
            "expected http://HOST:PORT or https://HOST:PORT, for example http://collector:4318; "
            "OTLP over HTTP mostly listens on 4318, and 4317 is gRPC's"
        )
    return value


HostPort = Annotated[str, AfterValidator(_host_port)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
PositiveInt = Annotated[int, Field(gt=0, le=_COUNT_MAX)]
Count = Annotated[int, Field(ge=0, le=_COUNT_MAX)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Settings(BaseModel):
    """The service's settings; each docstring is what `dualpool serve --print-settings` says of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    listen: HostPort = "127.0.0.1:50051"
    """Where Envoy reaches the gRPC service."""
    metrics_listen: HostPort | Literal[""] = "127.0.0.1:9464"
    """Where Prometheus scrapes `/metrics`; empty turns it off."""
    threshold_tokens: PositiveInt = 8192
    """The largest budget (prompt + output) the short pool takes; at most the short pool's `max_model_len`."""
    estimator: Literal["anytime", "ema", "fixed"] = "anytime"
    """What turns bytes into tokens: `anytime` keeps `promise`; `ema` is the published method, one ratio for each model
    and category; `fixed` takes 4 bytes a token, learns nothing and has no margin."""
    promise: Annotated[float, Field(gt=0.0, le=0.5)] = 0.001
    """Acceptable share of requests that are sent short and do not fit. Smaller is safer, and sends more that fits
    long. Of `ema` and `fixed` only learned outputs keep it."""
    undeclared_output: PositiveInt | Literal["long", "learned"] = "learned"
    """Output reserved where a chat names no limit: `learned` from answers, so that at most `promise` of them take more
    (until enough is learned such requests go long); tokens; or `long` to send them to the long pool always."""
    conversation_memory: Count = 16_384
    """Prompts remembered, as keyed hashes and counts, so that a conversation's next turn starts from the last count;
    about 0.3 KB each. 0 turns it off. Only `anytime` remembers."""
    tokenizer_json: str = ""
    """Path of the served model's `tokenizer.json`, with which `anytime` counts what is too close to call; needs
    `pip install 'dualpool[exact]'`. Empty counts nothing exactly."""
    state_file: str = ""
    """Where what was learned is kept over a restart, one file for each process; empty keeps it in memory alone."""
    state_save_s: Annotated[float, Field(gt=0.0, le=_DAY_S)] = 60.0
    """How often the state file is written; it is once more after the last exchange."""
    learning_samples: Count = 2000
    """Answers per model (with `ema`, per model and category) until which every answer is read."""
    warm_up_samples: PositiveInt = 50
    """Answers per model (with `ema`, per model and category) until which decisions count as cold: `anytime` takes wider
    margins, `ema` sends what is not certainly short long."""
    observe_share: Share = 0.02
    """Share of answers that is read for usage once that is learned; ten times as many where the decision is in doubt,
    by one in a thousand or more."""
    max_observed: PositiveInt = 256
    """Answers read at the same time; each holds a gRPC stream while the model writes."""
    streams_carry_usage: bool = False
    """Whether vLLM runs with --enable-force-include-usage, so that streams carry usage unasked and can be learned
    from."""
    template_tokens: Count = 512
    """At most this many tokens are added around the messages by the model's chat template."""
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.98
    """Weight of the past in the bytes per token that `ema` learns."""
    margin_deviations: Annotated[float, Field(ge=0.0, le=1000.0)] = 2.0
    """How many mean absolute deviations the ratio that `ema` routes by lies below the learned one."""
    explain_headers: bool = False
    """Set budget, reason, provenance, stage, doubt and category headers beside the pool header."""
    shadow: bool = False
    """Decide, record, and change no request: what routing would do, before it does."""
    routed_share: Share = 1.0
    """Of all requests, the share that is routed; the others are decided and recorded, and go unchanged, by Envoy's
    default route. For turning routing on step by step."""
    short_pool: str = ""
    """Where the short pool's instances show `/metrics` and `/v1/models`: URLs between commas (http://10.0.0.1:8000),
    dns://NAME:PORT for all addresses of a name, or file:///PATH of a list in Prometheus's file_sd form. Empty: nobody
    asks them, and nothing is steered."""
    long_pool: str = ""
    """The same of the long pool."""
    pool_poll_s: Annotated[float, Field(ge=0.2, le=60.0)] = 2.0
    """How often each instance is asked; a reading is good for three times as long."""
    orca: bool = False
    """Take the load of a pool from the `endpoint-load-metrics` headers of its answers, where nobody asks its instances;
    Envoy must ask for them."""
    short_max_model_len: PositiveInt | None = None
    """The context of the short pool's instances; empty asks them, where `short_pool` says how, and takes
    `threshold_tokens` where it does not."""
    spillover: bool = True
    """While one pool is under pressure and the other has room, send there what it can hold; needs readings of both."""
    spillover_waiting: Annotated[float, Field(gt=0.0, le=_MANY)] = 4.0
    """Waiting requests an instance from which a pool is under pressure."""
    spillover_kv_usage: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    """Share of KV blocks in use from which a pool is under pressure."""
    spillover_share: Share = 0.8
    """Of a pool's requests, at most this share goes to the other one."""
    adaptive_threshold: bool = False
    """Move the threshold to balance the pressure of both pools, between `threshold_min_tokens` and what the short pool
    holds; otherwise it stays where `threshold_tokens` pins it. Needs readings of both."""
    threshold_min_tokens: PositiveInt = 1024
    """The least an adaptive threshold falls to."""
    state_peers: str = ""
    """Folder in which the workers of one service tell each other what they read; empty: each learns alone. Set by
    --workers."""
    access_log: str = ""
    """File that gets one line of JSON for each request: lengths, decision and usage, never content; it is what
    `dualpool report` and `dualpool plan --trace` read. Empty writes none."""
    access_log_max_mb: Annotated[float, Field(gt=0.0, le=_MANY)] = 256.0
    """Size at which the access log is renamed to FILE.1, in place of the one before, and begun anew; a day takes 39 MB
    for each request a second."""
    log_format: Literal["text", "json"] = "text"
    """How the service logs, to standard error."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What it logs: this and whatever is graver."""
    otlp_endpoint: HttpUrl = ""
    """Where metrics and spans are sent by OTLP over HTTP (http://collector:4318), beside Prometheus's endpoint; needs
    `pip install 'dualpool[otlp]'`. Empty sends nothing."""
    trace_share: Share = 0.0
    """Share of exchanges traced where the caller's `traceparent` does not say; where it does, that holds."""
    drain_s: Annotated[float, Field(ge=0.0, le=_DAY_S)] = 10.0
    """After SIGTERM: how long exchanges in flight may take to finish."""


def load_settings(path: Path | None = None, **overrides: object) -> Settings:
    """Read settings: the environment wins over the file, and `overrides` that are not None win over both.

    Raises:
        ConfigurationError: the file cannot be read, a name is unknown, a value is out of range.
    """
    in_file = {} if path is None else _read(path)
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings.model_validate(in_file | _in_environment() | given)
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from error


def defaults_yaml() -> str:
    """Every setting with its meaning and its default, as a file that `load_settings` takes."""
    parts = ["# What `dualpool serve --config FILE` takes, with the defaults."]
    for name, field in Settings.model_fields.items():
        meaning = textwrap.fill(
            field.description or "", 100, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        parts.append(f"{meaning}\n{name}: {json.dumps(field.default)}")
    return "\n\n".join(parts) + "\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"settings file {path} cannot be read: {error.strerror}") from error
    if len(raw) > _FILE_MAX_BYTES:
        raise ConfigurationError(f"settings file {path} is larger than {_FILE_MAX_BYTES} bytes")
    try:
        content = strictyaml.load(raw.decode("utf-8"))
    except (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        raise ConfigurationError(f"settings file {path} is not YAML: {_misspelling(error)}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ConfigurationError(f"settings file {path}: the file must be a mapping of settings")
    return content


def _misspelling(error: Exception) -> str:
    """What is wrong and where, without the line itself: a password in it would be logged."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem}, line {mark.line + 1}, column {mark.column + 1}"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8, byte {error.start}"
    return "a value or a character in it cannot be read"


def _in_environment() -> dict[str, str]:
    """Settings among the environment's variables; others only if none of them looks like a misspelt setting.

    Not every other one is a mistake: for a Service named dualpool Kubernetes sets DUALPOOL_SERVICE_HOST and more.
    """
    given = {name[len(_PREFIX) :].lower(): value for name, value in os.environ.items() if name.startswith(_PREFIX)}
    misspelt = {name: meant for name in given.keys() - Settings.model_fields.keys() if (meant := _meant(name))}
    if misspelt:
        lines = [f"  {_variable(name)}: {_unknown(_variable(meant))}" for name, meant in sorted(misspelt.items())]
        raise ConfigurationError("environment variables cannot be used:\n" + "\n".join(lines))
    return {name: value for name, value in given.items() if name in Settings.model_fields}


def _variable(name: str) -> str:
    return _PREFIX + name.upper()


def _meant(name: str) -> str | None:
    """The setting that an unknown name was probably meant to be: one much like it, or one it is the beginning of."""
    known = list(Settings.model_fields)
    longer = [setting for setting in known if setting.startswith(f"{name}_")]
    return next(iter(get_close_matches(name, known, n=1, cutoff=_LIKENESS) + longer), None)


def _unknown(meant: str | None) -> str:
    return f"unknown setting; did you mean {meant}?" if meant else "unknown setting"


def _explain(error: ValidationError) -> str:
    """One line a mistake, naming the setting as the operator wrote it."""
    lines = {
        f"  {item['loc'][0]}: {_complaint(item['type'], str(item['loc'][0]), item['msg'])}" for item in error.errors()
    }
    return "settings cannot be used:\n" + "\n".join(sorted(lines))


def _complaint(kind: str, name: str, message: str) -> str:
    return _unknown(_meant(name)) if kind == "extra_forbidden" else message.removeprefix("Value error, ")
