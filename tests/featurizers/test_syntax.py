"""The reason given for a string that is no SMILES."""

import pytest
from rdkit import Chem, rdBase

from skgnn_mtl.featurizers._syntax import why_not_smiles

REASONS = {
    "C1CC": "unclosed ring",
    "C%12CC": "unclosed ring",
    "C1CC%01C2": "unclosed ring",
    "c1ccccc": "unclosed ring",
    "C(C": "unclosed parenthesis",
    "C(C(C)": "unclosed parenthesis",
    "C)C": "')' without '(' at position 1",
    "[CH3": "unclosed bracket",
    "C]": "unexpected ']' at position 1",
    "CXx": "unexpected 'X' at position 1",
    "hello world": "unexpected 'h' at position 0",
    "=C": "unexpected '=' at position 0",
    "1CC1": "unexpected '1' at position 0",
    "C==C": "unexpected '=' at position 2",
    "C..C": "unexpected '.' at position 2",
    "CC=": "a bond without a second atom at the end",
    "C1C1": "the syntax is not valid",
    "[Zz]": "the syntax is not valid",
    "CC |junk|": "the part behind the blank is not a valid extension",
}


@pytest.mark.parametrize(("smiles", "reason"), REASONS.items())
def test_mistakes_are_named(smiles, reason):
    with rdBase.BlockLogs():
        assert Chem.MolFromSmiles(smiles) is None
    assert why_not_smiles(smiles) == reason
