"""Settings: who goes before whom, and what is refused, in one line that says where, what and what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import UsageError
from core.settings import IrodsSettings, Settings
from core.settings_file import load, load_settings
from core.settings_sources import setting_fields, variable_name

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, where no config.yml is found by chance."""
    monkeypatch.chdir(tmp_path)


def _file(text: str) -> Path:
    path = Path("config.yml")
    path.write_text(text, encoding="utf-8")
    return path


def _refusal(text: str = "", environ: dict[str, str] | None = None) -> str:
    with pytest.raises(UsageError) as refusal:
        load_settings(_file(text), environ or {})
    message = str(refusal.value)
    assert "\n" not in message
    assert refusal.value.hint
    return message


# Precedence


def test_without_anything_the_defaults_are_in_force() -> None:
    loaded = load(environ={})
    assert loaded.settings == Settings()
    assert loaded.origins == {}
    assert loaded.file is None


def test_option_goes_before_environment_before_file_before_default() -> None:
    path = _file("irods:\n  port: 1\n  user: file\n  zone: file\n")
    environ = {"INGEST_IRODS__PORT": "2", "INGEST_IRODS__USER": "environment"}
    loaded = load(path, environ, {"irods.port": 3})
    irods = loaded.settings.irods
    assert (irods.port, irods.user, irods.zone, irods.host) == (3, "environment", "file", "localhost")
    places = {key: (given.layer, given.place) for key, given in loaded.origins.items()}
    assert places == {
        "irods.port": ("option", "command line"),
        "irods.user": ("environment", "INGEST_IRODS__USER"),
        "irods.zone": ("file", "config.yml:4"),
    }


def test_irods_environment_json_goes_before_defaults_only() -> None:
    Path("environment.json").write_text(
        json.dumps({"irods_host": "json", "irods_port": "1300", "irods_user_name": "json", "irods_ssl": "kept there"})
    )
    path = _file("irods:\n  user: file\n")
    loaded = load(path, {"IRODS_ENVIRONMENT_FILE": "environment.json"})
    irods = loaded.settings.irods
    assert (irods.host, irods.port, irods.user, irods.zone) == ("json", 1300, "file", "tempZone")
    assert loaded.origins["irods.port"].place == "environment.json: irods_port"


def test_the_shipped_config_leaves_the_irods_environment_json_in_force() -> None:
    Path("environment.json").write_text(json.dumps({"irods_host": "json", "irods_zone_name": "jsonZone"}))
    irods = load_settings(ROOT / "config.yml", {"IRODS_ENVIRONMENT_FILE": "environment.json"}).irods
    assert (irods.host, irods.zone) == ("json", "jsonZone")


def test_the_well_known_variables_are_read_and_ours_go_before_them() -> None:
    environ = {
        "IRODS_HOST": "known",
        "IRODS_PORT": "1300",
        "IRODS_USER_NAME": "known",
        "IRODS_ZONE_NAME": "knownZone",
        "IRODS_PASSWORD": "1234\n",
        "INGEST_IRODS__HOST": "ours",
    }
    irods = load_settings(environ=environ).irods
    assert (irods.host, irods.port, irods.user, irods.zone) == ("ours", 1300, "known", "knownZone")
    assert irods.password
    assert irods.password.get_secret_value() == "1234"


def test_config_yml_is_the_named_one_or_the_one_here() -> None:
    _file("irods:\n  user: here\n")
    Path("other.yml").write_text("irods:\n  user: other\n")
    assert load_settings(environ={}).irods.user == "here"
    assert load_settings(environ={"INGEST_CONFIG": "other.yml"}).irods.user == "other"
    assert load_settings(Path("config.yml"), environ={"INGEST_CONFIG": "other.yml"}).irods.user == "here"


def test_keys_that_nobody_gave_are_known_as_such() -> None:
    assert load_settings(environ={"IRODS_PORT": "1"}).irods.model_fields_set == {"port"}


@pytest.mark.parametrize(("text", "value"), [("", None), ("null", None), ("NULL", None), ("2.5", 2.5), ("60", 60.0)])
def test_environment_values_that_may_be_null(text: str, value: float | None) -> None:
    settings = load_settings(_file("job:\n  rescan_seconds: 7\n"), {"INGEST_JOB__RESCAN_SECONDS": text})
    assert settings.job.rescan_seconds == value


def test_an_empty_variable_of_another_key_is_as_if_unset() -> None:
    settings = load_settings(environ={"INGEST_LOG__LEVEL": "", "IRODS_PORT": "", "INVENTORY_PASSWORD": ""})
    assert settings == Settings()


def test_variables_that_kubernetes_makes_for_services_are_not_ours() -> None:
    environ = {
        "IRODS_PORT": "tcp://10.0.0.1:1247",
        "IRODS_SERVICE_HOST": "10.0.0.1",
        "INGEST_PORT": "tcp://10.0.0.2:80",
        "INGEST_SERVICE_HOST": "10.0.0.2",
        "INGEST_SERVICE_PORT_HTTP": "80",
        "INGEST_PORT_80_TCP_ADDR": "10.0.0.2",
    }
    assert load_settings(environ=environ) == Settings()


@pytest.mark.parametrize("text", ["", "# nothing\n", "irods:\n", "irods: {}\nlog:\n  # level: DEBUG\n"])
def test_empty_files_and_sections_are_defaults(text: str) -> None:
    assert load_settings(_file(text), {}) == Settings()


def test_every_key_can_be_set_from_the_environment() -> None:
    variables = {variable_name(key) for key in setting_fields()}
    assert len(variables) == len(setting_fields())
    assert "INGEST_WORKER__HEARTBEAT_SECONDS" in variables


# Secrets


@pytest.mark.parametrize("password", ["plain", "p@ss:/?#[]% w", "'\"\\", "pässwört", "%40"])
def test_the_password_of_a_whole_url_is_taken_out_and_comes_back(password: str) -> None:
    settings = load_settings(environ={"INVENTORY_URL": "postgres://u@h:1/db?x=1", "INVENTORY_PASSWORD": password})
    whole = settings.inventory.connection_url()
    again = load_settings(environ={"INVENTORY_URL": whole}).inventory
    assert again.url == settings.inventory.url == "postgresql+psycopg2://u@h:1/db?x=1"
    assert again.password
    assert again.password.get_secret_value() == password
    assert again.connection_url() == whole
    assert password not in repr(again)


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("postgres://h/db", "postgresql+psycopg2://h/db"),
        ("postgresql://u@[::1]:5432/db", "postgresql+psycopg2://u@[::1]:5432/db"),
        ("postgresql:///db?host=/run/postgresql", "postgresql+psycopg2:///db?host=/run/postgresql"),
    ],
)
def test_urls_are_normalised(given: str, normal: str) -> None:
    inventory = load_settings(environ={"INVENTORY_URL": given}).inventory
    assert inventory.url == inventory.connection_url() == normal


def test_a_password_file_is_read_when_it_is_needed() -> None:
    secret = Path("secret")
    secret.write_text("first\r\nsecond\n")
    settings = load_settings(_file("inventory:\n  password_file: secret\n  url: postgres://u@h/db\n"), {})
    assert settings.inventory.connection_url() == "postgresql+psycopg2://u:first@h/db"
    secret.write_text("rotated")
    assert settings.inventory.connection_url() == "postgresql+psycopg2://u:rotated@h/db"


def test_a_password_in_the_environment_goes_before_a_file_in_config_yml() -> None:
    Path("secret").write_text("file")
    path = _file("inventory:\n  password_file: secret\n")
    assert ":variable@" in load_settings(path, {"INVENTORY_PASSWORD": "variable"}).inventory.connection_url()


# Refusals


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("irods:\n  prot: 1\n", "config.yml:2: there is no setting irods.prot; did you mean irods.port?"),
        ("irod:\n  port: 1\n", "config.yml:1: there is no setting irod; did you mean irods?"),
        ("port: 1\n", "config.yml:1: there is no setting port; did you mean web.port?"),
        ("loader:\n  lease_seconds: 60\n", "there is no setting loader.lease_seconds; did you mean worker.lease_se"),
        ("xyzzy: 1\n", "config.yml:1: there is no setting xyzzy; `ingest config check` prints all keys"),
        ("irods:\n  port: abc\n", 'config.yml:2: irods.port is "abc", but must be a whole number; see docs'),
        ("irods:\n  port: true\n", "config.yml:2: irods.port is true, but must be a whole number; "),
        ("irods:\n  port: 1247.5\n", "irods.port is 1247.5, but must be a whole number; "),
        ("irods:\n  port: 99999\n", "irods.port is 99999, but must be less than or equal to 65535; "),
        ("irods:\n  port: [1]\n", "config.yml:2: irods.port is a list, but must be one value; "),
        ("irods:\n  host: {a: b}\n", "config.yml:2: irods.host is a section, but must be one value; "),
        ("irods:\n  user: 12\n", "config.yml:2: irods.user is 12, but must be a text; put it in quotes"),
        ("irods:\n  user:\n", "config.yml:2: irods.user is null, but must be a text; "),
        ("irods:\n  host: ''\n", 'config.yml:2: irods.host is "", but must not be empty; '),
        ("irods:\n  zone: /a\n", 'irods.zone is "/a", but must be a name without a slash; '),
        ("job:\n  link_folder: a\n", 'job.link_folder is "a", but must be an absolute path; '),
        ("job:\n  extract_metadata: a\n", 'job.extract_metadata is "a", but must be module:function; '),
        (
            "job:\n  operation: copy\n",
            "but must be 'register_sync', 'register_as_replica_sync', 'put', 'put_sync', 'put_append', 'verify' or 'no_op'; ",
        ),
        ("worker:\n  poll_seconds: 0\n", "worker.poll_seconds is 0, but must be greater than 0; "),
        ("worker:\n  poll_seconds: .inf\n", "worker.poll_seconds is Infinity, but must be a finite number; "),
        ("worker:\n  poll_seconds: .nan\n", "worker.poll_seconds is NaN, but must be "),
        ("log:\n  format: 1_0\n", "log.format is 10, but must be 'json' or 'text'; "),
        ("- irods\n", "config.yml:1: the file must hold `key: value` lines; "),
        ("irods: 5\n", "config.yml:1: section irods must hold `key: value` lines; "),
        ("irods:\n\tport: 1\n", "config.yml:2: not YAML: found character '\\t' that cannot start any token; "),
        ("a: [\n", "config.yml:2: not YAML: "),
        ("a: 1\n---\nb: 2\n", "config.yml:2: not YAML: but found another document; "),
        ("a: \x01\n", "config.yml: not YAML: "),
        ("irods:\n  host: !!python/name:os.system x\n", "config.yml:2: irods.host: could not determine a constructor "),
        (
            "irods:\n  port: 1\n  port: 2\n",
            "config.yml:3: irods.port is given a second time; the first one is in line 2",
        ),
        ("irods:\nlog:\nirods:\n", "config.yml:3: irods is given a second time; the first one is in line 1"),
        ("irods:\n  password: x1y\n", "config.yml:2: irods.password must not be in config.yml; use IRODS_PASSWORD or"),
        (
            "inventory:\n  url: postgres://u:x1y@h/d\n",
            "config.yml:2: inventory.url holds a password; use INVENTORY_PAS",
        ),
        (
            "inventory:\n  url: postgres://h/d?password=x1y\n",
            "inventory.url holds a password after the question mark; ",
        ),
        ("inventory:\n  url: mysql://h/d\n", "inventory.url does not begin with postgresql+psycopg2://; write "),
        ("inventory:\n  url: h/d\n", "inventory.url does not begin with postgresql+psycopg2://; write "),
        ("inventory:\n  url: postgres://h\n", "inventory.url names no database; write postgresql+psycopg2://user@"),
        ("inventory:\n  url: postgres://h:port/d\n", "inventory.url cannot be understood; write "),
        (
            "worker:\n  lease_seconds: 14\n",
            "config.yml:2: worker.lease_seconds is 14 and worker.heartbeat_seconds 5; a ",
        ),
        ("worker:\n  flush_seconds: 60\n", "config.yml:2: worker.flush_seconds is 60 and worker.lease_seconds 60; res"),
        ("worker:\n  retry_max_seconds: 1\n", "worker.retry_seconds is 30 and worker.retry_max_seconds 1; the first"),
        (
            "irods:\n  password_file: none\n",
            "config.yml:2: irods.password_file: cannot read the secret in none: No such",
        ),
        (
            "inventory:\n  password_file: /\n",
            "config.yml:2: inventory.password_file: cannot read the secret in /: Is a",
        ),
        ("irods:\n  environment_file: none\n", "config.yml:2: irods.environment_file: cannot read none: No such file"),
    ],
)
def test_bad_files_are_refused(text: str, message: str) -> None:
    refusal = _refusal(text)
    assert message in refusal
    assert "x1y" not in refusal


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"INGEST_IRODS__PROT": "1"},
            "environment: there is no setting INGEST_IRODS__PROT; did you mean INGEST_IRODS__",
        ),
        ({"INGEST_VERBOSE": "1"}, "environment: there is no setting INGEST_VERBOSE; `ingest config check` prints"),
        ({"INGEST_IRODS__PORT": "abc"}, 'INGEST_IRODS__PORT: irods.port is "abc", but must be a whole number; '),
        ({"IRODS_PORT": "1247 tcp"}, 'IRODS_PORT: irods.port is "1247 tcp", but must be a whole number; '),
        ({"INGEST_LOG__FORMAT": "xml"}, "INGEST_LOG__FORMAT: log.format is \"xml\", but must be 'json' or 'text'; "),
        ({"INGEST_WORKER__LEASE_SECONDS": "nan"}, "worker.lease_seconds is "),
        ({"INVENTORY_URL": "postgres://u:x1y/z@h/d"}, "INVENTORY_URL: inventory.url cannot be understood; write "),
        ({"INVENTORY_URL": "postgres://u:x1y@z@h/d"}, "INVENTORY_URL: inventory.url cannot be understood; write "),
        ({"INVENTORY_URL": "postgres://h/d b"}, "INVENTORY_URL: inventory.url cannot be understood; write "),
        (
            {"IRODS_PASSWORD": "x1y", "INGEST_IRODS__PASSWORD_FILE": "secret"},
            "IRODS_PASSWORD and INGEST_IRODS__PASSWORD_FILE both give a password for irods; remove one of them",
        ),
        (
            {"INGEST_WORKER__LEASE_SECONDS": "6", "INGEST_WORKER__HEARTBEAT_SECONDS": "3"},
            "INGEST_WORKER__LEASE_SECONDS and INGEST_WORKER__HEARTBEAT_SECONDS: worker.lease_seconds is 6 and ",
        ),
    ],
)
def test_bad_variables_are_refused(environ: dict[str, str], message: str) -> None:
    refusal = _refusal(environ=environ)
    assert message in refusal
    assert "x1y" not in refusal


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "environment.json: not JSON: "),
        (b"\xff", "environment.json: not JSON: "),
        (b"[]", "environment.json: not a JSON object; "),
        (b'{"irods_port": "x"}', 'environment.json: irods_port: irods.port is "x", but must be a whole number; '),
        (b'{"irods_zone_name": ""}', "environment.json: irods_zone_name: irods.zone is"),
    ],
)
def test_bad_irods_environment_files_are_refused(content: bytes, message: str) -> None:
    Path("environment.json").write_bytes(content)
    assert message in _refusal(environ={"IRODS_ENVIRONMENT_FILE": "environment.json"})


@pytest.mark.parametrize(("content", "message"), [(b"", "is empty; its first line"), (b"\xff", "not UTF-8; save")])
def test_bad_secret_files_are_refused(content: bytes, message: str) -> None:
    Path("secret").write_bytes(content)
    assert message in _refusal("irods:\n  password_file: secret\n")


def test_a_named_config_that_is_missing_or_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot read none: No such file or directory; check --config and INGEST_CON"):
        load_settings(environ={"INGEST_CONFIG": "none"})
    with pytest.raises(UsageError, match=r"cannot read \.: Is a directory"):
        load_settings(Path())
    Path("latin.yml").write_bytes(b"irods:\n  user: \xe4\n")
    with pytest.raises(UsageError, match=r"latin.yml is not UTF-8; save it as UTF-8"):
        load_settings(Path("latin.yml"), {})


def test_unknown_options_are_refused() -> None:
    with pytest.raises(UsageError, match=r"command line: there is no setting job.shard; did you mean job.shards"):
        load_settings(environ={}, overrides={"job.shard": 1})


def test_models_made_by_hand_refuse_unknown_keys_too() -> None:
    with pytest.raises(ValueError, match="prot"):
        IrodsSettings.model_validate({"prot": 1})
