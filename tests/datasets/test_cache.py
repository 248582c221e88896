"""Downloads: complete and verified, or not there."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from skgnn_mtl.datasets._cache import RemoteFile, data_folder, fetch_file


def remote(server, content, name="table.csv"):
    return RemoteFile(server.url(name), "sha256:" + hashlib.sha256(content).hexdigest())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_download_is_complete_and_happens_once(server, content, tmp_path):
    home = tmp_path / "new" / "cache"
    for _ in range(2):
        path = fetch_file(remote(server, content), data_home=home)
    assert path == home / "table.csv"
    assert path.read_bytes() == content
    assert names(home) == ["table.csv"]
    assert len(server.requests) == 1


def test_a_broken_download_is_never_taken_for_the_file(server, content, tmp_path):
    server.cut_after = 70_001
    with pytest.raises(OSError, match=r"Could not download table\.csv from http"):
        fetch_file(remote(server, content), data_home=tmp_path)
    assert names(tmp_path) == ["table.csv.part"]
    assert (tmp_path / "table.csv.part").read_bytes() == content[:70_001]
    with pytest.raises(OSError, match="download_if_missing=False"):
        fetch_file(
            remote(server, content), data_home=tmp_path, download_if_missing=False
        )


@pytest.mark.parametrize("known", [True, False], ids=["hash", "no_hash"])
def test_the_next_run_continues_a_broken_download(server, content, tmp_path, known):
    file = remote(server, content) if known else RemoteFile(server.url("table.csv"))
    for server.cut_after in (50_000, 70_001):
        with pytest.raises(OSError, match="Run it again"):
            fetch_file(file, data_home=tmp_path)
    server.cut_after = None
    path = fetch_file(file, data_home=tmp_path)
    assert path.read_bytes() == content
    assert names(tmp_path) == ["table.csv"]
    assert server.sent == [50_000, 70_001, len(content) - 120_001]
    assert server.requests[2]["range"] == "bytes=120001-"


def test_a_server_without_ranges_sends_the_whole_file(server, content, tmp_path):
    (tmp_path / "table.csv.part").write_bytes(b"x" * (len(content) + 5))
    server.ranges = False
    path = fetch_file(remote(server, content), data_home=tmp_path)
    assert path.read_bytes() == content
    assert server.sent == [len(content)]


def test_a_file_that_changed_meanwhile_is_loaded_anew(server, content, tmp_path):
    part = tmp_path / "table.csv.part"
    part.write_bytes(b"old" * 100)
    server.modified = time.time() + 10
    path = fetch_file(RemoteFile(server.url("table.csv")), data_home=tmp_path)
    assert path.read_bytes() == content
    assert [request.get("range") for request in server.requests] == ["bytes=300-", None]


def test_a_partial_file_that_lacks_nothing_is_not_loaded_again(
    server, content, tmp_path
):
    (tmp_path / "table.csv.part").write_bytes(content)
    path = fetch_file(remote(server, content), data_home=tmp_path)
    assert path.read_bytes() == content
    assert server.sent == [0]
    assert names(tmp_path) == ["table.csv"]


def test_a_partial_file_that_is_too_long_is_dropped(server, content, tmp_path):
    (tmp_path / "table.csv.part").write_bytes(content + b"more")
    path = fetch_file(remote(server, content), data_home=tmp_path)
    assert path.read_bytes() == content


def test_a_partial_file_of_other_content_fails_once(server, content, tmp_path):
    (tmp_path / "table.csv.part").write_bytes(b"x" * 1000)
    with pytest.raises(OSError, match="does not match"):
        fetch_file(remote(server, content), data_home=tmp_path)
    assert names(tmp_path) == []
    fetch_file(remote(server, content), data_home=tmp_path)


def test_a_wrong_hash_leaves_nothing_behind(server, content, tmp_path):
    wanted = remote(server, b"something else")
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(OSError, match="does not match") as error:
        fetch_file(wanted, data_home=tmp_path)
    assert wanted.known_hash.removeprefix("sha256:") in str(error.value)
    assert found in str(error.value)
    assert names(tmp_path) == []


def test_two_downloads_at_once_do_no_harm(server, content, tmp_path):
    file = remote(server, content)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch_file(file, data_home=tmp_path), range(4)))
    assert {path.read_bytes() for path in paths} == {content}
    assert names(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("status", [404, 503])
def test_an_error_of_the_server_is_told(server, content, tmp_path, status):
    server.status = status
    with pytest.raises(OSError, match=str(status)) as error:
        fetch_file(remote(server, content), data_home=tmp_path)
    assert str(tmp_path) in str(error.value)
    assert not (tmp_path / "table.csv").exists()
    server.status = 200
    assert fetch_file(remote(server, content), data_home=tmp_path).exists()


def test_no_server_is_told(tmp_path, server, content):
    file = remote(server, content)
    server.shutdown()
    server.server_close()
    with pytest.raises(OSError, match=r"Could not download table\.csv"):
        fetch_file(file, data_home=tmp_path)


@pytest.mark.usefixtures("no_network")
def test_a_missing_file_without_download_names_file_address_and_folder(tmp_path):
    file = RemoteFile("http://example.org/data/table.csv")
    with pytest.raises(OSError, match=r"table\.csv is not in") as error:
        fetch_file(file, data_home=tmp_path, download_if_missing=False)
    assert file.url in str(error.value)
    assert str(tmp_path) in str(error.value)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_a_cached_file_needs_no_network(tmp_path, algorithm):
    path = tmp_path / "table.csv"
    path.write_bytes(b"1,2\n")
    digest = hashlib.new(algorithm, b"1,2\n").hexdigest()
    file = RemoteFile("http://example.org/table.csv", f"{algorithm}:{digest}")
    assert fetch_file(file, data_home=tmp_path) == path


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("download", [True, False])
def test_a_cached_file_with_a_wrong_hash_is_refused_and_kept(tmp_path, download):
    path = tmp_path / "table.csv"
    path.write_bytes(b"mine")
    file = RemoteFile("http://example.org/table.csv", "sha256:" + "0" * 64)
    with pytest.raises(OSError, match="but the official file has 0000") as error:
        fetch_file(file, data_home=tmp_path, download_if_missing=download)
    assert hashlib.sha256(b"mine").hexdigest() in str(error.value)
    assert path.read_bytes() == b"mine"


@pytest.mark.usefixtures("no_network")
def test_a_copy_under_another_name_is_found(tmp_path):
    (tmp_path / "table.csv").write_bytes(b"1,2\n")
    file = RemoteFile(
        "http://example.org/table.csv.gz", "md5:" + "0" * 32, copies=("table.csv",)
    )
    assert fetch_file(file, data_home=tmp_path) == tmp_path / "table.csv"


def test_the_folder_is_argument_then_variable_then_default(tmp_path, monkeypatch):
    monkeypatch.setenv("SKGNN_MTL_DATA", str(tmp_path / "variable"))
    assert data_folder(tmp_path) == tmp_path
    assert data_folder() == tmp_path / "variable"
    monkeypatch.delenv("SKGNN_MTL_DATA")
    assert data_folder().name == "skgnn_mtl"
    assert data_folder("~/data") == Path.home() / "data"


@pytest.mark.usefixtures("no_network")
def test_a_folder_with_the_file_is_only_read(tmp_path):
    (tmp_path / "table.csv").write_bytes(b"1,2\n")
    tmp_path.chmod(0o555)
    before = os.stat(tmp_path).st_mtime_ns
    fetch_file(RemoteFile("http://example.org/table.csv"), data_home=tmp_path)
    assert os.stat(tmp_path).st_mtime_ns == before
    assert names(tmp_path) == ["table.csv"]
    tmp_path.chmod(0o755)
