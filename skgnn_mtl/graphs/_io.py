"""Packed graphs on disk: one array file per column and a JSON header, no pickle."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from ._schema import GraphSchema

_HEADER = "header.json"
_FORMAT = "skgnn_mtl.GraphArray"

Arrays = dict[str, np.ndarray]


def save_columns(
    path: str | os.PathLike[str], schema: GraphSchema, pointers: Arrays, columns: Arrays
) -> None:
    """Write pointers and columns of a GraphArray into the folder ``path``."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; give a new folder to save in.")
    for kind, arrays in (("pointer", pointers), ("column", columns)):
        for name, values in arrays.items():
            np.save(folder / f"{kind}_{name}.npy", values, allow_pickle=False)
    header = {
        "format": _FORMAT,
        "version": version("skgnn_mtl"),
        "schema": schema.to_dict(),
        "pointers": {name: values.shape for name, values in pointers.items()},
        "columns": {name: values.shape for name, values in columns.items()},
    }
    # The header comes last, because a folder without it is an unfinished one.
    (folder / _HEADER).write_text(json.dumps(header, indent=1))


def load_columns(
    path: str | os.PathLike[str], *, mmap_mode: Literal["r"] | None
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
        header = json.loads((folder / _HEADER).read_text())
        if header["format"] != _FORMAT:
            raise ValueError(f"its format is {header['format']!r}")
        schema = GraphSchema.from_dict(header["schema"])
        return schema, read("pointer"), read("column")
    except (
        FileNotFoundError,
        EOFError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"{folder} does not hold a complete GraphArray: {type(error).__name__}, "
            f"{error}."
        ) from error
