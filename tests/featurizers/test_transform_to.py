"""Graphs that are written chunk by chunk equal those that are made at once."""

import gzip
import json
import os
import signal
import subprocess
import sys
import textwrap
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest
from crystals import CESIUM_CHLORIDE, QUARTZ, cif

from skgnn_mtl import CifToGraph, GraphArray, SmilesToGraph
from skgnn_mtl.featurizers import AtomColumn

BROKEN = ["CCO", None, "C1CC", "c1ccccc1", "", "[Na+].[Cl-]", "N"]


def files_of(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def parts_of(folder):
    return folder.with_name(folder.name + ".part")


def saved(transformer, rows, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformer.transform(rows).save(folder)
    return files_of(folder)


@pytest.mark.parametrize("chunk_size", [1, 3, 22, 5000])
def test_the_folder_has_the_bytes_of_transform_and_save(tmp_path, varied, chunk_size):
    wanted = saved(SmilesToGraph(), varied, tmp_path / "a")
    graphs = SmilesToGraph().transform_to(
        tmp_path / "b", iter(varied), chunk_size=chunk_size
    )
    assert files_of(tmp_path / "b") == wanted
    assert graphs == GraphArray.load(tmp_path / "b")
    assert isinstance(graphs.edge_index.base, np.memmap)
    assert not parts_of(tmp_path / "b").exists()


@pytest.mark.parametrize(
    "transformer",
    [
        SmilesToGraph("chemprop", descriptors=["TPSA"], on_error="nan"),
        SmilesToGraph("hu2020", stereo="cip", on_error="nan"),
        SmilesToGraph(on_error="nan"),
    ],
)
def test_features_descriptors_and_invalid_rows(tmp_path, transformer):
    wanted = saved(transformer, BROKEN, tmp_path / "a")
    with pytest.warns(UserWarning, match=r"3 of 7 rows .*rows 1, 2, 4\. X\[1\] is"):
        transformer.transform_to(tmp_path / "b", BROKEN, chunk_size=2)
    assert files_of(tmp_path / "b") == wanted


def test_crystals(tmp_path):
    lonely = cif(["Cs1 Cs 0 0 0 1"], (20, 20, 20, 90, 90, 90))
    rows = [CESIUM_CHLORIDE, "no\ncrystal", QUARTZ, *[lonely] * 12]
    transformer = CifToGraph(on_error="nan")
    wanted = saved(transformer, rows, tmp_path / "a")
    with pytest.warns(UserWarning, match="X") as said:
        transformer.transform_to(tmp_path / "b", iter(rows), chunk_size=1)
    with pytest.warns(UserWarning, match="X") as said_at_once:
        transformer.transform(rows)
    assert files_of(tmp_path / "b") == wanted
    messages = [str(w.message) for w in said]
    assert messages == [str(w.message) for w in said_at_once]
    assert len(messages) == 2


def test_processes(tmp_path, varied):
    rows = varied * 60  # more than one chunk of a worker
    wanted = saved(SmilesToGraph(), rows, tmp_path / "a")
    SmilesToGraph(n_jobs=2).transform_to(tmp_path / "b", rows)
    assert files_of(tmp_path / "b") == wanted


# -- sources ----------------------------------------------------------------------


def chunks_of(rows):
    yield rows[:3]
    yield np.array(rows[3:4], dtype=object)
    yield pd.Series(rows[4:9])
    yield pd.DataFrame({"smiles": rows[9:]})


@pytest.mark.parametrize(
    "source",
    [list, tuple, iter, pd.Series, chunks_of, lambda rows: pd.DataFrame({"s": rows})],
)
def test_columns_rows_and_chunks(tmp_path, varied, source):
    graphs = SmilesToGraph().transform_to(tmp_path / "a", source(varied), chunk_size=4)
    assert graphs == SmilesToGraph().transform(varied)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.parquet"])
@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_tables_in_files(tmp_path, name, as_path):
    table = pd.DataFrame({"y": range(len(BROKEN)), "smiles": BROKEN})
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
        table.to_parquet(tmp_path / name)
    else:
        separator = "\t" if "tsv" in name else ","
        table.to_csv(tmp_path / name, sep=separator, index=False)
    with pytest.warns(UserWarning, match="3 of 7 rows"):
        graphs = SmilesToGraph(on_error="nan").transform_to(
            tmp_path / "graphs", as_path(tmp_path / name), column="smiles"
        )
    with pytest.warns(UserWarning, match="3 of 7 rows"):
        assert graphs == SmilesToGraph(on_error="nan").transform(BROKEN)
    with pytest.raises(ValueError, match=r"columns 'y', 'smiles'; name one by column="):
        SmilesToGraph().transform_to(tmp_path / "other", tmp_path / name)
    with pytest.raises(ValueError, match=r"columns 'y', 'smiles', but not 'SMILES'"):
        SmilesToGraph().transform_to(
            tmp_path / "other", tmp_path / name, column="SMILES"
        )


def test_only_empty_cells_of_a_table_are_missing(tmp_path):
    (tmp_path / "a.csv").write_text("smiles,y\nC,1\nNA,2\n,3\n")
    transformer = SmilesToGraph(on_error="nan")
    with pytest.warns(UserWarning, match=r"rows 1, 2\. Could not read X\[1\] = 'NA'"):
        transformer.transform_to(tmp_path / "b", tmp_path / "a.csv", column="smiles")


@pytest.mark.parametrize("name", ["a.smi", "a.txt", "a.smiles.gz"])
def test_text_has_a_row_per_line(tmp_path, name):
    opened = gzip.open if name.endswith("gz") else open
    with opened(tmp_path / name, "wt", newline="") as file:
        file.write("CCO ethanol\r\n\nCC\n")
    with pytest.warns(UserWarning, match=r"1 of 3 rows .*: rows 1\."):
        graphs = SmilesToGraph(on_error="nan").transform_to(
            tmp_path / "graphs", tmp_path / name
        )
    assert graphs.n_nodes.tolist() == [3, 0, 2]
    with pytest.raises(ValueError, match="row per line"):
        SmilesToGraph().transform_to(tmp_path / "b", tmp_path / name, column="smiles")


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("CCO", ValueError, "name must end with .csv"),
        (5, TypeError, "iterator of rows or of chunks"),
        ({"CCO": 1}, TypeError, "but is dict"),
        ([], ValueError, "X is empty"),
        (iter(()), ValueError, "X is empty"),
        (iter(["CCO", 5]), TypeError, r"X\[1\] = 5 is a number"),
        (iter([["CCO", "C"], ["C", 5]]), TypeError, r"X\[3\] = 5 is a number"),
        (["CCO", "C1CC"], ValueError, r"Could not read X\[1\] = 'C1CC' as SMILES"),
    ],
)
def test_wrong_input_leaves_nothing(tmp_path, X, error, message):
    with pytest.raises(error, match=message):
        SmilesToGraph().transform_to(tmp_path / "a", X)
    assert not list(tmp_path.iterdir())


def test_wrong_parameters(tmp_path, varied):
    with pytest.raises(ValueError, match="chunk_size must be an integer >= 1"):
        SmilesToGraph().transform_to(tmp_path / "a", varied, chunk_size=0)
    with pytest.raises(ValueError, match="column='s' names a column of tables, but"):
        SmilesToGraph().transform_to(tmp_path / "a", varied, column="s")
    SmilesToGraph().transform_to(tmp_path / "a", varied)
    with pytest.raises(FileExistsError, match="not empty"):
        SmilesToGraph().transform_to(tmp_path / "a", varied)


# -- going on ---------------------------------------------------------------------


def stopped(rows, n):
    yield from rows[:n]
    raise KeyboardInterrupt


def stop(transformer, folder, rows, n=17):
    with pytest.raises(KeyboardInterrupt):
        transformer.transform_to(folder, stopped(rows, n), chunk_size=5)


def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, varied, monkeypatch):
    wanted = saved(SmilesToGraph(), varied, tmp_path / "a")
    stop(SmilesToGraph(), tmp_path / "b", varied)
    for file in parts_of(tmp_path / "b").glob("*.raw"):
        with file.open("ab") as part:  # as if the next chunk had been written in part
            part.write(b"unfinished")
    done = []
    featurize = SmilesToGraph._featurize
    monkeypatch.setattr(
        SmilesToGraph,
        "_featurize",
        lambda self, rows: done.append(len(rows)) or featurize(self, rows),
    )
    SmilesToGraph().transform_to(tmp_path / "b", varied, chunk_size=4)
    assert files_of(tmp_path / "b") == wanted
    assert done == [0, 4, 3]  # three chunks of five were there
    assert not parts_of(tmp_path / "b").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_goes_on(tmp_path, varied):
    code = f"""
        import os, signal
        from skgnn_mtl import SmilesToGraph
        def rows():
            yield from {varied[:17]!r}
            os.kill(os.getpid(), signal.SIGKILL)
        SmilesToGraph().transform_to({str(tmp_path / "b")!r}, rows(), chunk_size=5)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert done.returncode == -signal.SIGKILL
    journal = json.loads((parts_of(tmp_path / "b") / "journal.json").read_text())
    assert journal["ends"]["graph"] == 15
    SmilesToGraph().transform_to(tmp_path / "b", varied)
    assert files_of(tmp_path / "b") == saved(SmilesToGraph(), varied, tmp_path / "a")


def test_a_run_that_was_stopped_while_it_finished_goes_on(
    tmp_path, varied, monkeypatch
):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("skgnn_mtl.graphs._writer.write_header", interrupt)
        with pytest.raises(KeyboardInterrupt):
            SmilesToGraph().transform_to(tmp_path / "b", varied)
    assert not (tmp_path / "b").exists()
    SmilesToGraph().transform_to(tmp_path / "b", varied)
    assert files_of(tmp_path / "b") == saved(SmilesToGraph(), varied, tmp_path / "a")


def test_warnings_of_a_run_that_goes_on_count_all_rows(tmp_path):
    rows = ["C", "C1CC", "CC", "", *["N"] * 20]
    transformer = SmilesToGraph(on_error="nan")
    stop(transformer, tmp_path / "a", rows, 12)
    with pytest.warns(UserWarning, match=r"2 of 24 .*rows 1, 3\. Could .*'C1CC'"):
        transformer.transform_to(tmp_path / "a", rows)


def test_a_refused_row_keeps_the_chunks_before_it(tmp_path):
    rows = ["C", "CC", "CCC", "C1CC", "N"]
    with pytest.raises(ValueError, match=r"X\[3\] = 'C1CC'"):
        SmilesToGraph().transform_to(tmp_path / "a", rows, chunk_size=2)
    with pytest.warns(UserWarning, match=r"1 of 5 rows .*: rows 3\."):
        graphs = SmilesToGraph(on_error="nan").transform_to(tmp_path / "a", rows)
    assert graphs.n_nodes.tolist() == [1, 2, 3, 0, 1]


def test_parts_of_something_else_are_refused(tmp_path, varied):
    stop(SmilesToGraph(), tmp_path / "a", varied)
    with pytest.raises(ValueError, match="features was 'ogb' and is 'chemprop'"):
        SmilesToGraph("chemprop").transform_to(tmp_path / "a", varied)
    for other in (["CC", *varied[1:]], varied[:14], [None, *varied[1:]]):
        with pytest.raises(ValueError, match="rows are not the first 15 of X"):
            SmilesToGraph().transform_to(tmp_path / "a", other)
    graphs = SmilesToGraph(on_error="nan", n_jobs=1).transform_to(
        tmp_path / "a", varied
    )
    assert len(graphs) == len(varied)


def test_parts_of_other_columns_are_refused(tmp_path, varied):
    columns = [AtomColumn("element", "GetAtomicNum", range(1, 100))], []
    stop(SmilesToGraph(columns), tmp_path / "a", varied)
    columns[0][0] = AtomColumn("element", "GetAtomicNum", range(1, 99))
    with pytest.raises(ValueError, match="schema was 'custom .*' and is 'custom"):
        SmilesToGraph(columns).transform_to(tmp_path / "a", varied)


def test_damaged_parts_are_refused(tmp_path, varied):
    for name in ("journal.json", "column_node_codes.raw"):
        stop(SmilesToGraph(), tmp_path / name, varied)
        (parts_of(tmp_path / name) / name).write_bytes(b"{}")
        with pytest.raises(ValueError, match=rf"{name} is .*delete its folder"):
            SmilesToGraph().transform_to(tmp_path / name, varied)


@pytest.mark.skipif(os.name != "posix", reason="needs locks of files")
def test_a_second_writer_is_refused(tmp_path, varied):
    def rows():
        yield from varied
        with pytest.raises(BlockingIOError, match="another process"):
            SmilesToGraph().transform_to(tmp_path / "a", varied)

    assert len(SmilesToGraph().transform_to(tmp_path / "a", rows())) == len(varied)


# -- memory -----------------------------------------------------------------------


def peak(n, folder):
    rows = (f"CCCCCCCC{'C' * (k % 7)}" for k in range(n))
    tracemalloc.start()
    try:
        SmilesToGraph().transform_to(folder, rows, chunk_size=200)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_rows(tmp_path):
    peak(200, tmp_path / "warm")
    few, many = peak(1000, tmp_path / "few"), peak(6000, tmp_path / "many")
    assert many < 1.2 * few
