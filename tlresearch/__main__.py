"""`python -m tlresearch` is the command `tlresearch`."""

import sys

from tlresearch.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
