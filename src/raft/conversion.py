"""Convert, save and load any network: models of ``transformers`` their way, all else as networks."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from raft.errors import InputError
from raft.learned_activation import learned_activations
from raft.networks.calibration import Arguments, iter_arguments, run_batches
from raft.networks.config import RafConfig
from raft.networks.conversion import convert_network, revert_network
from raft.networks.conversion_report import REPORT, ConversionReport
from raft.networks.saving import fill_network, read_network, save_network

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Network = TypeVar("Network", bound=nn.Module)


def convert(
    model: Network,
    config: RafConfig | Mapping[str, Any] | None = None,
    calibration: Iterable[Any] | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    sites: str | None = None,
    gates: bool = False,
    dim: int | None = None,
) -> Network:
    """Replace the fixed activations of a network by learned ones, in place; every weight is kept bit for bit.

    Each RAF is a fit of the function that it replaces, over the inputs that it gets while the network reads
    ``calibration`` (with little weight also over the rest of [-5, 5]). Without calibration the fit is over
    [-10, 10], beyond which inputs of pretrained models often lie. ``model.conversion_report`` lists sites.
    Converting twice changes nothing.

    In a model of ``transformers``, activations are found by kind (``RafConfig.sites``): those of feed-forward
    layers and of a pooler, unless others are asked for. ``save_pretrained`` writes the ``raf`` block and the
    coefficients, and ``from_pretrained`` restores them after ``import raft``.

    In any other network (plain PyTorch, timm, diffusers, Lightning), all are replaced but sigmoid, tanh,
    softplus and their hard forms, whose range matters to gates and outputs. A module that stands at several
    places, or that its parent's code calls several times, is a site at each. A function that code calls, such
    as ``F.relu(x)``, becomes a call of a submodule; where it cannot, a warning and ``conversion_report`` name
    it. Models of ``transformers`` in the network, as in a ``SentenceTransformer``, are converted their way.
    :func:`raft.save` and :func:`raft.load` write and read the RAFs.

    Args:
        model: any network, pretrained or new.
        config: which RAFs, and in a model of ``transformers`` which activations; None for the defaults of
            ``RafConfig``. In other networks ``shared`` is False or ``"all"``: one RAF for equal functions.
        calibration: some dozens of texts for a model of ``transformers``; or batches as the network takes
            them (a ``DataLoader``, say): tensors, tuples whose first item is the input (all items, of a
            network that needs several), or mappings.
        tokenizer: for texts; None for the one saved with the model.
        sites: in other networks, a regular expression that is found in the names of the sites to convert,
            such as ``"^(?!stem)"``; None for all.
        gates: in other networks, whether to convert sigmoid, tanh and softplus, too.
        dim: in other networks, the axis of the channels, for ``groups`` and for functions with numbers of
            their own for each channel; None for that of the layers beside a site, where these agree.

    Returns:
        The network.

    Raises:
        ValueError: where nothing can be replaced, or nothing of a requested kind; where a feed-forward block
            has an activation with parameters, or a function cannot be followed; where the model has RAFs of
            another configuration; where groups do not fit (in other networks, where they do not fit what
            calibration shows); or for an empty calibration. The network is then as it was.
        TypeError: for a wrapper that would not train or save the RAFs, such as PEFT's or
            ``DistributedDataParallel``; or a configuration or batch of another kind.

    Example::

        >>> import raft
        >>> from transformers import BertConfig, BertModel
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
        >>> model = raft.convert(BertModel(tiny))
        >>> len(raft.hf.rationals(model)), len(model.conversion_report)
        (3, 3)

    Plain PyTorch::

        >>> import torch
        >>> from torch import nn
        >>> mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> mlp = raft.convert(mlp, {"degrees": (6, 4)}, calibration=[torch.randn(32, 4)])
        >>> [(row.site, row.replaced, row.inputs) for row in mlp.conversion_report]
        [('1', 'relu', 256)]
    """
    network = _unwrap(model, "convert")
    raf = _read_config(config)
    if _is_pretrained(network):
        if sites is not None or gates or dim is not None:
            raise TypeError(
                "sites=…, gates=… and dim=… are of other networks: in a model of transformers, "
                "config={'sites': …} chooses activations by kind"
            )
        _hf().convert(network, raf, calibration, tokenizer=tokenizer)
        return model
    parts = _pretrained_parts(network)
    if raf is not None and not parts:
        _check_plain(network, raf)
    tokenizer = tokenizer or getattr(network, "tokenizer", None)
    texts, batches = _split_calibration(network, calibration)
    if texts is not None and not parts:
        raise TypeError(
            f"calibration of a {type(network).__name__} must give batches of tensors, not texts: it holds no "
            "model of transformers that could read them"
        )
    report = ConversionReport()
    inputs = {}
    if batches is not None and parts:
        batches = list(batches)  # they are run twice
        inputs = _part_inputs(network, parts, batches)
    scaled = replace(raf or RafConfig(), scaled=True)
    with _all_or_none(parts.values()):
        for path, part in parts.items():
            _hf().convert(part, raf, texts or inputs.get(path), tokenizer=tokenizer)
            report += [replace(row, site=f"{path}.{row.site}") for row in getattr(part, REPORT)]
        rest = convert_network(
            network, scaled, batches, sites=sites, gates=gates, dim=dim, without=parts.values()
        )
    report += rest
    report.not_reached = rest.not_reached
    if report or not hasattr(network, REPORT):
        for holder in (network, model):
            setattr(holder, REPORT, report)
    return model


def revert(model: Network) -> Network:
    """Restore the functions that RAFs replaced; a model of ``transformers`` loses its ``raf`` block.

    Args:
        model: that :func:`raft.convert` converted, or that was loaded with its RAFs.

    Returns:
        The network.

    Raises:
        TypeError: for a wrapper around a model, such as PEFT's.
    """
    network = _unwrap(model, "revert")
    if _is_pretrained(network):
        _hf().revert(network)
        return model
    parts = _pretrained_parts(network)
    for part in parts.values():
        _hf().revert(part)
    revert_network(network, parts.values())
    for holder in (network, model):
        if REPORT in vars(holder):
            delattr(holder, REPORT)
    return model


def save(network: nn.Module, file: str | os.PathLike[str]) -> None:
    """Write the learned functions of a network to a file, from which :func:`raft.load` restores them.

    It is a safetensors file: coefficients as tensors, and sites, forms and settings as JSON in its metadata.
    Other weights are not in it: save them as before, with ``torch.save(network.state_dict(), …)``, which
    holds the coefficients, too. A model of ``transformers`` needs no such file, as ``save_pretrained`` writes
    its RAFs.

    Args:
        network: with learned functions, converted or built with them.
        file: to write, atomically; best named ``….safetensors``.

    Raises:
        InputError: where the network has no learned function, or the file cannot be written to.
        TypeError: for a model of ``transformers``, or a wrapper.

    Example::

        >>> import tempfile, raft, torch
        >>> from pathlib import Path
        >>> from torch import nn
        >>> def make():
        ...     return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> file = Path(tempfile.mkdtemp()) / "rafs.safetensors"
        >>> network = raft.convert(make(), calibration=[torch.randn(32, 4)])
        >>> raft.save(network, file)
        >>> again = raft.load(make(), file)
        >>> again.load_state_dict(network.state_dict())
        <All keys matched successfully>
    """
    whole = _unwrap(network, "save")
    if _is_pretrained(whole):
        raise TypeError(f"{type(whole).__name__} is saved with its RAFs by save_pretrained, not by save")
    blocks = {path: RafConfig.of(part.config) for path, part in _pretrained_parts(whole).items()}
    save_network(whole, Path(file), {path: raf.to_dict() for path, raf in blocks.items() if raf is not None})


def load(network: Network, file: str | os.PathLike[str]) -> Network:
    """Put the learned functions of a file that :func:`raft.save` wrote into a network, in place.

    Args:
        network: of the same class as the saved one: new, or pretrained, with its fixed activations; or with
            learned functions of the same forms.
        file: to read; nothing in it is executed or unpickled.

    Returns:
        The network, whose other weights are as they were.

    Raises:
        InputError: where the file cannot be read, is damaged, or is of another network; which is then as
            it was.
        TypeError: for a model of ``transformers``, or a wrapper.

    Example: see :func:`raft.save`.
    """
    whole = _unwrap(network, "load")
    if _is_pretrained(whole):
        raise TypeError(
            f"{type(whole).__name__} is loaded with its RAFs by from_pretrained, not by raft.load"
        )
    saved, states = read_network(Path(file))
    parts = _pretrained_parts(whole)
    with _all_or_none(parts.values()):
        for path, block in saved.models.items():
            if path not in parts:
                kind = type(whole).__name__
                raise InputError(f"{file} is of another network: {kind} has no model at {path}")
            _hf().convert(parts[path], RafConfig.from_dict(block))
        fill_network(whole, Path(file), saved, states)
    return network


@contextmanager
def _all_or_none(parts: Collection[nn.Module]) -> Iterator[None]:
    """Revert the models of ``transformers`` that are converted within the block where it raises an error."""
    plain = [part for part in parts if not learned_activations(part)]
    try:
        yield
    except Exception:
        for part in plain:
            if learned_activations(part):
                _hf().revert(part)
        raise


def _check_plain(network: nn.Module, raf: RafConfig) -> None:
    """Refuse what chooses layers and kinds of sites, which a model of ``transformers`` alone has."""
    plain: dict[str, Any] = {"sites": RafConfig.sites, "layers": RafConfig.layers}
    if raf.shared not in (False, "all"):
        plain["shared"] = RafConfig.shared
    for name, default in plain.items():
        if getattr(raf, name) != default:
            raise ValueError(
                f"{name}={getattr(raf, name)!r} is of models of transformers: the sites of a "
                f"{type(network).__name__} are chosen by name, as in raft.convert(network, sites='^layers')"
            )


def _hf() -> ModuleType:
    """The conversion of models of ``transformers``, which networks without them do not import."""
    import raft.hf.conversion

    return raft.hf.conversion


def _unwrap(model: Any, verb: str) -> nn.Module:
    """The network in a wrapper that only calls it.

    Raises:
        TypeError: for what is no network, or a wrapper that knows its parameters.
    """
    if not isinstance(model, nn.Module):
        held = [
            f".{key}" for key, value in getattr(model, "__dict__", {}).items() if isinstance(value, nn.Module)
        ]
        hint = f": pass its {held[0]}" if held else ""
        raise TypeError(f"{verb} takes a torch.nn.Module, not a {type(model).__name__}{hint}")
    kind = type(model)
    if kind.__module__.partition(".")[0] == "peft":
        around = f"a model of transformers, not a {kind.__name__}"
        if verb == "convert":
            raise TypeError(
                f"convert takes {around}: convert it before a wrapper, such as PEFT's, is put around it"
            )
        raise TypeError(f"{verb} takes {around} around one")
    if kind.__name__ in ("DistributedDataParallel", "FullyShardedDataParallel"):
        raise TypeError(
            f"{verb} takes the network, not the {kind.__name__} around it, which knows the parameters that "
            "it had: pass its .module, and wrap it anew"
        )
    if kind.__name__ == "DataParallel":
        return _unwrap(model.module, verb)
    if kind.__name__ == "OptimizedModule":
        return _unwrap(model._orig_mod, verb)
    return model


def _is_pretrained(model: object) -> bool:
    modeling = sys.modules.get("transformers.modeling_utils")  # without it there is no model of it
    return modeling is not None and isinstance(model, modeling.PreTrainedModel)


def _pretrained_parts(network: nn.Module) -> dict[str, Any]:
    """The models of ``transformers`` in a network by name, without those within others."""
    parts: dict[str, Any] = {}
    for path, module in network.named_modules():
        is_within = any(path.startswith(f"{outer}.") for outer in parts)
        if _is_pretrained(module) and not is_within:
            parts[path] = module
        if type(module).__module__.partition(".")[0] == "peft" and hasattr(module, "peft_config"):
            raise TypeError(
                f"{type(network).__name__} holds a model with an adapter of PEFT at {path}: convert it "
                "before the adapter is put around it"
            )
    return parts


def _read_config(config: RafConfig | Mapping[str, Any] | None) -> RafConfig | None:
    if isinstance(config, Mapping):
        return RafConfig.from_dict(config)
    if config is not None and not isinstance(config, RafConfig):
        raise TypeError(
            f"config is a RafConfig or its keys and values, not a {type(config).__name__}; texts or batches "
            "are given as calibration=…"
        )
    return config


def _split_calibration(
    network: nn.Module, calibration: Iterable[Any] | None
) -> tuple[list[str] | None, Iterable[Arguments] | None]:
    """Texts for models within, or arguments of the network, each made when it is asked for."""
    if calibration is None:
        return None, None
    if isinstance(calibration, str):
        return [calibration], None
    if isinstance(calibration, Mapping) or hasattr(calibration, "dim"):
        return None, iter_arguments(network, calibration)
    items = iter(calibration)
    first = next(items, None)
    if first is None:
        raise ValueError("calibration is empty: give at least one batch or text")
    if isinstance(first, str):
        return [first, *items], None
    return None, iter_arguments(network, chain([first], items))


def _part_inputs(
    network: nn.Module, parts: Mapping[str, nn.Module], batches: list[Arguments]
) -> dict[str, list[dict[str, Any]]]:
    """The arguments by name with which a network calls the models in it."""
    inputs: dict[str, list[dict[str, Any]]] = {path: [] for path in parts}
    own = {path: vars(part).get("forward") for path, part in parts.items()}  # such as a hook's
    for path, part in parts.items():
        # no hook: some wrappers call ``forward`` itself
        part.forward = _recording(part.forward, inputs[path])
    try:
        run_batches(network, batches)
    finally:
        for path, part in parts.items():
            del part.forward
            if own[path] is not None:
                vars(part)["forward"] = own[path]
    unused = [path for path, calls in inputs.items() if not calls]
    if unused:
        raise ValueError(f"the calibration does not reach {unused[0]}: convert that model by itself")
    return inputs


def _recording(forward: Callable[..., Any], calls: list[dict[str, Any]]) -> Callable[..., Any]:
    """``forward``, which adds its arguments by name to a list."""

    @wraps(forward)
    def record(*args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(forward).bind(*args, **kwargs).arguments
        named = {**bound, **bound.pop("kwargs", {})}
        calls.append({key: value for key, value in named.items() if value is not None and key != "kwargs"})
        return forward(*args, **kwargs)

    return record
