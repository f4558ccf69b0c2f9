"""Releases on an object store: a real S3 server on loopback (moto's), spoken to over HTTP."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import count
from pathlib import Path

import boto3
import obstore
import polars as pl
import pytest
import release_sample as sample
from moto.server import ThreadedMotoServer
from obstore.store import ObjectStore
from rich.console import Console
from vigie_runs import unlocked

from pipelines.deciding import approve
from pipelines.running import roll_back
from pipelines.settings import Settings
from pipelines.stages import publication
from pipelines.workspace import Workspace
from warehouse import remote
from warehouse.release import PARTNER, ReleaseError, Releases
from warehouse.remote import kept_by_policy, open_store, pointer, push

ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "cle", "AWS_SECRET_ACCESS_KEY": "motdepasse-s3", "AWS_REGION": "eu-west-3"}
BUCKET = count(1)
OTHER = "fedcba9876543210" * 4


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server."""
    running = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def url(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of the test's own; its keys are in the environment."""
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": server, "AWS_ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(name, value)
    bucket = f"vigie-{next(BUCKET)}"
    s3 = boto3.client("s3", endpoint_url=server, region_name="eu-west-3")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-3"})
    return f"s3://{bucket}/observatoire"


def seen(store: ObjectStore) -> dict[str, bytes]:
    """Every object, by name."""
    return {o["path"]: bytes(obstore.get(store, o["path"]).bytes()) for o in obstore.list(store).collect()}


def assert_whole(store: ObjectStore, release_id: str) -> None:
    """What a reader checks: the pointer's digest is that of SHA256SUMS, which is true of every file."""
    told = pointer(store)
    assert told is not None and told["release_id"] == release_id
    objects = seen(store)
    for edition in told["editions"].values():
        sums = objects[edition["path"] + "SHA256SUMS"]
        assert hashlib.sha256(sums).hexdigest() == edition["sha256sums"]
        for line in sums.decode().splitlines():
            digest, _, name = line.partition("  ")
            assert hashlib.sha256(objects[edition["path"] + name]).hexdigest() == digest, name


def test_a_release_is_sent_whole_and_not_twice(published: Callable[..., Releases], url: str) -> None:
    release, store = published().list()[0], open_store(url)
    assert pointer(store) is None
    first = push(release, store)
    assert_whole(store, release.release_id)
    assert first.sent == sum(p.is_file() for p in release.public.rglob("*")) and first.held == 0
    again = push(release, store)
    assert (again.sent, again.sent_bytes, again.held) == (0, 0, first.sent)


def test_a_partner_reads_the_parquet_where_the_pointer_says(
    published: Callable[..., Releases], url: str, server: str
) -> None:
    release, store = published().list()[0], open_store(url)
    push(release, store)
    told = pointer(store)
    assert told is not None
    options = {"aws_endpoint_url": server, "aws_allow_http": "true", "aws_region": "eu-west-3"}
    place = f"{url}/{told['editions']['public']['path']}observation.parquet"
    found = pl.scan_parquet(place, storage_options=options).filter(pl.col("indicator_id") == "rev_tp60").collect()
    assert found.height == sum(f[0] == "rev_tp60" for f in sample.FIGURES)


@pytest.mark.parametrize("sent", [0, 1, 5, 20])
def test_an_interrupted_push_is_never_seen_and_resumes(
    published: Callable[..., Releases], url: str, monkeypatch: pytest.MonkeyPatch, sent: int
) -> None:
    old, new = published("f" * 64).list()
    store = open_store(url)
    push(old, store)
    done = count()
    real = obstore.put

    def cut(*args: object, **kwargs: object) -> object:
        if next(done) == sent:
            raise KeyboardInterrupt
        return real(*args, **kwargs)  # pyright: ignore[reportArgumentType, reportCallIssue]

    monkeypatch.setattr(obstore, "put", cut)
    with pytest.raises(KeyboardInterrupt):
        push(new, store)
    assert_whole(store, old.release_id)
    resumed = push(new, store)
    assert_whole(store, new.release_id)
    assert resumed.held == sent


def test_a_file_altered_on_its_way_stops_the_push(
    published: Callable[..., Releases], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = published("f" * 64).list()
    store = open_store(url)
    push(old, store)
    real = obstore.put

    def altered(store: ObjectStore, path: str, file: Path, **kwargs: object) -> object:
        data = file.read_bytes()
        return real(store, path, bytes([data[0] ^ 1]) + data[1:], **kwargs)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(obstore, "put", altered)
    with pytest.raises(ReleaseError, match="relus tels qu'envoyés"):
        push(new, store)
    assert_whole(store, old.release_id)


def test_a_file_altered_there_is_sent_again(published: Callable[..., Releases], url: str) -> None:
    release, store = published().list()[0], open_store(url)
    push(release, store)
    size = release.path("territory").stat().st_size
    obstore.put(store, f"releases/{release.release_id}/public/territory.parquet", b"x" * size)
    assert push(release, store).sent == 1
    assert_whole(store, release.release_id)


def test_a_release_altered_here_is_not_sent(published: Callable[..., Releases], url: str) -> None:
    release = published().list()[0]
    path = release.path("territory")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ReleaseError, match=r"territory.parquet : contenu modifié"):
        push(release, open_store(url))
    assert seen(open_store(url)) == {}


def test_old_releases_go_and_the_one_in_force_stays(
    published: Callable[..., Releases], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases, store = published("d" * 64, "e" * 64, "f" * 64).list(), open_store(url)
    for release in releases[:-1]:
        push(release, store)
    obstore.put(store, "releases/r0000-000000000000/public/observation.parquet", b"a push that nobody resumed")
    assert push(releases[-1], store, keep=2).removed == []  # all of the last day
    monkeypatch.setattr(remote, "KEPT_AT_LEAST", timedelta(0))
    names = [r.release_id for r in releases]
    assert push(releases[0], store, keep=2).removed == ["r0000-000000000000", names[1]]
    assert_whole(store, names[0])
    assert {path.split("/")[1] for path in seen(store) if path.startswith("releases/")} == {names[0], *names[2:]}


def test_the_policy_keeps_the_newest_and_the_last_of_each_year() -> None:
    dated = {
        f"{year}-{month:02}": datetime(year, month, 1, tzinfo=UTC) for year in (2023, 2024, 2025) for month in (1, 6)
    }
    assert kept_by_policy(dated, 2) == {"2023-06", "2024-06", "2025-01", "2025-06"}
    assert kept_by_policy(dated, 9) == set(dated)
    assert kept_by_policy({}, 2) == set()


def test_partners_figures_go_to_a_store_of_theirs_only(published: Callable[..., Releases], url: str) -> None:
    release = published().list()[0]
    shutil.copytree(release.public, release.folder / PARTNER)
    public, partners = open_store(url), open_store(f"{url}-partenaires")
    push(release, public)
    assert not any(PARTNER in path for path in seen(public))
    with pytest.raises(ReleaseError, match="À faire : donner à chaque public son propre seau"):
        push(release, public, partner=True)
    push(release, partners, partner=True)
    assert_whole(partners, release.release_id)
    assert any(f"/{PARTNER}/" in path for path in seen(partners))
    with pytest.raises(ReleaseError, match="attendu un dépôt pour l'édition « public »"):
        push(release, partners)
    assert not any(PARTNER in path for path in seen(public))


def test_addresses_that_cannot_be_used_are_told(published: Callable[..., Releases], url: str) -> None:
    release = published().list()[0]
    with pytest.raises(ReleaseError, match="attendu une adresse sans mot de passe") as error:
        open_store("s3://cle:motdepasse-s3@vigie/public")
    assert "motdepasse-s3" not in str(error.value)
    with pytest.raises(ReleaseError, match="À faire : vérifier l'adresse"):
        open_store("seau/dossier")
    with pytest.raises(ReleaseError, match="404") as error:
        push(release, open_store("s3://inconnu/public"))
    assert "motdepasse-s3" not in str(error.value)


def test_the_pointer_is_readable_by_anything(published: Callable[..., Releases], url: str) -> None:
    release, store = published().list()[0], open_store(url)
    push(release, store)
    told = json.loads(seen(store)["latest.json"])
    assert told["audience"] == "public" and told["editions"]["public"]["path"].startswith("releases/r0001-")


def test_an_approved_release_is_sent_too(
    published: Callable[..., Releases], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waited is published, then sent; where the store refuses, it is published all the same, and that is said."""
    monkeypatch.setattr(Workspace, "input_digest", lambda _: OTHER)
    releases, err = published(), Console(file=StringIO(), width=400)

    def approved(address: str) -> tuple[int, str]:
        candidate = sample.candidate(releases, digest=OTHER)
        releases.keep(replace(candidate.state(["public"]), refused=()))
        workspace = Workspace(Settings(data=releases.data, remote=address, publish="on_approval"))
        with unlocked():
            publication.publish(workspace)
            return approve(workspace, candidate.release_id, Console(file=StringIO()), err), candidate.release_id

    code, first = approved(url)
    assert code == 0
    assert_whole(open_store(url), first)
    code, second = approved("s3://absent/observatoire")
    latest = releases.latest()
    assert code == 2 and latest is not None and latest.release_id == second != first
    assert f"{second} est publiée ici, mais pas envoyée" in err.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert_whole(open_store(url), first)


def test_going_back_is_sent_too(published: Callable[..., Releases], url: str) -> None:
    """Partners must not go on reading figures that were withdrawn here."""
    releases = published(OTHER)
    first, second = releases.list()
    push(second, open_store(url))

    def back(address: str | None) -> tuple[int, str]:
        err = StringIO()
        workspace = Workspace(Settings(data=releases.data, remote=address))
        with unlocked():
            code = roll_back(workspace, first.release_id, Console(file=StringIO()), Console(file=err, width=400))
        return code, err.getvalue()

    code, told = back("s3://absent/observatoire")
    assert code == 2 and f"{first.release_id} est publiée ici, mais pas envoyée" in told
    assert_whole(open_store(url), second.release_id)
    assert back(url) == (0, "")
    assert_whole(open_store(url), first.release_id)
    assert back(None) == (0, "")
