"""Run a network over batches: sample the inputs of its activations, and see which others it calls."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from raft.learned_activation import is_learned
from raft.networks.activations import GATES, is_activation
from raft.networks.calls import SETTINGS
from raft.networks.recording import record_inputs
from raft.networks.samples import Call, InputSample
from raft.networks.sites import NetworkSite, put, put_back, restore

Arguments = tuple[Sequence[Any], dict[str, Any]]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients within the block; each module's mode is restored."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, is_training in modes.items():
            module.training = is_training


def run_batches(network: nn.Module, batches: Iterable[Arguments], name: str = "calibration") -> None:
    """Run a network in evaluation mode and without gradients.

    Args:
        network: on the device where it runs.
        batches: positional and named arguments of each call.
        name: of the batches, for the message.

    Raises:
        ValueError: where there are none.
    """
    has_run = False
    with evaluating(network):
        for args, kwargs in batches:
            network(*args, **kwargs)
            has_run = True
    if not has_run:
        raise ValueError(f"{name} is empty: give at least one batch or text")


def iter_arguments(network: nn.Module, calibration: Any) -> Iterator[Arguments]:
    """Arguments of a network from batches, on its device.

    Args:
        network: any.
        calibration: batches, or one: tensors; tuples or lists, whose first item is the network's input, as
            data loaders give them, or whose items are all of its inputs, where it needs more than one;
            mappings of its arguments by name, or a mapping that is its only argument.

    Raises:
        TypeError: for a batch of another kind, or one that lacks an argument.
    """
    parameter = next(iter(network.parameters()), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    for batch in [calibration] if isinstance(calibration, (str, Mapping, Tensor)) else calibration:
        first = batch[0] if isinstance(batch, (list, tuple)) and batch else batch
        if isinstance(first, Tensor):
            inputs = (first,) if isinstance(batch, Tensor) or _takes(network, first) else batch
            if not _takes(network, *inputs):
                names = ", ".join(inspect.signature(network.forward).parameters)
                raise TypeError(
                    f"a calibration batch with {len(inputs)} of the arguments ({names}) cannot call "
                    f"{type(network).__name__}: give mappings of all that it needs by name"
                )
            yield tuple(one.to(device) if isinstance(one, Tensor) else one for one in inputs), {}
        elif isinstance(first, Mapping):
            moved = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in first.items()}
            yield ((), moved) if _takes(network, **moved) else ((moved,), {})
        else:
            raise TypeError(
                f"calibration of a {type(network).__name__} must give batches of tensors, not "
                f"{type(first).__name__}: tensors, tuples whose first item is the input, or mappings of "
                "arguments"
            )


def record_sites(
    network: nn.Module,
    sites: Sequence[NetworkSite],
    batches: Iterable[Arguments],
    without: Collection[nn.Module] = (),
    gates: bool = False,
) -> tuple[dict[str, InputSample], list[str]]:
    """Run a network, sample what its sites get, and note which other activations it calls.

    Args:
        network: in any mode.
        sites: all that the network has.
        batches: arguments of its calls.
        without: modules in which calls are not looked for.
        gates: whether functions whose range matters are looked for, too.

    Returns:
        Samples by name of the site, and the calls that no site stands for, in words.
    """
    samples = {site.name: InputSample() for site in sites}
    calls = {site: Call(site.activation) for site in sites}
    watch = _CallWatch({id(part) for module in without for part in module.modules()}, gates)
    for site, call in calls.items():
        put(site, call)
    try:
        sinks: dict[nn.Module, Callable[[Tensor], None]] = {
            call: samples[site.name].add for site, call in calls.items()
        }
        with record_inputs(network, sinks), _unfused_layers(), watch:
            run_batches(network, batches)
    finally:
        for site in calls:
            undo = restore if site.kind == "module" else put_back
            undo(site.parent, site.attribute, site.activation)
    return samples, list(watch.places)


class _CallWatch(TorchFunctionMode):
    """Notes calls of activation functions that come from no activation module."""

    def __init__(self, left_out: set[int], gates: bool) -> None:
        super().__init__()
        self.places: dict[str, None] = {}
        self.names = {name for name in SETTINGS if gates or name not in GATES}
        self.left_out = left_out

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "").partition(".")[0].rstrip("_")
        if name in self.names:
            place = self._find_place()
            if place is not None:
                self.places[f"{name} in {place}"] = None
        return func(*args, **(kwargs or {}))

    def _find_place(self) -> str | None:
        """Where the call is in the network's own code; None where a site, or what is left out, makes it."""
        frame: FrameType | None = sys._getframe(2)
        line = None
        while frame is not None:
            is_library = str(frame.f_globals.get("__name__", "")).partition(".")[0] in ("torch", "raft")
            if line is None and not is_library:
                line = f"{frame.f_code.co_name}, line {frame.f_lineno}"
            owner = frame.f_locals.get("self")
            if isinstance(owner, nn.Module):
                if isinstance(owner, Call) or is_learned(owner) or id(owner) in self.left_out:
                    return None
                if not is_activation(owner):  # one that is held in a list, say, is no site
                    return f"{type(owner).__name__}.{line or frame.f_code.co_name}"
            frame = frame.f_back
        return line


@contextmanager
def _unfused_layers() -> Iterator[None]:
    """Let ``nn.TransformerEncoderLayer`` call its activation, which its fused form does not."""
    was_enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_enabled)


def _takes(network: nn.Module, *args: Any, **kwargs: Any) -> bool:
    try:
        signature = inspect.signature(network.forward)
    except ValueError:  # compiled code may have none
        return True
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True
