"""Rational activations as formulas: values, derivative and limits in numpy; JSON, LaTeX, plain Python."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

import numpy as np
import torch
from numpy.polynomial import polynomial
from numpy.typing import ArrayLike
from torch import Tensor

from raft.coefficients.functions import FUNCTIONS, Array, canonical_name
from raft.kernels.reference import CONSTANT_TERM, VERSIONS, backward, forward

FORMAT = "rational activation, 1"
STEP = 1e-5
"""Step of the central difference for the derivative of a base function."""

PYTHON = {
    "gelu": "0.5 * x * (1 + math.erf(x / math.sqrt(2)))",
    "gelu_tanh": "0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))",
    "relu": "max(x, 0.0)",
    "leaky_relu": "(x if x > 0 else 0.01 * x)",
    "silu": "x * 0.5 * (1 + math.tanh(0.5 * x))",
    "mish": "x * math.tanh(max(x, 0.0) + math.log1p(math.exp(-abs(x))))",
    "softplus": "max(x, 0.0) + math.log1p(math.exp(-abs(x)))",
    "tanh": "math.tanh(x)",
    "sigmoid": "0.5 * (1 + math.tanh(0.5 * x))",
    "elu": "(x if x > 0 else math.expm1(x))",
    "identity": "x",
    "relu2": "max(x, 0.0)**2",
    "leaky_relu2": "max(x, 0.5 * x)**2",
}
LATEX = {
    "gelu": r"x\,\Phi(x)",
    "gelu_tanh": r"\tfrac{x}{2}\left(1+\tanh\left(\sqrt{2/\pi}\,(x+0.044715\,x^{3})\right)\right)",
    "relu": r"\max(x, 0)",
    "leaky_relu": r"\max(x, 0.01\,x)",
    "silu": r"x\,\sigma(x)",
    "mish": r"x\tanh\left(\ln(1+e^{x})\right)",
    "softplus": r"\ln(1+e^{x})",
    "tanh": r"\tanh(x)",
    "sigmoid": r"\sigma(x)",
    "elu": r"\left(x\;[x>0] + (e^{x}-1)\;[x\le 0]\right)",
    "identity": "x",
    "relu2": r"\max(x, 0)^{2}",
    "leaky_relu2": r"\max(x, 0.5\,x)^{2}",
}


@dataclass(frozen=True)
class RationalFunction:
    r"""One RAF, :math:`f(x) = P(x)/Q(x)`, plus a base function where it is residual.

    Attributes:
        numerator: a_0 … a_m.
        denominator: b_1 … b_n.
        version: form of the denominator, see :func:`raft.rational`.
        base_function: name of the function that P/Q is added to, of a residual RAF; None for none.
        site: its place in the model.
        interval: range of most of its inputs, where that is known.
    """

    numerator: tuple[float, ...]
    denominator: tuple[float, ...]
    version: str = "A"
    base_function: str | None = None
    site: str = ""
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise ValueError(f"version must be one of {', '.join(VERSIONS)}, not {self.version!r}")
        if not self.numerator:
            raise ValueError("a rational function needs at least the constant of its numerator")
        if not (np.abs([*self.numerator, *self.denominator]) <= np.finfo(np.float32).max).all():
            raise ValueError(f"the coefficients of {self.site or 'a RAF'} are not all finite in float32")
        if self.interval is not None and not self.interval[0] < self.interval[1]:
            raise ValueError(f"an interval goes from a smaller number to a larger, not {self.interval}")
        if self.base_function is not None:
            object.__setattr__(self, "base_function", canonical_name(self.base_function))

    @property
    def degrees(self) -> tuple[int, int]:
        """Degrees (m, n) of numerator and denominator."""
        return len(self.numerator) - 1, len(self.denominator)

    def __call__(self, x: ArrayLike) -> Array:
        """Values in float64, of the shape of ``x``."""
        points, a, b = self._tensors(x)
        value: Array = forward(points, a, b, self.version).numpy()[()]  # a number of a number
        if self.base_function is not None:
            value = value + FUNCTIONS[self.base_function](points.numpy())
        return value

    def derivative(self, x: ArrayLike) -> Array:
        """f′ in float64; at a kink of an absolute value the mean of both sides, as the operator's."""
        points, a, b = self._tensors(x)
        value: Array = backward(torch.ones_like(points), points, a, b, self.version)[0].numpy()[()]
        if self.base_function is None:
            return value
        base, at = FUNCTIONS[self.base_function], points.numpy()
        return value + (base(at + STEP) - base(at - STEP)) / (2 * STEP)

    def _tensors(self, x: ArrayLike) -> list[Tensor]:
        arrays = (np.asarray(values, np.float64) for values in (x, self.numerator, self.denominator))
        return [torch.tensor(array, device="cpu") for array in arrays]

    def asymptote(self, side: int) -> Array:
        """The polynomial that P/Q approaches at −∞ (``side`` −1) or ∞ (1), lowest power of x first.

        ``[0.1, 0.98]`` is the line 0.1 + 0.98 x; ``[0.0]`` is a function that vanishes. The base function is
        left out.
        """
        if side not in (-1, 1):
            raise ValueError(f"side must be -1 or 1, not {side!r}")
        b = np.array([0.0, *self.denominator])
        signs = np.array([float(side) ** k for k in range(len(b))])
        if self.version == "A":
            b = np.abs(b) * signs  # |x|^k is (side x)^k on this side
        elif self.version != "N":
            leading = np.flatnonzero(b)
            # the sum has the sign of its highest power
            b = b * np.sign(b[leading[-1]] * signs[leading[-1]]) if len(leading) else b
        b[0] += CONSTANT_TERM[self.version]
        quotient, _ = polynomial.polydiv(np.array(self.numerator), np.trim_zeros(b, "b"))
        return np.asarray(np.trim_zeros(quotient, "b") if quotient.any() else np.zeros(1))

    def to_json(self) -> str:
        """As one JSON object, which :meth:`from_json` and :meth:`raft.Rational.from_json` read."""
        return json.dumps(self.record())

    def record(self) -> dict[str, Any]:
        """What :meth:`to_json` writes."""
        return {
            "format": FORMAT,
            "site": self.site,
            "version": self.version,
            "degrees": list(self.degrees),
            "numerator": list(self.numerator),
            "denominator": list(self.denominator),
            "beside": self.base_function,
            "interval": None if self.interval is None else list(self.interval),
        }

    @classmethod
    def from_json(cls, text: str | Mapping[str, Any]) -> RationalFunction:
        """Read what :meth:`to_json` wrote, as a string or already parsed.

        Raises:
            ValueError: for text that is not such an object, naming what is wrong with it.
        """
        try:
            record = json.loads(text) if isinstance(text, str) else dict(text)
            if record["format"] != FORMAT:
                raise ValueError(f"its format is {record['format']!r}, not {FORMAT!r}")
            interval = record.get("interval")
            for name in ("numerator", "denominator"):
                if not isinstance(record[name], list):
                    raise ValueError(f"its {name} is no list of numbers")
            function = cls(
                tuple(float(value) for value in record["numerator"]),
                tuple(float(value) for value in record["denominator"]),
                record["version"],
                record.get("beside"),
                record.get("site", ""),
                None if interval is None else (float(interval[0]), float(interval[1])),
            )
            degrees = record.get("degrees")
            if degrees is not None and tuple(degrees) != function.degrees:
                raise ValueError(f"its degrees are {degrees}, but it has coefficients for {function.degrees}")
        except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"no rational activation as JSON: {reason}") from error
        return function

    def latex(self, digits: int = 4) -> str:
        """The formula for a paper, without dollar signs.

        Args:
            digits: significant, of each coefficient.
        """
        constant = _number(CONSTANT_TERM[self.version], digits, latex=True)
        terms = [_term(value, k + 1, digits) for k, value in enumerate(self.denominator)]
        if self.version == "A":
            inner = [f"|{term}|" for value, term in zip(self.denominator, terms, strict=True) if value]
            q = " + ".join([constant, *(term.replace("|-", "|") for term in inner)])
        else:
            total = _sum([term for value, term in zip(self.denominator, terms, strict=True) if value])
            bars = ("", "") if self.version == "N" else (r"\left|", r"\right|")
            q = constant if not total else _sum([constant, f"{bars[0]}{total}{bars[1]}"])
        numerator = [_term(value, k, digits) for k, value in enumerate(self.numerator) if value]
        ratio = rf"\frac{{{_sum(numerator) or '0'}}}{{{q}}}"
        base = "" if self.base_function is None else f"{LATEX[self.base_function]} + "
        return f"f(x) = {base}{ratio}"

    def python(self, name: str = "raf") -> str:
        """Source of a torch-free Python function of a number (or a numpy array, without a base function).

        Args:
            name: of the function.
        """
        if not name.isidentifier() or iskeyword(name):
            raise ValueError(f"{name!r} is no name for a Python function")
        p = _horner(self.numerator)
        if self.version == "A":
            q = f"{CONSTANT_TERM['A']} + {_horner([0.0, *map(abs, self.denominator)], 'abs(x)')}"
        elif self.version == "N":
            q = f"{CONSTANT_TERM['N']} + {_horner([0.0, *self.denominator])}"
        else:
            q = f"{CONSTANT_TERM[self.version]} + abs({_horner([0.0, *self.denominator])})"
        value = "p / q" if self.base_function is None else f"{PYTHON[self.base_function]} + p / q"
        lines = [f"def {name}(x):", f'    """{self._description()}"""', f"    p = {p}", f"    q = {q}"]
        head = ["import math", "", ""] if "math." in value else []
        return "\n".join([*head, *lines, f"    return {value}", ""])

    def _description(self) -> str:
        site = self.site.replace("\\", "").replace('"', "")
        return f"Rational activation{f' of {site}' if site else ''}, version {self.version}."


def _horner(coefficients: Any, x: str = "x") -> str:
    first, *rest = (repr(float(value)) for value in coefficients)
    if not rest:
        return first
    text = rest[-1]
    for value in reversed(rest[:-1]):
        text = f"({value} + {x} * {text})"
    return f"({first} + {x} * {text})"


def _number(value: float, digits: int, *, latex: bool = False) -> str:
    text = f"{value:.{digits}g}"
    if latex and "e" in text:
        mantissa, exponent = text.split("e")
        return rf"{mantissa}\cdot 10^{{{int(exponent)}}}"
    return text


def _term(value: float, power: int, digits: int) -> str:
    x = {0: "", 1: r"\,x"}.get(power, rf"\,x^{{{power}}}")
    return _number(value, digits, latex=True) + x


def _sum(terms: list[str]) -> str:
    return " + ".join(terms).replace("+ -", "- ")
