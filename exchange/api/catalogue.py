"""Types of problems over HTTP: the address in a problem's `type` says what it is."""

from html import escape
from typing import Final

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from exchange.api.bodies import wants
from exchange.api.doors import json_response
from exchange.api.problems import DEFECT, DEFECT_TYPE, NoRoute, status_of
from exchange.problems import problem_types

PATH: Final = "/problems/{id}"
HTML_TYPE: Final = "text/html"
ONLY_STYLE: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{type}</title>
<style>:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }} body {{ max-width: 40rem; margin: 3rem auto }}</style>
<h1>{title}</h1>
<p>{remedy}</p>
<p><code>{type}</code>, status {status}. What was wrong with a request stands in its answer, in <code>detail</code> and <code>errors</code>.</p>
</html>
"""


class ProblemTypeShape(BaseModel):
    """A type of problem: what all problems of it have in common."""

    type: str = Field(examples=["/problems/amount-wrong"])
    title: str
    status: int
    remedy: str


def explained(name: str) -> ProblemTypeShape:
    """Explain a type of problem. Raises NoRoute."""
    if name == DEFECT_TYPE:
        return ProblemTypeShape.model_validate(DEFECT)
    kind = problem_types().get(name)
    if kind is None:
        raise NoRoute("There is no such type of problem.")
    return ProblemTypeShape(type=f"/problems/{name}", title=kind.title(), status=status_of(kind), remedy=kind.remedy)


async def show(request: Request) -> Response:
    """Answer with a page for people, or with JSON. Raises NoRoute."""
    found = explained(request.path_params["id"])
    if not wants(request, HTML_TYPE):
        return json_response(found)
    said = {name: escape(str(value)) for name, value in found.model_dump().items()}
    return HTMLResponse(PAGE.format(**said), headers={"Content-Security-Policy": ONLY_STYLE})
