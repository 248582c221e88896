"""Sealed archives: named members in one file, which is read whole or refused.

An archive is a zip file whose members are stored without compression, so that a small
file cannot fill the memory. Its comment is a seal, the SHA-256 of all bytes before it:
a file with one changed bit is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

# Raised when a reader of before would misread a file of now.
FORMAT_VERSION = 1
_HEADER = "header.json"
_CARD = "README.md"
_MARK = b"sha256 "
_DIGITS = 64
# A fixed date, because the same model must give the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)

Target = str | PathLike[str] | BinaryIO


def write_archive(
    target: Target,
    header: Mapping[str, Any],
    members: Mapping[str, bytes],
    card: str = "",
    *,
    indent: int | None = 1,
) -> None:
    """Write a header and members; a file at ``target`` is replaced as a whole.

    Parameters
    ----------
    target : str, path-like or binary file
        Where to write. Whatever happens, a path holds the old or the new file.
    header : dict
        JSON values; ``format`` says what the archive is.
    members : dict of str to bytes
        What JSON cannot hold.
    card : str, default=""
        Text for people who open the file.
    indent : int or None, default=1
        Indentation of the header; None is one line, which is written much faster.
    """
    text = json.dumps({**header, "format_version": FORMAT_VERSION}, indent=indent)
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as archive:
        texts = {_HEADER: text.encode(), _CARD: card.encode()}
        for name, content in {**texts, **members}.items():
            archive.writestr(ZipInfo(name, _DATE), content)
        archive.comment = _MARK + b"0" * _DIGITS
    sealed = buffer.getvalue()[:-_DIGITS]
    content = sealed + _digest(sealed)
    if isinstance(target, (str, PathLike)):
        replace_file(target, content)
    else:
        target.write(content)


def read_archive(
    source: Target, wanted: str
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read what :func:`write_archive` wrote.

    Parameters
    ----------
    source : str, path-like or binary file
        The file.
    wanted : str
        What it must hold, for messages.

    Returns
    -------
    header : dict
        Parsed JSON.
    members : dict of str to bytes
        The other members.

    Raises
    ------
    ValueError
        If the file is something else, is damaged, or has a newer format.
    """
    if isinstance(source, (str, PathLike)):
        content = Path(source).read_bytes()
    else:
        content = source.read()
    mark = content[-_DIGITS - len(_MARK) : -_DIGITS]
    if mark != _MARK:
        raise ValueError(
            f"{source} is not a saved {wanted}, or its end is missing. Load what "
            "save() wrote."
        )
    if _digest(content[:-_DIGITS]) != content[-_DIGITS:]:
        raise ValueError(
            f"{source} is damaged: its content does not match its checksum. Copy it "
            "again, or take a backup."
        )
    try:
        members = _members(content)
        header = json.loads(members.pop(_HEADER))
        version = header["format_version"]
        header["format"]
    except (BadZipFile, LookupError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{source} is not a saved {wanted}: {error!r}.") from error
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise ValueError(
            f"{source} has format {version!r}, and this version of skgnn_mtl reads "
            f"formats up to {FORMAT_VERSION}. Install the version that wrote it: "
            f"{header.get('version')!r}."
        )
    return header, members


def read_header(source: Target, wanted: str) -> dict[str, Any]:
    """Read the header only, and leave an open file where it was.

    Parameters
    ----------
    source : str, path-like or binary file
        The file.
    wanted : str
        What it must hold, for messages.

    Returns
    -------
    header : dict
        Parsed JSON.

    Raises
    ------
    ValueError
        If the file is something else, is damaged, or has a newer format.
    """
    if isinstance(source, (str, PathLike)):
        return read_archive(source, wanted)[0]
    position = source.tell()
    header, _ = read_archive(source, wanted)
    source.seek(position)
    return header


def _members(content: bytes) -> dict[str, bytes]:
    """Read all members, of which none may be larger than the file."""
    with ZipFile(BytesIO(content)) as archive:
        parts = archive.infolist()
        names = {part.filename for part in parts}
        if len(names) < len(parts):
            raise BadZipFile("two members have one name")
        # Together, because members of a crafted file may overlap.
        if sum(part.file_size for part in parts) > len(content):
            raise BadZipFile("its members are larger than the file")
        return {part.filename: archive.read(part) for part in parts}


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def replace_file(path: str | PathLike[str], content: bytes) -> None:
    """Write a file that is at every moment the old one or the new one.

    Parameters
    ----------
    path : str or path-like
        The file; of a link, the file that it leads to.
    content : bytes
        What it holds from now on.

    Raises
    ------
    OSError
        If it cannot be written, for instance because the disk is full; an old file
        is as it was.
    """
    path = Path(path).resolve()
    # Beside the file, because a file can be renamed within its file system only.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(part, "xb") as file:
            file.write(content)
            file.flush()
            # Before the renaming, because a machine may lose power between the two.
            os.fsync(file.fileno())
        if path.exists():
            part.chmod(path.stat().st_mode & 0o777)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
