"""``python -m lpnum``."""

import sys

from lpnum.cli import main

if __name__ == "__main__":
    sys.exit(main())
