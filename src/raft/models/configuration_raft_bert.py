"""Configuration of the paper's encoder: BERT with DeepNorm residuals and rational activations."""

from __future__ import annotations

import copy
from dataclasses import field, fields
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import BertConfig

from raft.hf.saving.saved_config import unmark
from raft.networks.config import RafConfig

RANDOM, NEIGHBOURS = "random", "neighbours"
ATTENTION_INITS = (RANDOM, NEIGHBOURS)
MIN_HEAD_WIDTH = 16
"""For attention to neighbours: with fewer waves no position stands out."""


@strict
class RaftBertConfig(BertConfig):
    """The model of Fang et al.: BERT's sizes, DeepNorm, RAFs in every feed-forward layer and in the pooler.

    From the ``config.json`` of a BERT checkpoint it has no DeepNorm, and fixed activations unless there is a
    ``raf`` block.

    Attributes:
        deepnorm: scale residuals and initial weights by the number of layers; False is BERT's post-LN.
        attention_init: initial weights of the attention: ``"random"`` as in BERT and the paper, or
            ``"neighbours"``: each head attends to one neighbour (see ``raft.models.neighbours``), so that
            small models avoid the initial plateau of masked language modelling.
        gated: a second projection gates the feed-forward layers, ``down(act(gate(x)) * up(x))``: SwiGLU with
            ``hidden_act="silu"``, GEGLU with ``"gelu"``, ReGLU with ``"relu"``. ``intermediate_size`` stays
            the width of layers without gates, and these get :attr:`feed_forward_width`, about two thirds of
            it, for an equal number of parameters.
        embedding_layer_norm: normalise the sum of the embeddings, as BERT does; the official code does not.
        raf: the block of :class:`raft.RafConfig`. Without ``init``, every RAF starts from GELU, the pooler's
            too, as in the paper. None is the FAFT: ``hidden_act`` in the layers, tanh in the pooler.

    Raises:
        ValueError: for a decoder; for an unknown ``attention_init``; and for neighbours without normalised
            embeddings, or with heads of odd width or narrower than 16.

    Source: Fang et al., "Transformers with Learnable Activation Functions", Findings of EACL 2023;
    Wang et al., "DeepNet: Scaling Transformers to 1,000 Layers", 2022, figure 2; gates: Shazeer, "GLU
    Variants Improve Transformer", 2020.

    Example::

        >>> from raft.models import RaftBertConfig
        >>> RaftBertConfig().raf
        {'init': 'gelu'}
        >>> round(RaftBertConfig().residual_scale, 3)
        2.213
        >>> RaftBertConfig(hidden_act="silu", gated=True, raf=None).feed_forward_width
        2048
    """

    model_type = "raft_bert"

    use_cache: bool = False  # an encoder has no cache; True only makes gradient checkpointing warn
    deepnorm: bool = True
    gated: bool = False
    embedding_layer_norm: bool = True
    attention_init: str = "random"
    raf: dict[str, Any] | RafConfig | None = field(default_factory=dict)

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.is_decoder or self.add_cross_attention:
            raise ValueError("RaftBert is an encoder; is_decoder and add_cross_attention must be False")
        if self.attention_init not in ATTENTION_INITS:
            raise ValueError(
                f"attention_init must be one of {', '.join(ATTENTION_INITS)}, not {self.attention_init!r}"
            )
        if self.attention_init == NEIGHBOURS:
            if not self.embedding_layer_norm:
                raise ValueError("attention_init 'neighbours' needs embedding_layer_norm")
            width = self.hidden_size // self.num_attention_heads
            if width % 2 or width < MIN_HEAD_WIDTH:
                raise ValueError(
                    f"attention_init 'neighbours' needs heads of an even width from {MIN_HEAD_WIDTH} on, "
                    f"not {width}"
                )
        if isinstance(self.raf, RafConfig):
            self.raf = self.raf.to_dict()
        elif self.raf is not None:
            self.raf = {"init": "gelu", **self.raf}

    @property
    def residual_scale(self) -> float:
        """α in LayerNorm(αx + f(x)): (2N)^¼ for N layers, 1 without DeepNorm."""
        return (2 * self.num_hidden_layers) ** 0.25 if self.deepnorm else 1.0

    @property
    def xavier_gain(self) -> float:
        """β, DeepNorm's gain on value, attention output and feed-forward weights: (8N)^-¼ for N layers."""
        return float((8 * self.num_hidden_layers) ** -0.25)

    @property
    def feed_forward_width(self) -> int:
        """Channels between the projections of a feed-forward layer."""
        return gated_width(self.hidden_size, self.intermediate_size) if self.gated else self.intermediate_size

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read a ``config.json``, that of a BERT as a RaftBert's; return it and the unused arguments."""
        values, unused = super().get_config_dict(*args, **kwargs)
        if values.get("model_type") == "bert":
            values = {"deepnorm": False, "raf": None, **values, "model_type": cls.model_type}
        return values, unused

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build from the contents of a ``config.json``; ``kwargs`` take precedence."""
        # the base class sets these on the finished configuration, past __post_init__
        names = {key.name for key in fields(cls)}
        given: dict[str, Any] = {key: kwargs.pop(key) for key in [*kwargs] if key in names}
        config_dict = copy.deepcopy(config_dict)
        unmark(config_dict)  # a given block would lack the originals of the file's fields
        return super().from_dict({**config_dict, **given}, **kwargs)


def gated_width(hidden_size: int, intermediate_size: int) -> int:
    """Width of gated feed-forward layers that have as many parameters as plain ones of ``intermediate_size``.

    With biases, a plain layer has 2df + f + d parameters and a gated one of width w has 3dw + 2w + d. The
    nearest w leaves a difference of at most (3d + 2)/2 a layer.
    """
    return max(1, round(intermediate_size * (2 * hidden_size + 1) / (3 * hidden_size + 2)))
