"""From a row to the text of a CIF: files, compression, encodings, other formats."""

import bz2
import gzip
import lzma
import os
import pickle
import socket
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from crystals import CESIUM_CHLORIDE, ROCK_SALT, cif, structure_of

from skgnn_mtl import CifToGraph
from skgnn_mtl.featurizers import _containers
from skgnn_mtl.featurizers._cif_text import choose_block, parse
from skgnn_mtl.featurizers._containers import other_format, text_of
from skgnn_mtl.featurizers._crystal import UnreadableCrystal

TEXT = CESIUM_CHLORIDE
BYTES = TEXT.encode()


def refusal(row):
    with pytest.raises(UnreadableCrystal) as error:
        text_of(row)
    return str(error.value)


# -- encodings and compression -------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        BYTES,
        b"\xef\xbb\xbf" + BYTES,
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        TEXT.encode("utf-32-le"),
        TEXT.encode("utf-32-be"),
        BYTES.replace(b"\n", b"\r\n"),
        BYTES.replace(b"\n", b"\r"),
    ],
)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_bytes_of_files_become_the_same_text(tmp_path, data, compress):
    # The bytes decide, not the suffix.
    for name in ("crystal.cif", "crystal.cif.gz", "crystal"):
        path = tmp_path / name
        path.write_bytes(compress(data))
        assert text_of(path) == (TEXT, str(path))
        assert text_of(str(path)) == (TEXT, str(path))


def test_a_gzip_file_may_have_several_members(tmp_path):
    path = tmp_path / "crystal.gz"
    path.write_bytes(gzip.compress(BYTES[:40]) + gzip.compress(BYTES[40:]))
    assert text_of(path)[0] == TEXT


@pytest.mark.parametrize(
    ("comment", "letters"),
    [
        ("Müller".encode("latin-1"), "Müller"),
        ("Müller, 10 Å".encode(), "Müller, 10 Å"),
        (b"\xff\xfe\x80", "\xff\xfe\x80"),
        ("\u4e2d".encode(), "\u4e2d"),
    ],
)
def test_other_letters_in_comments(tmp_path, comment, letters):
    path = tmp_path / "crystal.cif"
    path.write_bytes(BYTES + b"# " + comment + b"\n")
    assert text_of(path)[0] == f"{TEXT}# {letters}\n"


def test_texts_are_cleaned_like_files():
    assert text_of("\ufeff" + TEXT) == (TEXT, "")
    assert text_of(TEXT.replace("\n", "\r\n")) == (TEXT, "")
    assert text_of(TEXT.replace("\n", "\r")) == (TEXT, "")
    for half in ("\udcff", "\ud800", "\ud800x\udfff"):
        text = text_of(f"{TEXT}# {half} Å\n")[0]
        text.encode()
        assert text.startswith(TEXT)
        assert text.endswith(" Å\n")


def test_lone_surrogates_and_marks_stay_in_their_row():
    rows = [TEXT, f"{TEXT}# \udcff\n", "\ufeff" + TEXT, TEXT + "\0", "\udcff\n"]
    with pytest.warns(UserWarning, match="2 of 5 rows"):
        X = CifToGraph(on_error="nan").transform(rows)
    assert X.valid.tolist() == [True, True, True, False, False]
    assert X[[0]] == X[[1]] == X[[2]]


def test_zero_bytes_are_refused(tmp_path):
    path = tmp_path / "crystal.cif"
    path.write_bytes(BYTES + b"\0\0")
    assert f"NUL at place {len(TEXT)}" in refusal(path)
    assert "NUL at place 3" in refusal("dat\0a\n")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_damaged_wide_encoding_is_named(tmp_path, encoding):
    path = tmp_path / "crystal.cif"
    path.write_bytes(TEXT.encode(encoding)[:-1])
    assert f"begins as {encoding.upper()}" in refusal(path)


# -- files ---------------------------------------------------------------------------


def test_damaged_gzip_files_are_named(tmp_path):
    path = tmp_path / "crystal.cif.gz"
    whole = gzip.compress(BYTES)
    for data in (whole[:-12], whole[:-8] + b"12345678", whole[:30], whole[:2] + BYTES):
        path.write_bytes(data)
        assert "gzip file is damaged" in refusal(path)


def test_files_and_what_they_hold_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(_containers, "LIMIT", 2**20)
    path = tmp_path / "crystal.cif"
    for data in (b"#" * (2**20 + 1), gzip.compress(b"#" * (2**20 + 1))):
        path.write_bytes(data)
        assert "more than 1 MiB" in refusal(path)
    path.write_bytes(gzip.compress(BYTES + b"#" * (2**20 - len(BYTES))))
    assert text_of(path)[0].startswith(TEXT)


def test_the_limit_is_that_of_the_documentation():
    assert _containers.LIMIT == 256 * 2**20
    assert "256 MiB" in CifToGraph.__doc__


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
def test_only_regular_files_are_opened(tmp_path, monkeypatch):
    pipe, link, folder = (tmp_path / name for name in ("pipe", "link", "folder"))
    os.mkfifo(pipe)
    folder.mkdir()
    file = tmp_path / "crystal.cif"
    file.write_bytes(BYTES)
    for other in (pipe, folder, "/dev/null", "/dev/zero"):
        assert "not a regular file" in refusal(other)
        if link.is_symlink():
            link.unlink()
        link.symlink_to(other)
        assert "not a regular file" in refusal(link)
    link.unlink()
    link.symlink_to(file)
    assert text_of(link) == (TEXT, str(link))
    with socket.socket(socket.AF_UNIX) as connection:
        # Names of sockets are short.
        monkeypatch.chdir(tmp_path)
        connection.bind("s")
        assert "not a regular file" in refusal("s")


def test_a_name_of_no_file_says_what_the_string_may_be():
    prefix = "thus read as the name of a file: "
    for row, advice in [
        ("absent.cif", ""),
        ("CC(=O)O", "; SmilesToGraph reads SMILES"),
        (TEXT.replace("\n", " ")[:200], "; a CIF text has line breaks"),
        ('{"lattice": {}}', "; it looks like JSON"),
        ("a\0b", ""),
        ("x" * 5000, ""),
    ]:
        message = refusal(row)
        assert prefix in message
        assert advice in message
        assert bool(advice) == (";" in message)


# -- other formats -------------------------------------------------------------------

POSCAR = "NaCl\n1.0\n5 0 0\n0 5 0\n0 0 5\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"
FORMATS = {
    "a POSCAR": [POSCAR, "\n" + POSCAR[5:], POSCAR.replace("1.0", " -125.")],
    "JSON": ['{\n "lattice": {}\n}\n', '\n[{\n"a": 1}]\n'],
    "an xyz file": [
        "2\nwater\nO 0 0 0\nH 0 0 1\n",
        '1\nLattice="3 0 0 0 3 0 0 0 3"\nNa 0.0 -1e-3 0\n',
    ],
    "a PDB file": ["HEADER    PROTEIN\n", "REMARK 1\nCRYST1   52.000   58.600\n"],
    "a web page": ["<!DOCTYPE html>\n<html>\n", "\n<html lang='en'>\n"],
    "XML": ['<?xml version="1.0"?>\n<modeling>\n'],
    "an XSF file": ["# made by\nCRYSTAL\nPRIMVEC\n"],
    "a SHELX file": ["TITL sucrose\nCELL 0.71 5 5 5 90 90 90\n"],
    "a mol file": ["\n RDKit\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n"],
    "Quantum ESPRESSO": ["&control\n calculation='scf'\n/\n", "&SYSTEM\n/\n"],
    "FHI-aims": ["# geometry\nlattice_vector 5 0 0\n"],
}


@pytest.mark.parametrize("name", FORMATS)
def test_other_formats_are_named_with_what_reads_them(name):
    for text in FORMATS[name]:
        assert (
            f"it looks like {'' if name[0] in 'aJX' else 'an input of '}{name}; "
            in (other_format(text))
        )
        with pytest.raises(ValueError, match="as crystal: it looks like"):
            CifToGraph().transform([text])


def test_texts_of_no_format():
    assert other_format("C C O\nwater\n").startswith("it is not CIF")
    assert other_format(" \n\n") == "it is empty"
    for text in (TEXT, "# comment\n" + TEXT, TEXT.replace("data_", "DATA_")):
        assert not other_format(text)
    # A broken CIF is a CIF.
    assert not other_format("loop_\n_atom_site_label\nNa1\n")


def test_the_advice_for_a_poscar_and_json_can_be_followed(tmp_path):
    from pymatgen.core import Structure

    path = tmp_path / "POSCAR"
    path.write_text(POSCAR)
    structure = Structure.from_file(path)
    again = Structure.from_str(structure.to_json(), fmt="json")
    X = CifToGraph().transform([structure, again])
    assert X[[0]] == X[[1]]
    assert X.n_nodes.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (bz2.compress(BYTES), "bzip2"),
        (lzma.compress(BYTES), "xz"),
        (pickle.dumps({"a": 1}), "pickle"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\x89PNG\r\n", "picture"),
        (b"\x93NUMPY\x01", "NumPy"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"\x28\xb5\x2f\xfd\x00", "Zstandard"),
        (b"a.cif" + b"\0" * 252 + b"ustar\0", "tar"),
    ],
)
def test_binary_files_are_named(tmp_path, data, name):
    path = tmp_path / "crystal.cif"
    for content in (data, gzip.compress(data)):
        path.write_bytes(content)
        assert name in refusal(path)


def test_archives_are_named(tmp_path):
    path = tmp_path / "crystal.cif"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("crystal.cif", TEXT)
    assert "zip archive" in refusal(path)


CARTESIAN = "loop_\n{0}label\n{0}Cartn_x\n{0}Cartn_y\n{0}Cartn_z\nNa1 1 1 1\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data_x\n" + CARTESIAN.format("_atom_site."), "it looks like mmCIF"),
        ("data_x\n" + CARTESIAN.format("_atom_site_"), "Cartesian coordinates"),
        ("data_x\nloop_\n_chem_comp_atom.atom_id\nC1\n", "chemical component"),
        ("data_x\n_cell_length_a 5\n", "no data block has sites"),
        ("# nothing\n", "comments"),
    ],
)
def test_blocks_without_sites_say_what_they_have(text, words):
    with pytest.raises(
        ValueError, match="no data block has sites|it is not CIF"
    ) as error:
        choose_block(parse(text), None)
    assert words in str(error.value)


# -- objects -------------------------------------------------------------------------


def test_arrays_that_numpy_took_apart_are_refused_with_the_cure():
    from ase import Atoms

    atoms = Atoms("NaCl", [[0, 0, 0], [0, 0, 2.8]], cell=[5, 5, 5], pbc=True)
    structure = structure_of(ROCK_SALT)
    for crystal in (atoms, structure):
        for rows in ([crystal], [crystal, crystal]):
            array = np.array(rows, dtype=object)
            assert array.ndim == 2
            with pytest.raises(TypeError, match=r"X\[0\] .* pass a list of crystals"):
                CifToGraph().transform(array)
        expected = CifToGraph().transform([crystal])
        filled = np.empty(1, dtype=object)
        filled[0] = crystal
        for rows in (filled, filled[:, None], pd.Series([crystal]), [[crystal]]):
            assert CifToGraph().transform(rows) == expected
        with pytest.raises(ValueError, match=r"X\[0\], .* pass a list, \["):
            CifToGraph().transform(list(crystal))


def test_molecules_and_dictionaries_are_refused_with_the_cure():
    from pymatgen.core import Molecule, Structure

    molecule = Molecule(["C", "O"], [[0, 0, 0], [0, 0, 1.1]])
    with pytest.raises(ValueError, match="Molecule has no lattice"):
        CifToGraph().transform([molecule])
    rows = [molecule.to_ase_atoms(), molecule.get_boxed_structure(20, 20, 20)]
    assert CifToGraph().transform(rows).n_edges.tolist() == [2, 2]
    structure = structure_of(CESIUM_CHLORIDE)
    with pytest.raises(TypeError, match=r"X\[1\] is a dict, .*Structure.from_dict"):
        CifToGraph().transform([structure, structure.as_dict()])
    again = Structure.from_dict(structure.as_dict())
    assert CifToGraph().transform([again]) == CifToGraph().transform([structure])


# -- whatever the libraries raise ----------------------------------------------------


class Odd:
    """Looks like ASE Atoms, and fails in its own way."""

    def __init__(self, error):
        self.error = error

    def get_atomic_numbers(self):
        raise self.error

    def get_pbc(self):
        raise self.error


@pytest.mark.parametrize(
    "error", [RuntimeError("a"), IndexError("b"), TypeError("c"), OSError("d")]
)
def test_errors_of_other_packages_stay_in_their_row(error):
    rows = [Odd(error), cif(["Cu1 Cu 0 0 0 1"])]
    with pytest.warns(UserWarning, match=f"{type(error).__name__}: {error}"):
        X = CifToGraph(on_error="nan").transform(rows)
    assert X.valid.tolist() == [False, True]


def test_errors_of_the_search_stay_in_their_row(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("of C++")

    import pymatgen.optimization.neighbors as neighbors

    monkeypatch.setattr(neighbors, "find_points_in_spheres", fail)
    with pytest.raises(ValueError, match="as crystal: RuntimeError: of C"):
        CifToGraph().transform([TEXT])


@pytest.mark.parametrize("error", [ImportError, MemoryError, KeyboardInterrupt])
def test_faults_of_the_machine_are_no_rows(error):
    with pytest.raises(error):
        CifToGraph(on_error="nan").transform([Odd(error())])
