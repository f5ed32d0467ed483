"""Fixtures of the contract suite: what the gateway promises, tried on a server that speaks the real protocol.

The server is the sandbox's, or the one of IRODS_ENVIRONMENT_FILE (password from .irodsA beside it or IRODS_PASSWORD).
Every test works in a new collection below the user's home and removes it.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from irods.session import iRODSSession
from pydantic import SecretStr

from core.irods import Gateway, replicas
from core.irods.queries import Column, select
from core.irods.session import Session
from core.settings import IrodsSettings
from sandbox.irods import SandboxServer

ENVIRONMENT = os.environ.get("IRODS_ENVIRONMENT_FILE")


@pytest.fixture(scope="session")
def irods_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IrodsSettings]:
    """How to log in as a rodsadmin."""
    if ENVIRONMENT:
        settings = IrodsSettings(environment_file=Path(ENVIRONMENT), timeout_seconds=60)
        if password := os.environ.get("IRODS_PASSWORD"):
            settings = settings.model_copy(update={"password": SecretStr(password)})
        yield settings
        return
    with SandboxServer(tmp_path_factory.mktemp("irods")) as server:
        yield IrodsSettings(
            host="127.0.0.1",
            port=server.port,
            user="rods",
            zone="tempZone",
            password=SecretStr("rods"),
            timeout_seconds=60,
        )


@pytest.fixture
def gateway(irods_settings: IrodsSettings) -> Iterator[Gateway]:
    """A gateway as rodsadmin."""
    with Gateway(irods_settings) as gateway:
        yield gateway


@pytest.fixture
def session(irods_settings: IrodsSettings) -> Iterator[Session]:
    """A bare session as rodsadmin, for tests that play the part of a client that dies or of an administrator."""
    session = Session(irods_settings)
    yield session
    session.close()


@pytest.fixture
def home(irods_settings: IrodsSettings) -> Iterator[str]:
    """A new collection of this test's own."""
    with Gateway(irods_settings) as gateway:
        server = gateway.server()
        path = f"/{server.zone}/home/{server.user}/contract_{uuid.uuid4().hex[:12]}"
        gateway.make_collections(path)
        yield path
        gateway.remove_collection(path)


@pytest.fixture
def resource() -> str:
    """A standalone unixfilesystem resource."""
    return os.environ.get("IRODS_TEST_RESOURCE", "demoResc")


@pytest.fixture
def vault_file(gateway: Gateway) -> Callable[[str], Path]:
    """The file of an object's only replica, for tests that damage it; they need a server on this machine."""

    def find(path: str) -> Path:
        (replica,) = gateway.replicas(path)
        file = Path(replica.physical_path)
        if not os.access(file, os.W_OK):
            pytest.skip(f"the vault file {file} is not writable from here")
        return file

    return find


@pytest.fixture
def served() -> Iterator[Path]:
    """A folder outside every vault whose files a server of another user can read, which pytest's folders are not for."""
    with tempfile.TemporaryDirectory(prefix="contract-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def administrator(irods_settings: IrodsSettings) -> Iterator[iRODSSession]:
    """A python-irodsclient session, for making users and resources."""
    account = Session(irods_settings)._account
    session = iRODSSession(
        host=account.host,
        port=account.port,
        user=account.client_user,
        zone=account.client_zone,
        password=account.password,
    )
    yield session
    session.cleanup()


@pytest.fixture
def alices_settings(administrator: iRODSSession, irods_settings: IrodsSettings) -> Iterator[IrodsSettings]:
    """How to log in as a rodsuser, whose home is emptied afterwards."""
    name = f"alice{uuid.uuid4().hex[:8]}"
    administrator.users.create(name, "rodsuser")
    administrator.users.modify(name, "password", "apass")
    changes = {"user": name, "password": SecretStr("apass"), "password_file": None}
    settings = irods_settings.model_copy(update=changes)
    yield settings
    with Gateway(settings) as gateway:
        home = f"/{gateway.server().zone}/home/{name}"
        for path in replicas.replicas_in(gateway._session, home):
            gateway.remove(path, force=True)
        for row in select(gateway._session, (Column.COLL_NAME,), [(Column.COLL_PARENT_NAME, f"= '{home}'")]):
            gateway.remove_collection(row[0])
    administrator.users.remove(name)


@pytest.fixture
def alice(alices_settings: IrodsSettings) -> Iterator[Session]:
    """The session of a rodsuser."""
    session = Session(alices_settings)
    yield session
    session.close()


@pytest.fixture
def other_home(administrator: iRODSSession, alice: Session) -> str:
    """A collection that belongs to another user alone."""
    return f"/{alice.zone}/home/{alice.user}"


def vault_for(administrator: iRODSSession, tmp_path: Path, name: str) -> tuple[str, str]:
    """A host and a vault for a new resource: a server of another user can write below its own, the sandbox anywhere."""
    demo = administrator.resources.get("demoResc")
    return demo.location, f"{demo.vault_path}/vaults/{name}" if ENVIRONMENT else str(tmp_path / name)


@pytest.fixture
def replicating(administrator: iRODSSession, tmp_path: Path, home: str) -> Iterator[str]:
    """A replication resource with two leaves."""
    tag = uuid.uuid4().hex[:8]
    root, leaves = f"repl{tag}", [f"one{tag}", f"two{tag}"]
    administrator.resources.create(root, "replication")
    for leaf in leaves:
        administrator.resources.create(leaf, "unixfilesystem", *vault_for(administrator, tmp_path, leaf))
        administrator.resources.add_child(root, leaf)
    yield root
    for name in [entry.path for entry in administrator.collections.get(home).data_objects]:
        administrator.data_objects.unlink(name, force=True)
    for leaf in leaves:
        administrator.resources.remove_child(root, leaf)
        administrator.resources.remove(leaf)
    administrator.resources.remove(root)


@pytest.fixture
def tree(administrator: iRODSSession, tmp_path: Path, home: str) -> Iterator[dict[str, str]]:
    """A resource tree random; passthru; unixfilesystem. Gone before `home` is, so that tests' objects on it are
    removed here."""
    tag = uuid.uuid4().hex[:8]
    names = {"root": f"root{tag}", "middle": f"middle{tag}", "leaf": f"leaf{tag}"}
    host, vault = vault_for(administrator, tmp_path, names["leaf"])
    administrator.resources.create(names["root"], "random")
    administrator.resources.create(names["middle"], "passthru")
    administrator.resources.create(names["leaf"], "unixfilesystem", host, vault)
    administrator.resources.add_child(names["root"], names["middle"])
    administrator.resources.add_child(names["middle"], names["leaf"])
    yield names
    for name in [entry.path for entry in administrator.collections.get(home).data_objects]:
        administrator.data_objects.unlink(name, force=True)
    administrator.resources.remove_child(names["middle"], names["leaf"])
    administrator.resources.remove_child(names["root"], names["middle"])
    for name in reversed(names.values()):
        administrator.resources.remove(name)
