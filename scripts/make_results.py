"""Reproduce ``results/`` by the commands of ``results/recipes``.

python scripts/make_results.py --only cpu-1hour --wikipedia DIR --glue DIR --squad DIR --minilm DIR

By default GLUE, SQuAD and the model come from the hub. Grids and pretrainings resume in ``runs/``, where
finished ones are not run again; remove that folder to start over. Without a GPU, recipes that need one are
skipped.

python scripts/make_results.py --gpu --minutes 9 --wikipedia DIR --blimp DIR --zorro DIR --glue DIR

runs those that need one, for nine minutes; given again, it goes on. With --try they run at small sizes on a
CPU, and write under runs/try.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
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
RECIPES = ROOT / "results" / "recipes"
DONE = ROOT / "runs" / "done.json"
"""Commands that a call with ``--minutes`` has run."""
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
PLACES = {
    "wikipedia": "the articles, as a folder of parquet; needed where a recipe says so",
    "glue": "GLUE in the official layout; by default the hub's",
    "squad": "SQuAD 1.1 in the official layout; by default the hub's",
    "snli": "a folder with snli/test.tsv; by default the hub's",
    "zorro": "Zorro, a folder of txt",
    "blimp": "BLiMP, a folder of jsonl",
    "minilm": f"the pretrained model; by default {MINILM} of the hub",
}


def main() -> None:
    """Run the recipes, each after those that it depends on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", help="Folders of results/ that are made; all by default.")
    parser.add_argument("--gpu", action="store_true", help="Those alone that need a GPU.")
    parser.add_argument(
        "--minutes",
        type=float,
        help="Stop after so many; given again, it goes on.",
    )
    parser.add_argument(
        "--try",
        dest="is_trial",
        action="store_true",
        help="Those for a GPU, small, on a CPU.",
    )
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
    if arguments.gpu or arguments.is_trial:
        chosen = [name for name in chosen if recipes[name].get("gpu")]
        if not chosen:
            parser.error(f"none of {', '.join(arguments.only)} needs a GPU")
        if arguments.is_trial and arguments.minutes is not None:
            parser.error("--try makes all that it tries in one go: leave --minutes out")
    if arguments.list:
        for name in chosen:
            print(
                f"{name}: {recipes[name]['minutes']} minutes{' of a GPU' if recipes[name].get('gpu') else ''}"
            )
        return
    places = {name: getattr(arguments, name) for name in PLACES}
    if not torch.cuda.is_available() and not arguments.is_trial:
        skipped = [name for name in chosen if recipes[name].get("gpu")]
        if arguments.only and skipped:
            parser.error(f"{skipped[0]} needs a GPU, and torch finds none")
        if skipped:
            print(f"left out, as they need a GPU: {', '.join(skipped)}", flush=True)
        chosen = [name for name in chosen if name not in skipped]
    for name in chosen:
        for place in recipes[name].get("needs", []):
            if places[place] is None:
                parser.error(f"{name} needs --{place}: {PLACES[place]}")
        for other in recipes[name].get("after", []):
            folder = ROOT / "results" / other
            if other in chosen:
                continue
            if not folder.is_dir():
                parser.error(f"{name} needs results/{other}: make it first, by --only {other} {name}")
            if lacks_models(folder):
                parser.error(
                    f"{name} needs the models of results/{other}: bring them back by 'make models', or make "
                    f"them again by --only {other} {name}"
                )
    ends = math.inf if arguments.minutes is None else time.monotonic() + 60 * arguments.minutes
    done = [] if arguments.minutes is None or not DONE.is_file() else json.loads(DONE.read_text("utf-8"))
    for name in chosen:
        began = time.monotonic()
        for words in commands(recipes[name], places, arguments.is_trial):
            line = shlex.join(words)
            if line in done:
                continue
            print(line, flush=True)
            if not run_until(words, environment(recipes[name]), ends):
                print("The time is over; the same command goes on.")
                return
            done.append(line)
            if arguments.minutes is not None:
                DONE.parent.mkdir(exist_ok=True)
                DONE.write_text(json.dumps(done, indent=1), encoding="utf-8")
        print(f"{name}: {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    if arguments.minutes is not None:
        DONE.unlink(missing_ok=True)
    if arguments.is_trial:
        return
    subprocess.run([sys.executable, "scripts/copy_tables.py"], check=True, cwd=ROOT)


def run_until(words: list[str], environment: Mapping[str, str], ends: float) -> bool:
    """Run a command, and whether it ended before ``ends`` of the monotonic clock; else it is told to stop.

    Raises:
        SystemExit: with its status where it fails: it has said why.
    """
    if time.monotonic() >= ends:
        return False
    process = subprocess.Popen(words, cwd=ROOT, env=environment)
    try:
        status = process.wait(None if ends == math.inf else ends - time.monotonic())
    except subprocess.TimeoutExpired:
        process.terminate()  # a training saves a checkpoint
        process.wait()
        return False
    if status:
        sys.exit(status)
    return True


def lacks_models(folder: Path) -> bool:
    """Whether git has runs of a RAFT or its FAFT in a folder, but not all of their models."""
    runs = [run for name in ("raf-20??", "gelu-20??") for run in folder.glob(name)]
    return not all((run / "model.safetensors").is_file() for run in runs)


def read_recipes() -> dict[str, dict[str, Any]]:
    """All recipes, by the folder of ``results/`` that each makes."""
    return {
        file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted(RECIPES.glob("*.yaml"))
    }


def commands(
    recipe: Mapping[str, Any], places: Mapping[str, str | None], is_trial: bool = False
) -> list[list[str]]:
    """A recipe's commands with the paths of data and models filled in, run by this Python.

    Of a trial those of ``raft``, and what follows them, with the options of ``small``, and with folders under
    ``runs/try`` in place of ``results`` and ``runs``.
    """
    paths = {
        name: str(Path(place).resolve()) if place and Path(place).exists() else place  # a hub name stays
        for name, place in places.items()
    }
    values = {
        **{name: shlex.quote(paths[name] or "") for name in ("wikipedia", "zorro", "blimp")},
        "minilm": shlex.quote(paths["minilm"] or MINILM),
    }
    for name in ("glue", "squad"):
        place = paths[name]
        values[name] = f"--data_dir {shlex.quote(place)}" if place else ""
        values[f"{name}_dir"] = f"--{name}_dir {shlex.quote(place)}" if place else ""
    values["snli"] = f"--transfer_data_dir {shlex.quote(paths['snli'])}" if paths["snli"] else ""
    values["places"] = " ".join(shlex.quote(place) for place in paths.values() if place)
    filled = []
    for command in recipe["commands"] if not is_trial or "small" in recipe else ():
        program, *words = shlex.split(command.format(**values))
        if is_trial:
            words = [words[0], *(re.sub("^(results|runs)/", r"runs/try/\1/", word) for word in words[1:])]
            if program == "raft":
                words += shlex.split(recipe["small_grid" if words[0] == "grid" else "small"])
        filled.append([sys.executable, *(["-m", "raft.cli.main"] if program == "raft" else []), *words])
    return filled


def environment(recipe: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a recipe's commands: results can depend on the number of threads."""
    threads = {"OMP_NUM_THREADS": str(recipe["threads"])} if "threads" in recipe else {}
    return {**os.environ, **threads}


if __name__ == "__main__":
    main()
