"""Run tests with other versions of Python and of the dependencies.

Each job makes an environment of its own, installs, runs tests and deletes it:

=========== ====================================================================
oldest      every dependency, also of the tests, at its declared lower bound
newest      the newest release of everything that pip finds
plain       no optional package: none of the extras that users may install
wheel       the built wheel, with the checkout out of reach
python3.X   the newest of everything on another Python
audit       known vulnerabilities of what "newest" installed; no tests
=========== ====================================================================

    python tests/benchmarks/versions.py --work FOLDER [--jobs oldest newest ...]

writes one row per job into ``docs/benchmarks/reliability_versions.csv``; logs stay in
the folder. ``--tests`` names other tests than the subset, ``--pythons`` the folders in
which to look for interpreters; ``--report`` prints the table of the page.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "docs" / "benchmarks" / "reliability_versions.csv"
JOBS = ("oldest", "newest", "plain", "wheel", "python3.12", "python3.13", "audit")
# Parts that meet the interfaces of other packages, in a minute or two.
TESTS = (
    *("tests/graphs", "tests/metrics/test_tables.py", "tests/test_archive.py"),
    *(
        f"tests/featurizers/test_{name}.py"
        for name in ("smiles", "binary", "cif", "containers", "transform_to")
    ),
    *("tests/encoders/test_encoders.py", "tests/encoders/test_shipped.py"),
    *("tests/training/test_training.py", "tests/weighting/test_torchjd.py"),
    *("tests/estimators/test_persistence.py", "tests/estimators/test_tables.py"),
    *("tests/ensemble/test_files.py", "tests/test_saving.py"),
    "tests/ensemble/test_conformal_regressor.py",
)
# Tools of the daily run are pinned and take no part in the tests.
TOOLS = ("mypy", "ruff")
# The torch of the daily run, for the jobs that are not about versions.
DAILY = "torch==2.13.0"
SHOWN = ("numpy", "torch", "scikit-learn", "rdkit")
_REQUIREMENT = re.compile(r"([\w.-]+(?:\[[\w,]+\])?)>=([\w.]+)")


# -- what is installed ------------------------------------------------------------


def declared() -> tuple[list[str], dict[str, list[str]]]:
    """List the dependencies of the project, and those of each extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    extras["test"] = [line for line in extras["test"] if not line.startswith(TOOLS)]
    return project["dependencies"], extras


def lowest() -> list[str]:
    """Pin every declared dependency, also of the tests, to its lower bound."""
    dependencies, extras = declared()
    pinned = []
    for line in [*dependencies, *extras["test"]]:
        if not (found := _REQUIREMENT.fullmatch(line)):
            raise ValueError(f"{line!r} must have the form name>=version.")
        pinned.append(f"{found[1]}=={found[2]}")
    return pinned


def without_extras() -> list[str]:
    """List what the tests need beyond the extras that users may install."""
    _, extras = declared()
    optional = {
        line
        for name, lines in extras.items()
        if name not in ("test", "docs")
        for line in lines
    }
    return [line for line in extras["test"] if line not in optional]


def to_install(job: str, work: Path) -> list[str]:
    """List the arguments of ``pip install`` of a job."""
    if job == "oldest":
        return [*lowest(), "-e", str(ROOT)]
    if job == "plain":
        return [DAILY, *without_extras(), "-e", str(ROOT)]
    if job == "wheel":
        return [DAILY, f"{next((work / 'dist').glob('*.whl'))}[test]"]
    return ["-e", f"{ROOT}[test]"]


class Environment:
    """A virtual environment that lasts as long as a ``with`` block.

    Parameters
    ----------
    python : str
        The interpreter.
    folder, log : Path
        Where it is made, and the file for all that its commands print.
    """

    def __init__(self, python: str, folder: Path, log: Path) -> None:
        self.python, self.folder, self.log = python, folder, log

    def __enter__(self) -> Environment:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.log.write_text("")
        subprocess.run([self.python, "-m", "venv", self.folder], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *arguments: str, cwd: Path) -> str:
        """Run a module of the environment, and return what it prints."""
        variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        answer = subprocess.run(
            [str(self.folder / "bin" / "python"), "-m", *arguments],
            cwd=cwd,
            env={**variables, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with open(self.log, "a") as log:
            log.write(f"$ {' '.join(arguments)}\n{answer.stdout}\n")
        return answer.stdout

    def packages(self) -> dict[str, str]:
        """List the versions of what is installed."""
        lines = self.run("pip", "list", "--format=freeze", cwd=self.folder).split()
        return dict(line.split("==", 1) for line in lines if "==" in line)


# -- jobs -------------------------------------------------------------------------


def interpreter(job: str, folders: list[Path]) -> str | None:
    """Find the interpreter of a job; None if this machine does not have it."""
    if not job.startswith("python"):
        return sys.executable
    name = shutil.which(job, path=os.pathsep.join(map(str, folders)))
    return name or shutil.which(job)


def version_of(python: str) -> str:
    """Ask an interpreter for its version."""
    answer = subprocess.run([python, "-V"], capture_output=True, text=True, check=True)
    return answer.stdout.split()[1]


def tests_alone(work: Path) -> Path:
    """Copy the tests to a folder that does not have the package."""
    folder = work / "tests_alone"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(ROOT / "tests", folder / "tests")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run_tests(
    environment: Environment, job: str, work: Path, tests: list[str]
) -> dict[str, int]:
    """Install what a job asks for and run tests; count their outcomes."""
    if job == "wheel":
        shutil.rmtree(work / "dist", ignore_errors=True)
        arguments = ("--no-deps", "--wheel-dir", "dist", str(ROOT))
        environment.run("pip", "wheel", *arguments, cwd=work)
    environment.run("pip", "install", *to_install(job, work), cwd=work)
    if job == "newest":
        (work / "newest.txt").write_text(pins(environment.packages()))
    folder = tests_alone(work) if job == "wheel" else ROOT
    options = ["-q", "-p", "no:cacheprovider", "--tb=short"]
    if job == "oldest":
        # Old releases warn of their own deprecations beside newer ones.
        options += ["-o", "filterwarnings=default"]
    return outcomes(environment.run("pytest", *options, *tests, cwd=folder))


def pins(packages: dict[str, str]) -> str:
    """Write versions as requirements, without the project itself."""
    known = {k: v for k, v in packages.items() if k.replace("-", "_") != "skgnn_mtl"}
    return "".join(f"{name}=={version}\n" for name, version in known.items())


def outcomes(printed: str) -> dict[str, int]:
    """Read the last line of pytest; without one, the run itself failed."""
    lines = printed.strip().splitlines() or [""]
    found = {
        kind: sum(int(n) for n in re.findall(rf"(\d+) {kind}", lines[-1]))
        for kind in ("passed", "failed", "skipped", "error")
    }
    failed = found["failed"] + found["error"] + (not found["passed"])
    return {"passed": found["passed"], "failed": failed, "skipped": found["skipped"]}


def audit(environment: Environment, work: Path) -> dict[str, int]:
    """Ask for known vulnerabilities of what the job "newest" installed."""
    environment.run("pip", "install", "pip-audit", cwd=work)
    arguments = ("--no-deps", "--disable-pip", "--progress-spinner=off")
    printed = environment.run("pip_audit", *arguments, "-r", "newest.txt", cwd=work)
    n_packages = len((work / "newest.txt").read_text().splitlines())
    # Where the service is out of reach, pip-audit finds nothing and nothing wrong.
    n_skipped = printed.count("could not be audited")
    found = re.search(r"Found \d+ known vulnerabilit\w+ in (\d+) package", printed)
    n_failed = int(found[1]) if found else 0
    if not found and "No known vulnerabilities" not in printed:
        n_failed = n_packages  # because pip-audit itself has failed
    n_passed = max(n_packages - n_skipped - n_failed, 0)
    return {"passed": n_passed, "failed": n_failed, "skipped": n_skipped}


def run_job(job: str, python: str, work: Path, tests: list[str]) -> dict[str, Any]:
    """Install and test; give the row of the file."""
    start = time.perf_counter()
    with Environment(python, work / job, work / f"{job}.log") as environment:
        environment.run("pip", "install", "--upgrade", "pip", cwd=work)
        if job == "audit":
            counts = audit(environment, work)
        else:
            counts = run_tests(environment, job, work, tests)
        packages = environment.packages()
    return {
        "job": job,
        "python": version_of(python),
        **{name: packages.get(name, "") for name in SHOWN},
        **counts,
        "minutes": round((time.perf_counter() - start) / 60, 1),
    }


def report(rows: pd.DataFrame) -> str:
    """Write the table of the page, one line per job."""
    table = [list(rows.columns), *rows.fillna("-").astype(str).to_numpy().tolist()]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    rule = "  ".join("=" * width for width in widths)
    return "\n".join([rule, lines[0], rule, *lines[1:], rule]) + "\n"


def main() -> None:
    """Write one row per job, in place of an older one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--jobs", nargs="+", default=JOBS, choices=JOBS)
    parser.add_argument("--tests", nargs="+", default=list(TESTS))
    parser.add_argument("--pythons", nargs="*", type=Path, default=[])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        print(report(pd.read_csv(options.out, dtype=str)), end="")
        return
    options.work.mkdir(parents=True, exist_ok=True)
    for job in options.jobs:
        python = interpreter(job, options.pythons)
        if python is None:
            print(f"{job}: there is no such interpreter; see --pythons")
            continue
        row = pd.DataFrame(
            [run_job(job, python, options.work.resolve(), options.tests)]
        )
        print(row.to_string(index=False), flush=True)
        if options.out.exists():
            old = pd.read_csv(options.out, dtype=str)
            row = pd.concat([old[old["job"] != job], row.astype(str)])
        row.to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
