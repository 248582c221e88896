"""Type symbols and labels: elements, ions, vacancies, dummies, groups, mixtures."""

from collections import Counter

import gemmi
import numpy as np
import pytest
from crystals import cif

from skgnn_mtl import CifToGraph
from skgnn_mtl.featurizers._species import (
    SYMBOLS,
    Species,
    read_formula,
    read_label,
    read_type,
)

POLICIES = ("raise", "majority", "mix")
NO_TYPE = "label fract_x fract_y fract_z"


def stated(formula):
    found = read_formula(formula)
    return found if found is None else frozenset(found)


def element(text, formula=""):
    (composition, _) = read_label(text, stated(formula))
    assert composition.keys() <= {1, *range(3, 119)}
    return "".join(SYMBOLS[z - 1] for z in composition)


def elements(text, **options):
    X = CifToGraph(**options).transform([text])
    return dict(Counter(SYMBOLS[z - 1] for z in X.node_codes[:, 0]))


def reason(text, **options):
    with pytest.raises(ValueError, match=r"Could not read X\[0\]") as error:
        CifToGraph(**options).transform([text])
    return str(error.value)


def refused(read, text, formula):
    with pytest.raises(ValueError, match="species|label") as error:
        read(text, stated(formula))
    return str(error.value)


# -- type symbols --------------------------------------------------------------------


def test_the_symbols_are_those_of_the_periodic_table():
    assert [gemmi.Element(z).name for z in range(1, 119)] == SYMBOLS
    for z, symbol in enumerate(SYMBOLS, 1):
        assert read_type(symbol) == {z: 1.0}
        if len(symbol) == 2:
            assert read_type(f"{symbol}3+") == {z: 1.0}


@pytest.mark.parametrize(
    "text",
    "Fe FE fe Fe3+ Fe+3 FE3+ Fe2.5+ Fe0+ Fe+++ Fe³⁺ Fe^3+^ Fe(III) Fe(3+) Fe[3+] Fe1 "
    "Fe1* Fe' Fe_oct Fe_pv 57Fe Fe2+/Fe3+ Fe3+,spin=5 (Fe)".split(),
)
def test_ions_isotopes_and_numbered_symbols_are_the_element(text):
    assert read_type(text) == {26: 1.0}


@pytest.mark.parametrize(
    ("text", "z"),
    [
        *[(text, 1) for text in ("D", "T", "D+", "D1-", "2H", "3H", "H/D", "(H,D)")],
        *[(text, 17) for text in ("Cl-1", "CL-", "cl1-", "Cl−", "Cl1⁻")],
        *[(text, 8) for text in ("O2-", "O-2", "O--", "O2−", "O1'", "O_s")],
        *[(text, 6) for text in ("Cval", "13C", "C*")],
        *[(text, 14) for text in ("Siva", "Sival", "Si4+")],
        *[("W6+", 74), ("V", 23), ("V5+", 23), ("Na 1+", 11)],
    ],
)
def test_other_spellings_of_elements(text, z):
    assert read_type(text) == {z: 1.0}


@pytest.mark.parametrize(
    "text", "Va VA va Vac vac VAC Vc Vac1 vacancy Vacancy □ ☐ □1".split()
)
def test_vacancies_are_empty(text):
    assert read_type(text) == {}
    if text[0] in "Vv□":
        assert read_type(f"Fe0.9{'□' if text[0] == '□' else 'Va'}0.1") == {26: 0.9}


@pytest.mark.parametrize("text", ["Va", "VA2", "Vc"])
def test_a_vacancy_in_a_compound_of_vanadium_is_refused(text):
    assert "vanadium or a vacancy" in refused(read_type, text, "V2 O5")
    assert read_type(text, stated("Na Cl")) == {}


@pytest.mark.parametrize(
    "text",
    "X Xx X0+ Q M A DUM Dum Du Bq Gh Lp LP Cg Cent Tv R Uue Xy Oct Tet nA 11 1 - "
    "9He 300H 5Fe".split(),
)
def test_dummies_and_other_words_are_unknown(text):
    assert f"unknown species {text!r}" in refused(read_type, text, "")


@pytest.mark.parametrize(
    "text",
    "OH OH2 OH3 H2O H3O OH- OH1- OH2+ OD D2O OD2 HDO (OH) O(H) O(H2) Ow OW".split(),
)
def test_water_and_hydroxyl_are_their_oxygen(text):
    assert read_type(text) == {8: 1.0}
    assert read_type(text, stated("Mg O2 H2")) == {8: 1.0}


@pytest.mark.parametrize(
    "text",
    "NO3 CO3 NH4 NH3 SO4 PO4 ClO4 CH3 CH2 CN NO CO HO SiO4 NaCl (NH4) NO3- Wat WAT "
    "Water1".split(),
)
def test_groups_are_refused_with_the_cure(text):
    assert "list" in (found := refused(read_type, text, "")) or "write O" in found


def test_capitals_are_an_element_where_the_formula_says_so():
    for text, formula, z in [
        ("CO", "Co O", 27),
        ("HO", "Ho2 O3", 67),
        ("PO", "Po", 84),
    ]:
        assert read_type(text, stated(formula)) == {z: 1.0}
        assert read_type(text.capitalize()) == {z: 1.0}
    for text, formula in [("CO", "C O2"), ("CO", "Co C O3"), ("HO", "H2 O")]:
        assert "group" in refused(read_type, text, formula)


@pytest.mark.parametrize(
    ("text", "formula"), [("W", "H2 O"), ("V", "Na Cl"), ("T", "Si O2"), ("D", "Na Cl")]
)
def test_marks_are_elements_unless_the_formula_refutes_them(text, formula):
    assert len(read_type(text)) == 1
    assert "the formula does not list" in refused(read_type, text, formula)


@pytest.mark.parametrize(
    "text", "Fe/Co Fe,Co Fe:Co Fe;Co Fe|Co (Fe,Co) [Fe/Co]".split()
)
@pytest.mark.parametrize("policy", POLICIES)
def test_mixtures_without_shares_are_refused(text, policy):
    found = reason(cif([f"A1 {text} 0 0 0 1"]), disorder=policy)
    assert f"site A1 has the species {text!r}, a mixture" in found


@pytest.mark.parametrize(
    "text", ["FeCo", "Fe-Co", "Fe+Co", "Fe_Co", "Fe0.5", "Fe50Co50"]
)
def test_other_mixtures_are_no_element(text):
    assert f"{text!r}" in refused(read_type, text, "")


@pytest.mark.parametrize(
    "text",
    "Fe0.75Co0.25 Fe.75Co.25 Fe0.75/Co0.25 Fe0.75,Co0.25 Fe3+:0.75,Co:0.25".split(),
)
def test_mixtures_with_shares_are_disorder(text):
    assert read_type(text) == {26: 0.75, 27: 0.25}
    site = cif([f"A1 {text} 0 0 0 1"])
    assert "the first is A1 with 0.75" in reason(site)
    assert elements(site, disorder="majority") == {"Fe": 1}
    X = CifToGraph(disorder="mix").transform([site])
    table = np.array(CifToGraph().transform_schema().node_table)
    expected = 0.75 * table[26] + 0.25 * table[27]
    np.testing.assert_allclose(X.node_features[0], expected, rtol=1e-6)


def test_shares_must_add_up_to_one():
    assert "add up to 1.2" in refused(read_type, "Fe0.6Co0.6", "")
    assert "add up to 0.8" in refused(read_type, "Fe0.4Co0.4", "")


# -- policies ------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["X", "Q", "NO3", "CO3", "Fe/Co", "Bq", "CO"])
def test_all_policies_refuse_the_same_species(text):
    rows = [cif(["Na1 Na 0 0 0 1", f"A1 {text} .5 .5 .5 {o}"]) for o in ("1", "0.4")]
    for row in rows:
        found = {reason(row, disorder=policy) for policy in POLICIES}
        assert len(found) == 1
        assert repr(text) in found.pop()


@pytest.mark.parametrize("text", ["OH2", "OH", "D", "Fe2+/Fe3+", "na"])
def test_all_policies_read_the_same_species(text):
    row = cif(["Cl1 Cl 0 0 0 1", f"A1 {text} .5 .5 .5 1"])
    expected = elements(row)
    assert sum(expected.values()) == 2
    assert elements(row, disorder="majority") == expected
    mixed = CifToGraph(disorder="mix").transform([row])
    table = np.array(CifToGraph().transform_schema().node_table, dtype=np.float32)
    codes = CifToGraph().transform([row]).node_codes[:, 0]
    np.testing.assert_array_equal(mixed.node_features, table[codes])


@pytest.mark.parametrize("text", ["Va", "Vac", "VA", "vac", "Vc", "□", "☐"])
def test_a_vacancy_is_the_empty_part_of_its_site(text):
    sites = ["Na1 Na 0 0 0 .4", f"Z1 {text} 0 0 0 .6", "Cl1 Cl .5 .5 .5 1"]
    assert elements(cif(sites), disorder="majority") == {"Cl": 1}
    X = CifToGraph(disorder="mix").transform([cif(sites), cif(sites[::2])])
    assert X.n_nodes.tolist() == [2, 2]
    np.testing.assert_array_equal(X.node_features[:2], X.node_features[2:])
    assert 'disorder="majority" or "mix"' in reason(cif(sites))
    sites[0] = sites[0].replace(".4", ".5")
    assert "add up to 1.1" in reason(cif(sites), disorder="majority")


def test_objects_follow_the_same_rules():
    from ase import Atoms
    from pymatgen.core import DummySpecies, Lattice, Structure

    def structure(species):
        return Structure(
            Lattice.cubic(4), [species, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
        )

    assert "unknown species 'X'" in reason(structure(DummySpecies("X")))
    assert elements(structure("D+")) == {"H": 1, "Cl": 1}
    atoms = Atoms("Na", cell=[4, 4, 4], pbc=True)
    atoms.arrays["spacegroup_kinds"] = np.zeros(1, dtype=int)
    for symbol in ("Qq", "X", "NO3"):
        atoms.info["occupancy"] = {"0": {"Na": 0.4, symbol: 0.6}}
        assert repr(symbol) in reason(atoms, disorder="mix")
    atoms.info["occupancy"] = {"0": {"Na": 0.4, "Vac": 0.6}}
    assert "there are no sites" in reason(atoms, disorder="majority")
    assert "site 0 with 0.4" in reason(atoms)


# -- labels --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        *[(t, "Na") for t in ("Na1", "Na", "Na+1", "Na(1)", "(Na1)", "Na_1", "*Na")],
        *[(t, "O") for t in ("O1", "O1A", "O1W", "O1'", "o1", "O-H", "O2-")],
        *[(t, "O") for t in ("Ow1", "OW", "Oh", "OH1", "OA", "Oa2", "Od")],
        *[(t, "H") for t in ("H1", "D1", "D", "H1A", "Hw", "HW1", "HA", "HB2", "Hn")],
        *[("C1A", "C"), ("Ho1", "Ho"), ("Os", "Os"), ("Si12", "Si"), ("Co1", "Co")],
        *[("AL1", "Al"), ("MG", "Mg"), ("mg1", "Mg"), ("ZN2", "Zn"), ("Va1", "")],
        *[("□1", ""), ("Vac2", "")],
    ],
)
def test_labels_with_one_reading(text, symbol):
    assert element(text) == symbol


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("CA1", "C or Ca"),
        ("CD", "C or Cd"),
        ("NB2", "N or Nb"),
        ("OS", "O or Os"),
        ("SI1", "Si or S"),
        ("HO1", "H or Ho"),
        ("CL1", "C or Cl"),
        ("FE1", "F or Fe"),
        ("fe1", "F or Fe"),
        ("HF", "H or Hf"),
    ],
)
def test_labels_with_two_readings_are_refused_without_a_formula(text, readings):
    first, second = readings.split(" or ")
    found = refused(read_label, text, "")
    assert f"{first} or {second}" in found or f"{second} or {first}" in found
    assert "_atom_site_type_symbol or _chemical_formula_sum" in found
    assert element(text, f"{first} Xe2") == first
    assert element(text, f"{second} Xe2") == second
    assert "may mean" in refused(read_label, text, f"{first} {second}")


@pytest.mark.parametrize(
    "text",
    "X1 Q1 M1 T1 t1 Wat1 SiT1 SiAl1 FeCo Mg1Fe1 Fe1/Co1 Fe1,Co1 NO3 CO3 NH4 SO4 2H Uue "
    "Oct1 Tet1 Cat1 OHa CH1 CX1 KA 1 ? Å1".split(),
)
def test_labels_without_a_reading_are_refused_without_a_formula(text):
    assert repr(text) in refused(read_label, text, "")


@pytest.mark.parametrize(
    ("text", "formula", "symbol"),
    [
        ("HO1", "H2 O", "H"),
        ("Ho1", "H2 O", "H"),
        ("HO1", "Ho2 O3", "Ho"),
        ("HN1", "N H4", "H"),
        ("Ow1", "H2 O", "O"),
        ("Wat", "Ca S O6 H4", "O"),
        ("CA1", "C6 H6", "C"),
        ("Ca1", "Ca C O3", "Ca"),
        ("NB1", "Na N O3", "N"),
        ("SiT1", "Si O2", "Si"),
        ("MgM1", "Mg2 Si O4", "Mg"),
        ("CaB", "Ca C O3", "Ca"),
        ("KA", "K Al Si3 O8", "K"),
        ("OA1", "Si O2", "O"),
        ("NH1", "N H4 Cl", "N"),
        ("DW1", "D2 O", "H"),
        ("FE1", "FE2 O3", "Fe"),
        ("Va1", "Na Cl", ""),
    ],
)
def test_the_formula_decides(text, formula, symbol):
    assert element(text, formula) == symbol


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("T1", "Si O2"),
        ("T1", "H2 O"),
        ("Tet1", "H2 O"),
        ("W1", "H2 O"),
        ("V1", "Na Cl"),
        ("HA", "Na Cl"),
        ("Na1", "K Cl"),
        ("Cat1", "Ca C O3"),
        ("Va1", "V2 O5"),
        ("Wat", "W O3"),
        ("CO1", "C O"),
        ("OW1", "W O3"),
        ("CaB", "Ca B6"),
        ("SiAl1", "Si Al O4"),
        ("AlSi", "Al Si O4"),
        ("Mg1Fe1", "Mg Fe"),
        ("CO3", "Ca C O3"),
    ],
)
def test_what_the_formula_leaves_open_is_refused(text, formula):
    assert repr(text) in refused(read_label, text, formula)


def test_labels_without_types_ask_the_formula_of_the_file():
    def row(first, second, formula):
        sites = [f"{first} 0 0 0", f"{second}1 .2 0 0", f"{second}2 0 .2 0"]
        stated = f"_chemical_formula_sum '{formula}'\n"
        return cif(sites, (5, 5, 5, 90, 90, 90), extra=stated, columns=NO_TYPE)

    assert elements(row("O1", "HO", "H2 O")) == {"O": 1, "H": 2}
    assert elements(row("O1", "HO", "H4 O2")) == {"O": 1, "H": 2}
    # Hydrogen may be missing in the file, other elements may not.
    assert elements(row("O1", "HO", "H6 O")) == {"O": 1, "H": 2}
    assert "2 atoms of H" in reason(row("O1", "HO", "H O"))
    assert "may mean H or Ho" in reason(row("O1", "HO", "?"))


def test_amounts_of_guessed_elements_are_those_of_the_formula():
    def row(label):
        sites = [
            f"{label}1 0 0 0",
            "Al2 .5 0 0",
            "O1 0 .5 0",
            "O2 0 0 .5",
            "O3 .5 .5 0",
        ]
        extra = "_chemical_formula_sum 'Al2 O3'\n"
        return cif(sites, extra=extra, columns=NO_TYPE)

    assert elements(row("AlT")) == {"Al": 2, "O": 3}
    assert elements(row("AL")) == {"Al": 2, "O": 3}
    assert "4 atoms of O in the cell" in reason(row("Oct"))
    assert "_atom_site_type_symbol" in reason(row("Oct"))


@pytest.mark.parametrize("unknown", ["?", ".", "''"])
def test_an_unknown_type_beside_a_good_label(unknown):
    assert elements(cif([f"S1 {unknown} 0 0 0 1"])) == {"S": 1}
    assert "unknown species 'Q1'" in reason(cif([f"Q1 {unknown} 0 0 0 1"]))
    assert "may mean C or Ca" in reason(cif([f"CA1 {unknown} 0 0 0 1"]))


def test_types_outrank_labels_and_the_formula():
    extra = "_chemical_formula_sum 'K Cl'\n"
    assert elements(cif(["K1 Na 0 0 0 1"], extra=extra)) == {"Na": 1}


def test_the_types_of_a_file_decide_where_there_is_no_formula():
    types = "loop_\n_atom_type_symbol\n_atom_type_description\n{}\n"
    for symbols, found in [("C C\nH H", "C"), ("Ca Ca\nO O", "Ca")]:
        extra = types.format(symbols)
        assert elements(cif(["CA1 0 0 0"], extra=extra, columns=NO_TYPE)) == {found: 1}
        dotted = extra.replace("_atom_type_", "_atom_type.")
        assert elements(cif(["CA1 0 0 0"], extra=dotted, columns=NO_TYPE)) == {found: 1}


def test_a_description_explains_a_type_symbol():
    extra = "loop_\n_atom_type_symbol\n_atom_type_description\nM1 Fe\nM2 ?\n"
    assert elements(cif(["A M1 0 0 0 1"], extra=extra)) == {"Fe": 1}
    assert "unknown species 'M2'" in reason(cif(["A M2 0 0 0 1"], extra=extra))


# -- formulas ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("H2 O", {1: 2, 8: 1}),
        ("C6 H12 CL2", {6: 6, 1: 12, 17: 2}),
        ("NaCl", {11: 1, 17: 1}),
        ("Fe0.5 Co.5 O", {26: 0.5, 27: 0.5, 8: 1}),
        ("D2 O", {1: 2, 8: 1}),
        ("C6 H5 O 1-", {6: 6, 1: 5, 8: 1}),
        ("Na, Cl", {11: 1, 17: 1}),
        *[(text, None) for text in ("?", "", ".", "(H2 O)6", "x", "Na Xy2", "C. H")],
    ],
)
def test_formulas(text, formula):
    assert read_formula(text) == formula


def test_guesses_are_not_checked_without_a_formula():
    species = Species()
    assert species.of_site("?", "HA") == {1: 1.0}
    species.check_guesses({1: 5.0})
    assert not species.guessed
