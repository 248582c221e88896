"""What RDKit raises, or reads in part, is the fault of one row and names it."""

import numpy as np
import pytest
from rdkit import Chem

from skgnn_mtl.featurizers import (
    AtomColumn,
    BondColumn,
    SmilesToGraph,
    _rows,
    _stereo,
)
from skgnn_mtl.model_selection import ScaffoldKFold, scaffold_groups


def query():
    pattern = Chem.MolFromSmarts("[C,N]~[#6]")
    Chem.SanitizeMol(pattern)
    return pattern


def heavy():
    molecule = Chem.RWMol(Chem.MolFromSmiles("CCO"))
    molecule.GetAtomWithIdx(1).SetAtomicNum(200)
    return molecule


BAD = {
    "C[#119]": "atomic number 119 is larger than 118",
    "[#256]": "atomic number 256",
    "C[#262]": "atomic number 262",
    "[C+999]": r"charge \+999 is outside of \+-127",
    "[CH3-256]": "charge -256",
    "[SiH4+1000]": r"charge \+1000",
    "[65536C]": "isotope 65536 is larger than 65535",
    "C[99999CH3]": "isotope 99999",
    f"[{'9' * 5000}C]": r"isotope 999999999999\.\.\. is",
    "C\u2013O": "unexpected '–' at position 1",
    "CO\xe9": "unexpected 'é' at position 2",
    "\xc7C": "unexpected 'Ç' at position 0",
    "CCO\nCCN": "it has 2 lines",
    "CCO\r\nC\nN": "it has 3 lines",
    "CC\0O": r"unexpected '\\x00' at position 2",
    "CCO \ud800": "not valid Unicode",
    "CCO>>CC": "it looks like a reaction",
    "CCO |bad|": "behind the blank",
    "[CH999]": "RDKit fails: getValence",
    "C%(99999999)CC": "unclosed ring",
    "(" * 6000: "unclosed parenthesis",
    "C" + "=C" * 3000: "it has 6001 letters",
}


@pytest.mark.parametrize("stereo", ["tags", "cip"])
def test_bad_rows_leave_the_others(stereo):
    rows = ["CCO", *BAD, query(), heavy(), "C[C@H](N)O"]
    with pytest.warns(UserWarning, match=f"{len(BAD) + 2} of {len(rows)} rows"):
        X = SmilesToGraph(stereo=stereo, on_error="nan").transform(rows)
    assert np.flatnonzero(X.valid).tolist() == [0, len(rows) - 1]
    good = SmilesToGraph(stereo=stereo).transform([rows[0], rows[-1]])
    assert X[X.valid] == good


@pytest.mark.parametrize(("row", "reason"), BAD.items(), ids=range(len(BAD)))
def test_a_bad_row_is_named_with_its_reason(row, reason):
    with pytest.raises(ValueError, match=rf"Could not read X\[1\] = .*{reason}"):
        SmilesToGraph().transform(["CCO", row])


@pytest.mark.parametrize(
    ("make", "reason"),
    [(query, "atom 0 is a query"), (heavy, "atom 1 has the atomic number 200")],
)
def test_molecules_that_are_none_are_named(make, reason):
    with pytest.raises(ValueError, match=rf"X\[1\], of type .*{reason}"):
        SmilesToGraph().transform(["CCO", make()])


@pytest.mark.parametrize(
    ("row", "same"),
    [
        ("CCO ethanol", "CCO"),
        ("CCO é", "CCO"),
        ("CCO x[#300]", "CCO"),
        ("CCO\n", "CCO"),
        ("\r\nCCO", "CCO"),
        ("\ufeffCCO", "CCO"),
        ("CCO |$a;b;c$|", "CCO"),
        ("[#6]", "[C]"),
        ("[*]", "*"),
        ("C%(999)CCC%(999)", "C1CCC1"),
    ],
)
def test_what_may_stand_beside_a_structure(row, same):
    X, Y = SmilesToGraph().transform([row]), SmilesToGraph().transform([same])
    assert X.without_ids() == Y.without_ids()


@pytest.mark.parametrize("row", ["[C+127]", "[65535C]", "[Og]", "C#1CCCCC1", "C-1CC-1"])
def test_the_largest_numbers_are_read(row):
    assert SmilesToGraph().transform([row]).valid.all()


def test_a_pattern_for_any_atom_is_a_dummy():
    block = """
  x

  2  1  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 *   0  0
    1.0000    0.0000    0.0000 C   0  0
  1  2  1  0
M  END
"""
    molecule = Chem.MolFromMolBlock(block)
    assert molecule.GetAtomWithIdx(0).HasQuery()
    X, Y = SmilesToGraph().transform([molecule]), SmilesToGraph().transform(["*C"])
    assert X.without_ids() == Y.without_ids()
    listed = Chem.MolFromMolBlock(block.replace("* ", "A "))
    with pytest.raises(ValueError, match="query"):
        SmilesToGraph().transform([listed])


class Odd(Exception):
    """Nothing that anybody expects."""


@pytest.mark.parametrize("error", [RuntimeError, OverflowError, MemoryError, Odd])
def test_any_error_of_the_parser_is_a_row_s(error, monkeypatch):
    true = Chem.MolFromSmiles

    def parse(smiles, *args, **options):
        if smiles == "CCN":
            raise error("Invariant Violation\n\tsomething odd\n\tViolation on line 3")
        return true(smiles, *args, **options)

    monkeypatch.setattr(Chem, "MolFromSmiles", parse)
    with pytest.warns(UserWarning, match=r"rows 1\. .*RDKit fails: something odd"):
        X = SmilesToGraph(on_error="nan").transform(["CCO", "CCN", "CCC"])
    assert X.valid.tolist() == [True, False, True]
    with pytest.raises(ValueError, match=r"X\[1\] = 'CCN'.*something odd\.$"):
        SmilesToGraph().transform(["CCO", "CCN", "CCC"])


def test_an_error_while_the_reason_is_found(monkeypatch):
    def fail(molecule):
        raise RuntimeError("Pre-condition Violation\n\tno reason\n")

    monkeypatch.setattr(Chem, "DetectChemistryProblems", fail)
    with pytest.raises(ValueError, match="RDKit fails: no reason"):
        SmilesToGraph().transform(["CC(C)(C)(C)C"])


def test_an_accessor_that_fails_on_one_molecule(monkeypatch):
    """C++ may raise at an atom only; the other molecules are read again."""
    columns = (AtomColumn("r", "GetNumExplicitHs", range(3)),), ()
    expected = SmilesToGraph(columns).transform(["CCO", "CCN"])
    true = Chem.Atom.GetNumExplicitHs

    def fail_on_sulfur(atom):
        if atom.GetSymbol() == "S":
            raise RuntimeError("Pre-condition Violation\n\tno hydrogens\n")
        return true(atom)

    monkeypatch.setattr(Chem.Atom, "GetNumExplicitHs", fail_on_sulfur)
    with pytest.warns(UserWarning, match="rows 1, 3"):
        X = SmilesToGraph(columns, on_error="nan").transform(["CCO", "CS", "CCN", "S"])
    assert X.valid.tolist() == [True, False, True, False]
    assert X[[0, 2]] == expected
    with pytest.raises(ValueError, match=r"X\[1\] = 'CS'.*RDKit fails: no hydrogens"):
        SmilesToGraph(columns).transform(["CCO", "CS"])


def test_labels_that_fail_on_one_molecule(monkeypatch):
    true = _stereo.label

    def label(molecule):
        if molecule.GetNumAtoms() == 5:
            raise RuntimeError("too many comparisons")
        return true(molecule)

    monkeypatch.setattr(_stereo, "label", label)
    rows = ["C[C@H](N)CCO", "C[C@H](N)CO", "C[C@H](N)CCCO"]
    with pytest.warns(UserWarning, match="1 of 3 rows"):
        X = SmilesToGraph(stereo="cip", on_error="nan").transform(rows)
    assert X.valid.tolist() == [True, False, True]


# -- functions of the user's ----------------------------------------------------------


def no_nitrogen(part):
    if part.GetIdx() == 1 and part.GetOwningMol().GetAtomWithIdx(1).GetSymbol() == "N":
        raise KeyError("q")
    return 1.0


@pytest.mark.parametrize("on_error", ["raise", "nan"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_function_that_raises_names_column_atom_and_row(on_error, n_jobs):
    own = (AtomColumn("degree", "GetDegree", range(5)), AtomColumn("q", no_nitrogen))
    rows = ["CCO"] * 1200 + ["CNC"]
    transformer = SmilesToGraph((own, ()), on_error=on_error, n_jobs=n_jobs)
    sentence = r"Column 'q' cannot be read from atom 1 of X\[1200\] = 'CNC': KeyError"
    with pytest.raises(ValueError, match=sentence) as caught:
        transformer.transform(rows)
    if n_jobs == 1:
        assert isinstance(caught.value.__cause__, KeyError)


def test_a_function_of_a_bond_that_raises():
    bonds = (BondColumn("b", no_nitrogen),)
    with pytest.raises(ValueError, match=r"Column 'b' .* bond 1 of X\[1\] = 'CNC'"):
        SmilesToGraph(((), bonds)).transform(["CCO", "CNC"])


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        (AtomColumn("x", lambda a: None), "finite numbers, but holds None at atom 0"),
        (AtomColumn("x", lambda a: [1], (1,)), r"hold \[1\] at atom 0"),
        (AtomColumn("x", lambda a: "u", (1,), "nearest"), "hold 'u' at atom 0"),
        (AtomColumn("x", "GetSymbol"), "hold 'C' at atom 0"),
        (AtomColumn("x", lambda a: np.inf * (a.GetIdx() - 1)), "holds -?inf at atom 0"),
    ],
)
def test_values_that_a_column_cannot_hold_are_named(column, sentence):
    with pytest.raises(ValueError, match=rf"Column 'x' .*{sentence}.*X\[0\] = 'CO'"):
        SmilesToGraph(((column,), ())).transform(["CO", "C"])


def test_an_accessor_that_needs_arguments_is_refused_in_fit():
    column = AtomColumn("small", "IsInRingSize", (False, True))
    with pytest.raises(ValueError, match="'IsInRingSize' of RDKit's Atom needs arg"):
        SmilesToGraph(((column,), ())).fit(["C"])


# -- scaffolds ------------------------------------------------------------------------


@pytest.mark.parametrize("row", ["C[#119]", "C\u2013O", "[C+999]"])
def test_scaffolds_name_the_row(row):
    with pytest.raises(ValueError, match=r"Could not read X\[1\] = "):
        scaffold_groups(["CCO", row])
    assert scaffold_groups(["CCO", row], on_error="nan").tolist() == [0, -1]
    folds = ScaffoldKFold(2, on_error="nan").split(["CCO", row, "CCN"])
    assert sum(len(test) for _, test in folds) == 3


def test_molecules_too_long_to_write_do_not_end_the_process():
    """RDKit's recursion would overflow the stack, which no ``except`` catches."""
    chain, molecule = "C" * 6000, Chem.MolFromSmiles("C" * 20000)
    X = SmilesToGraph().transform([chain, molecule])
    assert X.ids.tolist() == [chain, ""]
    assert X.n_nodes.tolist() == [6000, 20000]
    assert scaffold_groups(["C", chain], on_error="nan").tolist() == [0, -1]
    with pytest.raises(ValueError, match=r"X\[1\] = .* it has 6000 atoms, but"):
        scaffold_groups(["C", chain])


def test_a_row_cannot_take_minutes(monkeypatch):
    """Names and blanks do not count; a longer molecule may be passed as an object."""
    longest = "C" * 6000
    X = SmilesToGraph().transform([f"{longest} {longest}\n"])
    assert X.n_nodes.tolist() == [6000]
    parsed = []
    monkeypatch.setattr(Chem, "MolFromSmiles", parsed.append)
    with pytest.raises(ValueError, match="it has 6001 letters"):
        SmilesToGraph().transform([longest + "C"])
    assert not parsed


def test_writing_leaves_a_molecule_as_it_is():
    molecule = Chem.MolFromSmiles("CC(=O)N")
    before = molecule.ToBinary(int(Chem.PropertyPickleOptions.AllProps))
    assert _rows.canonical_smiles(molecule) == "CC(N)=O"
    assert molecule.ToBinary(int(Chem.PropertyPickleOptions.AllProps)) == before
    Chem.MolToSmiles(molecule)
    order = molecule.GetProp("_smilesAtomOutputOrder")
    _rows.canonical_smiles(molecule)
    assert molecule.GetProp("_smilesAtomOutputOrder") == order
