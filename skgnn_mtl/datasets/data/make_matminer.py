"""Write ``matminer.json``: addresses and hashes of data sets with structures.

``python make_matminer.py SOURCE`` writes it beside this script. SOURCE is the metadata
of matminer 0.10 (``dataset_metadata.json``), one entry a data set.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

WANTED = ("elastic_tensor_2015", "dielectric_constant")


def main(path: str) -> None:
    """Read the metadata and write what the loaders need."""
    source = json.loads(Path(path).read_text("utf-8"))
    entries = {
        name: {
            "url": entry["url"],
            "sha256": entry["hash"],
            "n_rows": entry["num_entries"],
        }
        for name, entry in sorted(source.items())
        if "structure" in entry["columns"]
        and (name in WANTED or name.startswith("matbench_"))
    }
    text = json.dumps(entries, indent=1) + "\n"
    Path(__file__).with_name("matminer.json").write_text(text, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
