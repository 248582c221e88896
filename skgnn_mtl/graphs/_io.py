"""Packed graphs on disk: one array file per column and a JSON header, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ._schema import GraphSchema

_HEADER = "header.json"
_FORMAT = "skgnn_mtl.GraphArray"
# Raised when a reader of before would misread a folder of now.
_FORMAT_VERSION = 1
# What a damaged or crafted folder may raise.
_MALFORMED = (
    *(FileNotFoundError, EOFError, AttributeError, LookupError, MemoryError),
    *(OverflowError, RecursionError, TypeError, ValueError),
)

Arrays = dict[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


def save_columns(
    path: str | os.PathLike[str], schema: GraphSchema, pointers: Arrays, columns: Arrays
) -> None:
    """Write pointers and columns of a GraphArray into the folder ``path``."""
    folder = Path(path)
    check_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Under another name until it is complete, because the process may be killed.
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        _write(part, schema, pointers, columns)
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def check_new(folder: Path) -> None:
    """Refuse a folder that holds something."""
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; give a new folder to save in.")


def _write(
    folder: Path, schema: GraphSchema, pointers: Arrays, columns: Arrays
) -> None:
    digests = {}
    for kind, arrays in (("pointer", pointers), ("column", columns)):
        for name, values in arrays.items():
            file = folder / f"{kind}_{name}.npy"
            np.save(file, values, allow_pickle=False)
            digests[file.name] = _digest(file)
    write_header(folder, schema, _shapes(pointers), _shapes(columns), digests)


def _shapes(arrays: Arrays) -> Shapes:
    return {name: values.shape for name, values in arrays.items()}


def write_header(
    folder: Path,
    schema: GraphSchema,
    pointers: Shapes,
    columns: Shapes,
    digests: dict[str, str],
) -> None:
    """Write the header of array files with these shapes and checksums."""
    header = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "version": version("skgnn_mtl"),
        "schema": schema.to_dict(),
        "pointers": pointers,
        "columns": columns,
        "sha256": digests,
    }
    text = json.dumps(header, indent=1)
    # The seal of the header is its first line, because JSON has no place for its own.
    seal = hashlib.sha256(text.encode()).hexdigest()
    (folder / _HEADER).write_text(f"{seal}\n{text}")


def load_columns(
    path: str | os.PathLike[str], *, mmap_mode: Literal["r"] | None, verify: bool
) -> tuple[GraphSchema, Arrays, Arrays]:
    """Read schema, pointers and columns that :func:`save_columns` wrote."""
    folder = Path(path)
    if mmap_mode not in (None, "r"):
        raise ValueError(f"mmap_mode must be None or 'r', got {mmap_mode!r}.")
    if not (folder / _HEADER).is_file():
        raise ValueError(
            f"{folder} does not hold a saved GraphArray: {_HEADER} is missing."
        )

    def read(kind: str) -> Arrays:
        return {
            # Empty arrays are read, because an empty file cannot be mapped.
            name: np.load(
                folder / f"{kind}_{name}.npy",
                mmap_mode=mmap_mode if all(shape) else None,
            )
            for name, shape in header[f"{kind}s"].items()
        }

    try:
        header = _read_header(folder / _HEADER)
        schema = GraphSchema.from_dict(header["schema"])
        if verify:
            _verify(folder, header)
        return schema, read("pointer"), read("column")
    except _MALFORMED as error:
        raise ValueError(
            f"{folder} does not hold a complete GraphArray: {type(error).__name__}, "
            f"{error}."
        ) from error


def _read_header(file: Path) -> dict[str, Any]:
    seal, _, text = file.read_text().partition("\n")
    if hashlib.sha256(text.encode()).hexdigest() != seal:
        raise ValueError(f"{_HEADER} is damaged, or of a version before its checksum")
    header: dict[str, Any] = json.loads(text)
    if header["format"] != _FORMAT:
        raise ValueError(f"its format is {header['format']!r}")
    if header["format_version"] != _FORMAT_VERSION:
        raise ValueError(
            f"its format is {header['format_version']!r}, and this version of "
            f"skgnn_mtl reads {_FORMAT_VERSION}; it was written by "
            f"{header.get('version')!r}"
        )
    return header


def _verify(folder: Path, header: dict[str, Any]) -> None:
    """Compare each file with its checksum."""
    for kind in ("pointer", "column"):
        for name in header[f"{kind}s"]:
            file = folder / f"{kind}_{name}.npy"
            if _digest(file) != header["sha256"][file.name]:
                raise ValueError(f"{file.name} does not match its checksum")


def _digest(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
