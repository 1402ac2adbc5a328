"""The paper's encoder: BERT with DeepNorm's residuals, and an MLM head for the masked positions only.

Everything else is BERT's, and so are the names of the parameters: a BERT checkpoint loads. ``raft.hf``
replaces the fixed activations by rational ones, as in every other model.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
    BertPreTrainedModel,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_outputs import MaskedLMOutput
from transformers.models.bert.modeling_bert import (
    BertEmbeddings,
    BertEncoder,
    BertLayer,
    BertOnlyMLMHead,
    BertOutput,
    BertPooler,
    BertSelfOutput,
)
from transformers.utils.generic import can_return_tuple

from raft.gated import gated_product
from raft.models.configuration_raft_bert import NEIGHBOURS, RaftBertConfig
from raft.models.neighbours import key_weight, position_waves, query_weight

IGNORE_INDEX = -100
"""Label of positions that do not enter the loss."""


class ScaledResidual(nn.Module):
    """LayerNorm(αx + f(x)) where BERT has LayerNorm(x + f(x)); Wang et al., "DeepNet", 2022."""

    dense: nn.Linear
    dropout: nn.Dropout
    LayerNorm: nn.LayerNorm

    def __init__(self, config: RaftBertConfig) -> None:
        super().__init__(config)
        self.residual_scale = config.residual_scale

    def forward(self, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
        """Apply the last projection of a sublayer and the residual.

        Args:
            hidden_states: ``[B, L, f]``, the input of the last projection.
            input_tensor: ``[B, L, d]``, the sublayer's input x.

        Returns:
            ``[B, L, d]``.
        """
        update = self.dropout(self.dense(hidden_states))
        normalized: Tensor = self.LayerNorm(torch.add(update, input_tensor, alpha=self.residual_scale))
        return normalized


class RaftBertSelfOutput(ScaledResidual, BertSelfOutput):
    """End of the attention sublayer."""


class RaftBertOutput(ScaledResidual, BertOutput):
    """End of the feed-forward sublayer."""

    def __init__(self, config: RaftBertConfig) -> None:
        super().__init__(config)
        if config.gated:
            self.dense = nn.Linear(config.feed_forward_width, config.hidden_size)


class RaftBertGatedIntermediate(nn.Module):
    """Start of a gated feed-forward sublayer, where BERT has ``act(dense(x))``; Shazeer, 2020."""

    def __init__(self, config: RaftBertConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.hidden_size, config.feed_forward_width)
        self.dense = nn.Linear(config.hidden_size, config.feed_forward_width)
        self.intermediate_act_fn = ACT2FN[config.hidden_act]

    def forward(self, hidden_states: Tensor) -> Tensor:
        """``act(gate(x)) * dense(x)``, ``[B, L, d]`` to ``[B, L, f]``."""
        return gated_product(self.intermediate_act_fn, self.gate(hidden_states), self.dense(hidden_states))


class RaftBertLayer(BertLayer):
    """BERT's layer with DeepNorm's residuals and gains."""

    def __init__(self, config: RaftBertConfig, layer_idx: int | None = None) -> None:
        super().__init__(config, layer_idx=layer_idx)
        self.attention.output = RaftBertSelfOutput(config)
        if config.gated:
            self.intermediate = RaftBertGatedIntermediate(config)  # type: ignore[assignment]
        self.output = RaftBertOutput(config)
        if config.deepnorm:
            attention = self.attention.self
            for linear in (attention.query, attention.key):
                linear.xavier_gain = 1.0  # type: ignore[assignment]
            feed_forward = [
                module for module in (*self.intermediate.children(), self.output.dense)
                if isinstance(module, nn.Linear)
            ]  # fmt: skip
            for linear in (attention.value, self.attention.output.dense, *feed_forward):
                linear.xavier_gain = config.xavier_gain  # type: ignore[assignment]
        if config.attention_init == NEIGHBOURS:
            size = (config.hidden_size, config.num_attention_heads)
            attention = self.attention.self
            attention.query.make_weight = partial(query_weight, *size)  # type: ignore[assignment]
            attention.key.make_weight = partial(key_weight, *size)  # type: ignore[assignment]


class RaftBertEncoder(BertEncoder):
    """The stack of layers."""

    def __init__(self, config: RaftBertConfig) -> None:
        nn.Module.__init__(self)  # BertEncoder's own would build BertLayers
        self.config = config
        self.layer = nn.ModuleList(
            RaftBertLayer(config, layer_idx=i) for i in range(config.num_hidden_layers)
        )


class RaftBertPreTrainedModel(BertPreTrainedModel):
    """Base class of RaftBert models, with their configuration and initial weights."""

    config: RaftBertConfig
    config_class = RaftBertConfig  # transformers cannot read it from an annotation that is a string

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # marks on the projections: transformers initialises single modules that a checkpoint lacks
        gain = getattr(module, "xavier_gain", None)
        make = getattr(module, "make_weight", None)
        if isinstance(module, nn.Linear | nn.Embedding) and make is not None:
            init.copy_(module.weight, make())
            if isinstance(module, nn.Linear):
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear) and isinstance(gain, float):
            init.xavier_normal_(module.weight, gain=gain)
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)


class RaftBertModel(RaftBertPreTrainedModel, BertModel):
    """Encoder and pooler; inputs and outputs are those of ``transformers.BertModel``.

    Args:
        config: sizes, ``deepnorm``, and the ``raf`` block.
        add_pooling_layer: whether the model has a pooler.

    Shape:
        ``input_ids`` int64 and ``attention_mask`` ``[B, L]``; ``last_hidden_state`` ``[B, L, d]`` and
        ``pooler_output`` ``[B, d]`` in the dtype of the weights.

    Raises:
        ValueError: where both or neither of ``input_ids`` and ``inputs_embeds`` are given, and for a bad
            ``raf`` block.

    Source: Fang et al., "Transformers with Learnable Activation Functions", Findings of EACL 2023;
    Wang et al., "DeepNet: Scaling Transformers to 1,000 Layers", 2022.

    Example::

        >>> import torch
        >>> from raft.models import RaftBertConfig, RaftBertModel
        >>> tiny = RaftBertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
        >>> RaftBertModel(tiny)(torch.tensor([[2, 5, 3]])).pooler_output.shape
        torch.Size([1, 8])
    """

    _no_split_modules = ["BertEmbeddings", "RaftBertLayer"]  # noqa: RUF012 (transformers' own form)

    def __init__(self, config: RaftBertConfig, add_pooling_layer: bool = True) -> None:
        PreTrainedModel.__init__(self, config)  # BertModel's own would build a BertEncoder
        self.gradient_checkpointing = False
        self.embeddings = BertEmbeddings(config)
        if not config.embedding_layer_norm:
            self.embeddings.LayerNorm = nn.Identity()  # type: ignore[assignment]
        if config.attention_init == NEIGHBOURS:
            self.embeddings.position_embeddings.make_weight = partial(  # type: ignore[assignment]
                position_waves, config.max_position_embeddings, config.hidden_size, config.initializer_range
            )
        self.encoder = RaftBertEncoder(config)
        self.pooler = BertPooler(config) if add_pooling_layer else None
        self.post_init()


class RaftBertForMaskedLM(RaftBertPreTrainedModel, BertForMaskedLM):
    """Masked language modelling, with logits at the masked positions only.

    Without labels the logits are those of all positions, ``[B, L, V]``. With labels they are those of the M
    positions whose label is not −100, ``[M, V]``, in the order of ``labels[labels != -100]``: at 15 % masking
    the other 85 % of the logits do not enter the loss.

    Source: Fang et al., "Transformers with Learnable Activation Functions", Findings of EACL 2023; the
    official pretraining script does the same.
    """

    def __init__(self, config: RaftBertConfig) -> None:
        PreTrainedModel.__init__(self, config)
        self.bert = RaftBertModel(config, add_pooling_layer=False)
        self.cls = BertOnlyMLMHead(config)
        self.post_init()

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> MaskedLMOutput:
        """Compute the logits, and the loss if there are labels.

        Args:
            input_ids: int64 ``[B, L]``; or ``inputs_embeds`` ``[B, L, d]``.
            attention_mask: ``[B, L]``, 1 for tokens and 0 for padding.
            token_type_ids: int64 ``[B, L]``, segments.
            position_ids: int64 ``[B, L]``.
            inputs_embeds: embeddings in place of ``input_ids``.
            labels: int64 ``[B, L]``, −100 at positions that are not predicted.
            num_items_in_batch: divisor of the summed loss: the predicted tokens of accumulated batches, as
                ``transformers.Trainer`` counts them; None for those of this batch.

        Returns:
            ``loss``: float32 scalar in nats, 0 (with gradients of 0) if no position is predicted; ``logits``:
            ``[B, L, V]`` without labels, ``[M, V]`` with labels.
        """
        outputs = self.bert(
            input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            return_dict=True,
            **kwargs,
        )
        hidden_states, loss = outputs.last_hidden_state, None
        if labels is None:
            logits = self.cls(hidden_states)
        else:
            labels = labels.to(hidden_states.device)
            masked = labels != IGNORE_INDEX
            logits = self.cls(hidden_states[masked])
            total = F.cross_entropy(logits.float(), labels[masked], reduction="sum")
            count = masked.sum() if num_items_in_batch is None else num_items_in_batch
            loss = total / torch.as_tensor(count, device=total.device).clamp(min=1)
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class RaftBertForSequenceClassification(RaftBertPreTrainedModel, BertForSequenceClassification):
    """A linear head over the pooler; inputs and outputs are ``transformers.BertForSequenceClassification``'s.

    Shape:
        ``input_ids`` int64 ``[B, L]``; ``labels`` ``[B]``, int64 for classes or float for a score;
        ``logits`` ``[B, num_labels]``.
    """

    # the loss is the batch's mean, so Trainer has to divide it by the number of accumulated batches, which it
    # does not where forward has **kwargs
    accepts_loss_kwargs = False

    def __init__(self, config: RaftBertConfig) -> None:
        PreTrainedModel.__init__(self, config)
        self.num_labels = config.num_labels
        self.bert = RaftBertModel(config)
        dropout = config.classifier_dropout
        self.dropout = nn.Dropout(config.hidden_dropout_prob if dropout is None else dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)  # type: ignore[arg-type]
        self.post_init()


class RaftBertForQuestionAnswering(RaftBertPreTrainedModel, BertForQuestionAnswering):
    """Start and end of an answer's span; inputs and outputs are ``transformers.BertForQuestionAnswering``'s.

    Shape:
        ``input_ids`` int64 ``[B, L]``; ``start_positions`` and ``end_positions`` int64 ``[B]``;
        ``start_logits`` and ``end_logits`` ``[B, L]``.
    """

    accepts_loss_kwargs = False  # as in RaftBertForSequenceClassification

    def __init__(self, config: RaftBertConfig) -> None:
        PreTrainedModel.__init__(self, config)
        self.num_labels = config.num_labels
        self.bert = RaftBertModel(config, add_pooling_layer=False)
        self.qa_outputs = nn.Linear(config.hidden_size, config.num_labels)  # type: ignore[arg-type]
        self.post_init()


AutoModel.register(RaftBertConfig, RaftBertModel, exist_ok=True)
AutoModelForMaskedLM.register(RaftBertConfig, RaftBertForMaskedLM, exist_ok=True)
AutoModelForSequenceClassification.register(RaftBertConfig, RaftBertForSequenceClassification, exist_ok=True)
AutoModelForQuestionAnswering.register(RaftBertConfig, RaftBertForQuestionAnswering, exist_ok=True)
