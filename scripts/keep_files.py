"""Copy the files of a run's folder, as they are, beside the scripts of a folder of ``results/``.

python scripts/keep_files.py runs/modular-addition results/modular-addition
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path


def main() -> None:
    """Copy; files of the same names are replaced, others stay."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("kept", type=Path)
    options = parser.parse_args()
    files = [file for file in sorted(options.run.iterdir()) if file.is_file() and file.name[0] != "."]
    if not files:
        raise SystemExit(f"{options.run} holds no files")
    options.kept.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, options.kept / file.name)


if __name__ == "__main__":
    main()
