"""Atoms and bonds of many molecules at once, out of RDKit's binary form.

RDKit has no vectorised accessor: one Python object per atom and one call per
feature cost about as much as the parsing. ``Mol.ToBinary`` writes everything in one
call, and NumPy reads a thousand molecules together. The layout, little endian and
unchanged in these parts since version 7 of the format, is

=======  =============================================================================
header   endian mark, tag, three version numbers, n_atoms, n_bonds (int32 each), a flag
atoms    a tag, then a record each: element; flags (bit 6 aromatic, 5 no implicit
         hydrogen, 4..1 further data follow); an int32 mask; one byte for each of its
         bits 1..7 and four for bit 8, the isotope
bonds    a tag, then a record each: begin; end; flags (5 conjugated, 4 and 0 further
         data follow); a byte each for type, direction and stereo if flagged (3, 2, 1);
         with stereo go a count and as many atoms
rings    a tag, their number (uint32), then a record each: size and atoms
=======  =============================================================================

Records differ in length, so that record k is found through record k - 1: the walk goes
over k and takes each step for all molecules at once. Molecules of more than 255 atoms
(whose atom numbers have four bytes), those with further data, and whatever does not
look like the above are reported as not understood, never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_HEADER_BYTES = 30  # up to and including the tag of the atoms
_ENDIAN_MARK = 0xDEADBEEF
_ATOM_TAG, _BOND_TAG, _RING_TAGS = 1, 11, (20, 66, 67, 68)
_LARGEST = 255  # atoms, as long as one byte numbers them
_PADDING = 64  # bytes behind the last molecule; no record header is longer
_SP3, _SINGLE = 4, 1  # what a missing byte means
_BYTES_OF_MASK = np.array([(mask & 0xFE).bit_count() for mask in range(256)])
_ATOM_BYTES = (
    "charge",
    "chirality",
    "hybridization",
    "explicit_hs",
    "explicit_valence",
    "implicit_hs",
    "radicals",
)
# RDKit's accessors that a table can replace.
ATOM_ACCESSORS = frozenset(
    (
        "GetAtomicNum",
        "GetChiralTag",
        "GetDegree",
        "GetFormalCharge",
        "GetHybridization",
        "GetIsAromatic",
        "GetIsotope",
        "GetNumRadicalElectrons",
        "GetTotalDegree",
        "GetTotalNumHs",
        "IsInRing",
    )
)
BOND_ACCESSORS = frozenset(
    (
        "GetBondDir",
        "GetBondType",
        "GetIsAromatic",
        "GetIsConjugated",
        "GetStereo",
        "IsInRing",
    )
)


@dataclass(frozen=True)
class MoleculeTable:
    """Columns over all atoms and all bonds of some molecules.

    Parameters
    ----------
    understood : ndarray of bool of shape (n_molecules,)
        Unless all are True, the other fields mean nothing.
    n_atoms, n_bonds : ndarray of int of shape (n_molecules,)
        Sizes.
    ends : ndarray of int of shape (2, sum(n_bonds))
        First and second atom of each bond, numbered within the molecule.
    atoms, bonds : dict of str to ndarray
        Values by the name of RDKit's accessor; those of one byte as uint8 or int8.
    """

    understood: np.ndarray
    n_atoms: np.ndarray
    n_bonds: np.ndarray
    ends: np.ndarray
    atoms: dict[str, np.ndarray]
    bonds: dict[str, np.ndarray]


def unpack(binaries: Sequence[bytes]) -> MoleculeTable:
    """Read what ``Mol.ToBinary`` wrote for each of some molecules.

    Parameters
    ----------
    binaries : sequence of bytes
        One entry a molecule.

    Returns
    -------
    table : MoleculeTable
        The columns, or which molecules to leave out for it.
    """
    buffer = np.frombuffer(b"".join(binaries) + bytes(_PADDING), np.uint8)
    sizes = np.fromiter(map(len, binaries), np.int64, len(binaries))
    start = _starts(sizes)
    header = _integers(buffer, start, 7)
    understood = (
        (header[:, 0] == _ENDIAN_MARK)
        & (header[:, 5] <= _LARGEST)
        & (header[:, 6] <= sizes)
        & (buffer[start + _HEADER_BYTES - 1] == _ATOM_TAG)
    )
    n_atoms, n_bonds = header[:, 5] * understood, header[:, 6] * understood

    at_atom, position = _walk(buffer, start + _HEADER_BYTES, n_atoms, _atom_length)
    understood &= _none(buffer[at_atom + 1] & 0b11110, n_atoms)
    understood &= buffer[position] == _BOND_TAG

    at_bond, position = _walk(buffer, position + 1, n_bonds, _bond_length)
    understood &= _none(buffer[at_bond + 2] & 0b10001, n_bonds)
    understood &= np.isin(buffer[position], _RING_TAGS)

    n_rings = _integers(buffer, position + 1, 1)[:, 0]
    understood &= n_rings <= sizes
    if not understood.all():
        return MoleculeTable(understood, n_atoms, n_bonds, np.empty((2, 0)), {}, {})
    at_ring, _ = _walk(buffer, position + 5, n_rings, _ring_length)

    ends = buffer[at_bond + np.array([[0], [1]])].astype(np.int32)
    first = np.repeat(_starts(n_atoms), n_bonds) + ends
    ring_bonds = _ring_bonds(buffer, at_ring, _starts(n_atoms), n_rings)
    return MoleculeTable(
        understood,
        n_atoms,
        n_bonds,
        ends,
        _atom_columns(buffer, at_atom, first, ring_bonds[0]),
        _bond_columns(buffer, at_bond, first, ring_bonds),
    )


def _starts(counts: np.ndarray) -> np.ndarray:
    starts: np.ndarray = np.cumsum(counts) - counts
    return starts


def _integers(buffer: np.ndarray, position: np.ndarray, n: int) -> np.ndarray:
    """Read ``n`` integers of four bytes from each position."""
    raw = buffer[np.minimum(position, len(buffer) - 4 * n)[:, None] + np.arange(4 * n)]
    integers: np.ndarray = raw.view("<u4").astype(np.int64)
    return integers


def _none(flags: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Tell which molecules have no flag in any of their ``counts`` records."""
    molecule = np.repeat(np.arange(len(counts)), counts)
    flagged = np.bincount(molecule[flags != 0], minlength=len(counts))
    unflagged: np.ndarray = flagged == 0
    return unflagged


def _walk(
    buffer: np.ndarray,
    start: np.ndarray,
    counts: np.ndarray,
    length: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Find the positions of all records, and the position behind each last one."""
    order = np.argsort(-counts, kind="stable")
    first, position = _starts(counts)[order], start[order]
    falling, found = -counts[order], np.empty(counts.sum(), np.int64)
    for k in range(int(counts.max(initial=0))):
        # Largest molecules come first: those with a record k are a leading slice.
        active = slice(int(np.searchsorted(falling, -k)))
        here = position[active]
        found[first[active] + k] = here
        # A molecule that is not understood must not lead out of the buffer.
        position[active] = np.minimum(
            here + length(buffer, here), len(buffer) - _PADDING
        )
    behind = np.empty_like(position)
    behind[order] = position
    return found, behind


def _atom_length(buffer: np.ndarray, at: np.ndarray) -> np.ndarray:
    length: np.ndarray = 6 + _BYTES_OF_MASK[buffer[at + 2]] + 4 * (buffer[at + 3] & 1)
    return length


def _bond_length(buffer: np.ndarray, at: np.ndarray) -> np.ndarray:
    flags = buffer[at + 2].astype(np.int64)
    length: np.ndarray = 3 + (flags >> 3 & 1) + (flags >> 2 & 1)
    has_stereo = flags >> 1 & 1
    n_stereo_atoms = buffer[at + length + 1].astype(np.int64)
    length += has_stereo * (2 + n_stereo_atoms)
    return length


def _ring_length(buffer: np.ndarray, at: np.ndarray) -> np.ndarray:
    n_atoms: np.ndarray = buffer[at].astype(np.int64)
    return 1 + n_atoms


def _optional_bytes(
    buffer: np.ndarray,
    at: np.ndarray,
    present: Sequence[np.ndarray],
    default: dict[int, int],
) -> tuple[list[np.ndarray], np.ndarray]:
    """Read bytes that are stored only where ``present``, one after the other."""
    values = []
    for k, mask in enumerate(present):
        values.append(np.where(mask, buffer[at], np.uint8(default.get(k, 0))))
        at = at + mask
    return values, at


def _atom_columns(
    buffer: np.ndarray, at: np.ndarray, first: np.ndarray, in_ring_pair: np.ndarray
) -> dict[str, np.ndarray]:
    flags, mask = buffer[at + 1], buffer[at + 2]
    present = [mask >> bit & 1 for bit in range(1, 8)]
    values, behind = _optional_bytes(buffer, at + 6, present, {2: _SP3})
    byte = dict(zip(_ATOM_BYTES, values, strict=True))
    isotope = _integers(buffer, behind, 1)[:, 0] * (buffer[at + 3] & 1)
    no_implicit = flags >> 5 & 1
    hydrogens = byte["explicit_hs"] + byte["implicit_hs"] * (1 - no_implicit)
    degree = np.bincount(first.ravel(), minlength=len(at)).astype(np.uint8)
    in_ring = np.zeros(len(at), np.uint8)
    in_ring[in_ring_pair] = 1
    return {
        "GetAtomicNum": buffer[at],
        "GetChiralTag": byte["chirality"],
        "GetDegree": degree,
        "GetFormalCharge": byte["charge"].view(np.int8),
        "GetHybridization": byte["hybridization"],
        "GetIsAromatic": flags >> 6 & 1,
        "GetIsotope": isotope,
        "GetNumRadicalElectrons": byte["radicals"],
        "GetTotalDegree": degree + hydrogens,
        "GetTotalNumHs": hydrogens,
        "IsInRing": in_ring,
    }


def _bond_columns(
    buffer: np.ndarray, at: np.ndarray, first: np.ndarray, ring_bonds: np.ndarray
) -> dict[str, np.ndarray]:
    flags = buffer[at + 2]
    present = [flags >> bit & 1 for bit in (3, 2, 1)]
    values, _ = _optional_bytes(buffer, at + 3, present, {0: _SINGLE})
    # A table of all keys: four times as fast as sorting.
    in_ring = np.isin(_pair_keys(first), _pair_keys(ring_bonds), kind="table")
    return {
        "GetBondDir": values[1],
        "GetBondType": values[0],
        "GetIsAromatic": flags >> 6 & 1,
        "GetIsConjugated": flags >> 5 & 1,
        "GetStereo": values[2],
        "IsInRing": in_ring.view(np.uint8),
    }


def _ring_bonds(
    buffer: np.ndarray, at: np.ndarray, first_atom: np.ndarray, n_rings: np.ndarray
) -> np.ndarray:
    """Give the two atoms of each bond of each ring, shape (2, sum of ring sizes)."""
    sizes = buffer[at].astype(np.int64)
    begin = np.repeat(_starts(sizes), sizes)
    step, size = np.arange(sizes.sum()) - begin, np.repeat(sizes, sizes)
    data = np.repeat(at + 1, sizes)
    offset = np.repeat(np.repeat(first_atom, n_rings), sizes)
    here, there = buffer[data + step], buffer[data + (step + 1) % np.maximum(size, 1)]
    pairs: np.ndarray = offset + np.stack([here, there])
    return pairs


def _pair_keys(pairs: np.ndarray) -> np.ndarray:
    """Encode each unordered pair of atoms, less than 256 apart, as one number."""
    low, high = pairs.min(axis=0), pairs.max(axis=0)
    keys: np.ndarray = low * (_LARGEST + 1) + (high - low)
    return keys
