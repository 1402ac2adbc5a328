"""Ablation of RAFs: the loss with a fixed function, or the mean of all RAFs, in their place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from raft.analysis.function_measures import AffineMatch, Domain, find_nearest_affine, fit_output
from raft.analysis.model_measures import CurveOf, get_baseline
from raft.coefficients.functions import canonical_name
from raft.hf.histogram import InputHistogram
from raft.learned_activation import LearnedActivation, learned_activations
from raft.modules import TORCH_FUNCTIONS
from raft.networks.recording import record_inputs

AS_IT_IS, ALL, MEAN = "as it is", "all", "all by their mean"
NEAREST = "nearest, scaled and moved"
MASKED = 0.15
"""The share of words that :func:`masked_loss` masks."""


def masked_loss(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: Mapping[str, Tensor],
    batch_size: int = 64,
) -> Callable[[], float]:
    """Build a loss for :func:`ablate`: the mean over words masked at random, the same ones at each call.

    Args:
        model: a masked language model.
        tokenizer: that made ``batch``.
        batch: ``input_ids`` and ``attention_mask``, ``[sequences, length]``.
        batch_size: sequences of one forward pass.

    Raises:
        ValueError: where no word is masked.
    """
    ids = batch["input_ids"]
    is_word = batch["attention_mask"].bool() & ~torch.isin(ids, torch.tensor(tokenizer.all_special_ids))
    is_masked = is_word & (torch.rand(ids.shape, generator=torch.Generator().manual_seed(0)) < MASKED)
    if not is_masked.any():
        raise ValueError("the texts are too short: no word is masked")
    mask_id: Any = tokenizer.mask_token_id
    inputs = {**batch, "input_ids": torch.where(is_masked, mask_id, ids)}
    inputs["labels"] = torch.where(is_masked, ids, -100)

    def loss() -> float:
        total = 0.0
        for start in range(0, len(ids), batch_size):
            part = {name: tensor[start : start + batch_size] for name, tensor in inputs.items()}
            count = int((part["labels"] != -100).sum())
            total += model(**part).loss.item() * count if count else 0.0
        return total / int(is_masked.sum())

    return loss


@contextmanager
def replace_functions(
    model: nn.Module, functions: Mapping[str, Callable[[Tensor], Tensor]]
) -> Iterator[None]:
    """Let RAFs of a model give what other functions do, while the block runs.

    Args:
        model: with RAFs; it is as it was afterwards.
        functions: by name of the RAF.

    Raises:
        ValueError: for a name that is no RAF's.
    """
    acts = learned_activations(model)
    unknown = sorted(set(functions) - set(acts))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no RAF of the model; they are {', '.join(acts) or 'none'}")

    def answer(with_function: Callable[[Tensor], Tensor]) -> Any:
        return lambda module, args, output: with_function(args[0])

    handles = [acts[site].register_forward_hook(answer(function)) for site, function in functions.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def average_functions(acts: Sequence[LearnedActivation]) -> Callable[[Tensor], Tensor]:
    """Return the mean of RAFs as a function."""
    if any(act.groups > 1 for act in acts):
        raise ValueError("RAFs of several groups of channels have no mean that all layers could use")

    def mean(x: Tensor) -> Tensor:
        # not the modules' forward: their hooks may have been replaced by this
        return torch.stack([type(act).forward(act, x) for act in acts]).mean(dim=0)

    return mean


def ablate(
    model: nn.Module,
    loss: Callable[[], float],
    fixed: str | None = None,
    inputs: Mapping[str, InputHistogram] | None = None,
) -> pd.DataFrame:
    """The loss when RAFs are put back to a fixed function: each alone, all, and all by their mean shape.

    A model's weights are used to the size of what its RAFs give. With the inputs that they get, two more
    stand in their places: the fixed function with its output scaled and moved to fit (``"scaled gelu"``), and
    the classical function that comes nearest with input and output scaled and moved (``"nearest, scaled and
    moved"``). What these lose is owed to the shape alone.

    Args:
        model: with RAFs, in evaluation mode.
        loss: runs the model over the same data at each call.
        fixed: name of the function; None for what each RAF replaced, and GELU where that is not known.
        inputs: of the RAFs, by site; for RAFs of one group of channels that are elementwise.

    Returns:
        Rows ``replaced`` (``"as it is"``, a site, ``"all"``, ``"all by their mean"``), ``by``, ``loss``, and
        ``change``, the loss less that of the model as it is. Sites that the data do not reach are left out;
        the mean is of those, and put in place of those, whose fixed function is the commonest.

    Raises:
        ValueError: for a model without RAFs, or an unknown function.
    """
    acts = learned_activations(model)
    if not acts:
        raise ValueError(f"{type(model).__name__} has no learned activation")
    named = None if fixed is None else canonical_name(fixed)
    baselines = {site: named or get_baseline(act) for site, act in acts.items()}
    reached: set[str] = set()

    def note(site: str) -> Callable[[Tensor], None]:
        return lambda inputs: reached.add(site)

    with torch.no_grad(), record_inputs(model, {act: note(site) for site, act in acts.items()}):
        rows = [{"replaced": AS_IT_IS, "by": "", "loss": loss()}]
    sites = [site for site in acts if site in reached]
    functions = {site: TORCH_FUNCTIONS[baselines[site]] for site in sites}
    cases: list[tuple[str, str, dict[str, Callable[[Tensor], Tensor]]]]
    cases = [(site, baselines[site], {site: functions[site]}) for site in sites]
    cases.append((ALL, ", ".join(dict.fromkeys(baselines[site] for site in sites)), functions))
    common = Counter(baselines[site] for site in sites).most_common(1)[0][0] if sites else ""
    alike = [site for site in sites if baselines[site] == common]
    if len(alike) > 1 and all(acts[site].groups == 1 for site in alike):
        cases.append((MEAN, "mean", dict.fromkeys(alike, average_functions([acts[site] for site in alike]))))
    for by, matched in _fit_matches(acts, sites, baselines, inputs or {}).items():
        cases += [(site, by, {site: function}) for site, function in matched.items()]
        if len(matched) == len(sites):
            cases.append((ALL, by, matched))
    for name, by, instead in cases:
        with torch.no_grad(), replace_functions(model, instead):
            rows.append({"replaced": name, "by": by, "loss": loss()})
    table = pd.DataFrame(rows)
    table["change"] = table["loss"] - table["loss"][0]
    return table


def _fit_matches(
    acts: Mapping[str, LearnedActivation],
    sites: Sequence[str],
    baselines: Mapping[str, str],
    inputs: Mapping[str, InputHistogram],
) -> dict[str, dict[str, Callable[[Tensor], Tensor]]]:
    """By what is put in place, and by site: functions that are fitted to the RAFs."""
    matches: dict[str, dict[str, Callable[[Tensor], Tensor]]] = {}
    for site in sites:
        act = acts[site]
        if site not in inputs or act.groups > 1 or not act.is_elementwise:
            continue
        domain, function = Domain.of(inputs[site]), CurveOf(act, site)
        for by, match in (
            (f"scaled {baselines[site]}", fit_output(function, baselines[site], domain)),
            (NEAREST, find_nearest_affine(function, domain)),
        ):
            matches.setdefault(by, {})[site] = partial(_evaluate_match, match)
    return matches


def _evaluate_match(match: AffineMatch, x: Tensor) -> Tensor:
    return match.factor * TORCH_FUNCTIONS[match.name](match.scale * x + match.shift) + match.offset
