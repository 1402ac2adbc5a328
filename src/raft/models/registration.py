"""Make the paper's encoder known to the Auto classes of ``transformers``, without importing either."""

from __future__ import annotations

from importlib import import_module

from raft.after_import import call_after_import


def register_when_imported() -> None:
    """Register the configuration once ``AutoConfig`` is imported, the models once the configuration is."""
    call_after_import("transformers.models.auto.configuration_auto", _register_configuration)
    call_after_import("raft.models.configuration_raft_bert", _register_models)


def _register_configuration() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    # as transformers 5.18 to 5.23 know theirs: a class's name, and a module that imports it when asked
    CONFIG_MAPPING._mapping["raft_bert"] = "RaftBertConfig"
    CONFIG_MAPPING._modules["raft_bert"] = import_module("raft.models")


def _register_models() -> None:
    import_module("raft.models.modeling_raft_bert")  # registers them
