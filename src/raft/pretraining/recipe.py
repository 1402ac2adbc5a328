"""What is pretrained, and on which text: one dataclass behind the recipe's file, the flags and the docs.

``RaftTrainingArguments``, in the same file, say how it is trained: rates, steps, precision.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from transformers import PreTrainedConfig, PreTrainedTokenizerFast

from raft.bounds import check_numbers
from raft.data.text.tokens import CLM, MLM, OBJECTIVES, id_range
from raft.errors import InputError
from raft.files import validate
from raft.functions import FixedGainRational, make, set_gain
from raft.functions.found import FoundFunction, is_found
from raft.hf.fixed_activations import check_fixed_activation
from raft.models import RaftBertConfig
from raft.models.configuration_raft_bert import (
    ATTENTION_INITS,
    MIN_HEAD_WIDTH,
    NEIGHBOURS,
    gated_width,
)
from raft.modules import Rational
from raft.networks.build import DEFAULT_START
from raft.networks.config import AUTO, DEFAULT, DEFAULT_SITES, INPUT_SITES, RATIONAL, SITES, RafConfig
from raft.pretraining.architectures import (
    DEFAULT_ARCHITECTURES,
    OWN,
    build_config,
    check_architecture,
    check_builds,
)
from raft.pretraining.variants import (
    LEARNED,
    MODEL_SETTINGS,
    RAF,
    TRAINING_SETTINGS,
    is_learned,
    learned_function,
    parse_activation,
    parse_settings,
    parse_variants,
    split_gate,
)
from raft.pretraining.zero_shot import parse_tests

TRAIN_TOKENIZER = "train"
DEFAULT_TOKENIZERS = {MLM: "google-bert/bert-base-uncased", CLM: "openai-community/gpt2"}

OF_OWN = (
    "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "max_position_embeddings",
    "dropout", "deepnorm", "initializer_range", "attention_init",
)  # fmt: skip
"""Options of the paper's encoder."""


@dataclass
class PretrainingRecipe:
    """A language model and its text; the defaults are the paper's."""

    objective: str = field(
        default=MLM,
        metadata={"help": "mlm (masked language model) or clm (causal)."},
    )
    architecture: str | None = field(
        default=None,
        metadata={
            "help": f"Any model type of transformers. By default {OWN}, the paper's encoder, and for clm "
            f"{DEFAULT_ARCHITECTURES[CLM]}."
        },
    )
    model: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Fields of its configuration, as JSON; for other types than raft_bert."},
    )

    corpus: str = field(
        default="wikimedia/wikipedia:20231101.en",
        metadata={
            "help": "Texts: a file or folder of parquet, jsonl or txt, a hub dataset (owner/name or "
            "owner/name:configuration), or 'pydocs', the docstrings of installed packages."
        },
    )
    text_column: str = field(default="text", metadata={"help": "Column of the corpus that holds the text."})
    streaming: bool = field(
        default=False, metadata={"help": "Read a hub dataset as a stream, and keep what was read."}
    )
    tokenizer: str | None = field(
        default=None,
        metadata={
            "help": "A hub name or a folder, or 'train', to train one on the corpus. BERT's "
            "by default, GPT-2's for clm."
        },
    )
    vocab_size: int = field(default=30522, metadata={"help": "Size of a trained vocabulary."})
    sequence_length: int = field(default=128, metadata={"help": "Tokens of a sequence."})
    mlm_probability: float = field(default=0.15, metadata={"help": "Share of the tokens that is predicted."})
    attention_within_documents: bool = field(
        default=False, metadata={"help": "Let no token of a clm see those of documents before its own."}
    )
    max_documents: int | None = field(default=None, metadata={"help": "Read no more documents than this."})
    validation_sequences: int = field(
        default=50_000, metadata={"help": "Held-out sequences that are evaluated, at most."}
    )

    activation: str = field(
        default=RAF,
        metadata={
            "help": "raf, fixed_gain, xielu, prelu, swish, polynorm or spline; a fixed one, such as gelu, "
            "relu2 or any of transformers' ACT2FN; in gated layers raf_glu, swiglu, geglu or reglu."
        },
    )
    raf_init: str | None = field(
        default=None,
        metadata={
            "help": "What learned functions start from: a fixed function, a file of 'raft discover', or "
            "wave; by default gelu for raf, for the others what their sources have."
        },
    )
    raf_gain: float | None = field(
        default=None,
        metadata={
            "help": "Scale the start of feed-forward layers to this gain, the root mean square over standard "
            "normal inputs; GELU's is 0.65. Of raf and fixed_gain."
        },
    )
    raf_settings: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Settings of another learned function than raf, as JSON: '{\"knots\": 33}'."},
    )
    degrees: list[int] = field(
        default_factory=lambda: [5, 4], metadata={"help": "Degrees of numerator and denominator."}
    )
    version: str = field(default="A", metadata={"help": "Form of the denominator: A, B, C, D or N."})
    raf_groups: int = field(
        default=1, metadata={"help": "Groups of channels that have coefficients of their own."}
    )
    raf_sites: list[str] = field(
        default_factory=lambda: list(DEFAULT_SITES),
        metadata={"help": f"Where the RAFs are, from {', '.join(SITES)}. Inputs start as the identity."},
    )
    raf_shared: str | None = field(
        default=None,
        metadata={
            "help": "'all' gives all places in layers that start alike one RAF, 'kind' those of a kind; none "
            "is shared by default."
        },
    )

    num_hidden_layers: int = field(default=12, metadata={"help": "Layers of the encoder."})
    hidden_size: int = field(default=768, metadata={"help": "Width of the encoder."})
    num_attention_heads: int = field(default=12, metadata={"help": "Attention heads of a layer."})
    intermediate_size: int | None = field(
        default=None,
        metadata={
            "help": "Width of the feed-forward layers; 4 times the encoder's by default. Gated ones get as "
            "many parameters as these."
        },
    )
    max_position_embeddings: int = field(default=512, metadata={"help": "Longest sequence of the model."})
    dropout: float = field(default=0.1, metadata={"help": "Dropout of hidden states and attention."})
    deepnorm: bool = field(default=True, metadata={"help": "DeepNorm residuals; without it BERT's own."})
    initializer_range: float = field(
        default=0.02, metadata={"help": "Standard deviation of initial weights that DeepNorm does not set."}
    )

    attention_init: str = field(
        default="random",
        metadata={
            "help": "What attention begins with: 'random', as in the paper, or 'neighbours', with which "
            "small models leave the plateau at the start within minutes."
        },
    )

    global_batch_size: int = field(
        default=4096,
        metadata={"help": "Sequences of a step, of all processes."},
    )
    snapshot_steps: int = field(default=250, metadata={"help": "Keep the RAFs' coefficients every N steps."})
    evaluate: str | None = field(
        default=None,
        metadata={"help": "Minimal pairs to test on: blimp,zorro or blimp=FOLDER."},
    )
    evaluate_items: int | None = field(
        default=None, metadata={"help": "Pairs of each paradigm that are tested; all by default."}
    )
    evaluate_along: int = field(
        default=0, metadata={"help": "Pairs of each paradigm that are tested at each validation, too."}
    )
    compare: str | None = field(
        default=None,
        metadata={
            "help": "Activations to compare on the same batches, such as raf,gelu,raf:version=B. After "
            f"colons: {', '.join([*MODEL_SETTINGS, *TRAINING_SETTINGS])}."
        },
    )
    seeds: int = field(
        default=1,
        metadata={"help": "Runs of each, from --seed on."},
    )

    def check(self) -> None:
        """Raise ``InputError`` for a value that cannot work, before anything is read or trained."""
        check_numbers(self)
        parse_tests(self.evaluate)
        for name in ("evaluate_items", "evaluate_along"):
            if getattr(self, name) and not self.evaluate:
                raise InputError(f"--{name} is of minimal pairs: give --evaluate, too")
        self._check_model()
        compared = [] if self.compare is None else self.variants()
        for recipe in [self.variant(name) for name in compared] or [self]:
            function, is_gated = split_gate(recipe.activation)
            try:
                if learned_function(recipe.activation) is not None:
                    block = RafConfig.from_dict(recipe.raf_block())
                    if block.init == AUTO:
                        raise InputError("--raf_init names a function: a new model had none before")
                else:
                    check_fixed_activation(function, others=LEARNED)
            except ValueError as error:
                raise InputError(str(error)) from error
            if self.is_own:
                recipe._check_widths(is_gated)
            elif is_gated:
                raise InputError(
                    f"--activation {recipe.activation} is for {OWN}: whether there are gates is up to the "
                    f"architecture, so name the function of {self.model_type} alone"
                )
            else:
                check_builds(
                    recipe.model_config(recipe.activation, None), self.objective, self.sequence_length
                )
        if self.is_own:
            self._check_own()

    def _check_model(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InputError(f"--objective must be one of {', '.join(OBJECTIVES)}, not {self.objective!r}")
        if self.attention_within_documents and self.objective != CLM:
            raise InputError("--attention_within_documents is for --objective clm")
        check_architecture(self.model_type, self.objective, {} if self.is_own else self.model_fields)
        if self.is_own and self.model:
            raise InputError(f"--model is for other architectures; {OWN} has options, such as --hidden_size")
        defaults = {one.name: one.default for one in fields(self)}
        changed = [name for name in OF_OWN if getattr(self, name) != defaults[name]]
        if changed and not self.is_own:
            raise InputError(
                f"--{changed[0]} is an option of {OWN}: give {self.model_type} the fields of its "
                "configuration by --model"
            )

    def _check_widths(self, is_gated: bool) -> None:
        widths = [self.hidden_size, self.intermediate_size or 4 * self.hidden_size]
        if is_gated:
            widths[1] = gated_width(*widths)
        if is_learned(self.activation) and any(width % self.raf_groups for width in widths):
            raise InputError(
                f"--raf_groups {self.raf_groups} must divide --hidden_size, {widths[0]}, and the width "
                f"of feed-forward layers, {widths[1]}"
            )

    def _check_own(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"--hidden_size {self.hidden_size} must be a multiple of --num_attention_heads, "
                f"{self.num_attention_heads}"
            )
        if self.attention_init not in ATTENTION_INITS:
            raise InputError(
                f"--attention_init must be one of {', '.join(ATTENTION_INITS)}, not {self.attention_init!r}"
            )
        width = self.hidden_size // self.num_attention_heads
        if self.attention_init == NEIGHBOURS and (width % 2 or width < MIN_HEAD_WIDTH):
            raise InputError(
                f"--attention_init neighbours needs heads of an even width from {MIN_HEAD_WIDTH} on, "
                f"not {width}"
            )
        if self.sequence_length > self.max_position_embeddings:
            raise InputError(
                f"--sequence_length must be at most --max_position_embeddings, "
                f"{self.max_position_embeddings}, not {self.sequence_length}"
            )

    def variants(self) -> list[str]:
        """Names of what is trained: activations, with settings of their own after a colon."""
        return [self.activation] if self.compare is None else parse_variants(self.compare)

    def variant(self, name: str) -> PretrainingRecipe:
        """The recipe of one variant's run."""
        changed = {key: value for key, value in parse_settings(name).items() if key not in TRAINING_SETTINGS}
        return replace(self, activation=parse_activation(name), compare=None, seeds=1, **changed)

    def raf_block(self) -> dict[str, Any]:
        """The ``raf`` block of a RAFT.

        Raises:
            InputError: for settings that are no JSON, or given for rational functions.
        """
        function = learned_function(self.activation)
        of_function: dict[str, Any] = {"degrees": list(self.degrees), "version": self.version}
        if function == RATIONAL and self.raf_settings:
            raise InputError("--raf_settings are those of other learned functions than raf")
        if function != RATIONAL:
            of_function = {
                "function": function,
                "settings": _read_object(self.raf_settings, "--raf_settings"),
            }
        init = self.raf_init or (DEFAULT_START if function == RATIONAL else DEFAULT)
        return {
            "init": init if self.raf_gain is None else self._scale_start(function, init, self.raf_gain),
            **of_function,
            "groups": self.raf_groups,
            "sites": list(self.raf_sites),
            **({"shared": self.raf_shared} if self.raf_shared else {}),
        }

    def _scale_start(self, function: str | None, init: str, gain: float) -> dict[str, Any]:
        """``raf.init`` of a start that is scaled to a gain."""
        if is_found(init):
            raise InputError(f"--raf_gain scales a function with a name, and --raf_init is {init}")
        if function not in (RATIONAL, FixedGainRational.name):
            raise InputError(f"--raf_gain is of raf and fixed_gain, not of {function}")
        if "ffn" not in self.raf_sites:
            raise InputError("--raf_gain is of feed-forward layers: give --raf_sites ffn, or leave it out")
        form = {"degrees": tuple(self.degrees), "version": self.version} if function == RATIONAL else {}
        act = make(function, init=None if init == DEFAULT else init, **form)
        assert isinstance(act, (Rational, FixedGainRational))
        others = set(self.raf_sites) - {"ffn", *INPUT_SITES}
        starts = {site: asdict(FoundFunction.of(act)) for site in sorted(others)}
        set_gain(act, gain)
        return {"ffn": asdict(FoundFunction.of(act)), **starts}

    @property
    def model_type(self) -> str:
        """Of ``transformers``."""
        return self.architecture or DEFAULT_ARCHITECTURES[self.objective]

    @property
    def is_own(self) -> bool:
        """Whether the model is the paper's encoder."""
        return self.model_type == OWN

    @property
    def model_fields(self) -> dict[str, Any]:
        """Fields of the configuration of another architecture.

        Raises:
            InputError: for what is no JSON object.
        """
        return _read_object(self.model, "--model")

    def model_config(self, activation: str, tokenizer: PreTrainedTokenizerFast | None) -> PreTrainedConfig:
        """Configuration of one variant; they differ in the ``raf`` block, the fixed function, or in gates.

        Args:
            activation: of the variant.
            tokenizer: of the text; without it, the vocabulary has the recipe's size.
        """
        function, is_gated = split_gate(activation)
        raf = self.raf_block() if is_learned(activation) else None
        vocab_size = self.vocab_size if tokenizer is None else id_range(tokenizer)
        if not self.is_own:
            fixed = function if raf is None else None
            return build_config(self.model_type, self.model_fields, fixed, raf, tokenizer, vocab_size)
        return RaftBertConfig(
            vocab_size=vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=self.intermediate_size or 4 * self.hidden_size,
            hidden_act=DEFAULT_START if raf else function,
            max_position_embeddings=self.max_position_embeddings,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            initializer_range=self.initializer_range,
            pad_token_id=getattr(tokenizer, "pad_token_id", None),
            deepnorm=self.deepnorm,
            gated=is_gated,
            attention_init=self.attention_init,
            raf=raf,
        )

    def accumulation(self, per_device: int, processes: int) -> int:
        """Batches that each process accumulates, so that the global batch is the recipe's.

        Raises:
            InputError: where it cannot be divided so.
        """
        at_once = per_device * processes
        if self.global_batch_size % at_once:
            raise InputError(
                f"--global_batch_size {self.global_batch_size} is no multiple of "
                f"--per_device_train_batch_size {per_device} times {processes} processes"
            )
        return self.global_batch_size // at_once


def effective_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a recipe without those that have no effect with its objective and architecture."""
    objective = options.get("objective", MLM)
    is_own = (options.get("architecture") or DEFAULT_ARCHITECTURES.get(objective)) == OWN
    left_out = [*(() if is_own else OF_OWN), *(() if objective == MLM else ["mlm_probability"])]
    return {name: value for name, value in options.items() if name not in left_out}


def _read_object(value: dict[str, Any] | str | None, option: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    try:
        return validate(json.loads(value or "{}"), dict[str, Any])
    except ValueError as error:
        raise InputError(f"{option} {value} is no JSON object: {error}") from error
