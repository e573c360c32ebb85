"""Prints what became of each change, as JSON; run in the folder of the copy.

Mutmut's own commands start a process for each change, which takes a second.
"""

from __future__ import annotations

import json

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files

NOTICED = ("killed", "timeout", "caught by type check")
"""What mutmut calls a change that did not pass; one that runs for ever is noticed."""


def main() -> None:
    """Each change's name, state and, where it was not noticed, its diff."""
    found = []
    for path in walk_mutatable_files():
        file = SourceFileMutationData(path=path)
        file.load()
        for name, code in file.exit_code_by_key.items():
            state = status_by_exit_code[code]
            diff = "" if state in NOTICED else get_diff_for_mutant(name, path=path)
            found.append((name, state, diff))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
