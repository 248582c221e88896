"""Archives are whole or refused, and a file is the old or the new one."""

import errno
import io
import os
import stat
import subprocess
import sys
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest

from skgnn_mtl import _archive
from skgnn_mtl._archive import read_archive, read_header, replace_file, write_archive

HEADER = {"format": "test", "values": [1, {"a": None}]}
MEMBERS = {"numbers": bytes(range(256)), "nothing": b""}


@pytest.fixture
def path(tmp_path):
    write_archive(tmp_path / "file", HEADER, MEMBERS, "A text.")
    return tmp_path / "file"


def seal(content):
    """Give bytes the seal that matches them."""
    content = content[: -_archive._DIGITS]
    return content + _archive._digest(content)


def test_what_is_read_is_what_was_written(path):
    header, members = read_archive(path, "test")
    assert header == {**HEADER, "format_version": 1}
    assert members == {**MEMBERS, "README.md": b"A text."}
    with ZipFile(path) as archive:
        assert archive.testzip() is None


def test_an_open_file_is_written_and_read_where_it_stands(path):
    file = io.BytesIO()
    write_archive(file, HEADER, MEMBERS, "A text.")
    assert file.getvalue() == path.read_bytes()
    file.seek(0)
    assert read_header(file, "test") == read_archive(path, "test")[0]
    assert file.tell() == 0


def test_every_changed_bit_is_found(path):
    content = path.read_bytes()
    for place in range(len(content)):
        for bit in (0, 3, 7):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(bytes(changed))
            with pytest.raises(ValueError, match="damaged|not a saved"):
                read_archive(path, "test")


def test_every_truncation_is_found(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="not a saved test, or its end is missing"):
            read_archive(path, "test")


@pytest.mark.parametrize("version", [0, 2, "99.0", None])
def test_a_newer_format_is_refused(path, version, monkeypatch):
    monkeypatch.setattr(_archive, "FORMAT_VERSION", version)
    write_archive(path, {**HEADER, "version": "7.5"}, {})
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"has format .*Install.*'7\.5'"):
        read_archive(path, "test")


def test_a_crafted_archive_cannot_fill_the_memory(path):
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        archive.writestr("header.json", '{"format": "test", "format_version": 1}')
        archive.writestr("zeros", bytes(10**7))
        archive.comment = _archive._MARK + b"0" * _archive._DIGITS
    path.write_bytes(seal(file.getvalue()))
    with pytest.raises(ValueError, match="members are larger than the file"):
        read_archive(path, "test")


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 10**5, '{"format": 1}'])
def test_a_wrong_header_is_refused(path, text):
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        archive.writestr("header.json", text)
        archive.comment = _archive._MARK + b"0" * _archive._DIGITS
    path.write_bytes(seal(file.getvalue()))
    with pytest.raises(ValueError, match="is not a saved test"):
        read_archive(path, "test")


def test_two_members_of_one_name_are_refused(path):
    file = io.BytesIO()
    with ZipFile(file, "w") as archive:
        archive.writestr("header.json", '{"format": "test", "format_version": 1}')
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("header.json", "{}")
        archive.comment = _archive._MARK + b"0" * _archive._DIGITS
    path.write_bytes(seal(file.getvalue()))
    with pytest.raises(ValueError, match="two members have one name"):
        read_archive(path, "test")


# -- replacing a file ---------------------------------------------------------------


def test_a_full_disk_leaves_the_old_file(path, monkeypatch):
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["file"]


def test_a_replaced_file_keeps_its_mode_and_its_link(path):
    path.chmod(0o640)
    link = path.with_name("link")
    link.symlink_to(path)
    replace_file(link, b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_has_the_usual_mode(path):
    replace_file(path.with_name("new"), b"new")
    path.with_name("usual").write_bytes(b"")
    modes = {path.with_name(name).stat().st_mode for name in ("new", "usual")}
    assert len(modes) == 1


KILLED = """
import sys
from skgnn_mtl._archive import replace_file
contents = [bytes([k]) * 1_000_000 for k in range(256)]
print("ready", flush=True)
while True:
    for content in contents:
        replace_file(sys.argv[1], content)
"""


def test_a_killed_process_leaves_a_whole_file(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "file")],
            stdout=subprocess.PIPE,
        )
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1 + 0.1 * rng.random())
        process.kill()
        process.wait()
        process.stdout.close()
        content = (tmp_path / "file").read_bytes()
        assert len(content) == 1_000_000
        assert len(set(content)) == 1
