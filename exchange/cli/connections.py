"""Connections: as many as there is room for, and none that its client keeps waiting for ever.

uvicorn limits neither the length of a head nor the time that a client takes for a request or for its answer.
Once a second all connections are looked at; a request costs nothing for that.
"""

import asyncio
import resource
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from exchange.api.problems import respond
from exchange.api.reception import NOTHING, SAFE
from exchange.problems import Malformed, Problem, TooSlow, Unavailable

HEAD_LIMIT: Final = 64 * 1024
"""So many bytes may come without completing a head or a piece of a body."""
OWN_FILES: Final = 200
"""Files that the process needs beside its connections: databases, logs, listeners."""


class RequestTooSlow(TooSlow):
    """The request did not arrive as a whole in time."""

    remedy = "Send it again; send less at a time where the line is slow."


class HeadTooLong(Malformed):
    """The head of the request is longer than allowed."""

    remedy = "Send fewer and shorter headers, and a shorter address."


class NotHttp(Malformed):
    """This is no HTTP request, or one that could be read in two ways."""

    remedy = "Send HTTP/1.1 (RFC 9112): one `Content-Length` or chunks, visible ASCII in names and addresses."


class TooManyConnections(Unavailable):
    """There are too many connections."""


def room_for(wanted: int) -> int:
    """Raise the limit of open files where that is allowed; give how many of the wanted connections there is room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + OWN_FILES
    if soft < files:
        soft = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(wanted, soft - OWN_FILES))


class Connection(HttpToolsProtocol):
    """One client's connection."""

    def __init__(self, limit: int, patience_s: float, **given: Any) -> None:
        """Take how many connections there may be, for how many seconds a client may keep one waiting, and what uvicorn gives."""
        super().__init__(**given)
        self._limit = limit
        self._patience_s = patience_s
        self._requests = 0
        """So many have arrived as a whole."""
        self._whole = False
        """Whether nothing has come since the last of them."""
        self._unread = 0
        """Bytes since a head or a piece of a body was complete."""
        self._awaited: object = None
        self._since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._limit:
            self._refuse(TooManyConnections(f"{self._limit} are open."))

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._whole = False
        self._unread += len(data)
        super().data_received(data)
        if self._unread > HEAD_LIMIT:
            self._refuse(HeadTooLong(f"At most {HEAD_LIMIT} bytes are read."))

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser does not take, in the one shape of refusals."""
        self._refuse(NotHttp("It was read no further."))

    def on_headers_complete(self) -> None:
        """Begin with the request."""
        self._unread = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Hand on a piece of the body."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is there."""
        self._unread = 0
        self._whole = True
        self._requests += 1
        super().on_message_complete()

    def look(self, now: float) -> None:
        """Leave a client that has kept the connection waiting for too long; `now` is in seconds of any clock that does not go back."""
        awaited = self._what_is_awaited()
        if awaited != self._awaited:
            self._awaited, self._since = awaited, now
        elif awaited is not None and now - self._since >= self._patience_s:
            self._leave()

    def _what_is_awaited(self) -> object:
        """Say what the client has to do next: go on taking its answer, or send all of a request. None where it is our turn."""
        if unsent := self.transport.get_write_buffer_size():
            return "answer", unsent
        cycle = self.cycle
        busy = cycle is not None and not cycle.response_complete and not cycle.more_body
        return None if self._whole or busy or self.flow.read_paused else ("request", self._requests)

    def _leave(self) -> None:
        if self.transport.get_write_buffer_size():
            # To close it would wait until all is taken.
            self.transport.abort()
        else:
            self._refuse(RequestTooSlow(f"It took longer than {self._patience_s:g} seconds."))

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem, unless another answer has begun, and hang up."""
        if self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()
            return
        answer = respond(problem, {"Connection": "close"})
        headers = (*answer.raw_headers, NOTHING, *SAFE)
        head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[answer.status_code] + head + b"\r\n" + bytes(answer.body))
        self.transport.close()
