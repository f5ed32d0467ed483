"""GenQuery1, API 702 (recording query): select, aggregates, order, conditions, paging, and the access of those who ask."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass

from sandbox.irods.agent import Agent, Reply
from sandbox.irods.columns import COLUMNS, TABLES, Column, joined
from sandbox.irods.errors import Code, IrodsError
from sandbox.irods.permissions import READ
from sandbox.irods.xml_packing import Struct, pack_rows

ASCENDING, DESCENDING = 0x400, 0x800
TOTAL, NO_DISTINCT, AUTO_CLOSE, UPPER_CASE = 0x20, 0x40, 0x100, 0x200
AGGREGATES = {2: "min", 3: "max", 4: "sum", 5: "avg", 6: "count"}
STATEMENTS = 50
# the order that the server always adds, for those of these columns that are selected
LAST_ORDER = (501, 403, 404)
_PART = re.compile(
    r"\s*(n?(?:=|<>|!=|<=|>=|<|>)|like|not like|in|not in|between|begin_of|parent_of)(?=[\s('])\s*(.*)\s*$", re.S | re.I
)
_JOINED = re.compile(r"(?<=['\s)])\s*(\|\||&&)\s*(?==|<|>|!=|n=|n<|n>|like\b|not\b|in\b|between\b)")


@dataclass(slots=True)
class Statement:
    """A query with rows not yet fetched; further requests refer to it by its continueInx."""

    db: sqlite3.Connection
    cursor: sqlite3.Cursor
    numbers: list[int]


@dataclass(slots=True)
class Select:
    """What goes into the SQL text: expressions, conditions, and the values bound to them, in order."""

    expressions: list[str]
    conditions: list[str]
    values: list[str | int]
    grouped: list[str]
    order: list[str]
    tables: set[str]


def column(number: int) -> Column:
    """The column of that number; CAT_UNKNOWN_TABLE if queries here cannot name it."""
    found = COLUMNS.get(number)
    if found is None:
        raise IrodsError(Code.CAT_UNKNOWN_TABLE)
    return found


def gen_query(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 702. `continueInx` goes on with an open query; `maxRows` of 0 or less closes it.

    continueInx in the reply is above 0 whenever maxRows rows came, be there more or not. CAT_NO_ROWS_FOUND comes with
    an empty GenQueryOut_PI.
    """
    slot = struct["continueInx"]
    if slot:
        statement = agent.statements.get(slot)
        if statement is None:
            raise IrodsError(Code.CAT_INVALID_ARGUMENT)
        if struct["maxRows"] <= 0:
            _close(agent, slot)
            return Reply(0, pack_rows([], rows=0, more=0))
        return _page(agent, statement, slot, struct["maxRows"], 0)
    numbers, sql, values = compose(agent, struct)
    total = 0
    if struct["options"] & TOTAL:
        total = int(agent.catalogue.db.execute(f"select count(*) from ({sql})", values).fetchone()[0])
    if struct["partialStartIndex"] > 0:
        sql += " limit -1 offset ?"
        values.append(struct["partialStartIndex"])
    if struct["maxRows"] <= 0:
        return Reply(0, pack_rows([], rows=0, more=0, total=total))
    slot = next((each for each in range(1, STATEMENTS + 1) if each not in agent.statements), 0)
    if not slot:
        raise IrodsError(Code.CAT_STATEMENT_TABLE_FULL)
    db = agent.catalogue.lend()
    try:
        statement = Statement(db, db.execute(sql, values), numbers)
    except sqlite3.Error:
        agent.catalogue.take_back(db)
        raise
    agent.statements[slot] = statement
    reply = _page(agent, statement, slot, struct["maxRows"], total)
    if struct["options"] & AUTO_CLOSE and slot in agent.statements:
        _close(agent, slot)
    return reply


def close_all(agent: Agent) -> None:
    """Close what the client left open."""
    for slot in list(agent.statements):
        _close(agent, slot)


def _close(agent: Agent, slot: int) -> None:
    statement = agent.statements.pop(slot)
    statement.cursor.close()
    agent.catalogue.take_back(statement.db)


def _page(agent: Agent, statement: Statement, slot: int, count: int, total: int) -> Reply:
    rows = statement.cursor.fetchmany(count)
    more = slot if len(rows) == count else 0
    if not more:
        _close(agent, slot)
    if not rows:
        return Reply(Code.CAT_NO_ROWS_FOUND, pack_rows([], rows=0, more=0))
    columns = [
        (number, ["" if row[at] is None else str(row[at]) for row in rows])
        for at, number in enumerate(statement.numbers)
    ]
    return Reply(0, pack_rows(columns, rows=len(rows), more=more, total=total))


def compose(agent: Agent, struct: Struct) -> tuple[list[int], str, list[str | int]]:
    """The columns, SQL and values of a GenQueryInp_PI."""
    pairs = list(zip(struct["InxIvalPair_PI"]["inx"], struct["InxIvalPair_PI"]["ivalue"], strict=False))
    if not pairs:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT)
    asked = Select([], [], [], [], [], set())
    aggregate = False
    for number, how in pairs:
        each = column(number)
        asked.tables.add(each.table)
        if each.number in (409, 422, 423):
            asked.tables.add("data")
        function = AGGREGATES.get(how & 0xFF)
        asked.expressions.append(f"{function}({each.sql})" if function else each.sql)
        aggregate |= function is not None
        if function is None:
            asked.grouped.append(each.sql)
        if how & ASCENDING:
            asked.order.append(each.sql)
        elif how & DESCENDING:
            asked.order.append(each.sql + " desc")
    _conditions(struct, asked)
    numbers = [number for number, _ in pairs]
    if not aggregate:
        asked.order += [column(number).sql for number in LAST_ORDER if number in numbers]
    sql = render(agent, asked, distinct=not struct["options"] & NO_DISTINCT, aggregate=aggregate)
    return numbers, sql, asked.values


def _conditions(struct: Struct, asked: Select) -> None:
    """Conditions on metadata each look at an AVU of their own, as many as there are names asked for (iRODS general_query.cpp)."""
    seen: dict[int, int] = {}
    for number, text in zip(struct["InxValPair_PI"]["inx"], struct["InxValPair_PI"]["svalue"], strict=False):
        each = column(number)
        copy = seen.get(number, 0) if each.table.endswith("meta") else 0
        seen[number] = seen.get(number, 0) + 1
        expression = each.sql
        asked.tables.add(each.table)
        if number in (409, 422, 423):
            asked.tables.add("data")
        if copy:
            expression = _own_avu(asked, each, copy)
        if struct["options"] & UPPER_CASE:
            expression = f"upper({expression})"
        sql, values = condition(expression, each, text)
        asked.conditions.append(sql)
        asked.values += values


def _own_avu(asked: Select, each: Column, copy: int) -> str:
    """The column in a further copy of the metadata tables, joined to the same entity."""
    alias, owner = f"{each.table}{copy}", each.table.removesuffix("meta")
    mapped = f"{owner}map{copy}"
    if alias not in asked.tables:
        key = {"data": "data.data_id", "coll": "coll.coll_id", "resc": "resc.resc_id", "user": "user.user_id"}[owner]
        asked.tables |= {alias, mapped}
        asked.conditions.append(f"{mapped}.object_id = {key} and {alias}.meta_id = {mapped}.meta_id")
    return f"{alias}.{each.sql.partition('.')[2]}"


def condition(expression: str, each: Column, text: str) -> tuple[str, list[str | int]]:
    """SQL and values of one condition, such as `= 'x'` or `like 'a%' || = 'b'`. CAT_INVALID_ARGUMENT if it is none."""
    parts = _JOINED.split(text)
    sql, values = _single(expression, each, parts[0])
    for joint, part in zip(parts[1::2], parts[2::2], strict=True):
        more, further = _single(expression, each, part)
        sql += (" or " if joint == "||" else " and ") + more
        values += further
    return f"({sql})", values


def _single(expression: str, each: Column, text: str) -> tuple[str, list[str | int]]:
    found = _PART.match(text)
    if found is None:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT)
    operator, rest = found.group(1).lower(), found.group(2)
    if operator in ("in", "not in"):
        items = _items(rest)
        _numbers(each, items)
        return f"{expression} {operator} ({', '.join('?' * len(items))})", [*items]
    if operator == "between":
        low, high = [*_items(rest), "", ""][:2]
        _numbers(each, [low, high])
        return f"{expression} between ? and ?", [low, high]
    # the value is all between the first and the last quote, whatever stands there
    first, last = rest.find("'"), rest.rfind("'")
    if first < 0 or last <= first:
        raise IrodsError(Code.CAT_INVALID_ARGUMENT)
    value = rest[first + 1 : last]
    if operator in ("like", "not like"):
        plain = f"cast({expression} as text)" if each.numeric else expression
        return f"{plain} {operator} ? escape '\\'", [value]
    if operator == "begin_of":
        return f"? like {expression} || '%'", [value]
    if operator == "parent_of":
        return f"? like {expression} || '/%'", [value]
    if operator.startswith("n"):
        return f"cast({expression} as integer) {operator[1:]} cast(? as integer)", [value]
    _numbers(each, [value])
    return f"{expression} {operator} ?", [value]


def _items(text: str) -> list[str]:
    """The quoted values of an `in` or `between`; a quote inside one breaks it, as in the server."""
    items = re.findall(r"'([^']*)'", text)
    if not items or re.sub(r"'[^']*'", "", text).strip(" (),\t\n"):
        raise IrodsError(Code.CAT_INVALID_ARGUMENT)
    return items


def _numbers(each: Column, values: list[str]) -> None:
    """Postgres compares a number with nothing else."""
    if each.numeric and any(not re.fullmatch(r"\s*-?\d+\s*", value) for value in values):
        raise IrodsError(Code.CAT_SQL_ERR)


def render(agent: Agent, asked: Select, *, distinct: bool, aggregate: bool, tail: str = "") -> str:
    """The SQL text; CAT_FAILED_TO_LINK_TABLES if the tables have nothing to do with each other."""
    copies = {alias for alias in asked.tables if alias not in TABLES}
    linked = joined(frozenset(asked.tables - copies))
    if linked is None:
        raise IrodsError(Code.CAT_FAILED_TO_LINK_TABLES)
    tables, links = linked
    sources = [TABLES[alias] for alias in tables]
    sources += [f"{'metamap' if 'map' in alias else 'metadata'} {alias}" for alias in sorted(copies)]
    where = [*asked.conditions, *links, *_access(agent, tables)]
    sql = f"select {'distinct ' if distinct else ''}{', '.join(asked.expressions)} from {', '.join(sources)}"
    if where:
        sql += f" where {' and '.join(where)}"
    if aggregate and asked.grouped:
        sql += f" group by {', '.join(asked.grouped)}"
    if asked.order:
        sql += f" order by {', '.join(asked.order)}"
    return sql + tail


def _access(agent: Agent, tables: tuple[str, ...]) -> list[str]:
    """Who is no rodsadmin sees what it may read and nothing else."""
    if agent.user.admin:
        return []
    readable = (
        "exists (select 1 from access a join memberships m on m.group_id = a.user_id"
        f" where m.user_id = {agent.user.id} and a.type >= {READ} and a.object_id = %s)"
    )
    keys = {"data": "data.data_id", "coll": "coll.coll_id"}
    return [readable % key for alias, key in keys.items() if alias in tables]
