"""Make what lies in ``results/`` again by the commands of ``recipes/results``.

python scripts/make_results.py --only cpu-1hour --wikipedia DIR --glue DIR --squad DIR --minilm DIR

Without a place the hub's GLUE, SQuAD or model is taken. Grids and pretrainings go on where they were left in
``runs/``, and what is finished there is not run again: without that folder everything begins from nothing.
Without a GPU what needs one is left out.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import torch
import yaml

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes" / "results"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
PLACES = {
    "wikipedia": "the articles, as a folder of parquet; needed where a recipe says so",
    "glue": "GLUE in the official layout; by default the hub's",
    "squad": "SQuAD 1.1 in the official layout; by default the hub's",
    "snli": "a folder with snli/test.tsv; by default the hub's",
    "minilm": f"the pretrained model; by default {MINILM} of the hub",
}


def main() -> None:
    """Run the recipes, each after what it needs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", help="Folders of results/ that are made; all by default.")
    parser.add_argument("--list", action="store_true", help="Show what there is, and the minutes it takes.")
    for name, what in PLACES.items():
        parser.add_argument(f"--{name}", help=f"Where it lies: {what}.")
    arguments = parser.parse_args()
    recipes = read_recipes()
    order = TopologicalSorter({name: recipe.get("after", []) for name, recipe in recipes.items()})
    names = list(order.static_order())
    for name in arguments.only or []:
        if name not in recipes:
            parser.error(f"no recipe {name!r}; there are {', '.join(recipes)}")
    chosen = [name for name in names if name in (arguments.only or names)]
    if arguments.list:
        for name in chosen:
            print(
                f"{name}: {recipes[name]['minutes']} minutes{' of a GPU' if recipes[name].get('gpu') else ''}"
            )
        return
    places = {name: getattr(arguments, name) for name in PLACES}
    if not torch.cuda.is_available():
        left = [name for name in chosen if recipes[name].get("gpu")]
        if arguments.only and left:
            parser.error(f"{left[0]} needs a GPU, and torch finds none")
        if left:
            print(f"left out, as they need a GPU: {', '.join(left)}", flush=True)
        chosen = [name for name in chosen if name not in left]
    for name in chosen:
        for place in recipes[name].get("needs", []):
            if places[place] is None:
                parser.error(f"{name} needs --{place}: {PLACES[place]}")
        for other in recipes[name].get("after", []):
            if other not in chosen and not (ROOT / "results" / other).is_dir():
                parser.error(f"{name} needs results/{other}: make it first, by --only {other} {name}")
    for name in chosen:
        began = time.monotonic()
        for words in commands(recipes[name], places):
            print(shlex.join(words), flush=True)
            status = subprocess.run(words, cwd=ROOT, env=environment(recipes[name])).returncode
            if status:
                sys.exit(status)  # it has said why
        print(f"{name}: {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    subprocess.run([sys.executable, "scripts/copy_tables.py"], check=True, cwd=ROOT)


def read_recipes() -> dict[str, dict[str, Any]]:
    """By the folder of ``results/`` that each makes."""
    return {
        file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(RECIPES.glob("*.yaml"))
    }


def commands(recipe: Mapping[str, Any], places: Mapping[str, str | None]) -> list[list[str]]:
    """Its commands with the places of data and models put in, run by this Python."""
    here = {
        name: str(Path(place).resolve()) if place and Path(place).exists() else place  # a hub name stays
        for name, place in places.items()
    }
    values = {
        "wikipedia": shlex.quote(here["wikipedia"] or ""),
        "minilm": shlex.quote(here["minilm"] or MINILM),
    }
    for name in ("glue", "squad"):
        place = here[name]
        values[name] = f"--data_dir {shlex.quote(place)}" if place else ""
        values[f"{name}_dir"] = f"--{name}_dir {shlex.quote(place)}" if place else ""
    values["snli"] = f"--transfer_data_dir {shlex.quote(here['snli'])}" if here["snli"] else ""
    values["places"] = " ".join(shlex.quote(place) for place in here.values() if place)
    found = []
    for command in recipe["commands"]:
        program, *words = shlex.split(command.format(**values))
        found.append([sys.executable, *(["-m", "raft.cli.main"] if program == "raft" else []), *words])
    return found


def environment(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Of a recipe's commands: results can depend on the number of threads."""
    threads = {"OMP_NUM_THREADS": str(recipe["threads"])} if "threads" in recipe else {}
    return {**os.environ, **threads}


if __name__ == "__main__":
    main()
