"""The command line on a machine whose clock is wrong.

Run as `python -m tests.support.wrong_clock SECONDS VERB ...`.
"""

from __future__ import annotations

import sys

import pytest
from tests.support.clock import shift_wall_clock

if __name__ == "__main__":
    shift_wall_clock(pytest.MonkeyPatch(), float(sys.argv.pop(1)))
    # Only now: defaults that are read with the import have to be wrong as well.
    from tocsin.cli.main import main

    sys.exit(main())
