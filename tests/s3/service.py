"""An S3 service for tests: moto's server in a process of its own, spoken to over HTTP; or the one that S3_TEST_ENDPOINT names."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from core.settings import S3Settings
from core.sources.s3 import S3Source

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

ACCESS, SECRET, REGION = "testing", "testing-secret", "us-east-1"
EXTERNAL = "S3_TEST_ENDPOINT"
"""The endpoint of another implementation; its keys are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""


class Service:
    """An endpoint, and buckets made for one test."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.endpoint = endpoint
        self._keys = (os.environ.get("AWS_ACCESS_KEY_ID", ACCESS), os.environ.get("AWS_SECRET_ACCESS_KEY", SECRET))
        if EXTERNAL not in os.environ:
            self._keys = (ACCESS, SECRET)
        self.key_pair = folder / "key_pair"
        self.key_pair.write_text("\n".join(self._keys) + "\n")
        self.client: S3Client = self._client("s3")
        self.sqs: SQSClient = self._client("sqs")

    def _client(self, kind: Any) -> Any:
        access, secret = self._keys
        return boto3.client(
            kind,
            endpoint_url=self.endpoint,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            region_name=REGION,
        )

    def settings(self, **more: Any) -> S3Settings:
        """Settings of a source on this service."""
        given = {"endpoint_url": self.endpoint, "key_pair_file": self.key_pair, "region": REGION, "addressing": "path"}
        return S3Settings.model_validate(given | more)

    def environment(self) -> dict[str, str]:
        """The same for a pod."""
        return {
            "INGEST_S3__ENDPOINT_URL": self.endpoint,
            "INGEST_S3__KEY_PAIR_FILE": str(self.key_pair),
            "INGEST_S3__REGION": REGION,
            "INGEST_S3__ADDRESSING": "path",
        }

    def bucket(self, *objects: str, size: int = 1) -> str:
        """Make a bucket with objects."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=name)
        for key in objects:
            self.client.put_object(Bucket=name, Key=key, Body=b"x" * size)
        return name

    def source(self, bucket: str, prefix: str = "", **settings: Any) -> S3Source:
        return S3Source(f"s3://{bucket}/{prefix}", self.settings(**settings))

    @cached_property
    def keeps_checksums(self) -> bool:
        """Whether the service keeps a SHA-256; older ones than AWS's, MinIO's and moto's do not."""
        bucket = self.bucket()
        self.client.put_object(Bucket=bucket, Key="k", Body=b"x", ChecksumAlgorithm="SHA256")
        return "ChecksumSHA256" in self.client.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")

    @cached_property
    def has_archive(self) -> bool:
        """Whether objects can be in an archive storage class."""
        try:
            self.client.put_object(Bucket=self.bucket(), Key="k", StorageClass="GLACIER")
        except ClientError:
            return False
        return True

    def close(self) -> None:
        self.client.close()
        self.sqs.close()


@contextmanager
def running(folder: Path) -> Iterator[Service]:
    """A service that answers."""
    if EXTERNAL in os.environ:
        service = Service(os.environ[EXTERNAL], folder)
        yield service
        service.close()
        return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with (folder / "moto.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.s3.server", str(port)], stdout=subprocess.PIPE, stderr=log
        )
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n", (folder / "moto.log").read_text()
        service = Service(f"http://127.0.0.1:{port}", folder)
        yield service
        service.close()
    finally:
        server.terminate()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


def tree(source: S3Source) -> dict[str, Any]:
    """Every file of a source by its path."""
    found: dict[str, Any] = {}
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        for entry in source.scan(directory):
            path = f"{directory}/{entry.name}" if directory else entry.name
            assert path not in found
            if entry.kind == "d":
                waiting.append(path)
            else:
                found[path] = entry
    return found
