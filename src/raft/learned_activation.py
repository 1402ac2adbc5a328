"""What all learned activation functions have in common: how a model holds, saves, loads and draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeGuard, overload

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, fx, nn
from torch.nn.modules.module import register_module_module_registration_hook

from raft.coefficients import Fit
from raft.coefficients.functions import Array
from raft.functional import check_groups


@dataclass(frozen=True)
class ParametricStart:
    """What a function that is not rational starts from.

    Attributes:
        parameters: of one group, by name.
        interval: of the errors.
        max_error: largest absolute error on 20,001 points, to the function that it was to start as; zero
            where it was to start as its source has it.
        rms_error: root mean square error on them.
    """

    parameters: Mapping[str, tuple[float, ...]]
    interval: tuple[float, float]
    max_error: float = 0.0
    rms_error: float = 0.0


Start = Fit | ParametricStart

STATE_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class LearnedActivation(nn.Module):
    """An activation function with trained parameters; the base of all of them, :class:`raft.Rational` too.

    The parameters are float32 and stay so when the module is cast to another dtype. The function is computed
    in float32, in float64 for float64 input, and the output has the dtype of the input.

    The state holds ``raf_form`` beside the parameters: what else decides which function they make. Loading
    the state of another form raises ``RuntimeError``.

    A subclass defines ``name``, ``groups``, ``start``, :meth:`settings`, :meth:`initial_state`,
    :meth:`coefficients`, ``_form`` and ``_value``.

    Attributes:
        name: of the kind of function, in ``raft.functions.FUNCTIONS``.
        is_elementwise: whether each output depends on its own input alone, so that there is a curve.
        groups: groups of neighbouring channels, each with parameters of its own.
        dim: axis of the channels; -1 unless it is given.
        start: where and how closely the function follows the one that it started from.
        replaced: the function that a conversion replaced, in a tuple, so that it is no part of the module.
        trainable: whether the parameters require gradients when a checkpoint is loaded.

    Example::

        >>> import raft
        >>> from raft.functions import LearnedActivation
        >>> isinstance(raft.Rational(), LearnedActivation)
        True
    """

    name: ClassVar[str]
    is_elementwise: ClassVar[bool] = True
    groups: int
    dim: int = -1
    start: Start
    replaced: tuple[Callable[..., Any], ...] = ()
    trainable: bool = True
    raf_form: Tensor

    def settings(self) -> dict[str, Any]:
        """What builds a module that can load this one's state, with ``raft.functions.make(name, …)``.

        They are JSON types. What the function started from is not among them.
        """
        raise NotImplementedError

    def _axis(self) -> dict[str, int]:
        """The part of the settings that names the axis of the channels, where it is not the last."""
        return {} if self.dim == -1 else {"dim": self.dim}

    def initial_state(self) -> dict[str, Tensor]:
        """What each of the module's own parameters and buffers holds at the start, by name, on the CPU."""
        raise NotImplementedError

    def _form(self) -> Tensor:
        """What a state is of, beside what names and shapes tell: a vector on the CPU."""
        raise NotImplementedError

    def _value(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        """The function with these coefficients; channels are on the last axis."""
        raise NotImplementedError

    def coefficients(self) -> tuple[Tensor, ...]:
        """The numbers that make the function; differentiable."""
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        """The function of ``input``, of its shape and dtype."""
        if is_traced_within(self, input):
            return as_one_node(self, input)
        return self.evaluate(input, *self.coefficients())

    def evaluate(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        """``forward`` with these coefficients, such as the module's own on another device."""
        has_channels = self.groups > 1 or not self.is_elementwise
        if self.dim == -1 or not has_channels:
            return self._value(x, *coefficients)
        if not -x.dim() <= self.dim < x.dim():
            raise ValueError(f"the channels are on axis {self.dim}, and x has the shape {list(x.shape)}")
        check_groups(x, self.groups, self.dim)
        if self.is_elementwise and x.is_contiguous():
            # in memory, groups of neighbouring channels are neighbours on any axis
            return self._value(x.flatten(self.dim), *coefficients).view_as(x)
        return self._value(x.movedim(self.dim, -1), *coefficients).movedim(-1, self.dim)

    @torch.no_grad()
    def values(self, x: ArrayLike) -> Array:
        """Values for a curve, in float64 and as in evaluation mode.

        Args:
            x: ``[points]``.

        Returns:
            ``[groups, points]``.

        Raises:
            ValueError: where the parameters are not loaded, or the function is not elementwise.
        """
        if not self.is_elementwise:
            raise ValueError(f"{self.name} is no function of one number: it has no curve")
        coefficients = [values.detach() for values in self.coefficients()]
        if any(values.is_meta for values in coefficients):
            raise ValueError("its coefficients are not loaded")
        points = torch.tensor(np.asarray(x, dtype=np.float64), device="cpu")
        was_training, self.training = self.training, False
        try:
            rows = self._value(
                points[:, None].expand(-1, self.groups), *(c.to("cpu", torch.float64) for c in coefficients)
            )
        finally:
            self.training = was_training
        return rows.T.numpy()

    def reset_parameters(self) -> None:
        """Let every group start again: what materialises a module from the meta device calls it."""
        with torch.no_grad():
            for name, value in self.initial_state().items():
                getattr(self, name).copy_(value)

    def check_form(self, saved: Tensor, name: str, has_scales: bool = False) -> None:
        """Refuse the state of another form, whose parameters would make another function here.

        Args:
            saved: ``raf_form`` of a state.
            name: of the module, for the message.
            has_scales: whether the state holds scales, too, which rational functions alone can have.

        Raises:
            ValueError: naming what this module is.
        """
        form, saved = self._form(), saved.to("cpu", torch.float32)
        # a state may have been cast to half precision, and back
        if not any(torch.equal(saved, form.to(dtype).to(saved.dtype)) for dtype in STATE_DTYPES):
            raise ValueError(
                f"{name} was saved as another function than {self!r}: build the function as it was saved"
            )

    def _check_state(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Raise ``ValueError`` for the state of another form; states of others do not tell theirs."""
        form = state_dict.get(f"{prefix}raf_form")
        if form is not None and not form.is_meta:
            self.check_form(form, prefix.rstrip(".") or "the state")
        for name in self._parameters:
            values = state_dict.get(f"{prefix}{name}")
            if values is not None and values.is_complex():
                raise ValueError(f"{prefix}{name} is {values.dtype}, and coefficients are real numbers")

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: Any, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        try:
            self._check_state(state_dict, prefix)
        except ValueError as error:
            error_msgs.append(str(error))
            return
        device = self.raf_form.device
        for name in {*self._parameters, *self._buffers} - {"raf_form"}:
            values = state_dict.get(f"{prefix}{name}")
            if values is not None:
                device = values.device
                if values.dtype != torch.float32:  # which ``assign=True`` would keep
                    state_dict[f"{prefix}{name}"] = values.detach().to(torch.float32)
        state_dict[f"{prefix}raf_form"] = self._form().to(device)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(keep_dtype, recurse)
        self._renew_form()  # ``to_empty`` leaves whatever was in memory
        return self

    def _renew_form(self) -> None:
        if not self.raf_form.is_meta:
            self.raf_form = self._form().to(self.raf_form.device)

    def __prepare_scriptable__(self) -> None:
        raise TypeError(
            "torch.jit.script cannot compile a RAF; use torch.compile or torch.export, or torch.jit.trace"
        )


class SharedActivation(nn.Module):
    """Another module's learned function at one more place of a model.

    It calls that module and has no parameters of its own: they are counted, saved and trained once.
    """

    def __init__(self, shared: LearnedActivation, replaced: Callable[..., Any]) -> None:
        super().__init__()
        self.replaced = (replaced,)
        self._shared = (shared,)  # in a tuple, so that it is not registered twice

    @property
    def shared(self) -> LearnedActivation:
        """The module that holds the coefficients."""
        return self._shared[0]

    def forward(self, input: Tensor) -> Tensor:
        """What the other module gives for ``input``."""
        if is_traced_within(self, input):
            return as_one_node(self, input)
        return call_for_input(self.shared, input)

    def extra_repr(self) -> str:
        """The shared function's, as printed in a model's summary."""
        return self.shared.extra_repr()


def is_learned(activation: object) -> TypeGuard[LearnedActivation | SharedActivation]:
    """Whether an activation is a learned one, its own or that of another place."""
    return isinstance(activation, (LearnedActivation, SharedActivation))


@overload
def owner_of(activation: LearnedActivation | SharedActivation) -> LearnedActivation: ...
@overload
def owner_of(activation: object) -> object: ...
def owner_of(activation: object) -> object:
    """The module that holds an activation's coefficients; itself unless it is that of another place."""
    return activation.shared if isinstance(activation, SharedActivation) else activation


def call_for_input(act: LearnedActivation, x: Tensor) -> Tensor:
    """What a module that belongs to another place gives for ``x``, on any device."""
    y: Tensor
    own = next(act.parameters())
    if own.device == x.device or own.is_meta:  # meta: an offloading hook knows
        y = act(x)
    else:  # as in DataParallel's replicas; past hooks, which would move the input to the other module
        y = act.evaluate(x, *(values.to(x.device) for values in act.coefficients()))
    return y


def learned_activations(model: nn.Module) -> dict[str, LearnedActivation]:
    """The learned activation functions of a model by dotted name, in the model's order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LearnedActivation)}


def find_places(model: nn.Module) -> dict[LearnedActivation, list[str]]:
    """The names of all modules that apply each learned function of a model, that which holds it first."""
    places = {act: [name] for name, act in learned_activations(model).items()}
    for name, module in model.named_modules():
        if isinstance(module, SharedActivation):
            places.setdefault(module.shared, []).append(name)
    return places


def check_arguments(groups: int, dtype: torch.dtype | None, dim: int = -1) -> None:
    """Refuse what no learned activation can take.

    Raises:
        ValueError: for impossible groups, or an axis that is no whole number from -128 to 127.
        TypeError: for a dtype that is not floating.
    """
    if isinstance(dim, bool) or not isinstance(dim, int) or not -128 <= dim < 128:
        raise ValueError(f"dim must be the number of an axis, such as 1 or -1, not {dim!r}")
    if dtype is not None and not dtype.is_floating_point:
        raise TypeError(f"dtype must be floating, not {dtype}; the coefficients are float32 with any")
    if not isinstance(groups, int) or groups < 1:
        raise ValueError(f"groups must be a whole number from 1 on, not {groups!r}")


def is_traced_within(module: nn.Module, x: Tensor | fx.Proxy) -> bool:
    """Whether ``torch.fx`` traces a network that the module is a part of."""
    return isinstance(x, fx.Proxy) and isinstance(x.tracer, fx.Tracer) and x.tracer.root is not module


def as_one_node(module: nn.Module, x: Any) -> Tensor:
    """A call of the module in the traced graph, as of torch's own activations.

    Of its operations alone the graph would hold the coefficients without the module that says what they are.
    """
    node: Tensor = x.tracer.create_proxy("call_module", x.tracer.path_of_module(module), (x,), {})
    return node


def _prepare_torch_layer(module: nn.Module, name: str, activation: nn.Module | None) -> None:
    """Make torch's transformer layers hold one of these.

    The fused encoder layer knows ReLU and GELU alone, and looks at its activation when it is made, not when
    another is put in its place. A copied decoder layer takes ReLU where its own attributes hold no
    activation, whatever its submodules are.
    """
    kinds = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    if not isinstance(module, kinds) or name != "activation" or activation is None:
        return
    if not any(map(is_learned, activation.modules())):
        return
    if isinstance(module, nn.TransformerEncoderLayer):
        module.activation_relu_or_gelu = 0
    else:
        vars(module)[name] = activation


register_module_module_registration_hook(_prepare_torch_layer)
