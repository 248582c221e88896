"""Bars appear by themselves where somebody watches, and only for long work."""

import sys
from types import SimpleNamespace

from joblib import Parallel, delayed

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph, _progress
from skgnn_mtl._progress import is_watched, progress_bar


class Screen:
    """A stream that says it is a terminal, and keeps what it is sent."""

    encoding = "utf-8"

    def __init__(self, tty=True):
        self.text, self.tty = "", tty

    def isatty(self):
        return self.tty

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def watch(monkeypatch):
    """Sit down before a screen; not in a fixture, whose stream pytest replaces."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def run(verbose, n=3):
    with progress_bar(verbose, total=n, desc="work", mininterval=0) as bar:
        for _ in range(n):
            bar.update()


def test_short_work_shows_nothing_and_long_work_a_bar_that_goes(monkeypatch):
    screen = watch(monkeypatch)
    run("auto")
    assert screen.text == ""
    monkeypatch.setattr(_progress, "_SHORT", 1e-9)
    run("auto")
    assert "work" in screen.text
    # Cleared at the end.
    assert screen.text.rpartition("\r")[2].strip() == ""


def test_numbers_show_a_bar_at_once_or_never(monkeypatch):
    screen = watch(monkeypatch)
    run(1)
    assert "3/3" in screen.text
    screen.text = ""
    run(0)
    run(False)
    assert screen.text == ""


def test_nobody_watches_a_file_or_no_stream(monkeypatch):
    monkeypatch.setattr(_progress, "_SHORT", 1e-9)
    stream = Screen(tty=False)
    monkeypatch.setattr(sys, "stderr", stream)
    assert not is_watched()
    run("auto")
    assert stream.text == ""
    monkeypatch.setattr(sys, "stderr", None)
    assert not is_watched()


def test_a_notebook_is_watched_and_the_shell_of_a_script_is_not(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Screen(tty=False))
    for shell, watched in [(SimpleNamespace(kernel=1), True), (None, False)]:
        ipython = SimpleNamespace(get_ipython=lambda shell=shell: shell)
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        assert is_watched() == watched


def watched_on(screen):
    sys.stderr = screen
    return is_watched()


def test_workers_are_not_watched(monkeypatch):
    watch(monkeypatch)
    assert is_watched()
    jobs = Parallel(n_jobs=2)(delayed(watched_on)(Screen()) for _ in range(2))
    assert jobs == [False, False]


def test_a_fit_and_a_transformation_show_it_by_default(monkeypatch):
    screen = watch(monkeypatch)
    smiles, y = ["CCO", "CC", "CCC"], [1.0, 2.0, 3.0]
    graphs = SmilesToGraph().transform(smiles)
    MultiTaskGNNRegressor(max_epochs=3).fit(graphs, y)
    assert screen.text == ""
    monkeypatch.setattr(_progress, "_SHORT", 1e-9)
    SmilesToGraph().transform(smiles)
    assert screen.text
    screen.text = ""
    # Longer than the tenth of a second between two pictures of a bar.
    MultiTaskGNNRegressor(max_epochs=60).fit(graphs, y)
    assert "epoch" in screen.text
    assert "train_loss" in screen.text
    screen.text = ""
    MultiTaskGNNRegressor(max_epochs=3, verbose=0).fit(graphs, y)
    assert screen.text == ""
