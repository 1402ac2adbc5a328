"""The rational activation as a module: alone, and beside a fixed function."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from raft.coefficients import Fit, drawing, fit, named_fit, sensitivities
from raft.coefficients.closed_form import RationalFunction
from raft.coefficients.fitting import check_degrees
from raft.coefficients.functions import FUNCTIONS, name_of
from raft.functional import check_version, rational
from raft.learned_activation import LearnedActivation, call_for_input, check_arguments

MAX_SCALE = 2.0**100
"""Largest factor between a coefficient and its unit: both are float32."""

NOISE = 0.1
"""Version D multiplies each coefficient by a number drawn from [1 − NOISE, 1 + NOISE] at every training
step."""


class SquaredReLU(nn.Module):
    """x ↦ LeakyReLU(x)².

    Args:
        negative_slope: of the leaky ReLU; 0 is the squared ReLU of So et al. 2021, "Primer".
    """

    def __init__(self, negative_slope: float = 0.0) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape and dtype of ``x``."""
        return nn.functional.leaky_relu(x, self.negative_slope).square()

    def extra_repr(self) -> str:
        """The slope, as printed in a model's summary."""
        return f"negative_slope={self.negative_slope}"


TORCH_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU("tanh"),
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "softplus": nn.Softplus(),
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "elu": nn.ELU(),
    "identity": nn.Identity(),
    "relu2": SquaredReLU(),
    "leaky_relu2": SquaredReLU(0.5),
}
"""The classical activations by name, for tensors. Saved RAFs know them by their order: new ones come last."""


class Rational(LearnedActivation):
    r"""A rational activation function (RAF): :math:`P(x)/Q(x)` with trained coefficients.

    The coefficients are float32 and stay so when the module is cast to a half-precision (or any other) type:
    ten numbers cost nothing, and a step of 1e-3 would be lost in bfloat16. The output has the dtype of the
    input.

    ``numerator`` and ``denominator`` are the coefficients, unless :meth:`scale_to` was called, as a
    conversion does: then they are the coefficients divided by ``numerator_scale`` and ``denominator_scale``,
    so that one learning rate suits all of them. :meth:`coefficients` gives the coefficients in either case.

    The state holds ``raf_form`` too, which tells the version, what a residual RAF is added to, and whether
    there are scales. Loading the state of another form raises ``RuntimeError``. Copy whole states from one
    model to another: parameters alone lack the scales.

    Args:
        init: the function to start from: its name (``raft.coefficients.NAMED_FUNCTIONS``), a module or
            function of a float64 tensor, which is fitted on [-5, 5], or a ``Fit``.
        degrees: (m, n) of numerator and denominator, each from 0 to 12.
        version: form of the denominator, see :func:`raft.rational`; D is B whose coefficients are multiplied
            by uniform noise from [0.9, 1.1] in training mode.
        groups: groups of neighbouring channels, each with coefficients of its own; these
            have shapes ``[groups, m + 1]`` and ``[groups, n]`` where there are several.
        dim: axis of the channels, which groups cut; 1 after a convolution.
        device: of the coefficients.
        dtype: any floating dtype, for code that gives it to all modules; the coefficients are float32.
        inplace: taken, as networks give it to all their activations, and ignored: the backward pass needs
            the input.

    Shape:
        Input and output: any shape, the same.

    Raises:
        ValueError: for an unknown name or version, impossible degrees, a ``Fit`` that has others, or a
            function that cannot be fitted.
        TypeError: for a start of another kind, or a dtype that is not floating.

    Source: Fang et al., "Transformers with Learnable Activation Functions", Findings of EACL 2023, section 3.

    Example::

        >>> import torch, raft
        >>> act = raft.Rational("gelu")
        >>> y = act(torch.randn(8, 16, 3072))
        >>> (act.numerator.shape, act.denominator.shape)
        (torch.Size([6]), torch.Size([4]))
    """

    name = "rational"
    start: Fit
    numerator: nn.Parameter
    denominator: nn.Parameter
    is_residual = False
    """Whether the value is added to that of a fixed function."""
    _base_number = 0
    """From 1 on for fixed functions that have a name, 255 for others, 0 where there is none."""
    numerator_scale: Tensor | None
    denominator_scale: Tensor | None

    def __init__(
        self,
        init: str | Fit | Callable[[Tensor], Tensor] = "gelu",
        degrees: tuple[int, int] = (5, 4),
        version: str = "A",
        groups: int = 1,
        *,
        dim: int = -1,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        check_arguments(groups, dtype, dim)
        check_version(version)
        check_degrees(degrees)
        degrees = (degrees[0], degrees[1])
        start = fit_start(init, degrees, version)
        if start.degrees != degrees or start.version != version:
            raise ValueError(
                f"the fit has degrees {start.degrees} and version {start.version}, "
                f"not {degrees} and {version} as asked for"
            )
        self.start = start
        self.degrees = degrees
        self.version = version
        self.groups, self.dim = groups, dim
        numerator, denominator = (
            torch.tensor(values, dtype=torch.float32, device=device)
            for values in (start.numerator, start.denominator)
        )
        if groups > 1:
            numerator, denominator = numerator.repeat(groups, 1), denominator.repeat(groups, 1)
        self.numerator = nn.Parameter(numerator)
        self.denominator = nn.Parameter(denominator)
        self.register_buffer("raf_form", None)  # the first: torch.export counts those that are None, too
        self.register_buffer("numerator_scale", None)
        self.register_buffer("denominator_scale", None)
        self.raf_form = self._form().to(self.numerator.device)

    def start_coefficients(self) -> tuple[Tensor, Tensor]:
        """Numerator ``[m + 1]`` and denominator ``[n]`` that each group starts from, on the CPU."""
        return (
            torch.tensor(self.start.numerator, dtype=torch.float32, device="cpu"),
            torch.tensor(self.start.denominator, dtype=torch.float32, device="cpu"),
        )

    def initial_state(self) -> dict[str, Tensor]:
        """What each of the module's own parameters and buffers holds at the start, by name, on the CPU."""
        numerator, denominator = self.start_coefficients()
        values = {
            "numerator": numerator.expand(self.numerator.shape),
            "denominator": denominator.expand(self.denominator.shape),
            "raf_form": self._form(),
        }
        if self.numerator_scale is not None:
            for name in ("numerator", "denominator"):
                values[f"{name}_scale"] = torch.ones_like(values[name])
        return values

    def settings(self) -> dict[str, Any]:
        """``degrees``, ``version`` and ``groups``; ``dim`` where it is not the last axis."""
        settings = {"degrees": list(self.degrees), "version": self.version, "groups": self.groups}
        return {**settings, **self._axis()}

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """a and b of the function, of the shapes of ``numerator`` and ``denominator``; differentiable."""
        if self.numerator_scale is None or self.denominator_scale is None:
            return self.numerator, self.denominator
        return self.numerator * self.numerator_scale, self.denominator * self.denominator_scale

    @torch.no_grad()
    def scale_to(self, inputs: Tensor | None = None) -> None:
        """Choose the units of the trained numbers, so that one learning rate suits all of them.

        A unit of ``numerator[k]`` then changes the function by about one, in root mean square over the
        inputs: a step of an optimizer is a step of the function's values, of the same length for each
        coefficient. A coefficient that moves the function by less than one keeps its unit. Scales are powers
        of two, so that the function stays the same to the bit.

        Args:
            inputs: that the RAF gets, of any shape; those that are not finite do not count. Without them all
                scales are one: the module is made ready for a state with scales.

        Raises:
            ValueError: where no input is finite.
        """
        coefficients = self.coefficients()
        if inputs is None:
            scales = [torch.ones_like(values) for values in coefficients]
        else:
            x = inputs.detach().flatten().to("cpu", torch.float32)
            x = x[x.isfinite()]
            if not len(x):
                raise ValueError(f"no input is finite, of those of shape {list(inputs.shape)}")
            fixed = call_apart(self.replaced[0], x) if self.is_residual else 0.0
            scales = [
                torch.exp2(-sensitivity.nan_to_num(MAX_SCALE).clamp(1.0, MAX_SCALE).log2().round())
                for sensitivity in sensitivities(x, *coefficients, self.version, fixed)
            ]
        for name, values, scale in zip(("numerator", "denominator"), coefficients, scales, strict=True):
            scale = scale.to(values)
            getattr(self, name).copy_(values / scale)
            setattr(self, f"{name}_scale", scale)
        self._renew_form()

    def _value(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        numerator, denominator = coefficients
        if self.version == "D" and self.training:
            numerator = numerator * torch.empty_like(numerator).uniform_(1 - NOISE, 1 + NOISE)
            denominator = denominator * torch.empty_like(denominator).uniform_(1 - NOISE, 1 + NOISE)
        return rational(x, numerator, denominator, self.version)

    def _form(self) -> Tensor:
        """What a state is of, beside what shapes tell: the version's letter, what a residual RAF is added to
        (0 for none), and whether there are scales; then the channels' axis where it is not the last."""
        form = [ord(self.version), self._base_number, self.numerator_scale is not None]
        form += [] if self.dim == -1 else [self.dim % 256]
        return torch.tensor(form, dtype=torch.uint8, device="cpu")

    def check_form(self, saved: Tensor, name: str, has_scales: bool = False) -> None:
        """Refuse the state of another form, whose coefficients would make another function here.

        Args:
            saved: ``raf_form`` of a state.
            name: of the RAF, for the message.
            has_scales: whether the state holds both scales.

        Raises:
            ValueError: naming both forms, or what the state lacks.
        """
        given, saved = saved.cpu(), saved.cpu().to(torch.uint8)  # a whole state may have been cast
        if saved.shape not in ((3,), (4,)) or not torch.equal(saved.to(given.dtype), given):
            raise ValueError(f"{name}.raf_form tells no form of a RAF: the state is damaged")
        form = self._form()
        if not torch.equal(saved[[0, 1, *range(3, len(saved))]], form[[0, 1, *range(3, len(form))]]):
            raise ValueError(
                f"{name} was saved with {_form_name(saved)}, and cannot be loaded with "
                f"{_form_name(self._form())}: build the RAF as it was saved"
            )
        if saved[2] and not has_scales:
            raise ValueError(
                f"{name} was saved with scales, and they are missing here: the state is damaged, or the raf "
                "block has no scaled=true"
            )

    def _check_state(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Take over scales where the state has them; refuse another form, and what is no real number."""
        keys = [f"{prefix}numerator", f"{prefix}denominator"]
        has_scales = all(f"{key}_scale" in state_dict for key in keys)
        form = state_dict.get(f"{prefix}raf_form")
        if form is not None and not form.is_meta:
            self.check_form(form, prefix.rstrip(".") or "the state", has_scales)
        for key in keys:
            values = state_dict.get(key)
            if values is not None and values.is_complex():
                raise ValueError(f"{key} is {values.dtype}, and coefficients are real numbers")
            if f"{key}_scale" in state_dict and self.numerator_scale is None:
                self.scale_to()
            if values is not None and self.numerator_scale is not None:
                state_dict.setdefault(f"{key}_scale", torch.ones_like(values, dtype=torch.float32))

    def functions(
        self, site: str = "", interval: tuple[float, float] | None = None
    ) -> list[RationalFunction]:
        """Its formulas, one a group, as they are now: in numpy, LaTeX, JSON and plain Python.

        Args:
            site: where it stands in its model.
            interval: between which most of its inputs lie.

        Raises:
            ValueError: where a coefficient is not finite, or a residual RAF stands beside a function that
                has no name.
        """
        if self.numerator.is_meta:
            raise ValueError("its coefficients are not loaded")
        rows = zip(
            *(values.detach().cpu().reshape(self.groups, -1).tolist() for values in self.coefficients()),
            strict=True,
        )
        return [
            RationalFunction(tuple(a), tuple(b), self.version, self._base_function_name(), site, interval)
            for a, b in rows
        ]

    def _base_function_name(self) -> str | None:
        return None

    def to_json(self, site: str = "") -> str:
        """Its coefficients and form as JSON, which :meth:`from_json` reads: one object, or a list of one a
        group."""
        records = [{**function.record(), **self._axis()} for function in self.functions(site)]
        return json.dumps(records[0] if self.groups == 1 else records)

    @staticmethod
    def from_json(text: str) -> Rational:
        """A module with the coefficients that :meth:`to_json` wrote; a residual one where it says so.

        Raises:
            ValueError: for text that is no such JSON, naming what is wrong with it.

        Example::

            >>> import torch, raft
            >>> act = raft.Rational("silu", degrees=(3, 2))
            >>> again = raft.Rational.from_json(act.to_json())
            >>> torch.equal(act.numerator, again.numerator)
            True
        """
        try:
            records = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"no rational activation as JSON: {error}") from error
        records = records if isinstance(records, list) else [records]
        read = [RationalFunction.from_json(record) for record in records]
        plain = [dict(json.loads(record) if isinstance(record, str) else record) for record in records]
        dim = plain[0].get("dim", -1) if plain else -1
        forms = {(row.degrees, row.version, row.base_function) for row in read}
        if len(forms) != 1 or any(record.get("dim", -1) != dim for record in plain):
            raise ValueError("no rational activation as JSON: its groups differ in their forms, or are none")
        sites = {row.site for row in read}
        if len(sites) != 1:
            raise ValueError(f"this JSON holds RAFs of {len(sites)} sites; give the record of one")
        first = read[0]
        # it is a fit of itself
        start = Fit(
            first.numerator, first.denominator, first.version, first.interval or (-5.0, 5.0), 0.0, 0.0
        )
        act: Rational
        if first.base_function is None:
            act = Rational(start, start.degrees, start.version, len(read), dim=dim)
        else:
            act = ResidualRational(TORCH_FUNCTIONS[first.base_function], start, len(read), dim=dim)
        with torch.no_grad():
            for name, parameter in act.named_parameters():
                rows = torch.tensor([getattr(row, name) for row in read], dtype=torch.float32)
                parameter.copy_(rows.reshape(parameter.shape))
        return act

    def _repr_html_(self) -> str:
        """The curve, over the one that it began as, for notebooks."""
        try:
            functions = self.functions()
        except ValueError as error:
            return f"<code>{html.escape(repr(self))}</code> <em>{html.escape(str(error))}</em>"
        beside = functions[0].base_function
        beginning = self.start if beside is None else FUNCTIONS[beside]
        return drawing.figure(functions, beginning, self.start.interval, repr(self))

    def extra_repr(self) -> str:
        """Degrees, version and groups, as printed in a model's summary."""
        groups = f", groups={self.groups}" if self.groups > 1 else ""
        axis = f", dim={self.dim}" if self.dim != -1 else ""
        return f"degrees={self.degrees}, version={self.version!r}{groups}{axis}"


class ResidualRational(Rational):
    r"""A fixed function plus a RAF, :math:`f(x) + P(x)/Q(x)`, where P starts at zero.

    At the start it is the fixed function exactly. The denominator starts as that of a fit, so that the powers
    of P, once they move, are tamed far from zero.

    Args:
        base: the fixed function, of a tensor to one of its shape.
        start: a fit of it; its numerator is not used.
        groups: as in :class:`Rational`.
        dim: as in :class:`Rational`.

    Example::

        >>> import torch, raft
        >>> act = raft.ResidualRational(torch.nn.GELU(), raft.named_fit("gelu"))
        >>> x = torch.randn(5)
        >>> torch.equal(act(x), torch.nn.functional.gelu(x))
        True
    """

    name = "residual_rational"
    is_residual = True

    def __init__(
        self, base: Callable[[Tensor], Tensor], start: Fit, groups: int = 1, *, dim: int = -1
    ) -> None:
        start = replace(start, numerator=tuple(0.0 for _ in start.numerator))
        super().__init__(start, start.degrees, start.version, groups, dim=dim)
        self.replaced = (base,)
        names = [None, *TORCH_FUNCTIONS]
        self._base_number = names.index(name_of(base)) or 255
        self._renew_form()

    def _base_function_name(self) -> str | None:
        name = name_of(self.replaced[0])
        if name is None:
            raise ValueError(f"{self.replaced[0]} is none of the functions that have a name here")
        return name

    def _value(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        """``f(x) + P(x)/Q(x)``, of the shape and dtype of ``x``."""
        return call_apart(self.replaced[0], x) + super()._value(x, *coefficients)


def call_apart(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What a function that another stands beside gives for ``x``, which stays as it is, on any device."""
    if isinstance(function, LearnedActivation):
        return call_for_input(function, x)
    return function(x.clone() if getattr(function, "inplace", False) else x)


def fit_start(init: str | Fit | Callable[[Tensor], Tensor], degrees: tuple[int, int], version: str) -> Fit:
    """The fit that a RAF begins as."""
    if isinstance(init, Fit):
        return init
    if isinstance(init, type) or not (isinstance(init, str) or callable(init)):
        raise TypeError(f"init is the name of a function, a module, a function or a Fit, not {init!r}")
    name = init if isinstance(init, str) else name_of(init)
    return fit(init, degrees, version) if name is None else named_fit(name, degrees, version)


def _form_name(form: Tensor) -> str:
    """``version B, residual beside gelu`` of the ``raf_form`` of a state."""
    version, base, _, *axis = form.tolist()
    text = f"version {chr(version)}"
    if base:
        names = dict(enumerate(TORCH_FUNCTIONS, 1))
        text += f", residual beside {names.get(base, 'a function without a name')}"
    return text + "".join(f", channels on axis {(dim + 128) % 256 - 128}" for dim in axis)
