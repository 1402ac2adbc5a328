"""Save the learned functions of a network to a file, and put them into another network of its class."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from raft.coefficients import Fit
from raft.errors import InputError, first_line
from raft.files import parse, write_bytes
from raft.functions.registry import make
from raft.learned_activation import LearnedActivation, SharedActivation, is_learned, owner_of
from raft.modules import Rational, ResidualRational
from raft.networks.build import activation_name, move_beside
from raft.networks.sites import NetworkSite, find_sites, put_all, with_parameters

FORMAT = 1
METADATA = "raft"
WHAT = "learned functions that raft.save wrote"


@dataclass(frozen=True)
class SavedSite:
    """A learned function in the file.

    Attributes:
        name: of its site.
        function: kind, as in ``raft.functions.FUNCTIONS``.
        settings: of that kind.
        replaced: name of the fixed function that was there.
        interval: of its fit.
        trainable: whether its coefficients are trained.
        residual: whether it is added to the fixed function.
        shares: name of the site whose function this is, or None.
    """

    name: str
    function: str
    settings: dict[str, Any]
    replaced: str
    interval: tuple[float, float]
    trainable: bool
    residual: bool
    shares: str | None


@dataclass(frozen=True)
class SavedNetwork:
    """What the file says beside the tensors.

    Attributes:
        format: number of the file's form.
        network: name of the class.
        sites: in the network's order.
        models: ``raf`` blocks of the models of ``transformers`` in the network, by their names in it.
    """

    format: int
    network: str
    sites: list[SavedSite]
    models: dict[str, dict[str, Any]]


def save_network(network: nn.Module, file: Path, models: Mapping[str, dict[str, Any]]) -> None:
    """Write the learned functions of a network, see :func:`raft.save`."""
    places: dict[int, str] = {}
    sites: list[SavedSite] = []
    tensors: dict[str, Tensor] = {}
    for name, act, fixed in _learned(network):
        shares = places.setdefault(id(act), name)
        is_residual = isinstance(act, ResidualRational)
        kind = Rational.name if is_residual else act.name
        replaced = "" if fixed is None else activation_name(fixed)
        low, high = act.start.interval
        sites.append(
            SavedSite(
                name, kind, act.settings(), replaced, (float(low), float(high)), act.trainable, is_residual,
                None if shares == name else shares,
            )
        )  # fmt: skip
        if shares == name:
            tensors |= {
                f"{name}.{key}": value.detach().to("cpu").contiguous().clone()
                for key, value in act.state_dict().items()
            }
    if not sites:
        raise InputError(
            f"{type(network).__name__} has no learned function to save: convert it with raft.convert first"
        )
    saved = SavedNetwork(FORMAT, type(network).__name__, sites, dict(models))
    write_bytes(file, to_bytes(tensors, {METADATA: json.dumps(asdict(saved))}))


def read_network(file: Path) -> tuple[SavedNetwork, dict[str, dict[str, Tensor]]]:
    """What :func:`save_network` wrote: the sites, and their states by name.

    Raises:
        InputError: where the file cannot be read, or is another or damaged.
    """
    states: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(file, "pt") as opened:
            text = (opened.metadata() or {}).get(METADATA, "")
            for key in opened.keys():  # noqa: SIM118
                name, _, part = key.rpartition(".")
                states.setdefault(name, {})[part] = opened.get_tensor(key)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"cannot read {file}: {getattr(error, 'strerror', None) or first_line(error)}"
        ) from error
    if not text:
        raise InputError(f"{file} holds no {WHAT}, but other tensors")
    saved = parse(file, text, json.loads, SavedNetwork, WHAT)
    if saved.format != FORMAT:
        raise InputError(
            f"{file} is of format {saved.format}, which a newer raft wrote; this one reads {FORMAT}"
        )
    names = {site.name for site in saved.sites if site.shares is None}
    owners = {site.shares for site in saved.sites if site.shares is not None}
    different = sorted(names ^ states.keys()) or sorted(owners - names)
    different = different or [name for name, state in states.items() if "raf_form" not in state]
    if different:
        raise InputError(f"{file} is damaged: it has not both the form and the tensors of {different[0]}")
    for name, state in states.items():
        if not all(bool(value.isfinite().all()) for value in state.values()):
            raise InputError(f"{file} is damaged: {name} has coefficients that are not finite")
    return saved, states


def fill_network(
    network: nn.Module, file: Path, saved: SavedNetwork, states: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Put saved functions into a network, all or none.

    Raises:
        InputError: where the network has no such sites, or functions of other forms.
    """
    fixed = {site.name: site for site in find_sites(network)}
    present = {name: act for name, act, _ in _learned(network)}
    names = [site.name for site in saved.sites]
    missing = [name for name in names if name not in fixed and name not in present]
    missing = missing or [name for name in present if name not in names]
    if missing:
        own = type(network).__name__
        has, lacks = ("it", f"the {own}") if missing[0] in names else (f"the {own}", "it")
        raise InputError(
            f"{file} is of another network, a {saved.network}: {has} has a learned function at "
            f"{missing[0]}, where {lacks} has nothing that it could replace"
        )
    shares = {entry.name: entry.shares or entry.name for entry in saved.sites}
    pairs = {(shares[name], id(act)) for name, act in present.items()}
    is_alike = len(pairs) == len({saved for saved, _ in pairs}) == len({act for _, act in pairs})
    if not is_alike or any(shares[name] not in present for name in present):
        raise InputError(f"{file} does not fit: its sites share their functions in another way")
    owners: dict[str, LearnedActivation] = {}
    changes: list[tuple[NetworkSite, nn.Module]] = []
    loads: list[tuple[LearnedActivation, SavedSite]] = []
    for entry in saved.sites:
        site = fixed.get(entry.name)
        if entry.shares is None:
            act = present.get(entry.name) or _make(entry, states[entry.name], site, file)
            owners[entry.name] = act
            try:  # on a copy, as another may not fit
                copy.deepcopy(act).load_state_dict(dict(states[entry.name]))
            except RuntimeError as error:
                raise InputError(f"{file} does not fit {entry.name}: {first_line(error)}") from error
            loads.append((act, entry))
            if site is not None:
                changes.append((site, act))
        elif site is not None:
            changes.append((site, SharedActivation(owners[entry.shares], site.activation)))
    for act, entry in loads:
        act.load_state_dict(dict(states[entry.name]))
        act.trainable = entry.trainable
        act.requires_grad_(entry.trainable)
    for site, module in changes:
        if isinstance(module, LearnedActivation):
            move_beside(module, with_parameters(network, site))
    put_all(changes, fixed.values())


def _learned(network: nn.Module) -> list[tuple[str, LearnedActivation, Any]]:
    """Names of places, the learned functions there, and those that they replaced."""
    return [
        (
            name,
            owner_of(module),
            next(iter(module.replaced), None),
        )
        for name, module in network.named_modules(remove_duplicate=False)
        if is_learned(module)
    ]


def _make(
    entry: SavedSite, state: Mapping[str, Tensor], site: NetworkSite | None, file: Path
) -> LearnedActivation:
    assert site is not None
    try:
        act = (
            _make_rational(entry, state, site)
            if entry.function == Rational.name
            else make(entry.function, **entry.settings)
        )
    except (ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:
        raise InputError(
            f"{file} is damaged: {entry.name} is no {entry.function} function: {error}"
        ) from error
    act.replaced = (site.activation,)
    return act


def _make_rational(entry: SavedSite, state: Mapping[str, Tensor], site: NetworkSite) -> Rational:
    settings = dict(entry.settings)
    (m, n), version = settings["degrees"], str(settings["version"])
    rows = {}
    for name in ("numerator", "denominator"):
        values = state[name] * state.get(f"{name}_scale", torch.ones((), device="cpu"))
        rows[name] = tuple(torch.atleast_2d(values)[0].tolist())
    # it starts as what was saved, so that no fit is needed
    start = Fit(rows["numerator"], rows["denominator"], version, entry.interval, 0.0, 0.0)
    groups, dim = int(settings["groups"]), int(settings.get("dim", -1))
    if entry.residual:
        return ResidualRational(site.activation, start, groups, dim=dim)
    return Rational(start, (m, n), version, groups, dim=dim)
