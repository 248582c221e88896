"""Pictures and tables of attributions."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from crystals import CESIUM_CHLORIDE, QUARTZ
from rdkit import Chem
from sklearn.pipeline import make_pipeline
from small_estimators import SMILES, small

from skgnn_mtl import CifToGraph, MultiTaskGNNClassifier, SmilesToGraph
from skgnn_mtl.encoders import CGCNN
from skgnn_mtl.inspection import AtomAttributionDisplay, atom_attributions
from skgnn_mtl.inspection._drawing import picture, read_molecule

RNG = np.random.default_rng(0)
Y = pd.DataFrame(RNG.normal(size=(len(SMILES), 2)), columns=["logP", "Tb (K)"])
OCCLUSION = {"method": "occlusion"}


@pytest.fixture(scope="module")
def pipe():
    return make_pipeline(SmilesToGraph(), small(max_epochs=1)).fit(SMILES, Y)


def test_molecules_are_rows_and_tasks_are_columns(pipe):
    display = AtomAttributionDisplay.from_estimator(pipe, ["CCO", "C"], **OCCLUSION)
    assert display.axes_.shape == (2, 2)
    titles = [ax.get_title().split("\n")[0] for ax in display.axes_.ravel()]
    assert titles == ["logP", "Tb (K)"] * 2
    labels = [ax.get_xlabel() for ax in display.figure_.axes[4:]]
    assert labels == ["attribution to logP", "attribution to Tb (K)"]
    expected = np.concatenate(atom_attributions(pipe, ["CCO", "C"], **OCCLUSION))
    np.testing.assert_array_equal(display.table_[["logP", "Tb (K)"]], expected)
    assert display.table_["element"].tolist() == ["C", "C", "O", "C"]
    assert display.table_["graph"].tolist() == [0, 0, 0, 1]
    assert display.table_["atom"].tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("tasks", ["Tb (K)", ["Tb (K)"], [1], 1])
@pytest.mark.parametrize("X", ["OCC", Chem.MolFromSmiles("OCC")], ids=["text", "mol"])
def test_one_molecule_and_one_task(pipe, tasks, X):
    display = AtomAttributionDisplay.from_estimator(pipe, X, tasks=tasks, **OCCLUSION)
    assert display.axes_.shape == (1, 1)
    assert display.table_.columns.tolist() == ["graph", "atom", "element", "Tb (K)"]
    assert display.table_["element"].tolist() == ["O", "C", "C"]


def test_the_integral_is_the_default(pipe):
    pytest.importorskip("captum")
    display = AtomAttributionDisplay.from_estimator(pipe, ["CCO"], n_steps=3)
    expected = atom_attributions(pipe, ["CCO"], n_steps=3)[0]
    np.testing.assert_allclose(display.table_[["logP", "Tb (K)"]], expected)


@pytest.mark.parametrize("kind", [list, np.array, pd.Series])
def test_columns_of_several_kinds_are_read_by_position(pipe, kind):
    rows = kind(["CCO", "N"])
    if kind is pd.Series:
        rows.index = [7, 3]
    display = AtomAttributionDisplay.from_estimator(pipe, rows, **OCCLUSION)
    assert display.table_["element"].tolist() == ["C", "C", "O", "N"]


def test_a_scale_is_symmetric_and_common_to_all_molecules():
    display = AtomAttributionDisplay.from_attributions(
        [np.array([0.5]), np.array([-2.0, 1.0])], ["C", "CC"], task_names=["logP"]
    )
    assert display.figure_.axes[-1].get_xlim() == (-2.0, 2.0)
    assert "sum -1" in display.axes_[1, 0].get_title()


def test_discs_have_the_colours_of_their_atoms():
    red, blue = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)
    image = picture(read_molecule("CC"), [red, blue])[..., :3]
    # RDKit draws the atoms of ethane from left to right.
    for colour, half in ((red, image[:, :450]), (blue, image[:, 450:])):
        close = np.abs(half - colour).max(axis=2) < 0.02
        assert close.mean() > 0.005
    assert not (np.abs(image[:, 450:] - red).max(axis=2) < 0.02).any()


def test_zeros_can_be_drawn():
    display = AtomAttributionDisplay.from_attributions([np.zeros(2)], ["CC"])
    assert display.axes_[0, 0].get_title() == "task 0\nsum +0"


def test_crystals_are_bars_and_a_table_by_site_and_element():
    crystals = [QUARTZ, CESIUM_CHLORIDE]
    estimator = small(encoder=CGCNN(8), max_epochs=1)
    pipe = make_pipeline(CifToGraph(), estimator).fit(crystals, [1.0, 2.0])
    display = AtomAttributionDisplay.from_estimator(pipe, crystals, **OCCLUSION)
    elements = ["Si"] * 3 + ["O"] * 6 + ["Cs", "Cl"]
    assert display.table_["element"].tolist() == elements
    means = display.table_.groupby(["graph", "element"], sort=False)["task_0"].mean()
    assert means.index.tolist() == [(0, "Si"), (0, "O"), (1, "Cs"), (1, "Cl")]
    ticks = [label.get_text() for label in display.axes_[1, 0].get_xticklabels()]
    assert ticks == ["Cs0", "Cl1"]
    heights = [bar.get_height() for bar in display.axes_[1, 0].patches]
    np.testing.assert_allclose(heights, display.table_["task_0"][9:])
    one = AtomAttributionDisplay.from_estimator(pipe, QUARTZ, **OCCLUSION)
    assert len(one.table_) == 9
    # Without the pipeline, too.
    graphs = pipe[0].transform(crystals)
    again = AtomAttributionDisplay.from_estimator(pipe[-1], graphs, **OCCLUSION)
    pd.testing.assert_frame_equal(again.table_, display.table_)


def test_sites_of_averaged_disorder_have_no_element():
    graphs = CifToGraph(disorder="mix").transform([QUARTZ])
    display = AtomAttributionDisplay.from_attributions([np.zeros(9)], graphs)
    assert set(display.table_["element"]) == {"mixed"}


def test_labels_of_columns_may_be_other_positions():
    pipe = make_pipeline(SmilesToGraph(), small(max_epochs=1))
    pipe.fit(SMILES, pd.DataFrame(Y.to_numpy(), columns=[1, 0]))
    both = AtomAttributionDisplay.from_estimator(pipe, "CO", **OCCLUSION)
    assert list(both.table_.columns[-2:]) == ["1", "0"]
    one = AtomAttributionDisplay.from_estimator(pipe, "CO", tasks="0", **OCCLUSION)
    np.testing.assert_array_equal(one.table_["0"], both.table_["0"])


def test_names_say_what_is_explained():
    y = (Y > 0).astype(int)
    pipe = make_pipeline(SmilesToGraph(), small(MultiTaskGNNClassifier, max_epochs=1))
    display = AtomAttributionDisplay.from_estimator(
        pipe.fit(SMILES, y), "CO", tasks="logP", **OCCLUSION
    )
    assert display.table_.columns[-1] == "logP (logit)"
    first = AtomAttributionDisplay.from_estimator(
        pipe, "CO", tasks="logP", label=0, **OCCLUSION
    )
    assert first.table_.columns[-1] == "logP (logit): 0"
    opposite = -display.table_["logP (logit)"].to_numpy()
    np.testing.assert_array_equal(first.table_["logP (logit): 0"], opposite)
    both = AtomAttributionDisplay.from_estimator(pipe, "CO", label=[0, 1], **OCCLUSION)
    assert both.table_.columns[-1] == "Tb (K) (logit): 1"
    pipe = make_pipeline(
        SmilesToGraph(), small(max_epochs=1, target_transform={"Tb (K)": "log10"})
    )
    display = AtomAttributionDisplay.from_estimator(
        pipe.fit(SMILES, np.exp(Y)), "CO", **OCCLUSION
    )
    assert display.table_.columns[-2:].tolist() == ["logP", "Tb (K) (log10)"]


def test_given_axes_are_drawn_into(pipe):
    figure, axes = plt.subplots(1, 2)
    display = AtomAttributionDisplay.from_estimator(pipe, "CO", axes=axes, **OCCLUSION)
    assert display.axes_.ravel().tolist() == list(axes)
    assert display.figure_ is figure
    with pytest.raises(ValueError, match=r"2 axes were given for 2 graph.* 2 task"):
        display.from_estimator(pipe, ["CO", "C"], axes=axes, **OCCLUSION)


def test_an_invalid_row_has_an_empty_panel():
    pipe = make_pipeline(SmilesToGraph(on_error="nan"), small(max_epochs=1))
    pipe.fit(SMILES, Y)
    with pytest.warns(UserWarning, match="Could not read"):
        display = AtomAttributionDisplay.from_estimator(
            pipe, ["CCO", "C1", "C"], **OCCLUSION
        )
    assert display.table_["graph"].tolist() == [0, 0, 0, 2]
    assert display.axes_[1, 0].get_title() == "logP\ninvalid graph"
    assert not display.axes_[1, 0].images
    only = AtomAttributionDisplay.from_attributions([np.empty(0)], [None])
    assert only.table_.columns.tolist() == ["graph", "atom", "element", "task 0"]


def test_what_does_not_fit_is_refused(pipe):
    draw = AtomAttributionDisplay.from_attributions
    with pytest.raises(ValueError, match=r"X\[0\] has 2 atoms, but 3 attributions"):
        draw([np.zeros(3)], ["CC"])
    with pytest.raises(ValueError, match="1 arrays of attributions, but X has 2"):
        draw([np.zeros(3)], ["CC", "C"])
    with pytest.raises(ValueError, match=r"2 task\(s\), but task_names are \['a'\]"):
        draw([np.zeros((2, 2))], ["CC"], task_names=["a"])
    with pytest.raises(ValueError, match="attributions is empty"):
        draw([], [])
    with pytest.raises(ValueError, match="Could not read 'C1' as SMILES"):
        draw([np.zeros(1)], ["C1"])
    with pytest.raises(TypeError, match="must be a SMILES or an RDKit molecule"):
        draw([np.zeros(1)], [None])
    graphs = pipe[0].transform(["CC"])
    with pytest.raises(TypeError, match="draws SMILES or RDKit molecules"):
        AtomAttributionDisplay.from_estimator(pipe[-1], graphs, **OCCLUSION)
    with pytest.raises(ValueError, match="tasks names 'pKa'"):
        AtomAttributionDisplay.from_estimator(pipe, "C", tasks="pKa", **OCCLUSION)
