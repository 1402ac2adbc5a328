"""Where the activations of BERT-like encoders sit.

The families differ in the names of their attributes only, so a site is found by structure: a feed-forward
block is a module that holds its activation beside its projections, a pooler one that holds ``dense`` and
``activation``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.activations import ACT2FN

from raft.coefficients.functions import ALIASES, FUNCTIONS, canonical_name
from raft.modules import Rational

FEED_FORWARD = (
    ("intermediate_act_fn", ("dense",)),  # BERT, RoBERTa, ELECTRA, DeBERTa, MPNet and their kin
    ("activation", ("ffn", "ffn_output")),  # ALBERT
    ("activation", ("lin1", "lin2")),  # DistilBERT
)
"""The attribute that holds a feed-forward block's activation, and the projections that stand beside it."""

POOLER = (("activation", ("dense",)), ("pooler_activation", ("pooler",)))


@dataclass(frozen=True)
class Site:
    """One activation of a model.

    Attributes:
        name: dotted path of the activation in the model.
        kind: ``"ffn"`` or ``"pooler"``.
        parent: module that holds it.
        attribute: name of the parent's attribute.
    """

    name: str
    kind: str
    parent: nn.Module
    attribute: str

    @property
    def activation(self) -> Callable[..., Any]:
        """What the model applies there now."""
        found: Callable[..., Any] = getattr(self.parent, self.attribute)
        return found


def sites(model: nn.Module) -> list[Site]:
    """The feed-forward and pooler activations of a BERT-like model, in the model's order, fixed or
    rational."""
    found = []
    for path, parent in model.named_modules():
        for kind, attribute in _attributes(parent):
            found.append(Site(f"{path}.{attribute}".lstrip("."), kind, parent, attribute))
    return found


def _attributes(module: nn.Module) -> Iterator[tuple[str, str]]:
    def holds(attribute: str, beside: tuple[str, ...]) -> bool:
        return callable(getattr(module, attribute, None)) and all(hasattr(module, name) for name in beside)

    for attribute, beside in FEED_FORWARD:
        if holds(attribute, beside):
            yield "ffn", attribute
    for attribute, beside in POOLER:
        is_pooler = attribute.startswith("pooler") or type(module).__name__.endswith("Pooler")
        if is_pooler and holds(attribute, beside):
            yield "pooler", attribute


def rationals(model: nn.Module) -> dict[str, Rational]:
    """The rational activations of a model by their dotted names, in the model's order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Rational)}


def activation_name(activation: Callable[..., Any]) -> str:
    """The table's name of a module or function; ``ValueError`` where it has none.

    Raises:
        ValueError: for an activation that has no named fit.
    """
    if isinstance(activation, nn.GELU):
        return "gelu" if activation.approximate == "none" else "gelu_tanh"
    if isinstance(activation, nn.Identity):
        return "identity"
    for name in (*FUNCTIONS, *ALIASES):
        if name in ACT2FN and type(ACT2FN[name]) is type(activation):
            return canonical_name(name)
    raise ValueError(
        f"no named fit for the activation {type(activation).__name__}; "
        "set init in the raf block to the function to start from"
    )
