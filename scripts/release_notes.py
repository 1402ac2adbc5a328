"""Print the changelog's section of a release.

python scripts/release_notes.py v0.1.0
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def main() -> None:
    """Print what stands below the heading of a version, which has to be there and dated."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tag", help="v and a version.")
    print(section(CHANGELOG.read_text(encoding="utf-8"), parser.parse_args().tag))


def section(changelog: str, tag: str) -> str:
    """The text between ``## [0.1.0] - 2027-01-31`` and the next such heading, for the tag ``v0.1.0``."""
    heading = rf"^## \[{re.escape(tag.removeprefix('v'))}\] - \d{{4}}-\d\d-\d\d\n"
    found = re.search(rf"{heading}(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None or not found[1].strip():
        raise SystemExit(f"CHANGELOG.md has no section of {tag}: it begins with ## [{tag[1:]}] - YYYY-MM-DD")
    return found[1].strip()


if __name__ == "__main__":
    main()
