"""REST: the verbs automated ingest had, and who may use them."""

from __future__ import annotations

from pathlib import Path

import httpx

from inventory import jobs
from inventory.engine import Database
from tests.web.conftest import serving

TARGET = "/tempZone/home/rods/web"


def body(source: Path, **more: object) -> dict[str, object]:
    return {"source": str(source), "collection": TARGET, **more}


def test_a_job_is_started_shown_paused_resumed_and_stopped(
    operator: httpx.Client, client: httpx.Client, source: Path
) -> None:
    answer = operator.put("/job/first", json=body(source, operation="put", settle_seconds=2.5))
    assert (answer.status_code, answer.json()) == (201, {"job": "first"})
    shown = client.get("/job/first").json()
    assert (shown["state"], shown["operation"], shown["collection"]) == ("running", "put", TARGET)
    assert [job["job"] for job in client.get("/job").json()["jobs"]] == ["first"]
    for verb, state in (("pause", "paused"), ("resume", "running")):
        assert operator.post(f"/job/first/{verb}").status_code == 204
        assert client.get("/job/first").json()["state"] == state
    assert operator.delete("/job/first").status_code == 204
    assert client.get("/job/first").json()["state"] == "stopped"


def test_yaml_with_the_words_of_automated_ingest(operator: httpx.Client, source: Path, inventory_url: str) -> None:
    words = f"root: {source}\ntarget: {TARGET}\ninterval: 60\nname: theirs\n"
    answer = operator.put("/job", content=words, headers={"Content-Type": "application/yaml"})
    assert (answer.status_code, answer.json()) == (201, {"job": "theirs"})
    database = Database(inventory_url)
    job = jobs.find(database, "theirs")
    database.close()
    assert job is not None and job.settings.rescan_seconds == 60


def test_settings_change_while_it_runs(operator: httpx.Client, client: httpx.Client, source: Path) -> None:
    assert operator.put("/job/first", json=body(source)).status_code == 201
    words = '{"priority": 7, "max_in_flight": 40.0, "bandwidth": "08:00,50M 19:00,off"}'  # to JSON 40.0 is whole
    headers = {"Content-Type": "application/json"}
    assert operator.patch("/job/first", content=words, headers=headers).status_code == 204
    shown = client.get("/job/first").json()
    assert (shown["priority"], shown["max_in_flight"]) == (7, 40)
    assert operator.patch("/job/first", json={"max_in_flight": 0}).status_code == 204
    assert client.get("/job/first").json()["max_in_flight"] is None
    for wrong in (
        {},
        {"max_in_flight": False},
        {"max_in_flight": 2**31},
        {"max_in_flight": 1.5},
        {"priority": "high"},
        {"operation": "put"},
        {"bandwidth": "quick"},
    ):
        assert operator.patch("/job/first", json=wrong).status_code == 400
    assert operator.patch("/job/other", json={"priority": 1}).status_code == 404
    for content, status in ((b"", 200), (b"{}", 200), (b"null", 400)):
        assert operator.post("/job/first/retry", content=content, headers=headers).status_code == status


def test_a_name_is_made_of_the_source_when_none_is_given(operator: httpx.Client, source: Path) -> None:
    assert operator.put("/job", json=body(source)).json() == {"job": "source"}
    assert operator.put("/job", json=body(source)).status_code == 409
    again = operator.put("/job/source", json=body(source))
    assert again.status_code == 409 and "exists already" in again.json()["error"]


BAD: tuple[tuple[object, str], ...] = (
    ({"collection": TARGET}, "source is missing"),
    ({"source": "/nowhere", "collection": TARGET}, "/nowhere"),
    ({"source": "/", "collection": "/otherZone/home/x"}, "otherZone"),
    ({"source": "/", "collection": TARGET, "operation": "copy"}, "operation"),
    ({"source": "/", "collection": TARGET, "operation": "put", "delete_mode": "trash"}, "delete_mode"),
    ({"source": "/", "collection": TARGET, "shards": "4"}, "shards"),
    ({"source": "/", "collection": TARGET, "sourcee": "/"}, "did you mean source"),
    ({"source": "/", "root": "/", "collection": TARGET}, "say the same"),
    ([1], "not an object"),
)


def test_bad_input_says_what_and_starts_nothing(operator: httpx.Client, client: httpx.Client) -> None:
    for found, words in BAD:
        answer = operator.put("/job/bad", json=found)
        assert answer.status_code in (400, 409)
        assert words in f"{answer.json()['error']} {answer.json()['hint']}"
    assert client.get("/job").json() == {"jobs": []}


def test_broken_bodies(operator: httpx.Client) -> None:
    for content, kind, status in (
        (b"{", "application/json", 400),
        (b"a: [", "application/yaml", 400),
        (b"\xff", "application/yaml", 400),
        (b"states: &all [*all]", "application/yaml", 400),
        (b"source: /\ncollection: /tempZone/x\noperation: 2001-01-01", "application/yaml", 400),
        (b"source: /\ncollection: /tempZone/x\noperation: !!set {a}", "application/yaml", 400),
        (b'{"source": "/\\u0000", "collection": "/tempZone/x"}', "application/json", 400),
        (b'{"source": "/\\ud800", "collection": "/tempZone/x"}', "application/json", 400),
        (b"a=b", "application/x-www-form-urlencoded", 415),
        (b"x" * 70_000, "application/yaml", 413),
    ):
        answer = operator.put("/job/bad", content=content, headers={"Content-Type": kind})
        assert answer.status_code == status
        assert answer.json()["error"]


def test_nobody_changes_anything_without_the_token(client: httpx.Client, source: Path) -> None:
    for method, path in (
        ("PUT", "/job"),
        ("PUT", "/job/x"),
        ("DELETE", "/job/x"),
        ("POST", "/job/x/pause"),
        ("POST", "/job/x/resume"),
        ("POST", "/job/x/retry"),
    ):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic abc"}):
            answer = client.request(method, path, json=body(source), headers=headers)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert client.get("/job").json() == {"jobs": []}


def test_without_a_token_the_server_is_read_only(environment: dict[str, str], source: Path) -> None:
    with serving(environment) as address:
        answer = httpx.put(f"{address}/job", json=body(source), headers={"Authorization": "Bearer x"})
        assert answer.status_code == 403
        assert httpx.get(f"{address}/job").status_code == 200


def test_a_private_server_shows_nothing_without_the_token(environment: dict[str, str]) -> None:
    with serving({**environment, "WEB_TOKEN": "t", "INGEST_WEB__PRIVATE": "true"}) as address:
        assert httpx.get(f"{address}/job").status_code == 401
        assert httpx.get(f"{address}/").headers["Location"] == "/sign-in"
        assert httpx.get(f"{address}/timeline.json").headers["Location"] == "/sign-in"
        assert httpx.get(f"{address}/job", headers={"Authorization": "Bearer t"}).status_code == 200


def test_hasty_clients_are_told_when_to_come_again(environment: dict[str, str]) -> None:
    with serving({**environment, "INGEST_WEB__REQUESTS_PER_MINUTE": "5"}) as address:
        with httpx.Client(base_url=address) as client:
            answers = [client.get("/job") for _ in range(8)]
        assert [answer.status_code for answer in answers[:5]] == [200] * 5
        assert answers[-1].status_code == 429
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 13
        # the kubelet is never sent away: it would start the server anew
        assert [httpx.get(f"{address}/{way}").status_code for way in ("livez", "readyz")] == [200, 200]


def test_what_is_not_there_is_said_in_json(client: httpx.Client, operator: httpx.Client) -> None:
    assert client.get("/job/none").status_code == 404
    assert operator.delete("/job/none").status_code == 404
    answer = client.post("/job")
    assert (answer.status_code, answer.json()["error"]) == (405, "method not allowed")
    assert "GET" in answer.headers["Allow"]
    assert client.get("/nowhere").json()["error"] == "not found"
    assert [client.get(f"/{place}/%00").status_code for place in ("job", "jobs")] == [404, 404]


def test_an_inventory_that_is_away_is_an_answer(environment: dict[str, str]) -> None:
    from sandbox.databases import PostgresServer

    server, name = environment["INVENTORY_URL"].rsplit("/", 1)
    with serving(environment) as address:
        assert httpx.get(f"{address}/job").status_code == 200
        administration = PostgresServer(f"{server}/postgres")
        administration.drop_database(name)
        answer = httpx.get(f"{address}/job", timeout=30)
        assert answer.status_code == 503
        assert "does not answer" in answer.json()["error"]
        # not ready, but nothing that a new start would mend
        assert [httpx.get(f"{address}/{way}", timeout=30).status_code for way in ("livez", "readyz")] == [200, 503]
        administration.create_database(name)
