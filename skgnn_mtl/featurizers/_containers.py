"""From a row of X to the text of a CIF: files, compression, encodings, other formats.

Other formats are named with what reads them, since a user who mixed up two files is
helped by their names and not by the place of a syntax error.
"""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Callable
from os import PathLike
from typing import Any

from ._crystal import UnreadableCrystal

# Bytes of a file after decompression: a small file may hide terabytes of zeros.
LIMIT = 2**28
_BYTE_ORDER_MARKS = (
    # Longest first: that of UTF-16 is the beginning of that of UTF-32.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Where the zero bytes of letters below 256 stand, of every four bytes.
_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}
_DECOMPRESS = "decompress it first"
_MAGIC = (
    (b"BZh", f"a bzip2 archive; {_DECOMPRESS} (only gzip is read)"),
    (b"\xfd7zXZ\0", f"an xz archive; {_DECOMPRESS} (only gzip is read)"),
    (b"\x28\xb5\x2f\xfd", f"a Zstandard archive; {_DECOMPRESS} (only gzip is read)"),
    (b"PK\x03\x04", "a zip archive (or .npz, .xlsx); extract its files first"),
    (b"7z\xbc\xaf", "a 7z archive; extract its files first"),
    (b"\x80\x02", "a pickle, which is never loaded because it may run code"),
    (b"\x80\x03", "a pickle, which is never loaded because it may run code"),
    (b"\x80\x04", "a pickle, which is never loaded because it may run code"),
    (b"\x80\x05", "a pickle, which is never loaded because it may run code"),
    (b"\x93NUMPY", "a NumPy array; read it with numpy.load"),
    (b"\x89HDF", "an HDF5 file"),
    (b"CDF", "a NetCDF file"),
    (b"SQLite", "an SQLite database, perhaps of ASE; read it with ase.db.connect"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a picture"),
)


def text_of(row: str | PathLike[str]) -> tuple[str, str]:
    """Find the text of a CIF.

    Parameters
    ----------
    row : str or path-like
        A string with a line break is the text, any other the name of a file. Files may
        be compressed with gzip, and have UTF-8, UTF-16 or UTF-32, with or without a
        byte order mark, or Latin-1.

    Returns
    -------
    text : str
        Text with the line ends of Unix and valid Unicode.
    name : str
        The path; '' for text.

    Raises
    ------
    UnreadableCrystal
        If there is no such regular file, if it is larger than 256 MiB after
        decompression, or of another kind.
    """
    if isinstance(row, str) and ("\n" in row or "\r" in row):
        return _plain(row), ""
    name = os.fsdecode(row)
    data = _bytes_of(name)
    if data[:2] == b"\x1f\x8b":
        data = _decompressed(data)
    return _plain(_decoded(data)), name


def _plain(text: str) -> str:
    if text[:1] == "\ufeff":
        text = text[1:]
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.isascii():
        # Halves of surrogate pairs come from files read with surrogateescape.
        text = text.encode("utf-8", "replace").decode("utf-8")
    if "\0" in text:
        raise UnreadableCrystal(
            f"it holds the character NUL at place {text.index(chr(0))}, as damaged "
            "files and UTF-16 that is read as something else do"
        )
    return text


def _bytes_of(name: str) -> bytes:
    """Read a regular file. Pipes and devices are not opened, or not read."""
    as_file = "it has no line break and is thus read as the name of a file"
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):
            raise UnreadableCrystal(f"{as_file}: it is not a regular file")
        # Without waiting, if the file became a pipe meanwhile.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(name, flags), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnreadableCrystal(f"{as_file}: it is not a regular file")
            data = file.read(LIMIT + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, UnreadableCrystal):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableCrystal(f"{as_file}: {reason}{_advice(name)}") from error
    return _within_limit(data)


def _within_limit(data: bytes) -> bytes:
    if len(data) > LIMIT:
        raise UnreadableCrystal(f"the file has more than {LIMIT >> 20} MiB")
    return data


def _advice(name: str) -> str:
    """Say what a string may be that is not a file."""
    if name.lstrip().startswith("data_"):
        return "; a CIF text has line breaks"
    if name.lstrip()[:1] in ("{", "["):
        return "; " + _JSON
    if "." not in name and re.search(r"[=#()\[\]@]", name):
        return "; SmilesToGraph reads SMILES"
    return ""


def _decompressed(data: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return _within_limit(file.read(LIMIT + 1))
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableCrystal(f"the gzip file is damaged: {error}") from error


def _decoded(data: bytes) -> str:
    """Decode by the byte order mark, by the zeros of wide letters, or as UTF-8."""
    for magic, what in _MAGIC:
        if data.startswith(magic):
            raise UnreadableCrystal(f"it looks like {what}")
    if data[257:262] == b"ustar":
        raise UnreadableCrystal("it looks like a tar archive; extract its files first")
    encoding, start = _encoding(data)
    try:
        return data[start:].decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise UnreadableCrystal(
                f"the file begins as {encoding.upper()}, but has other bytes at place "
                f"{error.start}"
            ) from error
        return data[start:].decode("latin-1")


def _encoding(data: bytes) -> tuple[str, int]:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return encoding, len(mark)
    if len(data) >= 4:
        zeros = tuple(byte == 0 for byte in data[:4])
        return _ZEROS.get(zeros, "utf-8"), 0
    return "utf-8", 0


# -- what is not CIF ------------------------------------------------------------------

_JSON = (
    "it looks like JSON; read it with pymatgen and pass the Structure: "
    "Structure.from_str(text, fmt='json')"
)
_FORMATS: tuple[tuple[str, Callable[[list[str]], bool], str], ...] = (
    (
        "a POSCAR",
        lambda lines: (
            len(lines) > 5
            and _has_numbers(lines[1], 1)
            and all(_has_numbers(line, 3) for line in lines[2:5])
        ),
        "read it with pymatgen and pass the Structure: Structure.from_file('POSCAR')",
    ),
    (
        "an xyz file",
        lambda lines: (
            len(lines) > 2
            and lines[0].strip().isdigit()
            and _has_numbers(" ".join(lines[2].split()[1:]), 3)
        ),
        "read it with ASE and pass the Atoms: ase.io.read('atoms.xyz')",
    ),
    (
        "a PDB file",
        lambda lines: _begins(
            lines, "HEADER ", "CRYST1 ", "ATOM  ", "HETATM", "COMPND"
        ),
        "read it with ASE and pass the Atoms: ase.io.read('atoms.pdb')",
    ),
    (
        "a web page",
        lambda lines: _begins(lines[:3], "<!doctype html", "<html", "<!DOCTYPE"),
        "the download may have failed",
    ),
    (
        "XML",
        lambda lines: _begins(lines[:3], "<?xml", "<cml", "<modeling"),
        "read it with pymatgen (Vasprun) or ASE and pass the Structure or Atoms",
    ),
    (
        "an XSF file",
        lambda lines: _begins(lines[:99], "CRYSTAL", "PRIMVEC", "SLAB", "CONVVEC"),
        "read it with ASE and pass the Atoms: ase.io.read('crystal.xsf')",
    ),
    (
        "a SHELX file",
        lambda lines: _begins(lines[:99], "TITL ", "CELL ", "ZERR "),
        "read it with ASE and pass the Atoms: ase.io.read('crystal.res')",
    ),
    (
        "a mol file",
        lambda lines: len(lines) > 3 and lines[3].rstrip().endswith(("V2000", "V3000")),
        "RDKit reads it, and SmilesToGraph takes its molecules",
    ),
    (
        "an input of Quantum ESPRESSO",
        lambda lines: _begins(lines[:99], "&control", "&CONTROL", "&system", "&SYSTEM"),
        "read it with ASE and pass the Atoms: ase.io.read('pw.in')",
    ),
    (
        "an input of FHI-aims",
        lambda lines: _begins(lines[:99], "lattice_vector ", "atom_frac "),
        "read it with ASE and pass the Atoms: ase.io.read('geometry.in')",
    ),
)


def _has_numbers(line: str, count: int) -> bool:
    words = line.split()[:count]
    try:
        return len([float(word) for word in words]) == count
    except ValueError:
        return False


def _begins(lines: list[str], *words: str) -> bool:
    return any(line.lstrip().startswith(words) for line in lines)


def other_format(text: str) -> str:
    """Name the format of a text that is not CIF.

    Parameters
    ----------
    text : str
        From :func:`text_of`.

    Returns
    -------
    sentence : str
        What it looks like, and what reads it; '' if it may be a CIF.
    """
    if not text.strip():
        return "it is empty"
    if text.lstrip()[:1] in ("{", "["):
        return _JSON
    if re.search(r"(?mi)^\s*data_", text):
        return ""
    lines = text.lstrip("\n").split("\n", 2_000)
    # The first line of some formats is free and may be empty.
    for start in (text.split("\n", 2_000), lines):
        for name, fits, advice in _FORMATS:
            if fits(start):
                return f"it looks like {name}; {advice}"
    if re.search(r"(?mi)^\s*(_\w|loop_)", text):
        return ""
    return "it is not CIF: there is no line that begins with data_"


def without_sites(block: Any) -> str:
    """Say why a data block has no fractional coordinates.

    Parameters
    ----------
    block : gemmi.cif.Block
        The data block.

    Returns
    -------
    sentence : str
        What it has in their place; '' if that is not known.
    """
    if block.find_loop("_atom_site.Cartn_x"):
        return (
            "it looks like mmCIF, the format of macromolecules with Cartesian "
            "coordinates; read it with gemmi.read_structure"
        )
    if block.find_loop("_atom_site_Cartn_x"):
        return (
            "the sites have Cartesian coordinates (_atom_site_Cartn_x), and fractional "
            "ones (_atom_site_fract_x) were wanted; make a pymatgen Structure of them"
        )
    if block.find_loop("_chem_comp_atom.atom_id"):
        return "it is a chemical component of mmCIF, not a crystal"
    return ""
