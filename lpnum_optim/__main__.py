"""``python -m lpnum_optim``."""

import sys

from .cli import main

sys.exit(main())
