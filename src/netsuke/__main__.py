"""`python -m netsuke` is the `netsuke` command."""

import sys

from netsuke.cli import main

sys.exit(main())
