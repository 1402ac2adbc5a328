"""Copy the tables of ``results/`` into README and docs, for readers of the repository.

Between ``<!-- from: convert-low-data/tables.md, table 2 -->`` and ``<!-- end -->`` stands the second table of
that file; without a number, all of the file; with ``, 4 rows, 7 columns``, the first of these.

python scripts/copy_tables.py
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPY = re.compile(
    r"(<!-- from: (\S+?)(?:, table (\d+))?(?:, (\d+) rows, (\d+) columns)? -->\n).*?(<!-- end -->)", re.DOTALL
)
TABLE = re.compile(r"(?:^\|.*\n)+", re.MULTILINE)


def main() -> None:
    """Rewrite the pages that have such marks."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        copied = insert_tables(text)
        if copied != text:
            page.write_text(copied, encoding="utf-8")
            print(f"{page.relative_to(ROOT)}: new tables")


def pages() -> list[Path]:
    """README and the pages of the site."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def insert_tables(text: str) -> str:
    """Insert the current tables into a page.

    Raises:
        KeyError: where a file has no such table.
    """

    def replacement(match: re.Match[str]) -> str:
        start, name, number, rows, columns, end = match.groups()
        content = (ROOT / "results" / name).read_text(encoding="utf-8").strip() + "\n"
        table = dict(enumerate(TABLE.findall(content), 1))[int(number)] if number else content
        if rows:
            cut = [line.split(" | ")[: int(columns)] for line in table.splitlines()[: 2 + int(rows)]]
            table = "".join(f"{' | '.join(cells)} |\n" for cells in cut)
        return f"{start}\n{table}\n{end}"

    return COPY.sub(replacement, text)


if __name__ == "__main__":
    main()
