"""``python -m skgnn_mtl``: fit, predict and check from the command line."""

import sys

from skgnn_mtl._command_line import main

if __name__ == "__main__":
    sys.exit(main())
