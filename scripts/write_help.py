"""Write ``src/raft/cli/help``: what ``raft COMMAND --help`` prints without importing its libraries."""

from __future__ import annotations

import contextlib
import io

from raft.cli.help import PAGE_NAMES, PAGES
from raft.cli.main import load_command


def main() -> None:
    """Write all pages anew."""
    PAGES.mkdir(exist_ok=True)
    for command in PAGE_NAMES:
        (PAGES / f"{command.replace(' ', '-')}.txt").write_text(render(command), encoding="utf-8")


def render(command: str) -> str:
    """What the command's own parser prints."""
    name, *words = command.split()
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        load_command(name)([*words, "--help"])
    return printed.getvalue()


if __name__ == "__main__":
    main()
