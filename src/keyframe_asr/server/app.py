"""The application: routes behind the gate, and what operators ask of it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware.cors import CORSMiddleware

from keyframe_asr.server import live, model_list, pages, realtime, reference, transcriptions
from keyframe_asr.server.activity import Activity
from keyframe_asr.server.errors import add_error_handlers
from keyframe_asr.server.gate import Gate
from keyframe_asr.server.metrics import Metrics, resident_bytes
from keyframe_asr.server.service import RecognitionService
from keyframe_asr.server.settings import ServerSettings
from keyframe_asr.server.workers import Workers


def create_app(service: RecognitionService, settings: ServerSettings, metrics: Metrics) -> FastAPI:
    """Return the application.

    Args:
        service: recognises.
        settings: keys, origins and limits.
        metrics: of the server.
    """
    app = FastAPI(
        title="keyframe-asr", version=version("keyframe-asr"), docs_url=None, redoc_url=None
    )
    activity = Activity(metrics)
    app.state.activity = activity
    add_error_handlers(app)
    app.include_router(transcriptions.router(service))
    app.include_router(realtime.router(service, settings))
    app.include_router(live.router(service, settings))
    app.include_router(model_list.router(service))
    app.include_router(reference.router())
    app.include_router(pages.router(service))
    app.include_router(_operations(service, activity))
    app.add_middleware(Gate, service=service, settings=settings, activity=activity)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
        )
    return app


def watch(metrics: Metrics, workers: Workers) -> None:
    """Let the metrics ask for what the processes do at the moment."""

    def read() -> Iterable[tuple[str, str, dict[str, float]]]:
        named = {
            **{f"upload-{number}": one for number, one in enumerate(workers.uploads)},
            **{f"stream-{number}": one for number, one in enumerate(workers.streams)},
        }
        memory = {name: resident_bytes(one.pid) for name, one in named.items()}
        restarts = {name: float(one.restarts) for name, one in named.items()}
        yield "keyframe_queue_length", "Uploads in progress.", {"": workers.uploads_open}
        yield "keyframe_streams_open", "Open streams.", {"": workers.streams_open}
        yield "keyframe_model_memory_bytes", "Memory of a process with its models.", memory
        yield "keyframe_restarts", "How often a process was started again.", restarts

    metrics.watch(read)


def _operations(service: RecognitionService, activity: Activity) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.head("/health", include_in_schema=False)
    @router.get("/health")
    async def health() -> dict[str, str]:
        """The server runs."""
        return {"status": "ok"}

    @router.get("/ready", responses={503: {"description": "The server starts or stops."}})
    async def ready(response: Response) -> dict[str, str]:
        """The models are loaded, and the server takes work; 503 if not."""
        if service.ready and not activity.draining.is_set():
            return {"status": "ready"}
        response.status_code = 503
        return {"status": "stopping" if activity.draining.is_set() else "loading"}

    @router.get("/metrics", response_class=PlainTextResponse)
    async def measurements() -> Response:
        """Measurements for Prometheus."""
        content = generate_latest(activity.metrics.registry)
        return Response(content, headers={"content-type": CONTENT_TYPE_LATEST})

    return router
