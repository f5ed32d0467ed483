"""GenQuery2, API 10221: its language read, its answer JSON rows (recording query)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from sandbox.irods.agent import Agent, Reply
from sandbox.irods.columns import NAMES, Column
from sandbox.irods.errors import Code, IrodsError
from sandbox.irods.query import Select, render
from sandbox.irods.xml_packing import Struct, pack

_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|([A-Za-z_][A-Za-z0-9_.]*)|(\d+)|(<>|!=|<=|>=|\|\||[=<>(),*]))", re.S)
FUNCTIONS = {"count", "sum", "avg", "min", "max", "upper", "lower"}
DEFAULT_LIMIT = 256


def query(agent: Agent, struct: Struct, _stream: memoryview) -> Reply:
    """API 10221, Genquery2Input_PI: STR_PI with a JSON list of rows of strings.

    `column_mappings` asks for the names instead, `sql_only` for the SQL text (that of the sandbox, not of Postgres).
    SYS_LIBRARY_ERROR for a text that cannot be read.
    """
    if struct["column_mappings"]:
        names = {name: {column.table: column.sql} for name, column in NAMES.items()}
        return Reply(0, pack("STR_PI", {"myStr": json.dumps(names, separators=(",", ":"))}))
    if struct["zone"] and struct["zone"] != agent.zone:
        raise IrodsError(Code.SYS_INVALID_ZONE_NAME)
    sql, values = _Parser(str(struct["query_string"] or "")).compose(agent)
    if struct["sql_only"]:
        return Reply(0, pack("STR_PI", {"myStr": sql}))
    rows = agent.catalogue.db.execute(sql, values).fetchall()
    found = [["" if value is None else str(value) for value in row] for row in rows]
    return Reply(0, pack("STR_PI", {"myStr": json.dumps(found, separators=(",", ":"), ensure_ascii=False)}))


@dataclass
class _Parser:
    text: str
    at: int = 0
    tokens: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        place = 0
        while self.text[place:].strip():
            found = _TOKEN.match(self.text, place)
            if found is None:
                raise IrodsError(Code.SYS_LIBRARY_ERROR)
            self.tokens.append(found.group(0).strip())
            place = found.end()
        self.asked = Select([], [], [], [], [], set())

    def _peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def _next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1] if self.at <= len(self.tokens) else ""

    def _is(self, *words: str) -> bool:
        ahead = [token.lower() for token in self.tokens[self.at : self.at + len(words)]]
        if ahead != list(words):
            return False
        self.at += len(words)
        return True

    def _need(self, word: str) -> None:
        if not self._is(word):
            raise IrodsError(Code.SYS_LIBRARY_ERROR)

    def compose(self, agent: Agent) -> tuple[str, list[str | int]]:
        """SQL and values of the whole text."""
        self._need("select")
        distinct = not self._is("no", "distinct")
        self._is("distinct")
        aggregate = self._selections()
        if self._is("where"):
            self.asked.conditions.append(self._either())
        grouped = self._group()
        order = self._order()
        tail = self._limits()
        if self.at < len(self.tokens):
            raise IrodsError(Code.SYS_LIBRARY_ERROR)
        self.asked.order = order
        if grouped:
            self.asked.grouped = grouped
        return render(
            agent, self.asked, distinct=distinct, aggregate=aggregate or bool(grouped), tail=tail
        ), self.asked.values

    def _column(self, token: str) -> Column:
        found = NAMES.get(token.upper())
        if found is None:
            raise IrodsError(Code.SYS_LIBRARY_ERROR)
        self.asked.tables.add(found.table)
        if found.number in (409, 422, 423):
            self.asked.tables.add("data")
        return found

    def _expression(self) -> tuple[str, bool]:
        token = self._next()
        if self._peek() == "(" and token.lower() in FUNCTIONS:
            self._next()
            self._is("distinct")
            inner, _ = self._expression()
            self._need(")")
            return f"{token.lower()}({inner})", token.lower() not in ("upper", "lower")
        return self._column(token).sql, False

    def _selections(self) -> bool:
        aggregate = False
        while True:
            expression, counted = self._expression()
            self.asked.expressions.append(expression)
            aggregate |= counted
            if not counted:
                self.asked.grouped.append(expression)
            if not self._is(","):
                return aggregate

    def _either(self) -> str:
        parts = [self._both()]
        while self._is("or"):
            parts.append(self._both())
        return f"({' or '.join(parts)})" if len(parts) > 1 else parts[0]

    def _both(self) -> str:
        parts = [self._one()]
        while self._is("and"):
            parts.append(self._one())
        return " and ".join(parts)

    def _one(self) -> str:
        if self._is("not"):
            return f"not ({self._one()})"
        if self._is("("):
            inner = self._either()
            self._need(")")
            return f"({inner})"
        expression, _ = self._expression()
        if self._is("is"):
            none = "not null" if self._is("not") else "null"
            self._need("null")
            return f"{expression} is {none}"
        negated = "not " if self._is("not") else ""
        operator = self._next().lower()
        if operator == "like":
            return f"cast({expression} as text) {negated}like {self._value()} escape '\\'"
        if operator == "in":
            self._need("(")
            values = [self._value()]
            while self._is(","):
                values.append(self._value())
            self._need(")")
            return f"{expression} {negated}in ({', '.join(values)})"
        if operator == "between":
            low = self._value()
            self._need("and")
            return f"{expression} {negated}between {low} and {self._value()}"
        if operator not in ("=", "!=", "<>", "<", ">", "<=", ">="):
            raise IrodsError(Code.SYS_LIBRARY_ERROR)
        return f"{expression} {operator} {self._value()}"

    def _value(self) -> str:
        token = self._next()
        if not token.startswith("'"):
            raise IrodsError(Code.SYS_LIBRARY_ERROR)
        plain = token[1:-1].replace("''", "'")
        plain = re.sub(r"\\x([0-9A-Fa-f]{2})", lambda found: chr(int(found.group(1), 16)), plain)
        self.asked.values.append(plain)
        return "?"

    def _group(self) -> list[str]:
        found: list[str] = []
        if self._is("group", "by"):
            found.append(self._expression()[0])
            while self._is(","):
                found.append(self._expression()[0])
        return found

    def _order(self) -> list[str]:
        found: list[str] = []
        if self._is("order", "by"):
            while True:
                expression, _ = self._expression()
                found.append(expression + (" desc" if self._is("desc") else ""))
                self._is("asc")
                if not self._is(","):
                    break
        return found

    def _limits(self) -> str:
        limit, offset = DEFAULT_LIMIT, 0
        for _ in range(2):
            if self._is("limit") or self._is("fetch", "first"):
                limit = self._count()
                self._is("rows", "only")
            elif self._is("offset"):
                offset = self._count()
        return f" limit {limit} offset {offset}"

    def _count(self) -> int:
        token = self._next()
        if not token.isdigit():
            raise IrodsError(Code.SYS_LIBRARY_ERROR)
        return int(token)
