"""The columns that queries may name, by GenQuery1 number and GenQuery2 name, and how their tables are joined.

A table here is an alias in SQL; `JOINS` says by which condition an alias follows from another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Column:
    """One column: GenQuery1 number, GenQuery2 names, alias of its table, its SQL; `numeric` ones take numbers alone."""

    number: int
    names: tuple[str, ...]
    table: str
    sql: str
    numeric: bool = False


TABLES = {
    "zone": "zone zone",
    "user": "users user",
    "userauth": "(select user_id, '' as name from users where 0) userauth",
    "resc": "resources resc",
    "data": "replicas data",
    "coll": "collections coll",
    "datamap": "metamap datamap",
    "datameta": "metadata datameta",
    "collmap": "metamap collmap",
    "collmeta": "metadata collmeta",
    "rescmap": "metamap rescmap",
    "rescmeta": "metadata rescmeta",
    "usermap": "metamap usermap",
    "usermeta": "metadata usermeta",
    "dataaccess": "access dataaccess",
    "datatoken": "tokens datatoken",
    "dataaccessuser": "users dataaccessuser",
    "collaccess": "access collaccess",
    "colltoken": "tokens colltoken",
    "collaccessuser": "users collaccessuser",
    "member": "memberships member",
    "grp": "users grp",
    "quota": "quotas quota",
}
# alias -> the alias it hangs on, and the condition
JOINS: dict[str, list[tuple[str, str]]] = {
    "coll": [("data", "data.coll_id = coll.coll_id")],
    "resc": [("data", "data.resc_id = resc.resc_id"), ("quota", "quota.resc_id = resc.resc_id")],
    "datamap": [("data", "datamap.object_id = data.data_id")],
    "datameta": [("datamap", "datameta.meta_id = datamap.meta_id")],
    "collmap": [("coll", "collmap.object_id = coll.coll_id")],
    "collmeta": [("collmap", "collmeta.meta_id = collmap.meta_id")],
    "rescmap": [("resc", "rescmap.object_id = resc.resc_id")],
    "rescmeta": [("rescmap", "rescmeta.meta_id = rescmap.meta_id")],
    "usermap": [("user", "usermap.object_id = user.user_id")],
    "usermeta": [("usermap", "usermeta.meta_id = usermap.meta_id")],
    "dataaccess": [("data", "dataaccess.object_id = data.data_id")],
    "datatoken": [("dataaccess", "datatoken.id = dataaccess.type and datatoken.namespace = 'access_type'")],
    "dataaccessuser": [("dataaccess", "dataaccessuser.user_id = dataaccess.user_id")],
    "collaccess": [("coll", "collaccess.object_id = coll.coll_id")],
    "colltoken": [("collaccess", "colltoken.id = collaccess.type and colltoken.namespace = 'access_type'")],
    "collaccessuser": [("collaccess", "collaccessuser.user_id = collaccess.user_id")],
    "user": [
        ("dataaccess", "user.user_id = dataaccess.user_id"),
        ("collaccess", "user.user_id = collaccess.user_id"),
        ("member", "user.user_id = member.user_id"),
        ("quota", "user.user_id = quota.user_id"),
        ("userauth", "user.user_id = userauth.user_id"),
        ("zone", "user.zone = zone.name"),
    ],
    "grp": [("member", "grp.user_id = member.group_id")],
}
# a table that two others are joined through, when neither hangs on the other
BRIDGES = ("data", "datamap", "collmap", "rescmap", "usermap", "dataaccess", "collaccess", "member")


def _columns() -> list[Column]:
    found: list[Column] = []

    def table(alias: str, *lines: str) -> None:
        for line in lines:
            number, names, sql, *kind = line.split()
            expression = sql.replace("~", " ") if "(" in sql else f"{alias}.{sql}"
            found.append(Column(int(number), tuple(names.split(",")), alias, expression, bool(kind)))

    table("zone", "101 ZONE_ID zone_id n", "102 ZONE_NAME name", "103 ZONE_TYPE type", "104 ZONE_CONNECTION connection",
          "105 ZONE_COMMENT comment")  # fmt: skip
    table("user", "201 USER_ID user_id n", "202 USER_NAME name", "203 USER_TYPE type", "204 USER_ZONE zone",
          "206 USER_INFO info", "207 USER_COMMENT comment", "208 USER_CREATE_TIME create_ts",
          "209 USER_MODIFY_TIME modify_ts")  # fmt: skip
    table("userauth", "1600 USER_AUTH_ID user_id n", "1601 USER_DN name")
    table("resc", "301 RESC_ID resc_id n", "302 RESC_NAME name", "303 RESC_ZONE_NAME zone", "304 RESC_TYPE_NAME type",
          "305 RESC_CLASS_NAME class", "306 RESC_HOSTNAME,RESC_LOC location", "307 RESC_VAULT_PATH vault_path",
          "308 RESC_FREE_SPACE free_space", "309 RESC_INFO info", "310 RESC_COMMENT comment",
          "311 RESC_CREATE_TIME create_ts", "312 RESC_MODIFY_TIME modify_ts", "313 RESC_STATUS status",
          "314 RESC_FREE_SPACE_TIME free_space_ts", "315 RESC_CHILDREN children", "316 RESC_CONTEXT context",
          "317 RESC_PARENT_ID,RESC_PARENT parent", "318 RESC_PARENT_CONTEXT parent_context")  # fmt: skip
    table("data", "401 DATA_ID data_id n", "402 DATA_COLL_ID coll_id n", "403 DATA_NAME name",
          "404 DATA_REPL_NUM repl_num n", "405 DATA_VERSION version", "406 DATA_TYPE_NAME type", "407 DATA_SIZE size n",
          "410 DATA_PATH path", "411 DATA_OWNER_NAME owner_name", "412 DATA_OWNER_ZONE owner_zone",
          "413 DATA_REPL_STATUS status n", "414 DATA_STATUS data_status", "415 DATA_CHECKSUM checksum",
          "416 DATA_EXPIRY expiry", "417 DATA_MAP_ID map_id n", "418 DATA_COMMENTS comments",
          "419 DATA_CREATE_TIME create_ts", "420 DATA_MODIFY_TIME modify_ts", "421 DATA_MODE mode",
          "422 DATA_RESC_HIER hierarchy(data.resc_id)", "423 DATA_RESC_ID resc_id n",
          "424 DATA_ACCESS_TIME access_ts")  # fmt: skip
    table("resc", "409 DATA_RESC_NAME name")
    table("coll", "500 COLL_ID coll_id n", "501 COLL_NAME name", "502 COLL_PARENT_NAME parent_name",
          "503 COLL_OWNER_NAME owner_name", "504 COLL_OWNER_ZONE owner_zone", "505 COLL_MAP_ID map_id n",
          "506 COLL_INHERITANCE inheritance", "507 COLL_COMMENTS comments", "508 COLL_CREATE_TIME create_ts",
          "509 COLL_MODIFY_TIME modify_ts", "510 COLL_TYPE coalesce(null,'')",
          "511 COLL_INFO1 coalesce(null,'')", "512 COLL_INFO2 coalesce(null,'')")  # fmt: skip
    for base, subject, alias in ((600, "DATA", "datameta"), (610, "COLL", "collmeta"), (630, "RESC", "rescmeta"),
                                 (640, "USER", "usermeta")):  # fmt: skip
        table(alias, f"{base} META_{subject}_ATTR_NAME attribute", f"{base + 1} META_{subject}_ATTR_VALUE value",
              f"{base + 2} META_{subject}_ATTR_UNITS units", f"{base + 3} META_{subject}_ATTR_ID meta_id n",
              f"{base + 4} META_{subject}_CREATE_TIME create_ts",
              f"{base + 5} META_{subject}_MODIFY_TIME modify_ts")  # fmt: skip
    for base, subject, alias in ((700, "DATA", "data"), (710, "COLL", "coll")):
        table(f"{alias}access", f"{base} {subject}_ACCESS_PERM_ID,{subject}_ACCESS_TYPE type n",
              f"{base + 3} {subject}_ACCESS_USER_ID user_id n",
              f"{base + 4} {subject}_ACCESS_{subject}_ID object_id n")  # fmt: skip
        table(f"{alias}token", f"{base + 1} {subject}_ACCESS_PERM_NAME,{subject}_ACCESS_NAME name",
              f"{base + 2} {subject}_TOKEN_NAMESPACE namespace")  # fmt: skip
    table("dataaccessuser", "1310 DATA_ACCESS_USER_NAME name", "1311 DATA_ACCESS_USER_ZONE zone")
    table("collaccessuser", "1300 COLL_ACCESS_USER_NAME name", "1301 COLL_ACCESS_USER_ZONE zone")
    table("member", "900 GROUP_ID group_id n")
    table("grp", "901 GROUP_NAME name")
    table("quota", "2000 QUOTA_USER_ID user_id n", "2001 QUOTA_RESC_ID resc_id n", "2002 QUOTA_LIMIT quota_limit n",
          "2003 QUOTA_OVER over n", "2004 QUOTA_MODIFY_TIME modify_ts")  # fmt: skip
    return found


COLUMNS = {column.number: column for column in _columns()}
NAMES = {name: column for column in COLUMNS.values() for name in column.names}


@lru_cache(maxsize=512)
def joined(wanted: frozenset[str]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Aliases and join conditions that link all `wanted` ones; None if they cannot be linked."""
    tables = set(wanted)
    for alias in list(tables):
        tables |= _needed(alias)
    for bridge in ("", *BRIDGES):
        tried = tables | ({bridge} | _needed(bridge) if bridge else set())
        conditions = _conditions(tried)
        if conditions is not None:
            return tuple(sorted(tried)), tuple(conditions)
    return None


def _needed(alias: str) -> set[str]:
    """Tables that one is never without: what its rows hang on, where that is only one table."""
    found: set[str] = set()
    while alias in JOINS and len(JOINS[alias]) == 1 and alias not in ("coll", "grp"):
        alias = JOINS[alias][0][0]
        found.add(alias)
    return found | ({"member"} if alias == "grp" else set())


def _conditions(tables: set[str]) -> list[str] | None:
    """The conditions between `tables`, if they link all of them."""
    conditions: list[str] = []
    groups = [{alias} for alias in tables]
    for alias in sorted(tables):
        for other, condition in JOINS.get(alias, []):
            if other in tables:
                one = next(group for group in groups if alias in group)
                two = next(group for group in groups if other in group)
                conditions.append(condition)
                if one is not two:
                    one |= two
                    groups.remove(two)
    return conditions if len(groups) <= 1 else None
