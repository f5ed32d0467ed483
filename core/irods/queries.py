"""GenQuery (702): columns and conditions by number, rows as tuples of text.

maxRows is not capped by the server, so a page is as large as is asked for. A value with a quote is fine after `=` and
breaks `in (...)`: conditions on names use `=`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum
from xml.etree import ElementTree

from irods.message import GenQueryRequest, IntegerIntegerMap, IntegerStringMap, StringStringMap, _OrderedMultiMapping

from core.errors import Transient
from core.irods import errors
from core.irods.messages import Api
from core.irods.session import Session

PAGE = 2000
PIPELINED = 50
"""Queries in a row, whose replies wait in the socket meanwhile."""
_PLAIN, _SUM, _COUNT = 1, 4, 6  # what to do with a column: nothing, SELECT_SUM, SELECT_COUNT
_NO_ROWS = frozenset({errors.CAT_NO_ROWS_FOUND})


class Column(IntEnum):
    """GenQuery column numbers (rodsGenQuery.h)."""

    ZONE_NAME = 102
    ZONE_TYPE = 103
    USER_ID = 201
    USER_NAME = 202
    USER_TYPE = 203
    USER_ZONE = 204
    RESC_ID = 301
    RESC_NAME = 302
    RESC_TYPE = 304
    RESC_LOCATION = 306
    RESC_VAULT_PATH = 307
    RESC_PARENT = 317
    DATA_ID = 401
    DATA_NAME = 403
    DATA_REPL_NUM = 404
    DATA_TYPE_NAME = 406
    DATA_SIZE = 407
    DATA_RESC_NAME = 409
    DATA_PATH = 410
    DATA_REPL_STATUS = 413
    DATA_CHECKSUM = 415
    DATA_MODIFY_TIME = 420
    DATA_MODE = 421
    DATA_RESC_HIER = 422
    DATA_RESC_ID = 423
    COLL_ID = 500
    COLL_NAME = 501
    COLL_PARENT_NAME = 502
    META_ATTRIBUTE = 600
    META_VALUE = 601
    META_UNIT = 602
    META_COLL_ATTRIBUTE = 610
    META_COLL_VALUE = 611
    META_COLL_UNIT = 612
    META_RESC_ATTRIBUTE = 630
    META_RESC_VALUE = 631
    DATA_ACCESS_TYPE = 700
    DATA_ACCESS_USER_ID = 703
    COLL_ACCESS_TYPE = 710
    COLL_ACCESS_USER_ID = 713
    USER_GROUP_ID = 900
    OPR_TYPE = 999999  # not of the catalogue: what 688 is to do with a row


def equal(value: str) -> str:
    """The condition that a column has this value."""
    return f"= '{value}'"


def subtree(collection: str, *, exactly: bool = False) -> tuple[str, str]:
    """The two conditions that a collection is this one, and that it lies below it; one query each.

    `||` in a condition does not survive a quote in a value. `_` and `%` in a name match more, so rows are to be
    looked at; where there are no rows to look at, only sums, `exactly` has them match themselves.
    """
    pattern = collection.replace("\\", "\\\\")
    if exactly:
        pattern = pattern.replace("_", "\\_").replace("%", "\\%")
    return equal(collection), f"like '{pattern}/%'"


def select(
    session: Session, columns: Sequence[Column], conditions: Sequence[tuple[Column, str]] = (), *, path: str = ""
) -> list[tuple[str, ...]]:
    """All rows, each with its values in the order of `columns`; [] when there are none. Rows are distinct and
    unordered."""
    return list(pages(session, columns, conditions, path=path))


def pages(
    session: Session, columns: Sequence[Column], conditions: Sequence[tuple[Column, str]] = (), *, path: str = ""
) -> Iterator[tuple[str, ...]]:
    """As `select`, a page in memory at a time; to be read to its end before the session is asked anything else."""
    position = 0
    with session.held():
        while True:
            reply = session.call(Api.GEN_QUERY, _request(columns, conditions, position), path=path, accept=_NO_ROWS)
            if reply.status < 0:
                return
            page, position = _rows(reply.body, len(columns), path)
            yield from page
            if position <= 0:
                return


def select_each(
    session: Session, columns: Sequence[Column], conditions: Sequence[Sequence[tuple[Column, str]]]
) -> list[list[tuple[str, ...]]]:
    """The rows of many small queries of less than a page each, 50 of which share a round trip."""
    found: list[list[tuple[str, ...]]] = []
    for start in range(0, len(conditions), PIPELINED):
        part = conditions[start : start + PIPELINED]
        replies = session.pipeline([(Api.GEN_QUERY, _request(columns, each, 0)) for each in part])
        for reply in replies:
            if reply.status < 0 and errors.nominal(reply.status) not in _NO_ROWS:
                raise errors.error_for(reply.status, text=reply.text)
            found.append(_rows(reply.body, len(columns), "")[0] if reply.status >= 0 else [])
    return found


def totals(session: Session, conditions: Sequence[tuple[Column, str]]) -> tuple[int, int]:
    """How many replicas meet the conditions, and the sum of their DATA_SIZE. One round trip."""
    request = _request((Column.DATA_REPL_NUM, Column.DATA_SIZE), conditions, 0, (_COUNT, _SUM))
    reply = session.call(Api.GEN_QUERY, request, accept=_NO_ROWS)
    rows = _rows(reply.body, 2, "")[0] if reply.status >= 0 else []
    return (int(rows[0][0] or 0), int(rows[0][1] or 0)) if rows else (0, 0)


def tallies(session: Session, column: Column, conditions: Sequence[tuple[Column, str]]) -> list[tuple[str, int, int]]:
    """As `totals`, for each value of a column."""
    request = _request((column, Column.DATA_REPL_NUM, Column.DATA_SIZE), conditions, 0, (_PLAIN, _COUNT, _SUM))
    reply = session.call(Api.GEN_QUERY, request, accept=_NO_ROWS)
    rows = _rows(reply.body, 3, "")[0] if reply.status >= 0 else []
    return [(value, int(count or 0), int(size or 0)) for value, count, size in rows]


def _request(
    columns: Sequence[Column], conditions: Sequence[tuple[Column, str]], position: int, how: Sequence[int] = ()
) -> GenQueryRequest:
    where = _OrderedMultiMapping([(int(column), condition) for column, condition in conditions])
    return GenQueryRequest(
        maxRows=PAGE,
        continueInx=position,
        partialStartIndex=0,
        options=0,
        KeyValPair_PI=StringStringMap(),
        InxIvalPair_PI=IntegerIntegerMap(
            {int(column): each for column, each in zip(columns, how or [_PLAIN] * len(columns), strict=True)}
        ),
        InxValPair_PI=IntegerStringMap(where),
    )


def _rows(body: bytes, count: int, path: str) -> tuple[list[tuple[str, ...]], int]:
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as problem:
        # a name made by another client with a control character spoils the whole page
        raise Transient(
            "unreadable_reply", f"iRODS answered with text that is not XML about {path}: {problem}"
        ) from problem
    columns = [
        [value.text or "" for value in column.findall("value")] for column in root.findall("SqlResult_PI")[:count]
    ]
    return list(zip(*columns, strict=True)), int(root.findtext("continueInx") or 0)
