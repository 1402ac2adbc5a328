"""What each RAF of a model is worth: the loss with a fixed function, or the mean of all, in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from raft.coefficients.functions import canonical_name
from raft.hf.sites import rationals
from raft.modules import TORCH_FUNCTIONS

AS_IT_IS, ALL, MEAN = "as it is", "all", "all by their mean"


@contextmanager
def replaced(model: nn.Module, functions: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Let RAFs of a model give what other functions do, while the block runs.

    Args:
        model: with RAFs; it is as it was afterwards.
        functions: by name of the RAF.

    Raises:
        ValueError: for a name that is no RAF's.
    """
    found = rationals(model)
    unknown = sorted(set(functions) - set(found))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no RAF of the model; they are {', '.join(found) or 'none'}")

    def answer(function: Callable[[Tensor], Tensor]) -> Any:
        return lambda module, args, output: function(args[0])

    handles = [found[site].register_forward_hook(answer(each)) for site, each in functions.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def mean_of(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """The mean of all RAFs of a model, as a function."""
    acts = list(rationals(model).values())
    if any(act.groups > 1 for act in acts):
        raise ValueError("RAFs of several groups of channels have no mean that all layers could use")

    def mean(x: Tensor) -> Tensor:
        # not the modules' forward: their hooks may have been replaced by this
        return torch.stack([type(act).forward(act, x) for act in acts]).mean(dim=0)

    return mean


def ablation(model: nn.Module, loss: Callable[[], float], fixed: str = "gelu") -> pd.DataFrame:
    """The loss when RAFs are put back to a fixed function: each alone, all, and all by their mean shape.

    Args:
        model: with RAFs, in evaluation mode.
        loss: runs the model over the same data at each call.
        fixed: name of the function.

    Returns:
        Rows ``replaced`` (``"as it is"``, a site, ``"all"``, ``"all by their mean"``), ``by``, ``loss``, and
        ``change``, the loss less that of the model as it is.

    Raises:
        ValueError: for a model without RAFs, or an unknown function.
    """
    function = TORCH_FUNCTIONS[canonical_name(fixed)]
    sites = list(rationals(model))
    if not sites:
        raise ValueError(f"{type(model).__name__} has no rational activation")
    cases: list[tuple[str, str, dict[str, Callable[[Tensor], Tensor]]]] = [(AS_IT_IS, "", {})]
    cases += [(site, fixed, {site: function}) for site in sites]
    cases += [(ALL, fixed, dict.fromkeys(sites, function))]
    if len(sites) > 1 and all(act.groups == 1 for act in rationals(model).values()):
        cases.append((MEAN, "mean", dict.fromkeys(sites, mean_of(model))))
    rows = []
    with torch.no_grad():
        for name, by, functions in cases:
            with replaced(model, functions):
                rows.append({"replaced": name, "by": by, "loss": loss()})
    table = pd.DataFrame(rows)
    table["change"] = table["loss"] - table["loss"][0]
    return table
