"""Many files at once: every file gets its own outcome, and the fast ways leave what single calls would have left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import paths
from core.checksums import checksum_of, checksum_of_chunks
from core.irods import (
    Expected,
    Gateway,
    Registration,
    SmallFile,
    bundle,
    features,
    in_place,
    into_vault,
    replicas,
    tars,
)
from core.irods.session import Session
from core.outcome import Dead, Done, Mismatched, Outcome, Retry, Skipped
from core.settings import IrodsSettings, VerifyLevel

SECOND = 1_000_000
WHEN = 1_700_000_000 * SECOND


WAYS: dict[str, dict[str, object]] = {
    "written": {"vault_writes": True},
    "unpacked": {"vault_writes": False},
    "single": {"bulk_registration": False, "bundles": False},
}


@pytest.fixture(params=WAYS)
def either(request: pytest.FixtureRequest, irods_settings: IrodsSettings, home: str) -> Iterator[Gateway]:
    """A gateway with the fast ways, in both kinds, and one that may not use them: the results must be the same."""
    with Gateway(irods_settings.model_copy(update=WAYS[request.param])) as gateway:
        yield with_own_staging(gateway, home)


@pytest.fixture
def unpacking(irods_settings: IrodsSettings, home: str) -> Iterator[Gateway]:
    """A gateway that has the server unpack every bundle."""
    with Gateway(irods_settings.model_copy(update=WAYS["unpacked"])) as gateway:
        yield with_own_staging(gateway, home)


@pytest.fixture
def gateway(gateway: Gateway, home: str) -> Gateway:
    """A gateway whose tars nobody else sees: on a real server others may be at work."""
    return with_own_staging(gateway, home)


def with_own_staging(gateway: Gateway, home: str) -> Gateway:
    gateway.staging = f"{home}_staging"
    gateway.make_collections(gateway._staging)
    return gateway


@pytest.fixture(autouse=True)
def no_staging_left(irods_settings: IrodsSettings, home: str) -> Iterator[None]:
    """Remove the staging collection of a test."""
    yield
    with Gateway(irods_settings) as gateway:
        gateway.remove_collection(f"{home}_staging")


def small_files(names: Sequence[str], size: int = 100) -> list[SmallFile]:
    contents = [os.urandom(size) for _ in names]
    return [SmallFile(name, data, checksum_of(data)) for name, data in zip(names, contents, strict=True)]


def expected(files: Sequence[SmallFile]) -> list[Expected]:
    return [Expected(file.relative, len(file.data), file.checksum) for file in files]


def done(files: Sequence[SmallFile]) -> list[Outcome]:
    return [Done(file.checksum) for file in files]


def verified(files: Sequence[SmallFile | Expected], level: VerifyLevel = "rehash") -> list[Outcome]:
    return [Done(file.checksum, level) for file in files]


def check_all(gateway: Gateway, home: str, files: Sequence[SmallFile]) -> None:
    for file in files:
        (replica,) = gateway.replicas(f"{home}/{file.relative}")
        assert (replica.good, replica.size, replica.checksum) == (True, len(file.data), file.checksum)
        gateway.verify(f"{home}/{file.relative}", size=len(file.data), checksum=file.checksum)


def staged(gateway: Gateway) -> list[str]:
    return list(replicas.replicas_in(gateway._session, gateway._staging))


# registration


def registrations(home: str, count: int, checksum: str | None = None) -> list[Registration]:
    return [
        Registration(f"{home}/r{index}", f"/data/r{index}", index, WHEN + index * SECOND, checksum)
        for index in range(count)
    ]


@pytest.mark.parametrize("checksum", [None, checksum_of(b"x")])
def test_registering_many(either: Gateway, home: str, resource: str, checksum: str | None) -> None:
    rows = registrations(home, 120, checksum)
    assert either.register_many(rows, resource=resource) == [Done(checksum)] * 120
    shown = replicas.replicas_in(either._session, home)
    assert len(shown) == 120
    for row in rows:
        (replica,) = shown[row.path]
        assert (replica.size, replica.modified_at, replica.checksum) == (row.size, row.modified_at, checksum)
        assert (replica.good, replica.physical_path, replica.hierarchy) == (True, row.physical_path, resource)


def test_registering_again_and_with_bad_rows(either: Gateway, home: str, resource: str) -> None:
    rows = registrations(home, 10)
    either.register_many(rows[:3], resource=resource)
    either.register(f"{home}/r3", "/elsewhere", 1, WHEN, resource=resource)
    rows[5] = Registration(f"{home}/absent/f", "/data/f", 1, WHEN)
    grown = Registration(rows[0].path, rows[0].physical_path, 77, WHEN + 100 * SECOND)
    outcomes = either.register_many([grown, *rows[1:]], resource=resource)
    for index, outcome in enumerate(outcomes):
        match index:
            case 3:
                assert isinstance(outcome, Dead)
                assert outcome.error == "wrong_path"
            case 5:
                assert isinstance(outcome, Retry)
                assert outcome.error == "CAT_UNKNOWN_COLLECTION"
            case _:
                assert outcome == Done()
    (replica,) = either.replicas(grown.path)
    assert (replica.size, replica.modified_at) == (77, WHEN + 100 * SECOND)


def test_registering_to_a_root(gateway: Gateway, home: str, tree: dict[str, str]) -> None:
    assert gateway.register_many(registrations(home, 3), resource=tree["root"]) == [Done()] * 3
    assert (
        gateway.register_many(
            [Registration(f"{home}/leaf{i}", f"/data/{i}", 1, WHEN) for i in range(3)], resource=tree["leaf"]
        )
        == [Done()] * 3
    )
    shown = replicas.replicas_in(gateway._session, home)
    assert {rows[0].resource for rows in shown.values()} == {tree["leaf"]}
    assert len({rows[0].hierarchy for rows in shown.values()}) == 1


def test_nothing_to_do(gateway: Gateway, home: str, resource: str) -> None:
    assert gateway.register_many([], resource=resource) == []
    assert gateway.put_bundle(home, [], resource=resource, overwrite=False) == []
    assert gateway.verify_many(home, []) == []


# bundles


def test_a_bundle_with_folders(either: Gateway, home: str, resource: str, vault_file: Callable[[str], Path]) -> None:
    names = [f"{folder}f{index}" for folder in ("", "a/", "a/b/", "c/", "d/", "e/", "g/h/i/") for index in range(9)]
    files = small_files(names)
    assert either.put_bundle(home, files, resource=resource, overwrite=False) == done(files)
    check_all(either, home, files)
    for file in files[::7]:
        assert vault_file(f"{home}/{file.relative}").read_bytes() == file.data
    assert staged(either) == []


def test_empty_and_larger_files_and_the_default_resource(either: Gateway, home: str) -> None:
    files = small_files(["empty"], 0) + small_files(["large"], 3_000_000) + small_files(["block"], 512)
    assert either.put_bundle(home, files, resource=None, overwrite=False) == done(files)
    check_all(either, home, files)


def test_more_than_fits_one_tar(irods_settings: IrodsSettings, home: str, resource: str) -> None:
    files = small_files([f"f{index}" for index in range(40)], 5000)
    with Gateway(irods_settings.model_copy(update={"single_buffer_bytes": 60_000})) as gateway:
        assert gateway.put_bundle(home, files, resource=resource, overwrite=False) == done(files)
        check_all(gateway, home, files)


def test_a_bundle_that_leaves_the_checksums_to_verification(
    irods_settings: IrodsSettings, home: str, resource: str, vault_file: Callable[[str], Path]
) -> None:
    files = small_files(["a", "b/c", "b/d"])
    with Gateway(irods_settings.model_copy(update={"bundle_checksums": False})) as opened:
        gateway = with_own_staging(opened, home)
        assert gateway.put_bundle(home, files, resource=resource, overwrite=False) == done(files)
        # the first one is put as any client would
        assert [gateway.replicas(f"{home}/{file.relative}")[0].checksum for file in files[1:]] == [None] * 2
        vault_file(f"{home}/b/d").write_bytes(b"x" * 100)
        good, bad = gateway.verify_many(home, expected(files)[:2]), gateway.verify_many(home, expected(files)[2:])
    assert good == verified(files[:2])
    assert isinstance(bad[0], Mismatched)


def test_existing_objects_are_skipped_and_the_others_arrive(either: Gateway, home: str, resource: str) -> None:
    files = small_files([f"f{index}" for index in range(10)])
    other = b"somebody's"
    either.put_bytes(f"{home}/f3", other, checksum=checksum_of(other), resource=resource, overwrite=False)
    same = files[5]
    either.put_bytes(f"{home}/f5", same.data, checksum=same.checksum, resource=resource, overwrite=False)
    outcomes = either.put_bundle(home, files, resource=resource, overwrite=False)
    assert isinstance(outcomes[3], Skipped)
    assert [outcome for index, outcome in enumerate(outcomes) if index != 3] == done(files[:3] + files[4:])
    check_all(either, home, files[:3] + files[4:] + [SmallFile("f3", other, checksum_of(other))])


def test_overwriting_by_a_bundle(either: Gateway, home: str, resource: str) -> None:
    names = [f"f{index}" for index in range(12)]
    either.put_bundle(home, small_files(names[:8]), resource=resource, overwrite=False)
    files = small_files(names)
    assert either.put_bundle(home, files, resource=resource, overwrite=True) == done(files)
    check_all(either, home, files)


def test_a_bundle_never_writes_to_a_registered_file(either: Gateway, home: str, resource: str, tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_bytes(b"the only copy")
    either.register(f"{home}/f1", str(file), 13, 0, resource=resource)
    files = small_files(["f0", "f1", "f2"])
    outcomes = either.put_bundle(home, files, resource=resource, overwrite=True)
    assert file.read_bytes() == b"the only copy"
    assert (outcomes[0], outcomes[2]) == (Done(files[0].checksum), Done(files[2].checksum))
    (replica,) = either.replicas(f"{home}/f1")
    if replica.physical_path == str(file):
        assert isinstance(outcomes[1], Dead)
        assert outcomes[1].error == "registered_in_place"


def test_a_bundle_that_was_unpacked_before_its_checksums_were_set(gateway: Gateway, home: str, resource: str) -> None:
    files = small_files([f"f{index}" for index in range(6)])
    how = bundle.Bundling(gateway._staging, resource, False, 1 << 20, gateway._zone.known())
    tar = f"{how.staging}/killed.tar"
    packed = tars.pack([(file.relative, file.data) for file in files])
    gateway.put_bytes(tar, packed, checksum=checksum_of_chunks(packed), resource=resource, overwrite=True)
    in_place.unpack(gateway._session, tar, home, overwrite=False)
    assert all(gateway.replicas(f"{home}/{file.relative}")[0].checksum is None for file in files)
    assert gateway.put_bundle(home, files, resource=resource, overwrite=False) == done(files)
    check_all(gateway, home, files)
    assert gateway.clean_staging(0) == 0
    assert staged(gateway) == [tar]
    assert gateway.clean_staging((1 << 33) * SECOND) == 1
    assert staged(gateway) == []


def test_new_files_are_written_where_their_names_say(
    gateway: Gateway, home: str, resource: str, vault_file: Callable[[str], Path]
) -> None:
    files = small_files([f"{folder}f{index}" for folder in ("", "a/b/") for index in range(60)])
    assert gateway.put_bundle(home, files, resource=resource, overwrite=False) == done(files)
    vault = Path(gateway._zone.known()[resource].vault)
    for file in files:
        (row,) = gateway.replicas(f"{home}/{file.relative}")
        assert row.physical_path == str(vault / paths.below_zone(home) / file.relative)
        assert (row.checksum, vault_file(f"{home}/{file.relative}").read_bytes()) == (file.checksum, file.data)
    # what is done to such objects later: overwritten, removed
    other = b"other bytes"
    gateway.put_bytes(f"{home}/f1", other, checksum=checksum_of(other), resource=resource, overwrite=True)
    assert vault_file(f"{home}/f1").read_bytes() == other
    file = vault_file(f"{home}/a/b/f1")
    gateway.remove(f"{home}/a/b/f1", force=True)
    assert not file.exists()


@pytest.fixture
def in_vault(gateway: Gateway, home: str, resource: str, vault_file: Callable[[str], Path]) -> Path:
    """The folder of `home` in the vault."""
    gateway.put_bytes(f"{home}/here", b"x", checksum=checksum_of(b"x"), resource=resource, overwrite=False)
    return vault_file(f"{home}/here").parent


def test_what_a_dead_client_wrote_is_taken_over(gateway: Gateway, home: str, resource: str, in_vault: Path) -> None:
    files = small_files([f"f{index}" for index in range(60)])
    for file in files[3:20]:
        (in_vault / file.relative).write_bytes(file.data)
    before = {file.relative: (in_vault / file.relative).stat().st_ino for file in files[3:20]}
    assert gateway.put_bundle(home, files, resource=resource, overwrite=False) == done(files)
    check_all(gateway, home, files)
    assert before == {file.relative: (in_vault / file.relative).stat().st_ino for file in files[3:20]}
    assert {each.name for each in in_vault.iterdir()} == {file.relative for file in files} | {"here"}


@pytest.mark.parametrize("damage", ["other bytes", "longer", "shorter", "empty"])
def test_what_lies_in_the_way_is_neither_taken_nor_believed(
    gateway: Gateway, home: str, resource: str, in_vault: Path, vault_file: Callable[[str], Path], damage: str
) -> None:
    files = small_files([f"f{index}" for index in range(10)])
    data = files[4].data
    lies = {"other bytes": b"?" * len(data), "longer": data + b"more", "shorter": data[:-1], "empty": b""}[damage]
    (in_vault / "f4").write_bytes(lies)
    os.chmod(in_vault / "f4", 0o666)
    outcomes = gateway.put_bundle(home, files, resource=resource, overwrite=False)
    # for a minute it may be somebody's who is writing it
    assert [outcome for outcome in outcomes if not isinstance(outcome, Done)] == [outcomes[4]]
    assert isinstance(outcomes[4], Retry)
    assert outcomes[4].error == "in_use"
    assert (in_vault / "f4").read_bytes() == lies
    os.utime(in_vault / "f4", (WHEN / 1e6, WHEN / 1e6))
    again = small_files(["new1", "new2"]) + files
    assert gateway.put_bundle(home, again, resource=resource, overwrite=False) == done(again)
    check_all(gateway, home, files)
    assert vault_file(f"{home}/f4").read_bytes() == data


def test_the_file_of_another_object_is_not_taken_over(
    gateway: Gateway, home: str, resource: str, in_vault: Path
) -> None:
    files = small_files([f"f{index}" for index in range(10)])
    (in_vault / "f4").write_bytes(files[4].data)
    row = Registration(f"{home}/other", str(in_vault / "f4"), 100, WHEN, files[4].checksum)
    assert gateway.register_many([row], resource=resource) == [Done(files[4].checksum)]
    [place] = gateway.replicas(f"{home}/here")
    brought = into_vault.deliver(gateway._session, home, files, place, gateway._zone.known(), checksums=True)
    assert brought == into_vault.Delivery(frozenset({file.relative for file in files} - {"f4"}), frozenset())
    assert gateway.replicas(f"{home}/f4") == []


def test_a_site_with_another_vault_path_policy_keeps_it(gateway: Gateway, home: str, resource: str) -> None:
    files = small_files([f"f{index}" for index in range(10)])
    known = dict(gateway._zone.known())
    known[resource] = replace(known[resource], vault="/not/where/the/first/file/went")
    how = bundle.Bundling(gateway._staging, resource, False, 1 << 20, known)
    assert bundle.put_bundle(gateway._session, home, files, how, gateway._features) == done(files)
    check_all(gateway, home, files)


def test_more_bundles_than_an_agent_has_descriptors(unpacking: Gateway, home: str, resource: str) -> None:
    files = small_files([f"f{index}" for index in range(44)])
    for start in range(0, 44, 2):
        part = files[start : start + 2]
        assert unpacking.put_bundle(home, part, resource=resource, overwrite=False) == done(part)
    check_all(unpacking, home, files)


def test_what_no_file_system_takes_keeps_nothing_else(
    gateway: Gateway, home: str, resource: str, vault_file: Callable[[str], Path]
) -> None:
    files = small_files(["a", "n" * 300, "d/b", "c"])
    outcomes = gateway.put_bundle(home, files, resource=resource, overwrite=False)
    assert [outcomes[0], *outcomes[2:]] == done([files[0], *files[2:]])
    assert not isinstance(outcomes[1], Done | Skipped)
    folder = vault_file(f"{home}/a").parent
    assert sorted(each.name for each in folder.rglob("*") if each.is_file()) == ["a", "b", "c"]
    assert gateway.replicas(f"{home}/{'n' * 300}") == []


def test_nothing_is_written_of_what_is_there(
    gateway: Gateway, home: str, resource: str, vault_file: Callable[[str], Path]
) -> None:
    files = small_files(["a", "b/c", "b/d", "e"])
    gateway.put_bundle(home, files, resource=resource, overwrite=False)
    again = small_files(["a", "b/c", "b/d", "e"])
    outcomes = gateway.put_bundle(home, again, resource=resource, overwrite=False)
    assert [type(outcome) for outcome in outcomes] == [Skipped] * 4, outcomes
    check_all(gateway, home, files)
    folder = vault_file(f"{home}/a").parent
    assert sorted(each.name for each in folder.rglob("*") if each.is_file()) == ["a", "c", "d", "e"]
    assert staged(gateway) == []


def test_a_bundle_on_a_tree(gateway: Gateway, home: str, tree: dict[str, str]) -> None:
    files = small_files([f"f{index}" for index in range(6)])
    assert gateway.put_bundle(home, files, resource=tree["root"], overwrite=False) == done(files)
    check_all(gateway, home, files)
    assert {row.hierarchy for file in files for row in gateway.replicas(f"{home}/{file.relative}")} == {
        ";".join(tree.values())
    }
    outcomes = gateway.put_bundle(home, small_files(["x", "y"]), resource=tree["leaf"], overwrite=False)
    assert all(isinstance(outcome, Dead) for outcome in outcomes)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.text(min_size=1, max_size=60).map(lambda t: t.encode("utf-8", "surrogatepass")), st.binary(max_size=30)
        )
        .map(lambda name: paths.escape(name.replace(b"\0", b"").replace(b"/", b"")))
        .filter(lambda name: name not in ("", ".", "..") and len(name.encode()) <= 240),
        min_size=10,
        max_size=12,
        unique=True,
    )
)
def test_any_names_in_bundles_and_packs(gateway: Gateway, home: str, resource: str, names: list[str]) -> None:
    files = small_files(names)
    assert gateway.put_bundle(f"{home}/n", files, resource=resource, overwrite=True) == done(files)
    assert gateway.verify_many(f"{home}/n", expected(files)) == verified(files)
    gateway.remove_collection(f"{home}/n")


@pytest.mark.parametrize(
    "name", ["it's", "a 'b' and 'c' || d", "100%_x", "back\\slash", "-x", "new\nline\ttab", "日本"]
)
def test_awkward_collections(either: Gateway, session: Session, home: str, resource: str, name: str) -> None:
    files = small_files(
        [f"{folder}{name}{index}" for folder in ("", f"{name}/", "b/", "c/", "d/") for index in range(3)]
    )
    collection = f"{home}/{name}"
    assert either.put_bundle(collection, files, resource=resource, overwrite=False) == done(files)
    assert either.verify_many(collection, expected(files)) == verified(files)
    check_all(either, collection, files)
    locked = f"{collection}/b/{name}1"
    replicas.modify(session, locked, either.replicas(locked)[0], {"replStatus": "2"})
    either.remove_collection(collection)
    assert replicas.replicas_in(either._session, collection) == {}


# packs


def _many(gateway: Gateway, home: str, resource: str, count: int = 30) -> list[SmallFile]:
    files = small_files([f"f{index}" for index in range(count)] + [f"a/b/g{index}" for index in range(4)])
    assert gateway.put_bundle(home, files, resource=resource, overwrite=False) == done(files)
    return files


def test_verifying_many(either: Gateway, home: str, resource: str) -> None:
    files = _many(either, home, resource)
    assert either.verify_many(home, expected(files)) == verified(files)
    assert either.verify_many(home, expected(files[:12])) == verified(files[:12])
    assert staged(either) == []


def test_every_damage_is_found_and_nothing_else(
    either: Gateway, session: Session, home: str, resource: str, vault_file: Callable[[str], Path]
) -> None:
    files = _many(either, home, resource)
    vault_file(f"{home}/f1").write_bytes(bytes([files[1].data[0] ^ 1]) + files[1].data[1:])
    vault_file(f"{home}/f2").write_bytes(files[2].data[:50])
    vault_file(f"{home}/f3").write_bytes(files[3].data + b"longer")
    (row,) = either.replicas(f"{home}/f4")
    replicas.modify(session, f"{home}/f4", row, {"replStatus": "0"})
    wanted = expected(files)
    wanted[5] = Expected("f5", 100, checksum_of(b"other"))
    wanted[6] = Expected("f6", 99, wanted[6].checksum)
    wanted.append(Expected("absent", 1, checksum_of(b"x")))
    outcomes = either.verify_many(home, wanted)
    found = {
        wanted[index].relative: outcome.error
        for index, outcome in enumerate(outcomes)
        if isinstance(outcome, Mismatched)
    }
    assert found == {
        "f1": "checksum_mismatch",
        "f2": "size_mismatch",
        "f3": "size_mismatch",
        "f4": "replica_not_good",
        "f5": "checksum_mismatch",
        "f6": "size_mismatch",
        "absent": "missing_object",
    }
    assert sum(isinstance(outcome, Done) for outcome in outcomes) == len(wanted) - len(found)


def test_a_pack_that_fails_is_cleaned_and_each_file_verified(
    gateway: Gateway, home: str, resource: str, vault_file: Callable[[str], Path]
) -> None:
    files = _many(gateway, home, resource)
    vault_file(f"{home}/f7").unlink()
    outcomes = gateway.verify_many(home, expected(files))
    assert isinstance(outcomes[7], Mismatched)
    assert outcomes[7].error == "missing_file"
    assert [outcome for index, outcome in enumerate(outcomes) if index != 7] == verified(files[:7] + files[8:])
    assert staged(gateway) == []


@pytest.mark.parametrize("level", ["catalog", "stat", "rehash"])
def test_every_level_of_many(either: Gateway, home: str, resource: str, level: VerifyLevel) -> None:
    files = _many(either, home, resource, 60)
    wanted = [*expected(files), Expected("absent", 1, checksum_of(b"x")), Expected("f3", 7, files[3].checksum)]
    for part in (wanted, wanted[-5:], wanted[55:64]):
        outcomes = either.verify_many(home, part, level=level, resource=resource)
        assert [type(outcome) for outcome in outcomes[-2:]] in ([Mismatched] * 2, [Done] * 2)
        for item, outcome in zip(part, outcomes, strict=True):
            right = item.relative != "absent" and item.size == 100
            assert outcome == Done(item.checksum, level) if right else isinstance(outcome, Mismatched)


def test_a_pack_read_in_pieces(
    irods_settings: IrodsSettings, home: str, resource: str, vault_file: Callable[[str], Path]
) -> None:
    files = small_files([f"f{index}" for index in range(20)], 2_000_000)
    with Gateway(irods_settings) as gateway:
        with_own_staging(gateway, home)
        assert gateway.put_bundle(home, files, resource=resource, overwrite=False) == done(files)
        vault_file(f"{home}/f7").write_bytes(files[7].data[:-1] + bytes([files[7].data[-1] ^ 1]))
        outcomes = gateway.verify_many(home, expected(files))
        assert isinstance(outcomes[7], Mismatched)
        assert outcomes[:7] + outcomes[8:] == verified(files[:7] + files[8:])
        assert staged(gateway) == []


def test_registered_files_among_them(gateway: Gateway, home: str, resource: str, served: Path) -> None:
    files = _many(gateway, home, resource)
    file = served / "registered"
    file.write_bytes(b"in place")
    gateway.register(f"{home}/r", str(file), 8, WHEN, resource=resource, checksum=checksum_of(b"in place"))
    wanted = [*expected(files), Expected("r", 8, checksum_of(b"in place"))]
    assert gateway.verify_many(home, wanted) == verified(wanted)


def test_a_user_who_is_no_rodsadmin(alices_settings: IrodsSettings, resource: str) -> None:
    with Gateway(alices_settings) as gateway:
        home = f"/{gateway.server().zone}/home/{gateway.server().user}"
        assert not gateway.server().is_admin
        files = small_files([f"f{index}" for index in range(10)] + ["d/x"])
        for overwrite in (False, True):
            assert gateway.put_bundle(home, files, resource=resource, overwrite=overwrite) == done(files)
        check_all(gateway, home, files)
        assert gateway.verify_many(home, expected(files)) == verified(files)
        # 619 checks no path; a server that closes this hole, and single calls, say PATH_REG_NOT_ALLOWED
        outcomes = gateway.register_many(registrations(home, 5), resource=resource)
        shown = replicas.replicas_in(gateway._session, home)
        for row, outcome in zip(registrations(home, 5), outcomes, strict=True):
            if isinstance(outcome, Dead):
                assert outcome.error == "PATH_REG_NOT_ALLOWED"
            else:
                assert shown[row.path][0].modified_at == row.modified_at


def test_what_the_settings_forbid_is_not_used(irods_settings: IrodsSettings) -> None:
    with Gateway(irods_settings) as gateway:
        assert gateway.server().features == {
            features.BULK_REGISTER,
            features.TRANSACTION,
            features.BUNDLE,
            features.VAULT_WRITE,
            features.PACK,
        }
    with Gateway(irods_settings.model_copy(update={"vault_writes": False})) as gateway:
        assert features.VAULT_WRITE not in gateway.server().features
    with Gateway(irods_settings.model_copy(update={"bulk_registration": False, "bundles": False})) as gateway:
        assert gateway.server().features == frozenset()
