"""Configurations of hsds-bucket-loader in our words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from core.errors import UsageError
from core.filters import Filter
from core.settings import JobSettings
from core.sources.base import Entry
from scripts.migrate import group
from scripts.migrate_hsds_bucket_loader import translated

SHIPPED = {
    "tgt_bucket": None,
    "tgt_folder": "SupplyCorrectValue",
    "src_bucket": "data",
    "src_prefix": "/",
    "src_suffix": "h5",
    "link_files": True,
    "inventory_domain": "/home/john/bucketloader/inventory.h5",
    "hs_username": None,
    "hs_password": None,
    "public_read": True,
    "aws_s3_gateway": "http://s3.us-west-2.amazonaws.com",
    "hsds_global": "http://10.100.0.136:5101",
    "hsds_local": "http://localhost:5101",
    "aws_region": "us-west-2",
    "watchdog_sleep_time": 10,
    "log_level": "ERROR",
}


def test_the_configuration_that_it_ships() -> None:
    command, *rest = translated(SHIPPED).splitlines()
    assert command == (
        "ingest job start s3://data /tempZone/home/public/bucket --operation register_sync --include '*h5' --rescan 10"
    )
    text = "\n".join(rest)
    settings = yaml.safe_load(
        "\n".join(line.removeprefix("#   ") for line in rest[rest.index("# in config.yml:") + 1 :])
    )
    assert settings == {"log": {"level": "ERROR"}, "s3": {"region": "us-west-2"}}
    for word in ("tgt_folder is not set", "inventory.url", "ichmod", "--resource", "irods.host"):
        assert word in text


def test_other_values() -> None:
    given = SHIPPED | {
        "tgt_folder": "/zone/home/x/", "src_prefix": "in/a b/", "src_suffix": None, "link_files": "False",
        "public_read": False, "aws_s3_gateway": "http://minio:9000", "watchdog_sleep_time": "60", "hs_password": "secret",
    }  # fmt: skip
    text = translated(given)
    assert text.startswith("ingest job start 's3://data/in/a b' /zone/home/x --operation put --rescan 60\n")
    assert "endpoint_url: http://minio:9000" in text
    assert "ichmod" not in text
    assert "secret\n" not in text


def test_a_suffix_is_taken_as_it_is() -> None:
    command = translated(SHIPPED | {"src_suffix": ".[1]*"}).splitlines()[0]
    pattern = command.split("'")[1]
    chosen = Filter(JobSettings(include=(pattern,)))
    assert chosen.takes("d/a.[1]*", Entry("a.[1]*", "f", 1, 1))
    assert not chosen.takes("d/a.1", Entry("a.1", "f", 1, 1))


@pytest.mark.parametrize(
    "wrong", [{"src_bucket": None}, {"no_such": 1}, {"link_files": "perhaps"}, {"watchdog_sleep_time": "soon"}]
)
def test_what_is_none_of_its_configurations_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        translated(SHIPPED | wrong)


def test_the_command_reads_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(yaml.safe_dump(SHIPPED))
    done = CliRunner().invoke(group, ["hsds-bucket-loader", str(tmp_path / "config.yml")])
    assert done.exit_code == 0
    assert done.output.startswith("ingest job start s3://data ")
    for content in ("[", "- a"):
        (tmp_path / "config.yml").write_text(content)
        done = CliRunner().invoke(group, ["hsds-bucket-loader", str(tmp_path / "config.yml")])
        assert isinstance(done.exception, UsageError)
