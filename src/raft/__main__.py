"""``python -m raft`` is the command ``raft``."""

import sys

from raft.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
