"""The line between the supervisor and each worker: words and figures as JSON arrays, one a line, over a pair of sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from enum import StrEnum
from typing import Any, Final, Self

import orjson

LONGEST: Final = 1 << 24
"""Bytes of a line: figures are some hundred thousand."""


class Word(StrEnum):
    """What is said."""

    READY = "ready"
    """Worker: it serves."""
    TELL = "tell"
    """Supervisor: tell your figures. Worker: tell me everybody's; both with a number that the answer repeats."""
    TOLD = "told"
    """The answer: its number, and the figures, or the text."""
    STOP = "stop"
    """Supervisor: stop as a server stops."""
    HURRY = "hurry"
    """Supervisor: do not wait for anybody."""
    RETIRE = "retire"
    """Supervisor: another serves in your place."""


class Channel:
    """One end of the line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take both directions."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, opened: socket.socket) -> Self:
        """Take one of the two sockets."""
        return cls(*await asyncio.open_connection(sock=opened, limit=LONGEST))

    def say(self, word: Word, *more: Any) -> None:
        """Say something; it does not wait until the other has heard it, and who has gone hears nothing."""
        if not self._writer.is_closing():
            self._writer.write(orjson.dumps([word, *more], option=orjson.OPT_APPEND_NEWLINE))

    async def heard(self) -> AsyncIterator[tuple[Word, list[Any]]]:
        """Hear what is said, until the other has gone."""
        # Who is killed leaves a line that is reset, or half a line.
        with suppress(OSError):
            while (line := await self._reader.readline()).endswith(b"\n"):
                word, *more = orjson.loads(line)
                yield Word(word), more

    async def close(self) -> None:
        """Have the other hear what was said, and go."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
