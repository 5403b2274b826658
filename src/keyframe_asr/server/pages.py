"""The page of the server: `GET /`, its files, and the examples that it offers.

It needs nothing from elsewhere, and its policy allows nothing else.
"""

from __future__ import annotations

import hashlib
from importlib import resources

from fastapi import APIRouter, HTTPException, Request, Response

from keyframe_asr.pages import shared
from keyframe_asr.server.examples import EXAMPLES, Examples
from keyframe_asr.server.service import RecognitionService

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "connect-src": "'self'",
    "img-src": "'self' data: blob:",
    "media-src": "'self' blob:",
    "worker-src": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
}

HEADERS = {
    "content-security-policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "microphone=(self), camera=(), geolocation=()",
    "cache-control": "no-cache",
}

TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}

SHARED = ("style.css", "drawing.js")
"""Files that other pages use too."""


def router(service: RecognitionService) -> APIRouter:
    """Return the routes of the page.

    They need no key: the page asks for one, and the examples are few and made once.
    """
    found = APIRouter(include_in_schema=False)
    files = read_files()
    examples: list[Examples] = []

    def fitting() -> Examples:
        if not examples:
            examples.append(Examples(service.models))  # known once the models are loaded
        return examples[0]

    @found.head("/")
    @found.get("/")
    async def page(request: Request) -> Response:
        """The page."""
        return _answer(request, "index.html", files["index.html"])

    @found.get("/page/{name}")
    async def file(request: Request, name: str) -> Response:
        """A file that the page is made of."""
        if name not in files:
            raise HTTPException(404)
        return _answer(request, name, files[name])

    @found.get("/examples")
    async def listed() -> dict[str, object]:
        """The examples, each with the models that it is for."""
        if not service.ready:
            return {"data": []}
        return {
            "data": [
                {
                    "text": EXAMPLES[number].text,
                    "language": EXAMPLES[number].language,
                    "models": models,
                    "address": f"examples/{number}.wav",
                }
                for number, models in fitting().models.items()
            ]
        }

    @found.get("/examples/{number}.wav")
    async def recording(number: int) -> Response:
        """An example."""
        content = await fitting().recording(number) if service.ready else None
        if content is None:
            raise HTTPException(404)
        return Response(content, media_type="audio/wav", headers=HEADERS)

    return found


def read_files() -> dict[str, bytes]:
    """Return the content of each file of the page by its name."""
    folder = resources.files("keyframe_asr.server").joinpath("page")
    own = {one.name: one.read_bytes() for one in folder.iterdir() if one.is_file()}
    return own | {name: shared(name).encode() for name in SHARED}


def _answer(request: Request, name: str, content: bytes) -> Response:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**HEADERS, "etag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    kind = TYPES[name.rpartition(".")[2]]
    return Response(content, headers={**headers, "content-type": f"{kind}; charset=utf-8"})
