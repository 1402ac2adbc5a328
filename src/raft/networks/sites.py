"""Find the activations of any network, and what in it cannot be reached."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from raft.learned_activation import is_learned
from raft.networks.activations import is_activation, is_gate
from raft.networks.calls import find_calls, original_class, rewrite

FUSED = {"relu": 1, "gelu": 2}
"""What ``nn.TransformerEncoderLayer`` notes about the activation of its fused form."""


@dataclass(frozen=True)
class NetworkSite:
    """One fixed activation of a network.

    Attributes:
        name: dotted path.
        kind: ``"module"``, ``"function"`` (called in the code of its parent) or ``"call"`` (a further call of
            a module or function that its parent holds).
        parent: module that holds it, or calls it.
        attribute: name of the parent's attribute: of a call, that it gets.
        activation: the fixed function.
    """

    name: str
    kind: str
    parent: nn.Module
    attribute: str
    activation: Callable[..., Any]

    @property
    def is_gate(self) -> bool:
        """Whether its range matters, see :func:`raft.networks.activations.is_gate`."""
        called = self.activation.func if isinstance(self.activation, partial) else self.activation
        return is_gate(called)


def find_sites(network: nn.Module, without: Collection[nn.Module] = ()) -> list[NetworkSite]:
    """Find the fixed activations of a network, in its order.

    A module that stands at several places, and one that its parent's code calls several times, is a site at
    each. One that is called in a loop, or by code elsewhere, is one site.

    Args:
        network: any.
        without: modules whose parts are left out.
    """
    sites: list[NetworkSite] = []
    aliasing = _aliasing_sites(network, without)
    for path, parent in iter_modules(network, without):
        if isinstance(parent, torch.jit.ScriptModule) or is_activation(parent):
            continue
        prefix = f"{path}." if path else ""
        held: dict[str, Any] = {**vars(parent), **parent._modules}
        fixed = {
            key: value for key, value in held.items() if _is_fixed(value) and f"{prefix}{key}" not in aliasing
        }
        for key, value in fixed.items():
            sites.append(NetworkSite(f"{prefix}{key}", "module", parent, key, value))
        keys: set[str] = set()
        for call in find_calls(original_class(parent)).calls:
            function: Callable[..., Any] | None = None
            if call.method in vars(parent):
                continue  # the instance has a method of its own, such as a hook's, which hides the class's
            if call.function is not None:
                function = _with_settings(parent, call.function, call.settings)
            elif call.attribute in fixed:
                function = fixed[call.attribute]
            if function is not None and call.key not in keys and not hasattr(parent, call.key):
                keys.add(call.key)
                kind = "call" if call.function is None else "function"
                sites.append(NetworkSite(f"{prefix}{call.key}", kind, parent, call.key, function))
    if is_activation(network) and not is_learned(network):
        raise TypeError(
            f"{type(network).__name__} is an activation itself, which cannot be replaced from within: make "
            "a raft.Rational of it, raft.Rational(init=network)"
        )
    return sites


def unreachable_calls(network: nn.Module, without: Collection[nn.Module] = ()) -> list[tuple[str, str]]:
    """Calls of activations that no submodule can take over, as far as the classes' code shows them.

    Returns:
        Function and place of each, in words.
    """
    places: dict[tuple[str, str], None] = {}
    places |= dict.fromkeys(_aliasing_sites(network, without).values())
    for path, module in iter_modules(network, without):
        if isinstance(module, torch.jit.ScriptModule):
            name = getattr(module, "original_name", "")
            if name.lower() in FUSED:
                places[name.lower(), f"{path}, which is scripted"] = None
        elif not is_activation(module):
            found = find_calls(original_class(module))
            places |= dict.fromkeys(found.unreachable)
            for call in found.calls:
                if call.method in vars(module) and call.function is not None:
                    hidden = f"{type(module).__name__}.{call.method}, which the instance has of its own"
                    places[call.function, hidden] = None
    return list(places)


def _aliasing_sites(network: nn.Module, without: Collection[nn.Module]) -> dict[str, tuple[str, str]]:
    """Activations that work in place where code reads on what they change: function and place, by name."""
    sites = {}
    for path, module in iter_modules(network, without):
        if isinstance(module, torch.jit.ScriptModule):
            continue
        for attribute, place in find_calls(original_class(module)).aliasing.items():
            try:
                called = attrgetter(attribute)(module)
            except AttributeError:  # of some instances only
                continue
            if _is_fixed(called) and getattr(called, "inplace", False):
                sites[f"{path}.{attribute}" if path else attribute] = type(called).__name__.lower(), place
    return sites


def iter_modules(network: nn.Module, without: Collection[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """The modules of a network by name, each once, without the parts of some."""
    left_out = {id(part) for module in without for part in module.modules()}
    return ((path, module) for path, module in network.named_modules() if id(module) not in left_out)


def with_parameters(network: nn.Module, site: NetworkSite) -> nn.Module:
    """The nearest module around a site that has parameters, which tell its device."""
    path = site.name
    modules: dict[str, nn.Module] = dict(network.named_modules())
    while path:
        path = path.rpartition(".")[0]
        if next(modules[path].parameters(), None) is not None:
            return modules[path]
    return site.parent


def put(site: NetworkSite, activation: Callable[..., Any]) -> None:
    """Set a site's activation; that of a call becomes a submodule which its parent calls."""
    if site.kind == "module":
        set_attribute(site.parent, site.attribute, activation)
        return
    rewrite(site.parent, _rewritten(site.parent) | {site.attribute})
    set_attribute(site.parent, site.attribute, activation)


def put_all(changes: Sequence[tuple[NetworkSite, nn.Module]], all_sites: Iterable[NetworkSite]) -> None:
    """Set the activations of some sites; other calls of the modules there keep the fixed ones."""
    names = {site.name for site, _ in changes}
    taken = {(id(site.parent), id(site.activation)) for site, _ in changes if site.kind == "module"}
    for site in all_sites:
        is_left = site.kind == "call" and site.name not in names
        if is_left and (id(site.parent), id(site.activation)) in taken:
            put(site, site.activation)
    for site, module in changes:
        put(site, module.train(site.parent.training))


def kept_calls(parent: nn.Module) -> list[str]:
    """Attributes where :func:`put_all` keeps a fixed activation."""
    return [key for key in sorted(_rewritten(parent)) if not is_learned(getattr(parent, key))]


def put_back(parent: nn.Module, attribute: str, activation: Callable[..., Any]) -> None:
    """Undo :func:`put`."""
    keys = _rewritten(parent)
    if attribute not in keys:
        restore(parent, attribute, activation)
        return
    delattr(parent, attribute)
    rewrite(parent, keys - {attribute})


def restore(parent: nn.Module, attribute: str, activation: Callable[..., Any]) -> None:
    """Set an attribute to the fixed activation that it had."""
    set_attribute(parent, attribute, activation)
    if isinstance(parent, nn.TransformerEncoderLayer) and attribute == "activation":
        name = getattr(activation, "__name__", type(activation).__name__).lower()
        parent.activation_relu_or_gelu = FUSED.get(name, 0)


def set_attribute(parent: nn.Module, attribute: str, activation: Callable[..., Any]) -> None:
    """Set an attribute to a module or a function."""
    if not isinstance(activation, nn.Module) and attribute in parent._modules:
        delattr(parent, attribute)
    setattr(parent, attribute, activation)


def _rewritten(parent: nn.Module) -> frozenset[str]:
    """Attributes that a module's rewritten code calls."""
    keys: frozenset[str] = getattr(type(parent), "_raft_keys", frozenset())
    return keys


def _is_fixed(value: object) -> bool:
    function = value.func if isinstance(value, partial) else value
    return is_activation(function) and not is_learned(value)


def _with_settings(parent: nn.Module, name: str, settings: tuple[tuple[str, Any], ...]) -> Callable[..., Any]:
    """The function that a call stands for, with the arguments that it has there."""
    function: Callable[..., Any] = getattr(F, name)
    values: Mapping[str, Any] = {
        key: attrgetter(value[1:])(parent) if str(value).startswith(".") else value for key, value in settings
    }
    return partial(function, **values) if values else function
