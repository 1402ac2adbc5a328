"""Load configurations and models of others, without running their code and with errors of one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from raft.errors import InputError, first_line

NO_REMOTE_CODE: dict[str, Any] = {"trust_remote_code": False}
"""For every ``from_pretrained``, some of which otherwise ask on the terminal whether code may run."""


def load_config(source: str | Path, **options: Any) -> PreTrainedConfig:
    """Load the configuration of a folder or of a name on the hub.

    Raises:
        InputError: where there is none, or it cannot be read.
    """
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(source, **NO_REMOTE_CODE, **options)
    except Exception as error:  # a damaged file raises whatever its reader does
        nowhere = "" if Path(source).expanduser().exists() else "there is no such folder, and on the hub: "
        raise InputError(f"cannot load {source}: {nowhere}{first_line(error)}") from error
    return config


def load_pretrained(kind: Any, source: str | Path, **options: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Load a model of a folder or of a name on the hub, with the ``loading_info`` of ``from_pretrained``.

    Args:
        kind: a class of ``transformers``.
        source: of the weights.
        options: of ``from_pretrained``.

    Raises:
        InputError: where there is none, or it cannot be loaded.
    """
    try:
        model, info = kind.from_pretrained(source, output_loading_info=True, **NO_REMOTE_CODE, **options)
    except Exception as error:  # a damaged file raises whatever its reader does
        raise InputError(f"cannot load {source}: {first_line(error)}") from error
    return model, info
