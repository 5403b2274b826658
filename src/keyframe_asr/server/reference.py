"""`/docs`: the routes and their fields on one page, made from `/openapi.json`.

FastAPI's own page loads its scripts from elsewhere, which a machine without internet cannot.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin-bottom: 1.5rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; }
th, td { border-bottom: 1px solid #8886; }
code { font-family: ui-monospace, monospace; overflow-wrap: break-word; }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'"

_SOCKETS = {
    "/v1/realtime": "Live speech, as in OpenAI's realtime API with intent=transcription.",
    "/v1/stream": "Live speech: binary PCM in, JSON out.",
}


def router() -> APIRouter:
    """Return the route."""
    routes = APIRouter()

    @routes.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        """Show the routes."""
        page = reference_page(request.app.openapi())
        return HTMLResponse(page, headers={"content-security-policy": _POLICY})

    return routes


def reference_page(schema: Mapping[str, Any]) -> str:
    """Return the page of an OpenAPI schema."""
    title = html.escape(f"{schema['info']['title']} {schema['info']['version']}")
    sections = [
        "\n".join(_section(method, path, route))
        for path, methods in schema["paths"].items()
        for method, route in methods.items()
    ]
    sockets = [_row(f"<code>{path}</code>", text) for path, text in _SOCKETS.items()]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>\n<style>{_STYLE}</style>",
            f'<main>\n<h1>{title}</h1>\n<p>As data: <a href="/openapi.json">/openapi.json</a></p>',
            *sections,
            "<h2>WebSockets</h2>",
            *_table(("path", "what it is"), sockets),
            "</main>\n</html>\n",
        ]
    )


def _section(method: str, path: str, route: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>"
    yield f"<p>{html.escape(route.get('description', ''))}</p>"
    content = route.get("requestBody", {}).get("content", {})
    for kind, body in content.items():
        fields = body["schema"].get("properties", {})
        required = body["schema"].get("required", ())
        rows = [
            _row(f"<code>{html.escape(name)}</code>{' (required)' * (name in required)}",
                 html.escape(field.get("description", "")), html.escape(_values(field)))
            for name, field in fields.items()
        ]  # fmt: skip
        yield f"<p>Fields, as <code>{html.escape(kind)}</code>:</p>"
        yield from _table(("field", "meaning", "values"), rows)
    rows = [
        _row(f"<code>{status}</code>", html.escape(one.get("description", "")))
        for status, one in route.get("responses", {}).items()
    ]
    yield from _table(("status", "meaning"), rows)


def _values(field: Mapping[str, Any]) -> str:
    """Return what values a field may have, in words."""
    if "anyOf" in field:
        return " or ".join(_values(one) for one in field["anyOf"])
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if "items" in field:
        return f"several: {_values(field['items'])}"
    if "properties" in field:
        inner = (f"{name}: {_values(one)}" for name, one in field["properties"].items())
        return f"{{{', '.join(inner)}}}"
    if field.get("format") == "binary":
        return "file"
    limits = [f"{field[name]:g}" for name in ("minimum", "maximum") if name in field]
    return " to ".join(limits) or str(field.get("const", field.get("type", "")))


def _table(heads: tuple[str, ...], rows: list[str]) -> list[str]:
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    return [f"<table>\n<tr>{head}</tr>", *rows, "</table>"]


def _row(*cells: str) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
