"""What an operator can set, with every default; read from one YAML file and `DUALPOOL_*`; knows no part that uses it.

Unknown keys are refused: a misspelt setting that is silently ignored is found out in production.
"""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from extproc.errors import ConfigurationError


def _host_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - the largest port
        raise ValueError("expected HOST:PORT, for example 127.0.0.1:50051")
    return value


HostPort = Annotated[str, AfterValidator(_host_port)]
PositiveInt = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Settings(BaseSettings):
    """The service's settings. Environment variables win over the file: `DUALPOOL_THRESHOLD_TOKENS=16384`."""

    model_config = SettingsConfigDict(
        env_prefix="DUALPOOL_", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    listen: HostPort = "127.0.0.1:50051"
    """Where Envoy reaches the gRPC service."""
    metrics_listen: HostPort | Literal[""] = "127.0.0.1:9464"
    """Where Prometheus scrapes `/metrics`; empty turns it off."""
    threshold_tokens: PositiveInt = 8192
    """The largest budget (prompt + output) the short pool takes; at most the short pool's `max_model_len`."""
    undeclared_output: PositiveInt | Literal["long"] = "long"
    """Output reserved where a chat names no limit: tokens, or `long` to send such requests to the long pool."""
    observe_share: Share = 0.02
    """Share of answers that is read for usage once a category is learned."""
    learning_samples: Annotated[int, Field(ge=0)] = 100
    """Answers per model and category until which every answer is read."""
    max_observed: PositiveInt = 256
    """Answers read at the same time; each holds a gRPC stream while the model writes."""
    ema_decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.98
    """Weight of the past in the learned bytes per token."""
    margin_deviations: Annotated[float, Field(ge=0.0)] = 2.0
    """How many mean absolute deviations the ratio used for routing lies below the learned one."""
    warm_up_samples: PositiveInt = 10
    """Answers before a learned ratio is trusted; until then what is not certainly short goes long."""
    template_tokens: Annotated[int, Field(ge=0)] = 512
    """At most this many tokens are added around the messages by the model's chat template."""
    explain_headers: bool = False
    """Set budget, reason, provenance and category headers beside the pool header."""
    drain_s: Annotated[float, Field(ge=0.0)] = 10.0
    """After SIGTERM: how long exchanges in flight may take to finish."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the framework names it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the framework names it
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The command line wins over the environment, the environment over the file."""
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)


def load_settings(path: Path | None = None, **overrides: object) -> Settings:
    """Read settings; `overrides` that are not None win over environment and file.

    Raises:
        ConfigurationError: the file is missing or not YAML, a key is unknown, a value is out of range.
    """
    if path is not None and not path.is_file():
        raise ConfigurationError(f"settings file {path} does not exist")

    class FromFile(Settings):
        model_config = SettingsConfigDict(yaml_file=path)

    try:
        return FromFile.model_validate({name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from error
    except (yaml.YAMLError, TypeError, ValueError, OSError) as error:
        raise ConfigurationError(f"settings file {path} cannot be read: {error}") from error


def _explain(error: ValidationError) -> str:
    """One line a setting, naming it as the operator wrote it."""
    lines = {f"  {item['loc'][0] if item['loc'] else 'the file'}: {item['msg']}" for item in error.errors()}
    return "settings cannot be used:\n" + "\n".join(sorted(lines))
