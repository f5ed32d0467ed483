"""Ways to a service: proxy, certificates, the bucket before the host, no credentials, a file of them, and roles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import Outage, UsageError
from core.sources.s3 import S3Source
from tests.s3.front import Answer, Front, Wrong, before, saying
from tests.s3.service import EXTERNAL, Service

TLS = Path(__file__).parents[1] / "data" / "tls"
PAIR = (str(TLS / "server.pem"), str(TLS / "server.key"))
AUTHORITY = TLS / "ca.pem"


@pytest.fixture(scope="module")
def bucket(s3: Service) -> str:
    return s3.bucket("in/one", "in/sp ace+é")


@pytest.fixture
def front(s3: Service) -> Iterator[Front]:
    with before(s3.endpoint) as front:
        yield front


@pytest.fixture
def secured(s3: Service) -> Iterator[Front]:
    with before(s3.endpoint, tls=PAIR) as front:
        yield front


def works(source: S3Source) -> bool:
    source.check()
    file = source.open("in/sp ace+é")
    try:
        return [entry.name for entry in source.scan("in")] == ["one", "sp ace+é"] and file.read_at(0, 5) == b"x"
    finally:
        file.close()


def test_a_proxy_is_asked_for_all(s3: Service, front: Front, bucket: str) -> None:
    source = s3.source(bucket, proxy_url=front.endpoint)
    assert works(source)
    assert front.asked
    assert all(one.url.startswith(f"{s3.endpoint}/{bucket}") for one in front.asked)
    away = s3.source(bucket, proxy_url="http://127.0.0.1:9", attempts=1)
    with pytest.raises(Outage, match=r"check s3\.proxy_url") as caught:
        list(away.scan(""))
    assert caught.value.error == "ProxyConnectionError"


def test_a_proxy_leads_to_a_service_with_tls(s3: Service, secured: Front, bucket: str) -> None:
    port = secured.endpoint.rpartition(":")[2]
    with before(secured.endpoint) as proxy:
        assert works(s3.source(bucket, endpoint_url=secured.endpoint, proxy_url=proxy.endpoint, ca_file=AUTHORITY))
        assert {(one.method, one.url) for one in proxy.asked} == {("CONNECT", f"localhost:{port}")}
    assert all(one.headers["authorization"] for one in secured.asked)


def test_certificates_are_checked(s3: Service, secured: Front, bucket: str) -> None:
    assert works(s3.source(bucket, endpoint_url=secured.endpoint, ca_file=AUTHORITY))
    assert works(s3.source(bucket, endpoint_url=secured.endpoint, verify_tls=False))
    asked = len(secured.asked)
    for host in ("localhost", "127.0.0.1"):  # no authority for the one, no name for the other
        settings: dict[str, Any] = {} if host == "localhost" else {"ca_file": AUTHORITY}
        source = s3.source(bucket, endpoint_url=secured.endpoint.replace("localhost", host), attempts=1, **settings)
        with pytest.raises(UsageError, match=r"s3\.ca_file"):
            source.check()
        with pytest.raises(Outage) as caught:
            source.open("in/one")
        assert caught.value.error == "SSLError"
    assert len(secured.asked) == asked


def test_a_certificate_file_that_is_none_is_told(s3: Service, secured: Front, bucket: str, tmp_path: Path) -> None:
    for name in ("missing", "empty"):
        (tmp_path / "empty").touch()
        with pytest.raises(UsageError, match=r"s3\.ca_file"):
            s3.source(bucket, endpoint_url=secured.endpoint, ca_file=tmp_path / name, attempts=1).check()


def test_the_bucket_stands_before_the_host_or_in_the_path(s3: Service, bucket: str) -> None:
    with before(s3.endpoint, domain="objects.example.org") as front:
        source = s3.source(
            bucket, endpoint_url="http://objects.example.org", proxy_url=front.endpoint, addressing="virtual"
        )
        if EXTERNAL not in os.environ:  # it would have to know that name, for it is signed
            assert works(source)
            assert {one.headers["host"] for one in front.asked} == {f"{bucket}.objects.example.org"}
            assert front.asked[-1].url.startswith(f"http://{bucket}.objects.example.org/in/")
    with before(s3.endpoint) as front:
        assert works(s3.source(bucket, endpoint_url=front.endpoint, addressing="auto"))
        assert all(one.url.startswith(f"/{bucket}") for one in front.asked)


def test_anonymous_requests_carry_no_credentials(s3: Service, front: Front) -> None:
    bucket = s3.bucket()
    for key in ("in/one", "in/sp ace+é"):
        s3.client.put_object(Bucket=bucket, Key=key, Body=b"x", ACL="public-read")
    s3.client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    assert works(s3.source(bucket, endpoint_url=front.endpoint, anonymous=True))
    assert not [one for one in front.asked if "authorization" in one.headers or "Signature" in one.url]


def listed(environment: dict[str, str], source: str) -> subprocess.CompletedProcess[str]:
    """A listing by a process that has no credentials but what its environment leads to."""
    program = (
        "import sys; from core.settings_file import load_settings; from core.sources.s3 import S3Source;"
        "source = S3Source(sys.argv[1], load_settings(None).s3); source.check();"
        "print(*(entry.name for entry in source.scan('')))"
    )
    bare = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    nowhere = {"HOME": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_CONFIG_FILE": "/nonexistent"}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, source],
        env=bare | nowhere | environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


def through(front: Front, **more: str) -> dict[str, str]:
    return {"INGEST_S3__ENDPOINT_URL": front.endpoint, "INGEST_S3__ADDRESSING": "path", **more}


def says(body: object, kind: str = "application/json") -> Wrong:
    return saying(200, body.encode() if isinstance(body, str) else json.dumps(body).encode(), kind)


def who_asked(front: Front, bucket: str) -> set[str]:
    """The access keys and tokens that came to a bucket."""
    asked = [one.headers for one in front.asked if one.url.startswith(f"/{bucket}")]
    found = {one.get("authorization", "").partition("Credential=")[2].partition("/")[0] for one in asked}
    return found | {one.get("x-amz-security-token", "none") for one in asked}


@pytest.mark.skipif(EXTERNAL in os.environ, reason="the keys of a role are not those of S3_TEST_ENDPOINT")
def test_the_role_of_an_instance_is_taken(front: Front, bucket: str) -> None:
    keys = {"AccessKeyId": "INSTANCE", "SecretAccessKey": "s", "Token": "of-the-role", "Code": "Success"}
    front.fault("PUT", "/latest/api/token", says("metadata-token", "text/plain"))
    front.fault("GET", "/security-credentials/loader", says(keys | {"Expiration": "2199-01-01T00:00:00Z"}))
    front.fault("GET", "/security-credentials/", says("loader", "text/plain"))
    done = listed(through(front, AWS_EC2_METADATA_SERVICE_ENDPOINT=front.endpoint), f"s3://{bucket}/in")
    assert (done.returncode, done.stdout) == (0, "one sp ace+é\n"), done.stderr
    assert who_asked(front, bucket) == {"INSTANCE", "of-the-role"}


@pytest.mark.skipif(EXTERNAL in os.environ, reason="the keys of a role are not those of S3_TEST_ENDPOINT")
def test_the_role_of_a_service_account_is_taken(front: Front, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-the-service-account")
    result = (
        "<AssumeRoleWithWebIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'>"
        "<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ACCOUNT</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
        "<SessionToken>of-sts</SessionToken><Expiration>2199-01-01T00:00:00Z</Expiration></Credentials>"
        "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    )

    def answer(ask: Any) -> Answer:
        return Answer(200, {"Content-Type": "text/xml"}, result.encode())

    front.fault("POST", "/", answer)
    role = {
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/loader",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ENDPOINT_URL_STS": front.endpoint,
    }
    done = listed(through(front, **role), f"s3://{bucket}/in")
    assert (done.returncode, done.stdout) == (0, "one sp ace+é\n"), done.stderr
    assert who_asked(front, bucket) == {"ACCOUNT", "of-sts"}


def test_a_pod_without_any_credentials_is_told_so(front: Front, bucket: str) -> None:
    done = listed(through(front, AWS_EC2_METADATA_DISABLED="true"), f"s3://{bucket}/in")
    assert done.returncode
    assert "set s3.key_pair_file, or give the pod a role" in done.stderr
    assert not front.asked
