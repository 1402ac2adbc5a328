"""Replay all cases: ``python -m tests.cases [WORD]``, those whose name holds the word."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.cases.all import CASES


def main() -> int:
    """Print a line for each, and how many hold."""
    chosen = [each for each in CASES if not sys.argv[1:] or sys.argv[1] in each.id]
    held = 0
    for each in chosen:
        with tempfile.TemporaryDirectory() as folder:
            outcome = each.outcome(Path(folder))
        held += each.holds(outcome)
        print(f"{'ok  ' if each.holds(outcome) else 'FAIL'} {each.id}\n     outcome:  {outcome[:300]}")
        print(f"     expected: {each.expected}", flush=True)
    print(f"{held} of {len(chosen)} hold")
    return 0 if held == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
