"""The ``raf`` block of a model's configuration: which activations are learned, and as which functions."""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import combinations, islice
from numbers import Integral
from typing import TYPE_CHECKING, Any

from raft.bounds import MAX_LAYERS
from raft.coefficients.fitting import check_degrees
from raft.coefficients.functions import canonical_name
from raft.coefficients.named import IDENTITY
from raft.errors import suggest
from raft.functional import check_version
from raft.functions.found import FoundFunction, is_found, read_functions, validate_functions
from raft.functions.registry import make
from raft.learned_activation import LearnedActivation, Start

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

INPUT_SITES = ("attention_input", "ffn_input")
"""Before projections, where a model has no activation: they start as the identity."""
LAYER_SITES = ("ffn", *INPUT_SITES)
"""Those that lie in numbered layers."""
SITES = ("ffn", "pooler", "classifier", "mlm_head", "conv", *INPUT_SITES)
DEFAULT_SITES = ("ffn", "pooler")
RATIONAL = "rational"
AUTO, DEFAULT = "auto", "default"
"""Starts: the function that the site had before; what a learned function starts from by itself."""
MAX_IDENTITY_ERROR = 1e-6

Layers = str | Sequence[int]
LAYERS = (
    'layers must be "all", numbers and ranges such as "0-5,11", or a list of numbers, all below '
    f"{MAX_LAYERS}, not {{}}"
)


@dataclass(frozen=True)
class RafConfig:
    """Which activations of a model are learned, as which functions, and what these start from.

    Attributes:
        sites: kinds of sites: ``"ffn"`` (every feed-forward block), ``"pooler"``, ``"classifier"`` and
            ``"mlm_head"`` (the activation inside such a head), ``"conv"`` (after a convolution);
            ``"attention_input"`` (before the projections to query, key and value together) and
            ``"ffn_input"`` (before a block's first projection, or its gate and up projections together),
            where they start as the identity, whatever ``init`` is.
        layers: layers whose blocks and attentions get RAFs: ``"all"``, numbers and ranges such as
            ``"0-5,11"``, or a list of numbers; counted from 0 in each stack (an encoder and a decoder both
            have a layer 0).
        function: kind of the learned functions: ``"rational"``, or another of ``raft.functions.FUNCTIONS``.
        settings: of such another kind, such as ``{"knots": 33}`` of a ``"spline"``.
        degrees: (m, n) of numerator and denominator; of rational functions, as is ``version``.
        version: form of the denominator, see :func:`raft.rational`.
        init: name of the function to start from; ``"auto"`` for the one that the site had before;
            ``"default"`` for what the learned function starts from by itself, as its source has it; or a file
            of ``raft.functions.save_functions``, or a name in ``raft.functions.library``. Its functions are
            held here by kind of site, as ``"ffn"``, or by kind and layer, as ``"ffn.0"``. They decide
            ``function``, ``settings``, ``degrees`` and ``version``; sites that they are not for start as with
            ``"auto"``.
        groups: groups of neighbouring channels with coefficients of their own.
        shared: ``"all"`` gives all sites of a stack's layers that start as the same function one RAF;
            ``"kind"`` one for each kind of site; a mapping of names to layers, such as ``{"lower": "0-5",
            "upper": "6-11"}``, one for each name and kind (other layers keep their own).
        residual: ``old(x) + RAF(x)``, whose RAF starts at zero, in place of ``RAF(x)``: exact at the start;
            of rational functions.
        trainable: False freezes the coefficients.
        scaled: each coefficient has a unit that changes the function by about one over the inputs of a
            conversion (see ``Rational.scale_to``). ``convert`` sets it; in a new model all units are one, as
            always in functions that are not rational.

    Raises:
        ValueError: for an unknown site, version or function, or impossible degrees, settings, layers or
            groups.
    """

    sites: Sequence[str] = DEFAULT_SITES
    layers: Layers = "all"
    function: str = RATIONAL
    settings: Mapping[str, Any] = field(default_factory=dict)
    degrees: tuple[int, int] = (5, 4)
    version: str = "A"
    init: str | Mapping[str, Any] = AUTO
    groups: int = 1
    shared: bool | str | Mapping[str, Layers] = False
    residual: bool = False
    trainable: bool = True
    scaled: bool = False
    _layers: frozenset[int] | None = field(init=False, repr=False, compare=False, default=None)
    _found: dict[str, FoundFunction] = field(init=False, repr=False, compare=False, default_factory=dict)
    _shared: dict[str, frozenset[int]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        several = isinstance(self.sites, Iterable) and not isinstance(self.sites, str)
        sites = tuple(self.sites) if several else (self.sites,)
        object.__setattr__(self, "sites", sites)
        object.__setattr__(self, "degrees", _to_plain_degrees(self.degrees))
        self._read_found()
        for name in ("version", "function"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"raf.{name} must be a name, not {getattr(self, name)!r}")
        for name in ("residual", "trainable", "scaled"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"raf.{name} must be true or false, not {getattr(self, name)!r}")
        object.__setattr__(self, "layers", _to_plain_layers(self.layers))
        if not sites or not all(site in SITES for site in sites):
            close = suggest(next((site for site in sites if site not in SITES), ""), SITES)
            raise ValueError(f"raf.sites must be taken from {', '.join(SITES)}, not {list(sites)}{close}")
        check_degrees(self.degrees)
        check_version(self.version)
        if isinstance(self.init, str) and self.init not in (AUTO, DEFAULT):
            canonical_name(self.init)
        if isinstance(self.groups, bool) or not isinstance(self.groups, int) or self.groups < 1:
            raise ValueError(f"raf.groups must be a whole number from 1 on, not {self.groups!r}")
        self._check_function()
        object.__setattr__(self, "_layers", None if self.layers == "all" else _parse_layers(self.layers))
        if isinstance(self.shared, Mapping):
            shared = {name: _to_plain_layers(layers) for name, layers in self.shared.items()}
            object.__setattr__(self, "shared", shared)
            object.__setattr__(self, "_shared", {name: _parse_layers(shared[name]) for name in shared})
            for first, second in combinations(self._shared, 2):
                both = self._shared[first] & self._shared[second]
                if both:
                    raise ValueError(
                        f"raf.shared gives layer {min(both)} to {first!r} and {second!r}: name it once"
                    )
        elif self.shared is not False and self.shared not in ("all", "kind"):
            raise ValueError(
                'raf.shared must be false, "all", "kind" or a mapping of names to layers, not '
                f"{self.shared!r}"
            )
        inputs = [site for site in sites if site in INPUT_SITES]
        if inputs and self.degrees[0] < 1:
            raise ValueError(
                f"raf.degrees must be from (1, 0) on for {inputs[0]}, which starts as the identity, not "
                f"{self.degrees}"
            )

    @property
    def is_rational(self) -> bool:
        """Whether the learned functions are rational."""
        return self.function == RATIONAL

    def start(self, kind: str | None = None, layer: int | None = None) -> str | Start:
        """What functions of a kind of site start from; of any network's where it is None.

        Raises:
            ValueError: where an ``init`` of several functions leaves open which one it is.
        """
        if isinstance(self.init, str):
            return IDENTITY if kind in INPUT_SITES else self.init
        if kind is None and len(self._found) > 1:
            raise ValueError(f"raf.init has functions for {', '.join(self._found)}: give one of them alone")
        if kind is None:
            return next(iter(self._found.values())).start()
        found = self._found.get(f"{kind}.{layer}") or self._found.get(kind)
        return (IDENTITY if kind in INPUT_SITES else AUTO) if found is None else found.start()

    def has_found(self, act: LearnedActivation) -> bool:
        """Whether a function of a model started as one of those of ``init``."""
        return any(act.start == found.start() for found in self._found.values())

    def _read_found(self) -> None:
        """Take over the functions of ``init``, and what kind of function they are."""
        if isinstance(self.init, str) and is_found(self.init):
            found = read_functions(self.init).functions
        elif isinstance(self.init, Mapping):
            found = validate_functions(self.init)
        elif isinstance(self.init, str):
            return
        else:
            raise ValueError(
                f"raf.init must be a name, a file or functions by kind of site, not {self.init!r}"
            )
        parts = {name: name.partition(".") for name in found}
        for name, (site, dot, layer) in parts.items():
            if site not in SITES or (dot and not (site in LAYER_SITES and layer.isdecimal())):
                raise ValueError(
                    f"raf.init has a function for {name!r}, which is none of {', '.join(SITES)}, nor one of "
                    "them with a layer, as ffn.0"
                )
        if self.shared and any(dot for _, dot, _ in parts.values()):
            raise ValueError(
                "raf.init has functions of single layers, which raf.shared cannot share: leave it out"
            )
        object.__setattr__(self, "init", {kind: asdict(one) for kind, one in found.items()})
        object.__setattr__(self, "_found", found)
        first = next(iter(found.values()))
        own = dict(first.settings)
        kind: dict[str, Any] = {"function": first.function}
        if first.function == RATIONAL:
            kind |= {"degrees": tuple(own["degrees"]), "version": own["version"]}
        else:
            kind["settings"] = own
        defaults = {
            "function": RATIONAL,
            "degrees": RafConfig.degrees,
            "version": RafConfig.version,
            "settings": {},
        }
        for name, value in kind.items():
            given = getattr(self, name)
            if given not in (defaults[name], value):
                raise ValueError(
                    f"raf.{name} is {given!r}, and raf.init has functions with {value!r}: leave it out"
                )
            object.__setattr__(self, name, value)
        if self.residual:
            raise ValueError("raf.residual starts beside the function that was there: leave raf.init out")

    def make_function(self, **start: Any) -> LearnedActivation:
        """A function of another kind than the rational one.

        Args:
            start: ``init=…``, or nothing for what it starts from by itself; and ``dim``, the channels' axis.

        Raises:
            ValueError: for an unknown kind, settings that it does not have, or a start that it cannot have.
        """
        try:
            return make(self.function, groups=self.groups, **self.settings, **start)
        except TypeError as error:
            raise ValueError(f"raf.settings of {self.function}: {error}") from error

    def _check_function(self) -> None:
        if not isinstance(self.settings, Mapping):
            raise ValueError(f"raf.settings must be keys and values, not {self.settings!r}")
        object.__setattr__(self, "settings", dict(self.settings))
        if self.is_rational:
            if self.settings:
                raise ValueError(
                    f"raf.settings are those of other functions, not {self.settings}: a rational one has "
                    "raf.degrees and raf.version"
                )
            return
        for name in ("degrees", "version", "residual"):
            value = getattr(self, name)
            if value != getattr(RafConfig, name):
                raise ValueError(
                    f"raf.{name} is of rational functions, not of {self.function!r}: leave it out"
                )
        object.__setattr__(self, "scaled", False)
        act = self.make_function()
        if not act.is_elementwise and self.init != DEFAULT and not self._found:
            raise ValueError(
                f"raf.init of {self.function!r} must be {DEFAULT!r}, not {self.init!r}: it is not "
                "elementwise, and cannot follow another function"
            )
        settings = act.settings()
        del settings["groups"]
        unknown = [key for key in self.settings if key not in settings]
        if unknown:
            raise ValueError(
                f"raf.settings of {self.function} has no {unknown[0]!r}; it has "
                f"{', '.join(settings) or 'none'}"
            )
        object.__setattr__(self, "settings", settings)
        self._check_identity()

    def _check_identity(self) -> None:
        """Raise ``ValueError`` where functions before projections cannot start as the identity."""
        inputs = [site for site in self.sites if site in INPUT_SITES]
        if not inputs:
            return
        try:
            error = self.make_function(init="identity").start.max_error
        except ValueError:
            error = math.inf
        if error > MAX_IDENTITY_ERROR:
            raise ValueError(f"raf.sites: {self.function} cannot start as the identity before {inputs[0]}")

    def has_layer(self, layer: int | None) -> bool:
        """Whether the sites of a layer get RAFs."""
        return self._layers is None or layer in self._layers

    def missing_layers(self, stacks: Iterable[int]) -> list[int]:
        """The requested layers that no stack has, given the number of layers of each stack."""
        requested = (self._layers or frozenset()).union(*self._shared.values())
        return sorted(requested - set(range(max(stacks, default=0))))

    def owner(self, kind: str, layer: int | None) -> str | None:
        """The name of the RAF that a site of a layer shares with others, or None."""
        if self.shared == "all" or kind not in LAYER_SITES:
            return "all" if kind in LAYER_SITES else None
        if self.shared == "kind":
            return kind
        return next((f"{name}, {kind}" for name, layers in self._shared.items() if layer in layers), None)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RafConfig:
        """Build from the block of a ``config.json``; ``ValueError`` for an unknown key."""
        if not isinstance(values, Mapping):
            raise ValueError(f"the raf block holds keys and values, as {{}} does, not {values!r}")
        known = [key.name for key in fields(cls) if key.init]
        unknown = [key for key in values if key not in known]
        if unknown:
            suggestion = suggest(unknown[0], known)
            raise ValueError(
                f"unknown key {unknown[0]!r} in the raf block; known are {', '.join(known)}{suggestion}"
            )
        return cls(**values)

    @classmethod
    def of(cls, config: PreTrainedConfig) -> RafConfig | None:
        """The block of a model's configuration, or None for a model with fixed activations."""
        block = getattr(config, "raf", None)
        if block is None:
            return None
        return block if isinstance(block, cls) else cls.from_dict(block)

    def to_dict(self) -> dict[str, Any]:
        """The block of a ``config.json``."""
        values = {key: value for key, value in asdict(self).items() if not key.startswith("_")}
        return {key: _to_json(value) for key, value in values.items()}


def _to_plain_degrees(given: Any) -> Any:
    """Convert numbers of other libraries; other values are returned unchanged, to be refused."""
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        return given
    if any(isinstance(degree, bool) for degree in given):
        raise ValueError(f"raf.degrees must be two numbers, not {given!r}")
    return tuple(int(degree) if isinstance(degree, Integral) else degree for degree in given)


def _to_plain_layers(layers: Any) -> Layers:
    """Convert ranges, arrays and numbers of other libraries to JSON types; ``ValueError`` for others."""
    if isinstance(layers, str):
        return layers
    try:
        # one more than allowed is enough to refuse an endless range
        values = tuple(islice(layers, MAX_LAYERS + 1))
        if any(isinstance(layer, bool) for layer in values):
            raise TypeError("no numbers")
        numbers: Any = [layer if isinstance(layer, str) else operator.index(layer) for layer in values]
        return tuple(numbers)
    except TypeError as error:
        raise ValueError(LAYERS.format(reprlib.repr(layers))) from error


def _to_json(value: Any) -> Any:
    """Convert to what a JSON file gives back."""
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    return value if isinstance(value, (str, int, float)) else [_to_json(item) for item in value]


def _parse_layers(layers: Layers) -> frozenset[int]:
    """Parse ``"0-5,11"`` or ``[0, 11]``."""
    message = LAYERS.format(reprlib.repr(layers))
    parsed: set[int] = set()
    for part in layers.split(",") if isinstance(layers, str) else layers:
        ends = [end.strip() for end in str(part).split("-")]
        if len(ends) > 2 or not all(end.isdecimal() and len(end) <= len(str(MAX_LAYERS)) for end in ends):
            raise ValueError(message)
        numbers = [int(end) for end in ends]
        if not numbers[0] <= numbers[-1] < MAX_LAYERS:
            raise ValueError(message)
        parsed |= set(range(numbers[0], numbers[-1] + 1))
    if not parsed:
        raise ValueError(message)
    return frozenset(parsed)
