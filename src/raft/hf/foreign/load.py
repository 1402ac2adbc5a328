"""Load checkpoints of others: modules of ``rational_activations``, and models of the paper's code.

Both keep a RAF as ``numerator`` ``[m + 1]`` and ``denominator`` ``[n]``, lowest power first, as here; only
the denominator of version C differs. Nothing is guessed: an unknown name is an error, and tensors that are
left out are listed with the reason.
"""

from __future__ import annotations

import json
import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from raft.coefficients import Fit
from raft.coefficients.fitting import MAX_DEGREE
from raft.coefficients.functions import ALIASES, FUNCTIONS
from raft.errors import InputError, first_line
from raft.functional import check_version
from raft.hf.foreign import official
from raft.modules import Rational
from raft.networks.config import RafConfig

LAYOUTS = ("official", "rational_activations")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Files of weights in a checkpoint's folder, in order of preference."""

UNUSED = ((r"(?:.*\.)?embeddings\.(position|token_type)_ids", "a buffer that the model makes itself"),)


@dataclass(frozen=True)
class ConvertedCheckpoint:
    """A checkpoint with the names of ``transformers``' BERT and this package.

    Attributes:
        state: the tensors. Coefficients are float32; the others are those of the source, not copies.
        config: values for ``BertConfig``, as far as they are known: the ``raf`` block (None for fixed
            activations), sizes, dropout; in the official layout also ``deepnorm`` (if its configuration is
            known) and ``embedding_layer_norm``. A plain BERT has no DeepNorm and always normalises its
            embeddings, so it is equal to the official model only where these are False and True. Empty for a
            ``rational_activations`` model whose RAFs are not where BERT's activations are.
        left_out: names of the source without a counterpart in ``state``, with the reason.
    """

    state: dict[str, Tensor]
    config: dict[str, Any]
    left_out: dict[str, str]


def rational_from_state(state: Mapping[str, Tensor], prefix: str = "", version: str = "A") -> Rational:
    """Build a module from the state of one ``rational_activations`` module.

    Args:
        state: a state dict, of the module or of a model around it.
        prefix: path of the module in the model, such as ``"encoder.act"``.
        version: the letter that the module was made with, which a state dict does not hold. ``"N"`` also for
            a ``RationalNonSafe``.

    Returns:
        A :class:`raft.Rational` with these coefficients, numerator ``[m + 1]`` and denominator ``[n]``. They
        are its ``start`` too, whose errors are nan.

    Raises:
        ValueError: where the prefix is not that of one such module (an ``AugmentedRational`` and an
            ``EmbeddedRational`` are not one rational function of their input); for coefficients that are not
            finite vectors of possible degrees; or for a version C with a constant in its denominator, which
            version C does not have here.

    Source: github.com/ml-research/rational_activations, ``rational/torch``.

    Example::

        >>> import torch, raft
        >>> from raft.hf import rational_from_state
        >>> theirs = {"act.numerator": torch.tensor([0.0, 1.0]), "act.denominator": torch.tensor([1.0])}
        >>> rational_from_state(theirs, "act")(torch.tensor([2.0])).detach()
        tensor([0.6667])
    """
    check_version(version)
    prefix = prefix if not prefix or prefix.endswith(".") else f"{prefix}."
    entries = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    plain = {_plain_name(name, version): _as_tensor(value, prefix + name) for name, value in entries.items()}
    has_doubles = len(plain) < len(entries)
    _undo_raf_form(plain, "", version, prefix)
    if sorted(plain) != ["denominator", "numerator"] or has_doubles:
        names = ", ".join(sorted(entries)[:6]) or "nothing"
        raise InputError(f"{prefix or 'the state'} must hold numerator and denominator alone, not {names}")
    numerator, denominator = _convert_pair(plain["numerator"], plain["denominator"], version, prefix)
    start = Fit(
        numerator=tuple(numerator.tolist()),
        denominator=tuple(denominator.tolist()),
        version=version,
        interval=(math.nan, math.nan),
        max_error=math.nan,
        rms_error=math.nan,
    )
    return Rational(start, start.degrees, version)


def convert_checkpoint(
    state: Mapping[str, Tensor],
    layout: str = "official",
    version: str = "A",
    prefix: str = "",
    config: Mapping[str, Any] | None = None,
) -> ConvertedCheckpoint:
    """Rename the tensors of a state dict to the names of ``transformers``' BERT with RAFs.

    The layout ``"rational_activations"`` is that of any model whose activations are modules of that package:
    names are kept, and coefficients are converted to the form of this package. (The official repository has
    such models too: Hugging Face's BERT and RoBERTa with RAFs.)

    Args:
        state: whole state dict of a model.
        layout: ``"official"`` or ``"rational_activations"``.
        version: the RAFs' version; the official models' is A.
        prefix: of every name, which is removed, such as ``"module."``.
        config: the model's ``config.json``, for the official layout.

    Raises:
        ValueError: for an unknown layout; for names, listed, that do not belong to the layout; for
            coefficients as in :func:`rational_from_state`; for RAFs in some of the feed-forward layers only,
            or of different degrees; for an official model that is not post-LN, or that has DeepNorm and not
            12 layers (its code takes the α of 12 in any case).

    Source: github.com/UKPLab/2022-RAFT, ``transformers_modified/modeling.py``.

    Example::

        from transformers import BertForSequenceClassification, BertConfig
        converted = convert_checkpoint(torch.load("pytorch_model.bin", weights_only=True), config=values)
        model = BertForSequenceClassification.from_pretrained(
            None, config=BertConfig(**converted.config), state_dict=converted.state
        )
    """
    check_version(version)
    if layout not in LAYOUTS:
        raise InputError(f"layout must be one of {', '.join(LAYOUTS)}, not {layout!r}")
    if layout == "official" and version != "A":
        raise InputError(f"RAFs of the official layout are of version A, not {version!r}")
    left_out: dict[str, str] = {}
    named = {}
    for name, value in state.items():
        if name.startswith(prefix):
            named[name.removeprefix(prefix)] = _as_tensor(value, name)
        else:
            left_out[name] = f"outside of the prefix {prefix!r}"
    if not named:
        raise InputError(f"no entry begins with {prefix!r}" if state else "the state dict is empty")

    unused = UNUSED + official.UNUSED if layout == "official" else UNUSED
    reasons = {name: _find_reason(name, unused) for name in named}
    left_out |= {prefix + name: reason for name, reason in reasons.items() if reason is not None}
    kept = {name: value for name, value in named.items() if reasons[name] is None}
    if layout == "official":
        converted = _rename(kept, {name: official.bert_name(name) for name in kept})
        official.complete_head(converted)
    else:
        converted = _rename(kept, {name: _plain_name(name, version) for name in kept})
    has_rationals = _convert_rationals(converted, version)
    if layout == "rational_activations" and not has_rationals:
        raise InputError("the state dict holds no numerator and denominator")
    values = official.bert_config(converted, config or {}) if layout == "official" else {}
    raf = _raf_block(converted, version, config or {})
    if layout == "official" or raf is not None:
        values["raf"] = raf
    return ConvertedCheckpoint(converted, values, left_out)


def read_checkpoint(
    path: str | Path, layout: str = "official", version: str = "A", prefix: str = ""
) -> ConvertedCheckpoint:
    """Read a checkpoint from disk and convert it, see :func:`convert_checkpoint`.

    A ``config.json`` in the same folder is read. No code in a file is run: files are ``.safetensors``, or are
    read by ``torch.load`` with ``weights_only=True``.

    Args:
        path: a file of weights, or a folder with ``model.safetensors`` or ``pytorch_model.bin``.
        layout: see :func:`convert_checkpoint`.
        version: see :func:`convert_checkpoint`.
        prefix: see :func:`convert_checkpoint`.

    Raises:
        ValueError: where there are no weights or a file cannot be read; or as :func:`convert_checkpoint`.
    """
    path = Path(path)
    file = next((path / name for name in WEIGHTS if (path / name).is_file()), path)
    if not file.is_file():
        raise InputError(f"{path} is neither a file of weights nor a folder with {' or '.join(WEIGHTS)}")
    config: Any = None
    config_file = file.parent / "config.json"
    if config_file.is_file():
        try:
            config = json.loads(config_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{config_file} is not JSON: {error}") from error
        if not isinstance(config, dict):
            raise InputError(f"{config_file} must hold an object, not a {type(config).__name__}")
    return convert_checkpoint(_read_state(file), layout, version, prefix, config)


def _read_state(file: Path) -> Mapping[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, SafetensorError) as error:
        raise InputError(f"{file} cannot be read as weights: {first_line(error)}") from error
    if not isinstance(state, Mapping):
        raise InputError(f"{file} holds a {type(state).__name__}, not a state dict")
    return state


def _as_tensor(value: Any, name: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise InputError(
            f"{name} is a {type(value).__name__}, not a tensor; is the state dict one level deeper?"
        )
    return value.detach()


def _find_reason(name: str, unused: tuple[tuple[str, str], ...]) -> str | None:
    return next((reason for pattern, reason in unused if re.fullmatch(pattern, name)), None)


def _plain_name(name: str, version: str) -> str:
    """Rename ``weight_numerator`` of the first releases, whose B and C were \\|1 + Σ\\| and \\|0.1 + Σ\\|."""
    plain = re.sub(r"(^|\.)weight_(numerator|denominator)$", r"\1\2", name)
    if plain != name and version != "A":
        raise InputError(
            f"{name} is named as in the first releases of rational_activations, whose version {version} had "
            "another formula; only version A can be converted"
        )
    return plain


def _rename(state: dict[str, Tensor], names: Mapping[str, str | None]) -> dict[str, Tensor]:
    unknown = [name for name in state if names[name] is None]
    if unknown:
        more = f" and {len(unknown) - 6} more" if len(unknown) > 6 else ""
        raise InputError(f"the official layout has no {', '.join(unknown[:6])}{more}")
    converted: dict[str, Tensor] = {}
    for name, value in state.items():
        target = names[name] or name
        if target in converted:
            raise InputError(f"two entries stand for {target}, one of them {name}")
        converted[target] = value
    return converted


def _convert_rationals(state: dict[str, Tensor], version: str) -> bool:
    """Convert all coefficients to the form of this package, in place; return whether there are any."""
    matches = [re.fullmatch(r"(|.*\.)(numerator|denominator)", name) for name in state]
    prefixes = list(dict.fromkeys(match[1] for match in matches if match))
    for prefix in prefixes:
        numerator, denominator = f"{prefix}numerator", f"{prefix}denominator"
        for name in (numerator, denominator):
            if name not in state:
                raise InputError(f"{prefix or 'the state'} has no {name.removeprefix(prefix)}")
        _undo_raf_form(state, prefix, version, prefix)
        state[numerator], state[denominator] = _convert_pair(
            state[numerator], state[denominator], version, prefix
        )
    return bool(prefixes)


def _undo_raf_form(state: dict[str, Tensor], prefix: str, version: str, name: str) -> None:
    """Replace coefficients that this package saved, with their form and units, by plain ones."""
    form = state.pop(f"{prefix}raf_form", None)
    if form is not None:
        try:
            scales = [f"{prefix}{part}_scale" in state for part in ("numerator", "denominator")]
            Rational(version=version).check_form(form, name.rstrip(".") or "the state", all(scales))
        except ValueError as error:
            raise InputError(str(error)) from error
    for part in (f"{prefix}numerator", f"{prefix}denominator"):
        scale = state.pop(f"{part}_scale", None)
        if scale is not None and part in state:
            state[part] = state[part] * scale


def _convert_pair(numerator: Tensor, denominator: Tensor, version: str, prefix: str) -> tuple[Tensor, Tensor]:
    """Convert to float32 vectors of this package; version C of others is 0.1 + \\|b_0 + b_1 x + …\\|."""
    for name, values in (("numerator", numerator), ("denominator", denominator)):
        if values.dim() != 1 or not values.is_floating_point() or not torch.isfinite(values).all():
            raise InputError(
                f"{prefix}{name} must be a vector of finite floating numbers, not {values.dtype} "
                f"of shape {list(values.shape)}"
            )
    if version == "C":
        if denominator.shape[0] == 0 or denominator[0] != 0:
            constant = (
                "no constant" if denominator.shape[0] == 0 else f"the constant {float(denominator[0]):.6g}"
            )
            raise InputError(
                f"{prefix}denominator has {constant}: version C of rational_activations is "
                "0.1 + |b_0 + b_1 x + …|, while here it begins with b_1, so only b_0 = 0 can be converted"
            )
        denominator = denominator[1:]
    if not 1 <= numerator.shape[0] <= MAX_DEGREE + 1 or denominator.shape[0] > MAX_DEGREE:
        raise InputError(
            f"{prefix}numerator and denominator have {numerator.shape[0]} and {denominator.shape[0]} "
            f"numbers; degrees must be from 0 to {MAX_DEGREE}"
        )
    # clones, so that training the model does not change the caller's tensors
    return (
        numerator.detach().to(torch.float32).clone(),
        denominator.detach().to(torch.float32).clone(),
    )


def _raf_block(state: Mapping[str, Tensor], version: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The block that builds these RAFs; None where none is at one of BERT's sites."""
    ffn = r"(?:.*\.|)encoder\.layer\.(\d+)\.intermediate\.intermediate_act_fn"
    pooler = r"(?:.*\.|)pooler\.activation"
    paths = [name.removesuffix(".numerator") for name in state if name.endswith(".numerator")]
    rational = {int(match[1]) for path in paths if (match := re.fullmatch(ffn, path))}
    poolers = [path for path in paths if re.fullmatch(pooler, path)]
    if not rational and not poolers:
        return None
    if rational and rational != official.encoder_layers(state):
        raise InputError(
            f"RAFs sit in the feed-forward layers {', '.join(map(str, sorted(rational)))} of "
            f"{len(official.encoder_layers(state))}; a model has them in all or none"
        )
    sized = [path for path in paths if re.fullmatch(f"{ffn}|{pooler}", path)]
    degrees = {(len(state[f"{p}.numerator"]) - 1, len(state[f"{p}.denominator"])) for p in sized}
    if len(degrees) > 1:
        raise InputError(
            f"all RAFs of a model have the same degrees, not {', '.join(map(str, sorted(degrees)))}"
        )
    # what the RAFs started from only matters for a pooler that is added later
    init = config.get("approx_func")
    return RafConfig(
        sites=[site for site, layers in (("ffn", rational), ("pooler", poolers)) if layers],
        degrees=degrees.pop(),
        version=version,
        init=init if init in (*FUNCTIONS, *ALIASES) else "auto",
    ).to_dict()
