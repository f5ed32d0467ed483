"""One S3 service for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3.service import Service, running


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("s3")) as service:
        yield service
