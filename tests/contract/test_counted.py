"""What the metrics tell of calls, errors and fast ways."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from core.checksums import checksum_of
from core.errors import FileError, Outage
from core.irods import Gateway, SmallFile
from core.metrics import REGISTRY
from core.outcome import Done
from core.settings import IrodsSettings
from sandbox.irods import SandboxServer


def calls(api: str, name: str) -> float:
    return REGISTRY.get_sample_value("ingest_irods_call_seconds_count", {"api": api, "call": name}) or 0


def failures(api: str, name: str, error: str) -> float:
    return REGISTRY.get_sample_value("ingest_irods_errors_total", {"api": api, "call": name, "error": error}) or 0


def feature(name: str) -> float | None:
    return REGISTRY.get_sample_value("ingest_irods_feature", {"feature": name})


def test_each_call_and_each_login_is_timed(gateway: Gateway, home: str) -> None:
    before, logins = calls("702", "gen_query"), calls("0", "connect")
    gateway.replicas(f"{home}/absent")
    gateway.replicas(f"{home}/absent")
    assert calls("702", "gen_query") == before + 2
    assert calls("0", "connect") == logins + 1


def test_requests_that_share_a_round_trip_are_counted_each(gateway: Gateway, home: str) -> None:
    before = calls("707", "mod_access_control")
    user = gateway.server().user
    with pytest.raises(FileError):
        gateway.annotate(f"{home}/absent", acl=[(user, "own"), (user, "read")])
    assert calls("707", "mod_access_control") == before + 2


def test_no_rows_is_no_error_and_a_refusal_is_one(gateway: Gateway, home: str) -> None:
    none = failures("702", "gen_query", "CAT_NO_ROWS_FOUND")
    gateway.replicas(f"{home}/absent")
    assert failures("702", "gen_query", "CAT_NO_ROWS_FOUND") == none
    refused = failures("681", "coll_create", "CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME")
    gateway.make_collections(home)
    assert failures("681", "coll_create", "CATALOG_ALREADY_HAS_ITEM_BY_THAT_NAME") == refused + 1


def test_a_login_that_fails_and_a_connection_that_is_lost(irods_settings: IrodsSettings, home: str) -> None:
    refused = failures("0", "connect", "auth")
    with Gateway(irods_settings.model_copy(update={"password": SecretStr("wrong")})) as gateway:
        with pytest.raises(Outage):
            gateway.replicas(f"{home}/absent")
    assert failures("0", "connect", "auth") == refused + 1
    lost = failures("702", "gen_query", "connection_lost")
    with Gateway(irods_settings) as gateway:
        gateway.replicas(f"{home}/absent")
        gateway._session._connection.socket.shutdown(2)
        with pytest.raises(Outage):
            gateway.replicas(f"{home}/absent")
    assert failures("702", "gen_query", "connection_lost") == lost + 1


def test_fast_ways_that_are_used_and_forbidden(irods_settings: IrodsSettings) -> None:
    with Gateway(irods_settings):
        assert [feature(name) for name in ("bulk_register", "transaction", "bundle", "pack")] == [1] * 4
    with Gateway(irods_settings.model_copy(update={"bundles": False})):
        assert [feature(name) for name in ("bulk_register", "bundle", "pack")] == [1, 0, 0]


def test_a_fast_way_that_the_server_refuses(tmp_path: Path) -> None:
    with SandboxServer(tmp_path) as server:
        for api in (518, 665):
            server.faults.add("error", api=api, code=-13000)
        settings = IrodsSettings(host="127.0.0.1", port=server.port, password=SecretStr("rods"))
        with Gateway(settings) as gateway:
            assert [feature(name) for name in ("vault_write", "bundle")] == [1, 1]
            files = [SmallFile(f"f{n}", b"x", checksum_of(b"x")) for n in range(4)]
            outcomes = gateway.put_bundle("/tempZone/home/rods", files, resource=None, overwrite=False)
            assert all(isinstance(outcome, Done) for outcome in outcomes)
            assert [feature(name) for name in ("vault_write", "bundle")] == [0, 0]
