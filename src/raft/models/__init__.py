"""The paper's own encoder, known to ``transformers``' Auto classes as ``raft_bert``."""

from raft.models.configuration_raft_bert import RaftBertConfig
from raft.models.modeling_raft_bert import (
    RaftBertForMaskedLM,
    RaftBertForQuestionAnswering,
    RaftBertForSequenceClassification,
    RaftBertModel,
    RaftBertPreTrainedModel,
)

__all__ = [
    "RaftBertConfig",
    "RaftBertForMaskedLM",
    "RaftBertForQuestionAnswering",
    "RaftBertForSequenceClassification",
    "RaftBertModel",
    "RaftBertPreTrainedModel",
]
