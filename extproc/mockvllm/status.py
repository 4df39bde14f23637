"""GET routes: what the instance is, and how it fares."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from extproc.mockvllm.service import CREATED_S, Service


def status_routes(service: Service) -> list[Route]:
    """/health, /ping, /version, /load, /v1/models and /metrics."""

    async def health(_request: Request) -> Response:
        return Response()

    async def version(_request: Request) -> Response:
        return JSONResponse({"version": service.settings.vllm_version})

    async def load(_request: Request) -> Response:
        return JSONResponse({"server_load": service.load.requests})

    async def models(_request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [_model_card(service)]})

    async def metrics(request: Request) -> Response:
        content_type, text = service.metrics.exposition(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    return [
        Route("/health", health),
        Route("/ping", health, methods=["GET", "POST"]),
        Route("/version", version),
        Route("/load", load),
        Route("/v1/models", models),
        Route("/metrics", metrics),
    ]


def _model_card(service: Service) -> dict[str, Any]:
    name = service.settings.model
    return {
        "id": name,
        "object": "model",
        "created": CREATED_S,
        "owned_by": "vllm",
        "root": name,
        "parent": None,
        "max_model_len": service.settings.max_model_len,
        "permission": [
            {
                "id": f"modelperm-{service.settings.seed:032x}",
                "object": "model_permission",
                "created": CREATED_S,
                "allow_create_engine": False,
                "allow_sampling": True,
                "allow_logprobs": True,
                "allow_search_indices": False,
                "allow_view": True,
                "allow_fine_tuning": False,
                "organization": "*",
                "group": None,
                "is_blocking": False,
            }
        ],
    }
