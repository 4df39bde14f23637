"""The configurations committed under `envoy/` for people to copy: one for a single machine, one for docker-compose."""

from typing import Final

from extproc.envoyconfig.options import Address, EnvoyOptions

EXAMPLES: Final = {
    "envoy.yaml": EnvoyOptions(
        listen=Address("127.0.0.1", 10_000),
        extproc=(Address("127.0.0.1", 50_051),),
        short=(Address("127.0.0.1", 8001),),
        long=(Address("127.0.0.1", 8002),),
        admin=Address("127.0.0.1", 9901),
    ),
    # Inside containers: names are services, and each service publishes what the host may reach.
    "envoy.compose.yaml": EnvoyOptions(
        listen=Address("0.0.0.0", 10_000),  # noqa: S104 - the container's own network
        extproc=(Address("extproc", 50_051),),
        short=(Address("vllm-short", 8000),),
        long=(Address("vllm-long", 8000),),
        admin=Address("0.0.0.0", 9901),  # noqa: S104 - the container's own network
    ),
}
"""File name → what it is for."""
