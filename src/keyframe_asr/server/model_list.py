"""The models that are served, as the clients of OpenAI's API ask for them."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from keyframe_asr.server.service import ModelFacts, RecognitionService, UnknownModelError
from keyframe_asr.server.transcription_schema import MODEL, MODELS, answer_of, error_responses


def router(service: RecognitionService) -> APIRouter:
    """Return the routes; `service` names the models."""
    routes = APIRouter(prefix="/v1/models", tags=["models"])

    @routes.get(
        "", responses={200: answer_of(MODELS, "The models."), **error_responses(401, 403, 503)}
    )
    async def models() -> JSONResponse:
        """List the models."""
        return JSONResponse(
            {"object": "list", "data": [_description(one) for one in service.models.values()]}
        )

    @routes.get(
        "/{name:path}",
        responses={200: answer_of(MODEL, "The model."), **error_responses(401, 403, 404, 503)},
    )
    async def model(name: str) -> JSONResponse:
        """Describe a model."""
        if name not in service.models:
            raise UnknownModelError.of(name, service.models)
        return JSONResponse(_description(service.models[name]))

    return routes


def _description(model: ModelFacts) -> dict[str, object]:
    return {"id": model.name, "object": "model", "created": model.created, "owned_by": "local"}
