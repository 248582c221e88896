"""The page on the pretrained encoder has the figures of its files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

FOLDER = Path(__file__).parents[1] / "docs/benchmarks"
NAMES = {
    **{"FreeSolv": "freesolv", "ESOL": "esol", "Lipophilicity": "lipophilicity"},
    **{"Biogen ADME": "biogen", "physchem": "physchem", "BACE": "bace"},
    **{"BBBP": "bbbp", "ClinTox": "clintox", "SIDER": "sider", "Tox21": "tox21"},
}


@pytest.fixture(scope="module")
def page():
    return (FOLDER / "pretrained.rst").read_text()


def test_errors_and_ratios(page):
    runs = pd.read_csv(FOLDER / "pretrained.csv")
    table = runs.pivot_table("error", ["set", "seed"], "start")
    logs = np.log(table["pretrained"] / table["random"])
    means = []
    for name, key in NAMES.items():
        line = re.search(rf"^{name} .*$", page, re.M).group()
        assert len(logs[key]) == 5
        ratio, spread = np.exp(logs[key].mean()), logs[key].std()
        better = int((logs[key] < 0).sum())
        errors = table.loc[key].mean()
        found = re.findall(r"\d+\.?\d*", line.removeprefix(name))
        expected = [errors["random"], errors["pretrained"], ratio, spread, better, 5]
        np.testing.assert_allclose(list(map(float, found)), expected, atol=0.0051)
        means.append(logs[key].mean())
    test = stats.ttest_1samp(means, 0.0)
    low, high = np.exp(test.confidence_interval(0.95))
    sentence = (
        f"{np.exp(np.mean(means)):.3f}, with a 95 % interval of [{low:.3f}, {high:.3f}]"
    )
    assert sentence in page
    assert f"p = {test.pvalue:.3f}" in page


def test_losses_of_the_descriptors(page):
    record = pd.read_csv(FOLDER / "pretraining.csv").iloc[-1]
    losses = record.drop(["call", "lr", "seconds", "loss"]).astype(float)
    fragments = losses[[name for name in losses.index if name.startswith("fr_")]]
    assert (
        f"fragments (fr_*)      {len(fragments)}           {fragments.mean():.2f}"
        in page
    )
    assert f"all                   {len(losses)}          {record['loss']:.2f}" in page
