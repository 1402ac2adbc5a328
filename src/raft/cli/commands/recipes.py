"""``raft recipes``: what ``--config`` finds by name."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from raft.cli.help import WIDTH
from raft.cli.recipes import COMMANDS, RECIPES, describe_recipe, list_recipes
from raft.errors import InputError, suggest


def main(arguments: Sequence[str]) -> None:
    if arguments and arguments[0] in ("-h", "--help"):
        print("usage: raft recipes [NAME]\n\nList the recipes that --config finds by name, or print one.")
        return
    known = [f"{command}/{name}" for command in COMMANDS for name in list_recipes(command)]
    if not arguments:
        _list()
        return
    name, *others = arguments
    named = [recipe for recipe in known if name in (recipe, recipe.partition("/")[2])]
    if others:
        raise InputError(f"raft recipes takes one name, or none to list all, not {' '.join(arguments)!r}")
    if not named:
        raise InputError(f"no recipe {name!r}{suggest(name, [recipe.partition('/')[2] for recipe in known])}")
    for recipe in named:
        print((RECIPES / f"{recipe}.yaml").read_text(encoding="utf-8"), end="" if len(named) == 1 else "\n")


def _list() -> None:
    for command in COMMANDS:
        print(f"raft {command} --config NAME")
        for name in list_recipes(command):
            takes, what = describe_recipe(RECIPES / command / f"{name}.yaml")
            print(f"  {name:22s}{takes}")
            print(textwrap.indent(textwrap.fill(what, WIDTH - 4), "    "))
        print()
    print("'raft recipes NAME' prints one; a changed copy can be given as --config FILE.")
