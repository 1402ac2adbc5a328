"""Functions learned by several models in turn, then started from in new ones beside controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, TrainerCallback

from raft.bounds import check_numbers
from raft.errors import InputError
from raft.experiments.pretraining import PretrainingComparison, compare_pretraining
from raft.functions.found import FoundFunction, FunctionFile, read_functions, write_functions
from raft.hf.sites.find import find_sites
from raft.learned_activation import is_learned, owner_of
from raft.networks.config import LAYER_SITES
from raft.pretraining.architectures import load_model
from raft.pretraining.recipe import PretrainingRecipe
from raft.pretraining.run import PretrainingResult, PretrainingText, run
from raft.pretraining.variants import NEVER_TRAINED
from raft.pretraining.variants import is_learned as is_learned_activation
from raft.pretraining.zero_shot import ZeroShotTest
from raft.training.arguments import RaftTrainingArguments
from raft.training.distributed import run_on_main_and_broadcast
from raft.training.run_folder import hold

MODELS, REUSE = "models", "reuse"
FUNCTIONS = "functions.json"


@dataclass
class DiscoveryOptions:
    """How functions are found, and what they are compared with."""

    num_models: int = field(
        default=4,
        metadata={
            "help": "Models that learn the functions, one after the other, at seeds from --seed on; those of "
            "the new models follow."
        },
    )
    fixed: str = field(default="gelu", metadata={"help": "Fixed function that new models are compared with."})

    def check(self, recipe: PretrainingRecipe, folder: Path) -> None:
        """Raise ``InputError`` for what cannot work, before anything is read or trained."""
        check_numbers(self)
        if recipe.compare is not None:
            raise InputError("raft discover has its own variants: leave --compare out")
        if not is_learned_activation(recipe.activation):
            raise InputError(
                f"--activation {recipe.activation} is no learned function: there is nothing to find"
            )
        if recipe.raf_groups > 1 or recipe.raf_gain is not None:
            raise InputError(
                "a found function is one for all channels, and as large as it was found: leave "
                "--raf_groups and --raf_gain out"
            )
        if not set(recipe.raf_sites) & set(LAYER_SITES):
            raise InputError(f"--raf_sites needs one of {', '.join(LAYER_SITES)}, whose functions are found")
        if set(",:") & set(str(folder)):
            raise InputError(f"--output_dir {folder} has a comma or a colon, and is part of variants' names")
        replace(recipe, compare=f"{recipe.activation},{self.fixed}").check()


def discover(
    recipe: PretrainingRecipe,
    options: DiscoveryOptions,
    arguments: RaftTrainingArguments,
    text: PretrainingText,
    command: str,
    started: Callable[[str, int, Path], None] = lambda activation, seed, folder: None,
    finished: Callable[[PretrainingResult, Path], None] = lambda result, folder: None,
    callbacks: Sequence[TrainerCallback] = (),
    tests: Mapping[str, ZeroShotTest] | None = None,
) -> PretrainingComparison:
    """Find functions, then compare new models that start with them with others.

    The first model starts as the recipe says, each later one with the functions that the one before ended
    with, and with new weights otherwise. ``functions.json`` in ``arguments.output_dir`` holds those of the
    last, once it has ended, ``functions-N.json`` those after N models. New models, with seeds that found
    nothing, are then trained as :func:`labels` says. What is there is not made again: the same command
    resumes.

    Args:
        recipe: checked; its seeds are the new models'.
        options: checked.
        arguments: of each run, but for its seed and folder.
        text: of ``read_text``; all variants of a seed read the same batches.
        command: that repeats it.
        started: called with activation, seed and folder before each run.
        finished: called with result and folder after each run.
        callbacks: of ``transformers``, for every run.
        tests: of ``raft.pretraining.zero_shot.open_tests``, for every new model.

    Raises:
        InputError: where the folder holds functions of another number of models, and as ``run``.
    """
    folder = arguments.folder
    run_on_main_and_broadcast(partial(_check_models, folder, options.num_models))
    losses: list[float] = []
    for number, seed in enumerate(range(arguments.seed, arguments.seed + options.num_models), start=1):
        one = replace(arguments, output_dir=str(folder / MODELS / str(seed)), seed=seed, data_seed=None)
        before = recipe.raf_init if number == 1 else str(functions_after(folder, number - 1))
        with hold(one.folder, wait=True):
            started(f"model {number} of {options.num_models}", seed, one.folder)
            result = run(replace(recipe, seeds=1, raf_init=before), one, text, callbacks)
            finished(result, one.folder)
            losses.append(result.loss)
            origin = {
                "command": command,
                "corpus": recipe.corpus,
                "text": text.fingerprint,
                "seeds": list(range(arguments.seed, seed + 1)),
                "steps": result.steps,
                "parameters": result.parameters,
                "losses": losses,
            }
            is_last = number == options.num_models
            run_on_main_and_broadcast(
                partial(_write_functions, one.folder, recipe.objective, origin, folder, is_last)
            )
    again = replace(
        arguments, output_dir=str(folder / REUSE), seed=arguments.seed + options.num_models, data_seed=None
    )
    variants = replace(recipe, compare=",".join(labels(recipe, options, folder)))
    return compare_pretraining(variants, again, text, command, started, finished, callbacks, tests)


def _check_models(folder: Path, num_models: int) -> None:
    """Refuse a folder whose functions were found by another number of models.

    Seeds of new models would be those of others, and new models of before would have had other functions.
    """
    if not (folder / FUNCTIONS).is_file():
        return
    found = len(read_functions(folder / FUNCTIONS).origin.get("seeds", ()))
    if found != num_models:
        raise InputError(
            f"{folder} holds what {found} models found: give --num_models {found}, or another --output_dir"
        )


def labels(recipe: PretrainingRecipe, options: DiscoveryOptions, folder: Path) -> dict[str, str]:
    """What each variant is, in words."""
    learned, frozen = recipe.activation, f":{NEVER_TRAINED}"
    found, first = (f"{learned}:raf_init={file}" for file in (folder / FUNCTIONS, functions_after(folder, 1)))
    named = {
        options.fixed: options.fixed,
        learned + frozen: f"{learned}, frozen at its start",
        learned: f"{learned}, trained",
        found + frozen: "found, frozen",
        found: "found, trained on",
        first + frozen: "found by one model, frozen",
    }
    if len(set(recipe.raf_sites) & set(LAYER_SITES)) > 1:
        named[f"{learned}:raf_init={exchanged(folder)}{frozen}"] = "found, exchanged between sites, frozen"
    return named


def functions_of(model: PreTrainedModel) -> dict[str, FoundFunction]:
    """The learned functions of a model: by kind of site, or by kind and layer where layers have their own.

    Raises:
        InputError: where a layer has several of a kind.
    """
    by_layer: dict[str, dict[int | None, Any]] = {}
    for site in find_sites(model):
        if is_learned(site.activation) and site.kind in LAYER_SITES:
            act, layers = owner_of(site.activation), by_layer.setdefault(site.kind, {})
            if layers.setdefault(site.layer, act) is not act:
                raise InputError(f"layer {site.layer} has several functions of the kind {site.kind}")
    found: dict[str, FoundFunction] = {}
    for kind, layers in by_layer.items():
        is_shared = len({id(act) for act in layers.values()}) == 1
        acts = (
            {kind: next(iter(layers.values()))} if is_shared else {f"{kind}.{n}": layers[n] for n in layers}
        )
        found |= {name: FoundFunction.of(act) for name, act in acts.items()}
    return found


def _write_functions(
    model_folder: Path, objective: str, origin: dict[str, Any], folder: Path, is_last: bool
) -> None:
    """Where they are not there: other processes may read them."""
    own = functions_after(folder, len(origin["seeds"]))
    if own.is_file() and (not is_last or (folder / FUNCTIONS).is_file()):
        return
    found = FunctionFile(functions_of(load_model(model_folder, objective)), origin)
    write_functions(own, found)
    if not is_last:
        return
    if len(kinds_of(found.functions)) > 1:
        write_functions(exchanged(folder), replace(found, functions=exchange(found.functions)))
    write_functions(folder / FUNCTIONS, found)  # last: it tells that all are there


def kinds_of(functions: Mapping[str, FoundFunction]) -> list[str]:
    """Kinds of sites, whatever the layer."""
    return list(dict.fromkeys(name.partition(".")[0] for name in functions))


def exchange(functions: Mapping[str, FoundFunction]) -> dict[str, FoundFunction]:
    """Each kind of site with the function of the next one."""
    kinds = kinds_of(functions)
    following = dict(zip(kinds, kinds[1:] + kinds[:1], strict=True))
    split = {name: name.partition(".") for name in functions}
    return {name: functions[f"{following[kind]}{dot}{layer}"] for name, (kind, dot, layer) in split.items()}


def functions_after(folder: Path, number: int) -> Path:
    """The file of the functions that so many models have learned."""
    return folder / f"functions-{number}.json"


def exchanged(folder: Path) -> Path:
    """The file of the functions with kinds of sites exchanged."""
    return folder / "functions-exchanged.json"
