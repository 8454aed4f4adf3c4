"""Closed months over HTTP."""

from datetime import date
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from exchange.api.bodies import Body
from exchange.api.doors import Route, Write
from exchange.api.shapes import example
from exchange.volume.commands import CloseMonth

MonthText = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{3}-(0[1-9]|1[0-2])$"), Field(examples=["2023-12"])]


class MonthBody(Body):
    """A month."""

    model_config = example(month="2023-12")

    month: MonthText


ROUTES: Final[list[Route]] = [
    Write(
        path="/closed-months",
        operation="close_month",
        summary="Close a month: what is filed for it from now on is late",
        commands=(CloseMonth,),
        make=lambda body, _, __: CloseMonth(date.fromisoformat(f"{body.month}-01")),
        body=MonthBody,
        status=201,
        errors=(400, 401, 403, 409, 413, 415, 422, 503),
    ),
]
