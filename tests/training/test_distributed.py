"""Two processes train as one: equal numbers, errors for both, no endless wait."""

import os
import pickle
import socket
import subprocess
import sys
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import distributed_cases
import numpy as np
import pytest
import torch
from crystals import CESIUM_CHLORIDE, QUARTZ

from skgnn_mtl import CifToGraph, data_parallel
from skgnn_mtl.training import LostProcess, World, _distributed, is_main, joined

# Of batches without labels, and of solvers.
pytestmark = pytest.mark.filterwarnings("ignore")


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Results of two processes."""
    if find_spec("accelerate") is None:
        pytest.skip("accelerate is not installed")
    folder, tests = tmp_path_factory.mktemp("pair"), Path(__file__).parents[1]
    common = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(tests.parent), *sys.path]),
    }
    script = [sys.executable, str(tests / "distributed_cases.py"), str(folder)]
    processes = [
        subprocess.Popen(
            script,
            env=common | {"RANK": str(k), "LOCAL_RANK": str(k)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(2)
    ]
    try:
        errors = [process.communicate(timeout=600)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [p.returncode for p in processes] == [0, 0], "\n".join(errors)
    return [pickle.loads((folder / str(k)).read_bytes()) for k in range(2)]


def test_the_processes_know_each_other(pair):
    assert [found["world"] for found in pair] == [
        {"rank": 0, "size": 2},
        {"rank": 1, "size": 2},
    ]


@pytest.mark.parametrize("name", distributed_cases.CASES)
def test_two_processes_train_as_one(name, pair):
    for found in pair:
        assert "traceback" not in found[name], found[name]["traceback"]
    wanted = distributed_cases.CASES[name]()
    for key, values in wanted.items():
        main, other = (np.array(found[name][key]) for found in pair)
        np.testing.assert_array_equal(main, other)
        scale = np.nanstd(values, axis=0)
        error = np.nanmax(abs(main - values) / np.maximum(scale, 1e-2))
        assert error < 1e-4, key


@pytest.mark.parametrize(
    ("name", "error"),
    [("failure", "ZeroDivisionError"), ("interruption", "KeyboardInterrupt")],
)
def test_a_process_that_fails_ends_the_fit_of_the_other(name, error, pair):
    main, other = (found[name] for found in pair)
    assert other["error"].startswith(error)
    assert main["error"].startswith("LostProcess: Process 0 of 2 lost another process")
    assert main["seconds"] < 30
    for found in (main, other):
        assert found["as before"]
        np.testing.assert_array_equal(found["again"], found["wanted"])


@pytest.mark.parametrize("name", ["late", "absent"])
def test_a_process_waits_no_longer_than_the_timeout(name, pair):
    main, other = (found[name] for found in pair)
    assert main["error"].startswith("LostProcess: Process 0 of 2 lost another process")
    assert main["seconds"] < 30
    assert other["error"].startswith("LostProcess: Process 1 of 2 lost")


def test_other_labels_are_refused_in_both(pair):
    for found in pair:
        assert "need the same y" in found["other labels"]["error"]


@pytest.mark.parametrize("name", ["sam", "samo", "gate sam", "modo"])
def test_what_needs_more_than_sums_is_refused(name, pair):
    for found in pair:
        assert "data_parallel cannot train with" in found[name]["error"]


def test_auxiliary_tasks_are_refused(pair):
    for found in pair:
        for name in ("auxiliary", "pretrainer"):
            wanted = (
                "NotImplementedError: data_parallel cannot train with auxiliary_tasks="
            )
            assert found[name]["error"].startswith(wanted)


def test_what_is_drawn_without_a_seed_is_drawn_once(pair):
    main, other = (found["unseeded"]["predictions"] for found in pair)
    np.testing.assert_array_equal(main, other)


def test_a_checkpoint_of_the_main_process_goes_on_in_both(pair):
    for found in (found["resumed"] for found in pair):
        assert "traceback" not in found, found["traceback"]
        assert not found["error"].startswith("no error")
        assert found["kept"] > 0
        for key in ("predictions", "history"):
            np.testing.assert_array_equal(found[key], found["whole"][key])


def test_dropout_differs_but_the_networks_do_not(pair):
    main, other = (found["dropout"] for found in pair)
    assert set(main["seeds"]).isdisjoint(other["seeds"])
    np.testing.assert_array_equal(main["predictions"], other["predictions"])


# -- one process ----------------------------------------------------------------------


def test_a_single_process_sums_nothing():
    part = torch.ones(2, requires_grad=True)
    world = World()
    assert world.sum(part) is part
    assert world.sum_parts([part])[0] is part
    assert world.any(part) is part
    assert world.of_main(part) is part
    assert (world.gather(3), world.share(3), world.span(3)) == ([3], 3, (0, 3))
    assert world.is_main


def test_without_a_launcher_nothing_changes():
    before = distributed_cases.CASES["equal"]()["predictions"]
    with data_parallel(cpu=True) as world:
        assert (world.rank, world.size) == (0, 1)
        found = distributed_cases.CASES["equal"]()["predictions"]
    np.testing.assert_array_equal(found, before)


def test_accelerate_is_needed_with_a_launcher_only(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with data_parallel():
        pass
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(ImportError, match=r"pip install accelerate\."),
        data_parallel(),
    ):
        pass


def test_a_forked_process_is_alone(monkeypatch):
    """A worker of joblib has a copy of its parent's processes, but not their place."""
    team = _distributed._Team(1, 2, "gloo", timedelta(), os.getpid() + 1)
    token = _distributed._TEAM.set(team)
    try:
        assert is_main()
        with joined() as world:
            assert world.is_alone
    finally:
        _distributed._TEAM.reset(token)


def test_a_world_that_has_ended_says_so():
    with pytest.raises(LostProcess, match="has ended"):
        World(0, 2).sum(torch.ones(1))


@pytest.mark.parametrize("encoder", ["dmpnn", "gin", "gcn", "gat", "graphsage"])
def test_encoders_accept_a_part_without_graphs(encoder):
    model = distributed_cases.model(encoder=encoder, max_epochs=1)
    model.fit(distributed_cases.X, distributed_cases.Y[:, 0])
    network = model.module_.train()
    outputs = network(distributed_cases.X.batch([]))
    assert outputs.shape == (0, 1)
    outputs.sum().backward()


def test_crystals_accept_a_part_without_graphs():
    X = CifToGraph().transform([QUARTZ, CESIUM_CHLORIDE])
    model = distributed_cases.model(encoder="cgcnn", max_epochs=1).fit(X, [0.0, 1.0])
    assert model.module_.train()(X.batch([])).shape == (0, 1)
