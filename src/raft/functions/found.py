"""Learned functions in a file of their own: learned in some models, started from in others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from raft.coefficients import Fit
from raft.errors import InputError
from raft.files import read_json, validate, write_text
from raft.functions.parametric import FIT_INTERVAL
from raft.functions.registry import FUNCTIONS, make
from raft.learned_activation import LearnedActivation, ParametricStart, Start
from raft.modules import Rational

SUFFIX = ".json"
LIBRARY = Path(__file__).parent / "library"
"""Files of functions that come with the package; each one's ``origin`` has its evidence."""
WHAT = "file of learned functions"


@dataclass(frozen=True)
class FoundFunction:
    """One learned function, of one group of channels.

    Attributes:
        function: its kind, of ``FUNCTIONS``.
        settings: of the kind, as ``LearnedActivation.settings`` gives them, but for groups and axis.
        parameters: its numbers by name.
    """

    function: str
    settings: dict[str, Any]
    parameters: dict[str, list[float]]

    @classmethod
    def of(cls, act: LearnedActivation) -> FoundFunction:
        """What a module has learned.

        Raises:
            ValueError: for several groups, a residual function, or numbers that are not finite.
        """
        if act.groups > 1:
            raise ValueError(f"{act!r} has {act.groups} groups: a found function is one for all channels")
        if isinstance(act, Rational) and act.is_residual:
            raise ValueError(f"{act!r} is residual: its function is not its own alone")
        names = [name for name, _ in act.named_parameters()]
        numbers = [values.detach().cpu().reshape(-1) for values in act.coefficients()]
        if not all(bool(values.isfinite().all()) for values in numbers):
            raise ValueError(f"{act!r} has numbers that are not finite")
        settings = {key: value for key, value in act.settings().items() if key not in ("groups", "dim")}
        return cls(act.name, settings, {n: v.tolist() for n, v in zip(names, numbers, strict=True)})

    def start(self) -> Start:
        """What a module of this kind takes as its start."""
        numbers = {name: tuple(values) for name, values in self.parameters.items()}
        if self.function == Rational.name:
            return Fit(
                numbers["numerator"], numbers["denominator"], self.settings["version"], FIT_INTERVAL, 0.0, 0.0
            )
        return ParametricStart(numbers, FIT_INTERVAL)

    def make(self, groups: int = 1, dim: int = -1) -> LearnedActivation:
        """A module that starts as this function.

        Raises:
            ValueError: for a kind, settings or numbers that make none.
        """
        if self.function not in FUNCTIONS:
            make(self.function)  # names those that there are
        try:
            plain = make(self.function, **self.settings)
            shapes = {name: values.numel() for name, values in plain.named_parameters()}
            given = {name: len(values) for name, values in self.parameters.items()}
            if shapes != given:
                raise ValueError(f"its parameters have the sizes {given}, and not {shapes}")
            return make(self.function, **self.settings, init=self.start(), groups=groups, dim=dim)
        except TypeError as error:
            raise ValueError(f"the settings {self.settings} of {self.function}: {error}") from error


@dataclass(frozen=True)
class FunctionFile:
    """What a file of learned functions holds.

    Attributes:
        functions: by kind of site, as ``"ffn"`` and ``"attention_input"``.
        origin: how they were found: text, models, seeds, command.
    """

    functions: dict[str, FoundFunction]
    origin: dict[str, Any] = field(default_factory=dict)


def library() -> dict[str, dict[str, Any]]:
    """The functions that come with the package: by name what found each, the evidence, and the command.

    Example::

        >>> from raft.functions import library
        >>> library()["wave"]["command"]
        'make results ONLY=modular-addition'
    """
    return {name: read_functions(file).origin for name, file in _library_files().items()}


def _library_files() -> dict[str, Path]:
    return {file.stem: file for file in sorted(LIBRARY.glob(f"*{SUFFIX}"))}


def is_found(init: str) -> bool:
    """Whether a start is a file of functions, or one of the library's."""
    return init.endswith(SUFFIX) or init in _library_files()


def read_functions(source: str | Path) -> FunctionFile:
    """Read a file of :func:`save_functions`, or one of the library's by its name.

    Raises:
        InputError: for one that cannot be read, or holds anything else.
    """
    path = _library_files().get(str(source)) or Path(source).expanduser()
    content = read_json(path, FunctionFile, WHAT)
    try:
        check_functions(content.functions)
    except ValueError as error:
        raise InputError(f"{path} holds no {WHAT}: {error}") from error
    return content


def validate_functions(values: Mapping[str, Any]) -> dict[str, FoundFunction]:
    """Those of parsed JSON.

    Raises:
        ValueError: for anything else.
    """
    functions = validate(dict(values), dict[str, FoundFunction])
    check_functions(functions)
    return functions


def check_functions(functions: Mapping[str, FoundFunction]) -> None:
    """Raise ``ValueError`` unless there are some, all of one kind, and each makes a module."""
    if not functions:
        raise ValueError("it has no functions")
    kinds = {json.dumps([found.function, found.settings]) for found in functions.values()}
    if len(kinds) > 1:
        raise ValueError(f"its functions are of several kinds: {', '.join(sorted(kinds))}")
    for name, found in functions.items():
        try:
            found.make()
        except (ValueError, KeyError) as error:
            raise ValueError(f"{name}: {error}") from error


def load_functions(source: str | Path) -> dict[str, LearnedActivation]:
    """The functions of a file as modules, by kind of site.

    Args:
        source: a file that :func:`save_functions` or ``raft discover`` wrote, or a name in :func:`library`.

    Raises:
        InputError: for one that cannot be read, or holds anything else.

    Example::

        >>> import raft
        >>> from raft.functions import load_functions, save_functions
        >>> save_functions("functions.json", {"ffn": raft.Rational("silu")})  # doctest: +SKIP
        >>> act = load_functions("functions.json")["ffn"]  # doctest: +SKIP
    """
    return {name: found.make() for name, found in read_functions(source).functions.items()}


def save_functions(
    file: str | Path, functions: Mapping[str, LearnedActivation], origin: Mapping[str, Any] | None = None
) -> None:
    """Write learned functions to a file, which ``raf_init`` and ``RafConfig.init`` take.

    Args:
        file: JSON, replaced where it is there.
        functions: by kind of site, as ``"ffn"``; all of one kind of function, each of one group.
        origin: how they were found, as JSON types.

    Raises:
        ValueError: for functions that cannot be started from.
    """
    found = {name: FoundFunction.of(act) for name, act in functions.items()}
    check_functions(found)
    write_functions(file, FunctionFile(found, dict(origin or {})))


def write_functions(file: str | Path, content: FunctionFile) -> None:
    """Write what :func:`read_functions` reads."""
    write_text(Path(file), json.dumps(asdict(content), indent=1) + "\n")
