"""`python -m idinvert` is the command `idinvert`; `torchrun -m idinvert train ..` shares it."""

import sys

from idinvert.cli import main

if __name__ == "__main__":
    sys.exit(main())
