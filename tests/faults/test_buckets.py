"""A bucket whose server fails in every way it can: the same bytes at last, or an error that says what to do."""

import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from faults import harness

pytest.importorskip("moto", reason="needs moto[server], an S3 server for tests")
pytest.importorskip("boto3", reason="needs the extra s3")

from faults import buckets, clusters

from crackmap.calibration.errors import CrackmapError, InputError, OutputLockedError, StorageError
from crackmap.pipeline.executor import Job, finished_rows
from crackmap.pipeline.loading import Loader
from crackmap.pipeline.records import CHANGED
from crackmap.pipeline.run import RunOptions, run_survey
from crackmap.pipeline.storage import bucket, staging
from crackmap.pipeline.storage.bucket import Patience, open_store
from crackmap.pipeline.storage.refusals import ChangedObjectError
from crackmap.pipeline.storage.shadow import real_file
from crackmap.pipeline.storage.staging import working_copy
from crackmap.pipeline.storage.urls import BucketUrl, location
from crackmap.pipeline.survey import read_survey

SETTINGS = replace(harness.SETTINGS, strips=False)

BRIEF = Patience(connect_s=0.5, read_s=1.0, whole_s=4.0, tries=4, pause_s=0.01)

BIG = np.random.default_rng(0).bytes(5 << 20)
"""Five parts, as they are cut here."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with buckets.served() as found:
        yield found


@pytest.fixture
def proxy(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[buckets.Proxy]:
    """The way to the server, in the environment of this test; nobody waits long."""
    found = buckets.Proxy(address)
    buckets.credentials(monkeypatch, found.address, tmp_path / "cache")
    monkeypatch.setattr(bucket, "PATIENCE", BRIEF)
    monkeypatch.setattr(bucket, "PART_BYTES", 1 << 20)
    yield found
    found.close()


@pytest.fixture
def big(address: str, proxy: buckets.Proxy) -> str:
    buckets.client(address).put_object(Bucket="roads", Key="big", Body=BIG)
    return "big"


def fetched(key: str, folder: Path) -> bytes:
    store = open_store(BucketUrl("roads"))
    item = store.look(key)
    assert item is not None
    store.fetch(item, folder / "got")
    return (folder / "got").read_bytes()


FAULTS = ("reset", "short", "stall", "500 InternalError", "503 SlowDown", "503 ", "429 TooManyRequests")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_part_that_fails_twice_is_fetched_again_and_the_object_is_whole(fault, proxy, big, tmp_path):
    proxy.fault = lambda number, line: fault if line.startswith("GET") and number in (2, 4) else None
    assert fetched(big, tmp_path) == BIG
    assert len(proxy.asked) >= 8


@pytest.mark.parametrize("fault", ["reset", "short", "503 SlowDown", "slow"])
def test_a_server_that_fails_for_ever_ends_in_an_error_with_a_remedy_and_leaves_nothing(
    fault, proxy, big, tmp_path, monkeypatch
):
    monkeypatch.setattr(bucket, "PATIENCE", replace(BRIEF, tries=2, whole_s=1.0))
    proxy.fault = lambda _, line: fault if line.startswith("GET") else None
    start = time.monotonic()
    with pytest.raises(StorageError, match=r"big: the server did not answer as a whole in 2 tries .*AWS_ENDPOINT_URL"):
        fetched(big, tmp_path)
    assert time.monotonic() - start < 60
    assert not (tmp_path / "got").exists()


def test_an_object_that_changes_between_its_parts_is_given_up(address, proxy, big, tmp_path, monkeypatch):
    # Asked for once only: a part that is asked for again may come before the change.
    monkeypatch.setattr(bucket, "PATIENCE", replace(BRIEF, read_s=60.0, whole_s=60.0))

    def fault(number: int, line: str) -> None:
        if number == 4:
            buckets.client(address).put_object(Bucket="roads", Key="big", Body=BIG[::-1])

    proxy.fault = fault
    with pytest.raises(ChangedObjectError, match="another object now"):
        fetched(big, tmp_path)
    assert not (tmp_path / "got").exists()


@pytest.mark.parametrize("status", ["403 AccessDenied", "403 SignatureDoesNotMatch", "401 ExpiredToken"])
def test_denied_access_is_said_at_once_with_what_to_check_and_without_the_secret(status, proxy, big, tmp_path):
    proxy.fault = lambda _, line: status if line.startswith("GET") else None
    with pytest.raises(InputError, match=r"refuses it .*credentials") as error:
        fetched(big, tmp_path)
    assert "wordless-secret" not in str(error.value)
    # Each of the five parts once at most.
    assert sum(line.startswith("GET") for line in proxy.asked) <= 5


def test_nobody_there_and_no_such_bucket_are_named(proxy, monkeypatch):
    with pytest.raises(InputError, match="no such bucket"):
        read_survey(location("s3://nowhere/survey"))
    with pytest.raises(InputError, match="no object there"):
        read_survey(location("s3://roads/nothing"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:wordless-secret@127.0.0.1:9")
    with pytest.raises(StorageError, match="Could not connect") as error:
        read_survey(location("s3://roads/survey"))
    assert "wordless-secret" not in str(error.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not a server")
    with pytest.raises(InputError, match="AWS_ENDPOINT_URL"):
        read_survey(location("s3://roads/survey"))


def test_missing_credentials_are_named(proxy, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr(bucket, "PATIENCE", replace(BRIEF, tries=3))
    with pytest.raises(InputError, match="AWS_ACCESS_KEY_ID"):
        read_survey(location("s3://roads/survey"))
    assert not proxy.asked


@pytest.mark.parametrize("fault", ["reset", "500 InternalError", "503 SlowDown", "short"])
def test_a_put_that_fails_is_done_again_and_the_object_is_whole(fault, address, proxy, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(BIG)
    proxy.fault = lambda number, line: fault if number == 1 else None
    open_store(BucketUrl("roads")).put(path, "put/one")
    assert buckets.objects(address, "put")["one"] == BIG


def test_a_large_file_is_put_in_parts_of_which_one_fails(address, proxy, tmp_path, monkeypatch):
    monkeypatch.setattr(bucket, "PUT_PART_BYTES", 5 << 20)
    path = tmp_path / "file"
    path.write_bytes(BIG + BIG + b"end")
    proxy.fault = lambda number, line: "503 SlowDown" if number == 3 else None
    item = open_store(BucketUrl("roads")).put(path, "put/parts")
    assert buckets.objects(address, "put")["parts"] == BIG + BIG + b"end"
    assert item.etag == bucket.etag_of(path)
    proxy.fault = lambda number, line: "403 AccessDenied" if "partNumber=2" in line else None
    with pytest.raises(InputError):
        open_store(BucketUrl("roads")).put(path, "put/denied")
    assert "denied" not in buckets.objects(address, "put")
    assert not buckets.client(address).list_multipart_uploads(Bucket="roads").get("Uploads")


@pytest.fixture(scope="module")
def survey(address: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = harness.draw_survey(tmp_path_factory.mktemp("survey") / "photos", 3)
    buckets.fill(address, folder, "photos")
    return folder


def run(out: str, *, source: str = "s3://roads/photos", **options: object) -> int:
    """As `harness.run`, from and to where the command line would."""
    try:
        found = read_survey(location(source), gsd_mm=1.0)
        with working_copy(location(out)) as place:
            chosen = RunOptions(bucket=place.bucket, **options)  # type: ignore[arg-type]
            summary = run_survey(found, place.folder, harness.stand_ins(), SETTINGS, options=chosen,
                                 progress=place.checked(lambda *_: None), command="crackmap run")  # fmt: skip
    except CrackmapError as error:
        return error.exit_code
    return 3 if summary.skipped else 0


@pytest.fixture(scope="module")
def unbroken(survey: Path, address: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of a run from the bucket to a folder."""
    folder = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch:
        buckets.credentials(patch, address, folder / "cache")
        assert run(str(folder / "out")) == 0
    return harness.tree(folder / "out")


def test_runs_killed_at_random_end_with_the_objects_of_a_local_run(unbroken, address, proxy, tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "SNAPSHOT_S", 0.1)
    rng, hits = np.random.default_rng(4), 0
    while hits < 3:
        child = harness.in_child(lambda: run("s3://roads/killed"))
        code = harness.waited(child, kill_after_s=float(rng.uniform(0.3, 2.0)))
        if code == 0:
            assert buckets.tree(address, "killed") == unbroken
            for name in buckets.objects(address, "killed"):
                buckets.client(address).delete_object(Bucket="roads", Key=f"killed/{name}")
        else:
            assert code == -signal.SIGKILL
            hits += 1
            if hits % 2:
                # Another machine goes on: it has nothing but the bucket.
                shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    assert run("s3://roads/killed") == 0
    assert buckets.tree(address, "killed") == unbroken
    assert ".lock" not in buckets.objects(address, "killed")


def test_a_run_through_a_server_that_fails_now_and_then_ends_as_an_unbroken_one(unbroken, address, proxy):
    rng = np.random.default_rng(5)
    proxy.fault = lambda number, line: str(rng.choice(FAULTS)) if rng.random() < 0.08 else None
    assert run("s3://roads/shaky", workers=1) == 0
    assert buckets.tree(address, "shaky") == unbroken


def test_access_that_is_lost_during_a_run_ends_it_and_the_same_command_goes_on(unbroken, address, proxy):
    proxy.fault = lambda _, line: "403 AccessDenied" if line.startswith("PUT") and "masks/0002" in line else None
    assert run("s3://roads/denied", workers=1) == 4
    there = buckets.objects(address, "denied")
    assert "journal.sqlite" in there and "_SUCCESS.json" not in there and "run.json" not in there
    proxy.fault = lambda _, line: None
    out = location("s3://roads/denied")
    with working_copy(out):
        assert run(str(out)) == OutputLockedError.exit_code
    assert run(str(out)) == 0
    assert buckets.tree(address, "denied") == unbroken


@pytest.mark.slow
def test_workers_of_ray_one_of_which_is_lost_end_with_the_objects_of_a_local_run(unbroken, address, proxy, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'crackmap[ray]'")
    (tmp_path / "exits").touch()
    run_of_ray = clusters.driver("s3://roads/photos", "s3://roads/ray", tmp_path, None, strips=False, workers=2)
    code, said = clusters.ended(run_of_ray)
    assert code == 0, said
    assert said.count("was lost") == 1
    assert buckets.tree(address, "ray") == unbroken
    assert ".lock" not in buckets.objects(address, "ray")


def test_a_picture_that_is_replaced_after_it_was_listed_is_named_and_not_measured(survey, address, proxy, tmp_path):
    buckets.fill(address, survey, "live")
    found = read_survey(location("s3://roads/live"), gsd_mm=1.0)
    whole = (survey / "0001.png").read_bytes()
    buckets.client(address).put_object(Bucket="roads", Key="live/0001.png", Body=whole[::-1])
    with Loader(1) as loader:
        job = Job(found, tmp_path / "out", lambda frame: "")
        groups = finished_rows(job, found.frames, harness.stand_ins(), loader, workers=1)
        rows = [row for group in groups for row in group]
    assert [row.key for row in rows if row.status == "ok"] == ["0000.png", "0002.png"]
    assert rows[1].reason.startswith(CHANGED)
    # What the placeholder holds is never taken for the picture.
    assert found.frames[1].path.stat().st_size == len(whole)
    with Loader() as loader, pytest.raises(InputError, match=CHANGED):
        loader.open(found.frames[1].path)


def test_a_fetched_picture_is_gone_when_it_is_closed(survey, proxy, tmp_path):
    found = read_survey(location("s3://roads/photos"), gsd_mm=1.0)
    frame = found.frames[0]
    with real_file(frame.path, tmp_path) as file:
        assert file.read_bytes() == (survey / "0000.png").read_bytes()
        assert file.stat().st_mtime_ns == frame.path.stat().st_mtime_ns and file.name == frame.path.name
    assert not file.exists() and not [*tmp_path.glob(".writing*")]
