"""The way to a data file: look in the cache folder, else download, verify, keep."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO

import pooch
import requests
from urllib3.exceptions import HTTPError

FOLDER_VARIABLE = "SKGNN_MTL_DATA"
TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 16  # bytes
CHANGED_SINCE, RANGE_BEYOND_END = 412, 416  # HTTP


@dataclass(frozen=True)
class RemoteFile:
    """A data file at its official address.

    Parameters
    ----------
    url : str
        Official address; its last part is the name in the cache.
    known_hash : str or None
        ``"sha256:..."`` or ``"md5:..."`` of the official bytes. None where no official
        hash is known: such a file is judged by its content after reading.
    copies : tuple of str
        Names under which the same table, judged by its content, may lie in the cache.
    filename : str or None
        Name in the cache if the address does not end with one.
    """

    url: str
    known_hash: str | None = None
    copies: tuple[str, ...] = ()
    filename: str | None = None

    @property
    def name(self) -> str:
        """Name in the cache folder."""
        return self.filename or self.url.rsplit("/", 1)[-1]


def data_folder(data_home: str | os.PathLike[str] | None = None) -> Path:
    """Return the cache folder: the argument, the environment variable, the default."""
    chosen = data_home or os.environ.get(FOLDER_VARIABLE) or pooch.os_cache("skgnn_mtl")
    return Path(chosen).expanduser()


def fetch_file(
    remote: RemoteFile,
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
) -> Path:
    """Return the path of a file in the cache, downloading it if it is not there.

    Parameters
    ----------
    remote : RemoteFile
        What is wanted.
    data_home : path-like, optional
        Cache folder, see :func:`data_folder`. A folder that holds the file already is
        only read.
    download_if_missing : bool, default=True
        Whether the network may be used.

    Returns
    -------
    pathlib.Path
        The complete file, its hash verified where one is known.

    Raises
    ------
    OSError
        If the file is absent and may not or could not be downloaded, or has a wrong
        hash. A file that is there is never overwritten.
    """
    folder = data_folder(data_home)
    for name in (remote.name, *remote.copies):
        if (folder / name).is_file():
            _check_hash(folder / name, remote)
            return folder / name
    if not download_if_missing:
        raise OSError(
            f"{remote.name} is not in {folder} and download_if_missing=False. Allow "
            f"the download, or put the file from {remote.url} into that folder."
        )
    return _download(remote, folder)


def _check_hash(path: Path, remote: RemoteFile) -> None:
    """Raise where a cached official file has other bytes than the official ones."""
    if remote.known_hash is None or path.name != remote.name:
        return
    algorithm, wanted = remote.known_hash.split(":")
    found = pooch.file_hash(str(path), alg=algorithm)
    if found != wanted:
        raise OSError(
            f"{path} has {algorithm} {found}, but the official file has {wanted}. "
            f"Move it away, and it is downloaded again from {remote.url}."
        )


def _download(remote: RemoteFile, folder: Path) -> Path:
    """Download into the folder; the final name exists only once all is verified."""
    store = pooch.create(
        path=folder,
        base_url="",
        registry={remote.name: remote.known_hash},
        urls={remote.name: remote.url},
    )
    downloader = ResumingDownloader(folder / f"{remote.name}.part")
    try:
        return Path(store.fetch(remote.name, downloader=downloader))
    except (OSError, ValueError) as error:
        raise OSError(
            f"Could not download {remote.name} from {remote.url} into {folder}: "
            f"{error}. Run it again (a broken download continues where it stopped), "
            f"or put the file into that folder yourself."
        ) from error


class ResumingDownloader:
    """Downloader for pooch that continues a broken HTTP download.

    Bytes are collected in a file of their own, which outlives a lost connection and a
    killed process. The next call asks only for the rest, on condition that the server's
    file has not changed meanwhile; a server that does not support this sends the whole
    file. Several processes may do this at once: each writes the same bytes to the
    same places.

    Parameters
    ----------
    part : pathlib.Path
        Where the bytes are collected. It is removed when all are there.
    """

    def __init__(self, part: Path):
        self.part = part

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Write the content of ``url`` to ``output_file``."""
        with (
            open(self.part, "r+b", opener=_create_if_absent) as part,
            open(output_file, "wb") as complete,
        ):
            _transfer(url, part, _resume_headers(part))
            part.seek(0)
            shutil.copyfileobj(part, complete)
        # Windows refuses while another process has it open, which removes it then.
        with suppress(OSError):
            self.part.unlink()


def _create_if_absent(path: str, flags: int) -> int:
    """Open without a gap in which another process could remove the file."""
    return os.open(path, flags | os.O_CREAT, 0o666)


def _resume_headers(part: BinaryIO) -> dict[str, str]:
    """Ask for what is missing from ``part``; for everything where it is empty."""
    status = os.fstat(part.fileno())
    if status.st_size == 0:
        return {}
    return {
        "Range": f"bytes={status.st_size}-",
        "If-Unmodified-Since": formatdate(status.st_mtime, usegmt=True),
    }


def _transfer(url: str, part: BinaryIO, condition: dict[str, str]) -> None:
    """Complete ``part`` with what the server sends, or raise OSError."""
    # The bytes as stored: a compressed transfer could neither be continued nor hashed.
    headers = {"Accept-Encoding": "identity", **condition}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        start, total = _extent(response.headers)
        if response.status_code == RANGE_BEYOND_END and total == _size(part):
            return  # everything had arrived
        if condition and response.status_code in (CHANGED_SINCE, RANGE_BEYOND_END):
            part.truncate(0)  # bytes of another version
            _transfer(url, part, {})
            return
        response.raise_for_status()
        part.seek(start)
        _write_body(response, part)
    part.truncate()  # what a longer, earlier version left
    if total not in (None, part.tell()):
        raise OSError(f"it ended after {part.tell():,} of {total:,} bytes")


def _write_body(response: requests.Response, part: BinaryIO) -> None:
    """Write the undecoded body of a response at the position of ``part``."""
    try:
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            part.write(chunk)
    except HTTPError as error:
        raise OSError(f"the connection broke: {error}") from error


def _extent(headers: Mapping[str, str]) -> tuple[int, int | None]:
    """First byte of a response and size of the whole file, if the server tells it."""
    pattern = r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)"
    match = re.match(pattern, headers.get("Content-Range", ""))
    if match:
        return int(match[1] or 0), int(match[2]) if match[2] else None
    length = headers.get("Content-Length")
    return 0, int(length) if length else None


def _size(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)
