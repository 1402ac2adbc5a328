"""The recipes that come with raft, found by name."""

from __future__ import annotations

from pathlib import Path

from raft.errors import InputError, suggest

RECIPES = Path(__file__).parents[1] / "recipes"
COMMANDS = ("pretrain", "grid", "discover")


def find_recipe(name: str, command: str) -> Path:
    """The file of a recipe.

    Args:
        name: of a recipe that comes with raft, or of a file.
        command: that takes it.

    Raises:
        InputError: where there is neither.
    """
    file = Path(name)
    packaged = RECIPES / command / f"{name}.yaml"
    if file.is_file() or file.suffix or len(file.parts) != 1:
        return file
    if packaged.is_file():
        return packaged
    other = next((other for other in COMMANDS if name in list_recipes(other)), None)
    if other is not None:
        raise InputError(f"{name} is a recipe of raft {other}, not of raft {command}")
    known = list_recipes(command)
    lists = f", and 'raft recipes' lists {', '.join(known)}{suggest(name, known)}" if known else ""
    raise InputError(f"no recipe {name!r} for raft {command}: there is no such file{lists}")


def list_recipes(command: str) -> list[str]:
    """Names of the recipes of a command."""
    return sorted(file.stem for file in (RECIPES / command).glob("*.yaml"))


def describe_recipe(file: Path) -> tuple[str, str]:
    """What a recipe takes, and what it is: the two sentences that its comment begins with."""
    takes, what = file.read_text(encoding="utf-8").splitlines()[:2]
    return takes.removeprefix("# Takes ").rstrip("."), what.removeprefix("# ")
