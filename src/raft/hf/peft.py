"""Train and save rational activations with a PEFT adapter.

``LoraConfig(modules_to_save=...)`` gives every adapter its own copy of a module, and selects modules by the
suffixes of their names, with or without a dot: ``act`` matches ``layer.0.my_act`` too. The name of a
parameter, such as ``numerator``, matches nothing, and PEFT does not report that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from raft.learned_activation import LearnedActivation, SharedActivation

FUNCTIONS = "raf_adapter_functions"
"""Attribute of an activation with adapters of RAFs: their functions by name."""

BOTTLENECKS = "raf_bottleneck_adapters"
"""Attribute of a projection with bottleneck adapters: these by name."""


def peft_modules(model: nn.Module) -> list[str]:
    """Names for PEFT's ``modules_to_save``, with which an adapter trains and saves the RAFs of a model.

    They are the fewest and shortest suffixes of module names that match RAFs only. Without them an adapter
    does not train the coefficients.

    Args:
        model: with RAFs; before or after its first adapter.

    Returns:
        A new list for each call (PEFT appends the names of a classifier to it).

    Raises:
        ValueError: where the model has no RAF; where several places share a RAF, which PEFT would copy for
            each; or where every suffix of a RAF's name matches other modules too.

    Example::

        >>> import raft
        >>> from raft import peft_modules
        >>> from transformers import BertConfig, BertModel
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
        >>> peft_modules(raft.convert(BertModel(tiny)))
        ['intermediate_act_fn', 'activation']

    With PEFT::

        config = LoraConfig(target_modules=["query", "value"], modules_to_save=peft_modules(model))
        model = get_peft_model(model, config)
    """
    # PEFT matches all names of a module
    names = [name for name, _ in model.named_modules(remove_duplicate=False)]
    places = list(_iter_places(model))
    if not places:
        raise ValueError(
            f"{type(model).__name__} has no rational activation; convert it with raft.convert first"
        )
    _refuse_shared(model, places)
    rafs = {f"{path}.{attribute}".lstrip(".") for path, _, attribute in places}
    suffixes = dict.fromkeys(_shortest_suffix(name, rafs, names) for name in names if name in rafs)
    return [name for name in suffixes if not any(name != end and name.endswith(end) for end in suffixes)]


def names_without_adapter(model: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Names of RAFs in the model without adapters, by their names in the model with adapters.

    RAFs that an adapter replaces by its copy are left out, and so are copies and functions of inactive
    adapters.
    """
    plain_names = {}
    for name in names:
        attribute = BOTTLENECKS if BOTTLENECKS in name else FUNCTIONS
        site, is_adapters, part = name.partition(f".{attribute}.")
        if is_adapters:
            adapter = part.partition(".")[0]
            if adapter in getattr(model.get_submodule(site), "active_adapters", []):
                plain_names[name] = site.removeprefix("base_model.model.")
            continue
        holder, is_copy, rest = name.partition(".modules_to_save.")
        if is_copy:
            adapter, _, inner = rest.partition(".")
            active = getattr(model.get_submodule(holder), "active_adapters", [])
            if adapter not in active:
                continue
            plain = f"{holder}.{inner}" if inner else holder
        elif ".original_module" in name:
            continue
        else:
            plain = name
        plain_names[name] = plain.removeprefix("base_model.model.")
    return plain_names


def _iter_places(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Path of the parent, parent and attribute of each RAF, or of PEFT's wrapper around it."""
    wrapped = {inner for module in model.modules() if _is_wrapper(module) for inner in module.modules()}
    for path, parent in model.named_modules(remove_duplicate=False):
        if parent in wrapped:
            continue
        for attribute, child in parent._modules.items():  # named_children would name a shared RAF once
            if isinstance(child, LearnedActivation) or _is_wrapper(child):
                yield path, parent, attribute


def _is_wrapper(module: nn.Module | None) -> bool:
    return isinstance(getattr(module, "original_module", None), LearnedActivation)


def _refuse_shared(model: nn.Module, places: list[tuple[str, nn.Module, str]]) -> None:
    # a layer used twice is one place with two names, and PEFT wraps its modules once
    reused = next(
        (name for name, module in model.named_modules() if isinstance(module, SharedActivation)), None
    )
    if reused is not None:
        raise ValueError(
            f"{reused} uses the rational activation of another place, of which PEFT would train a copy that "
            "this place does not see; convert with shared=False to train RAFs beside an adapter"
        )
    seen: dict[int, tuple[str, int, str]] = {}
    for path, parent, attribute in places:
        child = getattr(parent, attribute)
        raf = child.original_module if _is_wrapper(child) else child
        name, place = f"{path}.{attribute}".lstrip("."), (id(parent), attribute)
        first, *first_place = seen.setdefault(id(raf), (name, *place))
        if tuple(first_place) != place:
            raise ValueError(
                f"{first} and {name} share one rational activation, of which PEFT would train a copy for "
                "each; give each place its own (copy.deepcopy) before adding an adapter"
            )


def _shortest_suffix(name: str, rafs: set[str], names: list[str]) -> str:
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        suffix = ".".join(parts[-count:])
        if all(other in rafs for other in names if other.endswith(suffix)):
            return suffix
    other = next(other for other in names if other.endswith(name) and other not in rafs)
    raise ValueError(
        f"PEFT finds modules by the ends of their names, and cannot tell the rational activation {name} "
        f"from {other}; rename one of the two"
    )
