"""Data files in the cache folder: found there, or downloaded, verified and kept."""

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
TIMEOUT = 30  # seconds between two bytes
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
        ``"sha256:..."`` or ``"md5:..."`` of the official bytes. None if there is no
        official hash; then the content is checked after reading.
    copies : tuple of str
        Other names that the same table may have in the cache. Its content is checked.
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
    """Return the path of a file in the cache; download it if it is missing.

    Parameters
    ----------
    remote : RemoteFile
        The file.
    data_home : path-like, optional
        Cache folder, see :func:`data_folder`. It may be read-only if it has the file.
    download_if_missing : bool, default=True
        Whether to download a missing file.

    Returns
    -------
    path : pathlib.Path
        The complete file. Its hash is verified if there is an official one.

    Raises
    ------
    OSError
        If the file is missing and not downloaded, or if its hash is wrong. An existing
        file is not overwritten.
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
    """Check that a cached official file has the official bytes."""
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
    """Download into the folder; a file with the final name is complete and verified."""
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
    """Download for pooch, and continue a broken HTTP download.

    Bytes go to a partial file, which remains after a lost connection or a killed
    process. The next call requests only the rest, on condition that the server's file
    did not change meanwhile. A server that does not support this sends the whole file.
    Several processes may download at once, because each writes the same bytes to the
    same positions.

    Parameters
    ----------
    part : pathlib.Path
        The partial file. It is removed when the download is complete.
    """

    def __init__(self, part: Path) -> None:
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
        # Suppressed, because Windows refuses while another process has the file open;
        # that process removes it.
        with suppress(OSError):
            self.part.unlink()


def _create_if_absent(path: str, flags: int) -> int:
    """Open in one step, because another process may remove the file between two."""
    return os.open(path, flags | os.O_CREAT, 0o666)


def _resume_headers(part: BinaryIO) -> dict[str, str]:
    """Request the rest of ``part``, or everything if it is empty."""
    status = os.fstat(part.fileno())
    if status.st_size == 0:
        return {}
    return {
        "Range": f"bytes={status.st_size}-",
        "If-Unmodified-Since": formatdate(status.st_mtime, usegmt=True),
    }


def _transfer(url: str, part: BinaryIO, condition: dict[str, str]) -> None:
    """Complete ``part`` with the bytes from the server, or raise OSError."""
    # Uncompressed, because a compressed transfer can neither be continued nor hashed.
    headers = {"Accept-Encoding": "identity", **condition}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        start, total = _extent(response.headers)
        if response.status_code == RANGE_BEYOND_END and total == _size(part):
            return  # the file was complete already
        if condition and response.status_code in (CHANGED_SINCE, RANGE_BEYOND_END):
            part.truncate(0)  # bytes of another version
            _transfer(url, part, {})
            return
        response.raise_for_status()
        part.seek(start)
        _write_body(response, part)
    part.truncate()  # because a longer, earlier version may leave bytes
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
    """Read the first byte of a response, and the size of the file if it is known."""
    pattern = r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)"
    match = re.match(pattern, headers.get("Content-Range", ""))
    if match:
        return int(match[1] or 0), int(match[2]) if match[2] else None
    length = headers.get("Content-Length")
    return 0, int(length) if length else None


def _size(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)
