"""What the learned functions beside the rational ones have in common: starts, groups and dtypes."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import scipy  # whose parts are imported at their first use
import torch
from torch import Tensor, nn

from raft.coefficients.fitting import as_numpy_function
from raft.coefficients.functions import FUNCTIONS, Array, Function, canonical_name, name_of
from raft.functional import check_groups
from raft.learned_activation import LearnedActivation, ParametricStart, check_arguments

FIT_INTERVAL = (-5.0, 5.0)
FIT_POINTS = 1001
CHECK_POINTS = 20_001
FLOATING = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


Init = str | Callable[[Tensor], Tensor] | ParametricStart | None


class ParametricActivation(LearnedActivation):
    """A learned function of a few parameters; the base of those in ``raft.functions``.

    A subclass has the parameters of its source's start in :meth:`_own_start` and the formula in
    :meth:`_evaluate`; named functions that it contains may be in :meth:`_exact_start`. Names of parameters
    are none that other modules have, such as ``weight``, so that code that goes by names can tell them.

    Args:
        init: the function to start from: None for the start of the source; a name
            (``raft.coefficients.NAMED_FUNCTIONS``), a module or a function of a float64 tensor, which is
            matched with the least squared error on [-5, 5]; or the parameters of a start.
        groups: groups of neighbouring channels.
        dim: axis of the channels, which groups cut; 1 after a convolution.
        device: of the parameters.
        dtype: any floating dtype; the parameters are float32.
        inplace: taken and ignored.
    """

    start: ParametricStart
    setting_names: ClassVar[tuple[str, ...]] = ()
    """Attributes with numbers that are not trained; the constructor sets them before this one runs."""

    def __init__(
        self,
        init: Init = None,
        groups: int = 1,
        *,
        dim: int = -1,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        check_arguments(groups, dtype, dim)
        self.groups, self.dim = groups, dim
        self.start = self._find_start(init)
        self._names = tuple(self.start.parameters)
        state = self.initial_state()
        device = torch.empty(0, device=device).device  # the default one, or that of a context, where None
        for name, values in state.items():
            if name in self._names:
                self.register_parameter(name, nn.Parameter(values.to(device)))
            else:
                self.register_buffer(name, values.to(device))

    def _own_start(self) -> dict[str, tuple[float, ...]]:
        """The parameters of one group as the source starts them."""
        raise NotImplementedError

    def _exact_start(self, name: str) -> dict[str, tuple[float, ...]] | None:
        """The parameters that make a named function, to rounding; None where there are none."""
        return None

    def _evaluate(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        """The formula, in float32 or float64.

        Args:
            x: any shape; ``[..., groups, channels]`` where there are several groups.
            coefficients: as the parameters are; those of one number a group are ``[groups, 1]`` where there
                are several groups.
        """
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Those of the kind of function, and ``groups``; ``dim`` where it is not the last axis."""
        values = {name: getattr(self, name) for name in self.setting_names}
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        return {**plain, "groups": self.groups, **self._axis()}

    def coefficients(self) -> tuple[Tensor, ...]:
        """The parameters."""
        return tuple(getattr(self, name) for name in self._names)

    def initial_state(self) -> dict[str, Tensor]:
        """What each of the module's own parameters and buffers holds at the start, by name, on the CPU."""
        state = {}
        for name, numbers in self.start.parameters.items():
            row = torch.tensor(numbers, dtype=torch.float32, device="cpu")
            if self.groups > 1:
                row = row.repeat(self.groups) if len(row) == 1 else row.repeat(self.groups, 1)
            state[name] = row
        return {**state, "raf_form": self._form()}

    def _form(self) -> Tensor:
        """The number of the kind of function and its settings; then the channels' axis if not the last."""
        numbers = [float(zlib.crc32(self.name.encode()) % 2**16)]
        for name in self.setting_names:
            value = getattr(self, name)
            numbers += value if isinstance(value, tuple) else [value]
        numbers += [] if self.dim == -1 else [self.dim]
        return torch.tensor(numbers, dtype=torch.float32, device="cpu")

    def _value(self, x: Tensor, *coefficients: Tensor) -> Tensor:
        if x.dtype not in FLOATING:
            raise TypeError(f"x must be a 16-bit or wider floating tensor, not {x.dtype}")
        wide = x if x.dtype == torch.float64 else x.to(torch.float32)
        coefficients = tuple(values.to(wide.dtype) for values in coefficients)
        if self.groups == 1:
            # parameters of one number would give a tensor of no axes one
            return self._evaluate(wide, *coefficients).to(x.dtype).reshape(x.shape)
        check_groups(x, self.groups)
        y = self._evaluate(
            wide.unflatten(-1, (self.groups, x.shape[-1] // self.groups)),
            *(values[:, None] if values.dim() == 1 else values for values in coefficients),
        )
        return y.flatten(-2).to(x.dtype)

    def start_from(self, init: str | Callable[[Tensor], Tensor], inputs: Tensor) -> None:
        """Start again, from the parameters that match a function over these inputs.

        Args:
            init: a name, a module or a function of a float64 tensor, as in the constructor.
            inputs: of any shape; each counts alike for the squared error.

        Raises:
            ValueError: where the function is not finite on the inputs, or this one cannot follow it.
        """
        points = np.sort(inputs.detach().flatten().to("cpu", torch.float64).numpy())
        self.start = self._find_start(init, points)
        self.reset_parameters()

    def _find_start(self, init: Init, inputs: Array | None = None) -> ParametricStart:
        interval = self._start_interval()
        if init is None:
            return ParametricStart(self._own_start(), interval)
        if isinstance(init, ParametricStart):
            return init
        name: str | None
        if isinstance(init, str):
            name = canonical_name(init)
            target = FUNCTIONS[name]
        elif callable(init) and not isinstance(init, type):
            name = name_of(init)
            target = as_numpy_function(init) if name is None else FUNCTIONS[name]
        else:
            raise TypeError(f"init is the name of a function, a module, a function or None, not {init!r}")
        points = np.linspace(*interval, CHECK_POINTS) if inputs is None else inputs
        interval = float(points[0]), float(points[-1])
        y = target(points)
        if not np.isfinite(y).all():
            raise ValueError(f"the function is not finite everywhere on [{interval[0]:g}, {interval[1]:g}]")
        exact = None if name is None else self._exact_start(name)
        parameters = exact or self._fit(target, inputs)
        error = self._evaluate_numbers(points, list(parameters.values())) - y
        return ParametricStart(
            parameters, interval, float(np.abs(error).max()), float(np.sqrt(np.mean(error**2)))
        )

    def _start_interval(self) -> tuple[float, float]:
        return FIT_INTERVAL

    def _fit(self, target: Function, inputs: Array | None = None) -> dict[str, tuple[float, ...]]:
        """The parameters of the least squared error over sorted inputs, or over the interval."""
        own = self._own_start()
        ends = np.cumsum([len(numbers) for numbers in own.values()])[:-1]
        if inputs is None:
            points = np.linspace(*self._start_interval(), FIT_POINTS)
        else:  # as many quantiles, which are distributed as the inputs are
            points = np.quantile(inputs, np.linspace(0, 1, FIT_POINTS))
        y = target(points)

        def error(numbers: Array) -> Array:
            return self._evaluate_numbers(points, np.split(numbers, ends)) - y

        best = scipy.optimize.least_squares(error, np.concatenate(list(own.values())))
        return {name: tuple(part.tolist()) for name, part in zip(own, np.split(best.x, ends), strict=True)}

    def _evaluate_numbers(self, points: Array, numbers: Any) -> Array:
        x = torch.tensor(points, dtype=torch.float64, device="cpu")
        rows = (torch.tensor(part, dtype=torch.float64, device="cpu") for part in numbers)
        with torch.no_grad():
            return self._evaluate(x, *rows).numpy()

    def extra_repr(self) -> str:
        """Its settings, as printed in a model's summary."""
        shown = {k: v for k, v in self.settings().items() if k != "groups" or v > 1}
        return ", ".join(f"{key}={value}" for key, value in shown.items())
