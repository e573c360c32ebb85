"""Analytics room: a ClickHouse server, or several of one cluster, over HTTP.

It runs statements and turns faults into own errors; it must not know a table.
Errors never hold a user, a password or a row.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import aiohttp

from tocsin.config.clickhouse import Address
from tocsin.core.analytics import RowsRefused
from tocsin.core.errors import InternalError

TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 5.0
ANSWER_BYTES = 16 * 1024 * 1024
"""A longer answer is a fault: statements here ask for far less."""

# Numbers of ClickHouse's own error codes.
UNKNOWN_DATABASE = 81
_REFUSED_USER = frozenset({192, 193, 194, 497, 516})
_BAD_ROWS = frozenset({6, 26, 27, 38, 41, 53, 69, 70, 72, 117})
"""ClickHouse cannot read the text of the rows; a repetition changes nothing."""
_CODE = re.compile(rb"Code: (\d+)")

Body = Callable[[], AsyncIterator[bytes]]
"""Makes a new iterator over the body for each try, as each one can be read once."""


class ClickHouseError(InternalError):
    """A statement failed; `number` is ClickHouse's own error code, or 0."""

    def __init__(self, reason: str, number: int = 0) -> None:
        super().__init__(reason)
        self.number = number


class ClickHouseHttp:
    """Runs statements; if a server cannot be reached, the next one is asked."""

    def __init__(
        self,
        addresses: Sequence[Address],
        database: str,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._addresses = list(addresses)
        self._database = database
        self._timeout = aiohttp.ClientTimeout(
            total=timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)
        )
        self._session: aiohttp.ClientSession | None = None

    async def run(
        self,
        statement: str,
        *,
        body: Body | None = None,
        values: Mapping[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
        in_database: bool = True,
    ) -> bytes:
        """Run a statement; returns the bytes of the answer.

        `values` fill `{name:Type}` in the statement. Raises `ClickHouseError`, and
        `RowsRefused` for a body that ClickHouse cannot read.
        """
        # Without `wait_end_of_query` a fault may come after a status of 200.
        query = {"query": statement, "wait_end_of_query": "1", **(settings or {})}
        if in_database:
            query["database"] = self._database
        for name, value in (values or {}).items():
            query[f"param_{name}"] = _as_parameter(value)
        for _ in self._addresses[1:]:
            try:
                return await self._post(self._addresses[0], query, body)
            except _UnreachableError:
                # The server that answers stays in front for the next statement.
                self._addresses.append(self._addresses.pop(0))
        return await self._post(self._addresses[0], query, body)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(
        self, address: Address, query: Mapping[str, str], body: Body | None
    ) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        headers = {}
        if address.user:
            headers["X-ClickHouse-User"] = address.user
            headers["X-ClickHouse-Key"] = address.password
        try:
            async with self._session.post(
                f"{address.origin}/",
                params=query,
                data=body() if body is not None else b"",
                headers=headers,
                allow_redirects=False,
            ) as answer:
                content = await _read(answer)
                _check(answer, content)
                return content
        except TimeoutError as error:
            raise _UnreachableError("did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _UnreachableError(
                f"cannot be reached ({type(error).__name__})"
            ) from error


class _UnreachableError(ClickHouseError):
    """A server did not answer, or not to the end."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"ClickHouse {reason}; check that it runs and that"
            " clickhouse_analytics.clickhouse_dsn is right"
        )


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    content = await answer.content.read(ANSWER_BYTES)
    while len(content) < ANSWER_BYTES:
        more = await answer.content.read(ANSWER_BYTES - len(content))
        if not more:
            return content
        content += more
    raise ClickHouseError("ClickHouse answered more than is ever asked for")


def _check(answer: aiohttp.ClientResponse, content: bytes) -> None:
    """Raise for an answer that is a fault, without its text: that may quote rows."""
    given = answer.headers.get("X-ClickHouse-Exception-Code", "")
    if answer.status == 200 and not given:
        return
    found = _CODE.match(content)
    code = int(given) if given.isdigit() else int(found[1]) if found else 0
    if code in _REFUSED_USER or answer.status in (401, 403):
        raise ClickHouseError("ClickHouse refused the user or the password", code)
    if code in _BAD_ROWS:
        raise RowsRefused(f"ClickHouse cannot read them, code {code}")
    if answer.status in (502, 503, 504):
        raise _UnreachableError(f"answered {answer.status}")
    words = f"code {code}" if code else "no code of its own"
    raise ClickHouseError(f"ClickHouse answered {answer.status}, {words}", code)


_PARAMETER = str.maketrans(
    {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}
)


def _as_parameter(value: str) -> str:
    """A value in the form of a query parameter: escaped like a tab-separated field."""
    return value.translate(_PARAMETER).encode("utf-8", "replace").decode()
