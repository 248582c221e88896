"""Scaffold groups: chemistry, containers, unreadable rows."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from rdkit import Chem
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

from skgnn_mtl.datasets import load_elasticity
from skgnn_mtl.featurizers import CifToGraph, SmilesToGraph
from skgnn_mtl.model_selection import scaffold_groups


def partition(groups):
    """Sets of rows with equal numbers."""
    return {frozenset(np.flatnonzero(groups == g).tolist()) for g in set(groups)}


def test_groups_are_those_of_rdkits_scaffolds(smiles):
    for chirality in (False, True):
        keys = np.array([MurckoScaffoldSmiles(s, None, chirality) for s in smiles])
        groups = scaffold_groups(smiles, chirality=chirality, acyclic="one")
        assert partition(groups) == partition(keys)


def test_numbers_follow_the_first_appearance(smiles):
    groups = scaffold_groups(smiles)
    assert groups.shape == (len(smiles),)
    assert groups.dtype.kind == "i"
    first = np.unique(groups, return_index=True)[1]
    np.testing.assert_array_equal(groups[np.sort(first)], np.arange(groups.max() + 1))


def test_order_of_rows_and_writing_of_smiles_do_not_matter(smiles):
    rows = np.random.default_rng(0).permutation(len(smiles))
    rewritten = [
        Chem.MolToRandomSmilesVect(Chem.MolFromSmiles(smiles[i]), 1, int(i))[0]
        for i in rows
    ]
    groups = scaffold_groups(smiles)
    assert partition(groups[rows]) == partition(scaffold_groups(rewritten))


@pytest.mark.parametrize(
    ("same", "options"),
    [
        (["Cc1ccccc1", "OC(=O)CCc1ccccc1"], {}),
        (["O=C1CCCCC1", "O=C1CCC(C)CC1"], {}),
        (["C[C@H]1CC[C@@H](C)O1", "C[C@@H]1CC[C@@H](C)O1"], {}),
        (["C1CC[C@@H]2CCCC[C@H]2C1", "C1CC[C@H]2CCCC[C@H]2C1"], {}),
        (["c1ccccc1", "C1CCCCC1", "c1ccncc1", "O=C1CCNCC1", "Cc1ccccc1"],
         {"generic": True}),
        # A centre with six neighbours, which no carbon could have.
        (["C1CS23(C1)(CCC2)CCC3", "C1C[W]23(C1)(CCC2)CCC3"], {"generic": True}),
        (["CCO", "OCC"], {}),
        (["C[C@H](N)O", "C[C@@H](N)O", "CC(N)O"], {}),
        (["CCO", "CCCCl", "[Na+].[Cl-]", "[Fe]"], {"acyclic": "one"}),
        (["c1ccccc1", "[Na+].[O-]c1ccccc1"], {}),
    ],
)  # fmt: skip
def test_one_group(same, options):
    assert set(scaffold_groups(same, **options)) == {0}


@pytest.mark.parametrize(
    ("different", "options"),
    [
        (["c1ccccc1", "c1ccncc1", "C1CCCCC1"], {}),
        (["C1CCCCC1", "O=C1CCCCC1"], {}),
        (["c1ccccc1Cc1ccccc1", "c1ccccc1CCc1ccccc1"], {"generic": True}),
        (["C1CC[C@@H]2CCCC[C@H]2C1", "C1CC[C@H]2CCCC[C@H]2C1"],
         {"chirality": True}),
        (["CCO", "CCN", "CC"], {}),
        (["C[C@H](N)O", "C[C@@H](N)O"], {"chirality": True}),
        (["c1ccccc1", "[13cH]1ccccc1"], {"chirality": True}),
        (["CCO", "c1ccccc1"], {"acyclic": "one"}),
        (["CCO", "c1ccccc1"], {"generic": True}),
        # A lone benzene is a ring, not an acyclic molecule with the same SMILES.
        (["c1ccccc1.c1ccccc1", "c1ccccc1"], {}),
    ],
)  # fmt: skip
def test_different_groups(different, options):
    assert len(set(scaffold_groups(different, **options))) == len(different)


def test_generic_and_coarser_options_only_merge_groups(smiles):
    fine = scaffold_groups(smiles, chirality=True)
    for options in (
        {},
        {"acyclic": "one"},
        {"generic": True},
        {"generic": True, "acyclic": "one"},
    ):
        coarse = scaffold_groups(smiles, **options)
        assert all(
            any(part <= other for other in partition(coarse))
            for part in partition(fine)
        )


def test_all_containers_give_one_result(smiles):
    expected = scaffold_groups(smiles)
    index = np.random.default_rng(0).permutation(len(smiles))
    column = np.array(smiles, dtype=object)[:, None]
    for X in (
        tuple(smiles),
        np.array(smiles),
        np.array(smiles, dtype=object),
        np.array(smiles, dtype=np.dtypes.StringDType()),
        column,
        pd.Series(smiles, index=index),
        pd.DataFrame({"smiles": smiles}, index=index),
        pl.Series(smiles),
        pl.DataFrame({"smiles": smiles}),
        [Chem.MolFromSmiles(s) for s in smiles],
        [Chem.MolFromSmiles(s) if i % 2 else s for i, s in enumerate(smiles)],
        SmilesToGraph().transform(smiles),
        SmilesToGraph().transform([Chem.MolFromSmiles(s) for s in smiles]),
    ):
        np.testing.assert_array_equal(scaffold_groups(X), expected)


def test_nothing_gives_nothing():
    assert scaffold_groups([]).shape == (0,)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, "", "  "])
def test_missing_rows(missing):
    X = ["c1ccccc1", missing, "CCO"]
    with pytest.raises(ValueError, match=r"X\[1\] is missing\. .* on_error="):
        scaffold_groups(X)
    np.testing.assert_array_equal(scaffold_groups(X, on_error="nan"), [0, -1, 1])


def test_unreadable_rows_are_named_with_the_reason_and_counted():
    X = ["CCO", "C1CC", "CCO", None, "C(C)(C)(C)(C)C", "c1ccccc1"]
    message = (
        r"Could not read X\[1\] = 'C1CC' as SMILES: .+\. "
        r"2 more row\(s\) are missing or unreadable; the first are \[3, 4\]\."
    )
    with pytest.raises(ValueError, match=message):
        scaffold_groups(X)
    groups = scaffold_groups(X, on_error="nan")
    np.testing.assert_array_equal(groups, [0, -1, 0, -1, -1, 1])


def test_invalid_graphs_are_unreadable_rows():
    with pytest.warns(UserWarning, match="2 of 4 rows of X became invalid"):
        X = SmilesToGraph(on_error="nan").transform(["CCO", "C1CC", None, "C1CC1"])
    np.testing.assert_array_equal(scaffold_groups(X, on_error="nan"), [0, -1, -1, 1])
    with pytest.raises(ValueError, match=r"Could not read X\[1\] = 'C1CC' as SMILES"):
        scaffold_groups(X)


def test_graphs_without_identifiers_are_refused(smiles):
    X = SmilesToGraph().transform(smiles).without_ids()
    with pytest.raises(ValueError, match=f"{len(X)} of {len(X)} graphs have no ident"):
        scaffold_groups(X, on_error="nan")


@pytest.mark.parametrize(
    ("X", "options", "error", "message"),
    [
        ("CCO", {}, TypeError, "one string"),
        (["CCO", 3.5], {}, TypeError, r"X\[1\] = 3\.5"),
        (np.array([["C", "N("]]), {}, ValueError, r"X\[0, 1\] = 'N\('"),
        ([["C", "N"], ["C"]], {}, ValueError, r"X\[1\] has 1 entries"),
        (["CCO"], {"acyclic": "none"}, ValueError, "acyclic must be one of.*'none'"),
        (["CCO"], {"on_error": "skip"}, ValueError, "on_error must be one of.*'skip'"),
    ],
)
def test_wrong_input_is_refused(X, options, error, message):
    with pytest.raises(error, match=message):
        scaffold_groups(X, **options)


def test_crystals_have_no_scaffold():
    """Not even where the name of a block would be a SMILES, such as CO."""
    cifs, _ = load_elasticity(return_X_y=True)
    with pytest.raises(ValueError, match="have the schema 'crystal cutoff"):
        scaffold_groups(CifToGraph().fit_transform(cifs[:2]))


def test_rdkit_says_nothing_and_keeps_its_settings(capfd):
    scaffold_groups(["CCO", "C1CC", "c1cccc1", "xyz"], on_error="nan")
    assert capfd.readouterr() == ("", "")
    assert Chem.MolFromSmiles("C1CC") is None
    assert "unclosed ring" in capfd.readouterr().err


def test_without_rdkit_the_cure_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ImportError, match=r"needs rdkit: pip install rdkit\."):
        scaffold_groups(["CCO"])


def test_odd_molecules_of_a_real_set(shared_data):
    """Metals, salts and ``*`` atoms: every readable row has a group, generic or not."""
    table = pd.read_csv(shared_data / "clintox.csv.gz")
    for generic in (False, True):
        groups = scaffold_groups(table["smiles"], generic=generic, on_error="nan")
        assert (groups == -1).sum() == 4
