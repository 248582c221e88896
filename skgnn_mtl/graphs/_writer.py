"""Graphs that are written chunk by chunk, by a process that may be stopped."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ._array import GraphArray
from ._io import check_new, write_header
from ._selection import LEVELS, RAGGED_LEVELS

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_JOURNAL = "journal.json"
_BLOCK = 2**22


class GraphWriter:
    """Write the folder of ``GraphArray.save`` chunk by chunk, in constant memory.

    The chunks are collected in a folder beside it, whose name ends with ``.part``. A
    journal there says how much of each file is complete. A writer of the same origin
    goes on after the last complete chunk; the finished folder has the same bytes.

    Parameters
    ----------
    path : str or path-like
        Folder to create; an existing folder must be empty.
    empty : GraphArray of shape (0,)
        Has the schema and the types of the graphs to come.
    origin : dict
        What the graphs are made from, for JSON. Parts of another origin are refused.

    Attributes
    ----------
    notes : dict
        What came with the last complete chunk.

    Raises
    ------
    FileExistsError
        If the folder is not empty.
    ValueError
        If there are parts of another origin, or damaged ones.
    BlockingIOError
        If another process writes the same parts.
    """

    def __init__(
        self, path: str | os.PathLike[str], empty: GraphArray, origin: dict[str, Any]
    ) -> None:
        check_new(Path(path))
        self.folder = Path(path)
        self.part = self.folder.with_name(f"{self.folder.name}.part")
        self.part.mkdir(parents=True, exist_ok=True)
        self._empty = empty
        self._open = ExitStack()
        try:
            self._open.enter_context(_locked(self.part))
            self._journal = self._started(origin)
            self._files = {
                name: self._open.enter_context(_opened(self.part / name, size))
                for name, size in self._journal["sizes"].items()
            }
        except BaseException:
            self._open.close()
            raise

    @property
    def n_graphs(self) -> int:
        """Number of graphs in complete chunks."""
        return int(self._journal["ends"]["graph"])

    @property
    def notes(self) -> dict[str, Any]:
        """What came with the last complete chunk."""
        notes: dict[str, Any] = self._journal["notes"]
        return notes

    def _started(self, origin: dict[str, Any]) -> dict[str, Any]:
        """Read the journal of a process that was stopped, or begin one."""
        schema = self._empty.schema
        digest = hashlib.sha256(json.dumps(schema.to_dict()).encode()).hexdigest()
        origin = {**origin, "schema": f"{schema.name} {digest[:16]}"}
        # Through JSON, because the journal to compare with came through it.
        origin = json.loads(json.dumps(origin))
        file = self.part / _JOURNAL
        if file.exists():
            journal = _read_journal(file)
            if journal["origin"] != origin:
                raise self.refusal(_difference(journal["origin"], origin))
            return journal
        levels = ("graph", *RAGGED_LEVELS)
        names = [name for name, _ in _flat(self._empty, dict.fromkeys(levels, 0))]
        return {
            "origin": origin,
            "ends": dict.fromkeys(levels, 0),
            "sizes": dict.fromkeys(names, 0),
            "notes": {},
        }

    def refusal(self, reason: str) -> ValueError:
        """Make the error that the parts belong to something else."""
        return ValueError(
            f"{self.part} holds unfinished graphs of another run: {reason}. Delete "
            "this folder to begin anew, or give another path."
        )

    def append(self, graphs: GraphArray, notes: dict[str, Any]) -> None:
        """Add a chunk, which is complete when this returns.

        Parameters
        ----------
        graphs : GraphArray
            Of the schema of ``empty``.
        notes : dict
            What a process that goes on must know, for JSON.
        """
        ends, sizes = self._journal["ends"], dict(self._journal["sizes"])
        for name, content in _flat(graphs, ends):
            self._files[name].write(content)
            sizes[name] += len(content)
        for file in self._files.values():
            file.flush()
            # Before the journal, because a machine may lose power between the two.
            os.fsync(file.fileno())
        lengths = {"graph": len(graphs)}
        lengths |= {level: int(graphs._pointers[level][-1]) for level in RAGGED_LEVELS}
        self._journal = {
            **self._journal,
            "ends": {level: ends[level] + n for level, n in lengths.items()},
            "sizes": sizes,
            "notes": notes,
        }
        _replace(self.part / _JOURNAL, self._journal)

    def finish(self) -> None:
        """Turn the parts into the folder, which appears as a whole."""
        # Inside, because the parts must stay until the folder is complete.
        whole = self.part / "whole"
        shutil.rmtree(whole, ignore_errors=True)
        whole.mkdir()
        digests, shapes = {}, {}
        for kind, arrays in _arrays(self._empty):
            shapes[kind] = {n: self._shape(kind, n, v) for n, v in arrays.items()}
            for name, values in arrays.items():
                file = whole / f"{kind}_{name}.npy"
                raw = [self.part / part for part in _part_names(kind, name)]
                begin = b"" if kind == "column" else bytes(values.itemsize)
                digests[file.name] = _assemble(
                    file, values.dtype, shapes[kind][name], begin, raw
                )
        schema = self._empty.schema
        write_header(whole, schema, shapes["pointer"], shapes["column"], digests)
        if self.folder.exists():
            self.folder.rmdir()
        whole.rename(self.folder)
        self.close()
        shutil.rmtree(self.part, ignore_errors=True)

    def _shape(self, kind: str, name: str, values: np.ndarray) -> tuple[int, ...]:
        if kind == "pointer":
            return (self.n_graphs + 1,)
        n = self._journal["ends"][LEVELS[name]]
        return (2, n) if name == "edge_index" else (n, *values.shape[1:])

    def close(self) -> None:
        """Close the parts, which stay if they hold anything."""
        self._open.close()
        if not self.n_graphs:
            shutil.rmtree(self.part, ignore_errors=True)


def _arrays(graphs: GraphArray) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Give pointers and columns in the order of ``GraphArray.concatenate``."""
    return [
        ("pointer", {level: graphs._pointers[level] for level in RAGGED_LEVELS}),
        ("column", {name: graphs._columns[name] for name in LEVELS}),
    ]


def _part_names(kind: str, name: str) -> list[str]:
    # Two files, because sources and targets grow apart from each other.
    ends = (".0", ".1") if name == "edge_index" else ("",)
    return [f"{kind}_{name}{end}.raw" for end in ends]


def _flat(graphs: GraphArray, ends: dict[str, int]) -> Iterable[tuple[str, bytes]]:
    """Give the bytes to append to each part, where ``ends`` rows are there already."""
    pointers, columns = _arrays(graphs)
    for level, pointer in pointers[1].items():
        yield _part_names("pointer", level)[0], (pointer[1:] + ends[level]).tobytes()
    for name, values in columns[1].items():
        rows = values if name == "edge_index" else [values]
        for part, row in zip(_part_names("column", name), rows, strict=True):
            yield part, row.tobytes()


def _assemble(
    file: Path, dtype: np.dtype, shape: tuple[int, ...], begin: bytes, raw: list[Path]
) -> str:
    """Write an array file of its parts; return its checksum."""
    head = BytesIO()
    np.lib.format.write_array_header_1_0(
        head,
        {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": shape,
        },
    )
    digest = hashlib.sha256()
    with open(file, "wb") as target:
        for block in _blocks(head.getvalue() + begin, raw):
            target.write(block)
            digest.update(block)
    return digest.hexdigest()


def _blocks(begin: bytes, raw: list[Path]) -> Iterable[bytes]:
    yield begin
    for part in raw:
        with open(part, "rb") as source:
            while block := source.read(_BLOCK):
                yield block


def _opened(file: Path, size: int) -> BinaryIO:
    """Open a part for more; cut off what a process left behind its last chunk."""
    if size and (not file.exists() or file.stat().st_size < size):
        raise ValueError(
            f"{file} is shorter than its journal says; delete its folder and begin "
            "anew."
        )
    opened = open(file, "ab")  # noqa: SIM115, closed by the writer
    opened.truncate(size)
    return opened


def _locked(part: Path) -> BinaryIO:
    """Refuse a second writer of the same parts."""
    file = open(part / "lock", "wb")  # noqa: SIM115, closed by the writer
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise BlockingIOError(f"{part} is being written by another process.") from error
    except OSError:  # some file systems have no locks
        pass
    return file


def _read_journal(file: Path) -> dict[str, Any]:
    try:
        journal: dict[str, Any] = json.loads(file.read_text())
        if set(journal) == {"origin", "ends", "sizes", "notes"}:
            return journal
    except (ValueError, TypeError):
        pass
    raise ValueError(f"{file} is damaged; delete its folder and begin anew.")


def _replace(file: Path, journal: dict[str, Any]) -> None:
    new = file.with_name(f"{file.name}.new")
    with open(new, "w") as target:
        json.dump(journal, target)
        target.flush()
        os.fsync(target.fileno())
    os.replace(new, file)


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Name the first entry of an origin that differs."""
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if old != new:
            return f"{name} was {old!r} and is {new!r}"
    return "it has another origin"
