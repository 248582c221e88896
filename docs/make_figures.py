"""Write the figures of the guide: the last figure of each example, in few colours.

::

    python docs/make_figures.py [NAME ...]
"""

import io
import sys
from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "guide" / "figures"
EXAMPLES = {
    "parity": "quickstart",
    "scales": "plot_target_scales",
    **{
        path.stem.removeprefix("plot_"): path.stem
        for path in (ROOT / "examples").glob("plot_*.py")
        if path.stem != "plot_target_scales"
    },
}


def write(name: str) -> None:
    """Run an example, and keep its last figure."""
    plt.close("all")
    source = (ROOT / "examples" / f"{EXAMPLES[name]}.py").read_text()
    exec(compile(source, name, "exec"), {"__name__": "__main__"})
    buffer = io.BytesIO()
    plt.figure(plt.get_fignums()[-1]).savefig(buffer, dpi=80)
    # Drawings have few colours, and files that are kept for ever should be small.
    picture = Image.open(buffer).convert("RGB").quantize(64)
    picture.save(FIGURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    plt.show = lambda: None
    for name in sys.argv[1:] or EXAMPLES:
        write(name)
