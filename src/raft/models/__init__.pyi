from .configuration_raft_bert import RaftBertConfig
from .modeling_raft_bert import (
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
