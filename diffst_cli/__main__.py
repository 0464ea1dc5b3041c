"""`python -m diffst_cli`: the same as `diffst`."""

import sys

from diffst_cli.app import main

sys.exit(main())
