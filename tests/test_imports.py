"""``import raft`` is light, and patches ``transformers`` in whichever order the two are imported."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from raft.after_import import call_after_import

BUILD = """
from transformers import BertConfig, BertModel
sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=32, vocab_size=9)
config = BertConfig(raf={"sites": ["ffn"]}, **sizes)
print(len(raft.hf.rationals(BertModel(config))))
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_operator_needs_neither_transformers_nor_scipy() -> None:
    code = "import sys, raft, torch; raft.Rational()(torch.ones(2)); raft.rational; print(*sys.modules)"
    modules = set(run(code).split())
    heavy = {"transformers", "pandas", "matplotlib", "datasets", "scipy.special", "scipy.optimize"}
    assert "raft.modules" in modules
    assert not modules & heavy


def test_import_alone_needs_nothing() -> None:
    assert not {"torch", "numpy"} & set(run("import sys, raft; print(*sys.modules)").split())


@pytest.mark.parametrize("imports", ["import raft, torch", "import torch, raft"])
def test_the_operator_is_registered_in_either_order(imports: str) -> None:
    assert run(f"{imports}; print(torch.ops.raft.rational.default.name())") == "raft::rational\n"


@pytest.mark.parametrize(
    "imports",
    [
        "import raft; from transformers import PreTrainedModel",
        "import raft; from transformers.activations import ACT2FN",  # which imports what raft patches
        "import raft; from transformers.generation import GenerationConfig",
        "from transformers import PreTrainedModel; import raft",
    ],
)
def test_transformers_is_patched_in_either_order(imports: str) -> None:
    assert run(imports + BUILD) == "1\n"


def test_auto_classes_know_the_encoder_before_it_is_imported() -> None:
    code = """
import sys, raft
from transformers import AutoConfig
assert "raft.models.configuration_raft_bert" not in sys.modules
config = AutoConfig.for_model("raft_bert", hidden_size=16, num_hidden_layers=1, num_attention_heads=1,
                              intermediate_size=32, vocab_size=9)
from transformers import AutoModelForMaskedLM
print(type(AutoModelForMaskedLM.from_config(config)).__name__)
"""
    assert run(code) == "RaftBertForMaskedLM\n"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module that nothing has imported."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "waited_for", raising=False)
    file = tmp_path / "waited_for.py"
    file.write_text("def one():\n    return 1\n")
    return file


def test_an_action_waits_for_the_import(module: Path) -> None:
    calls: list[int] = []
    before = list(sys.meta_path)
    call_after_import(module.stem, lambda: calls.append(sys.modules[module.stem].one()))
    importlib.import_module("json.tool")
    assert not calls
    waited_for = importlib.import_module(module.stem)
    assert calls == [1]
    assert sys.meta_path == before
    assert inspect.getsource(waited_for) == module.read_text()
    call_after_import(module.stem, lambda: calls.append(2))  # it is imported
    assert calls == [1, 2]


def test_an_import_that_fails_is_waited_for_again(module: Path) -> None:
    calls: list[int] = []
    text = module.read_text()
    module.write_text("raise ValueError\n")
    call_after_import(module.stem, lambda: calls.append(1))
    with pytest.raises(ValueError):  # noqa: PT011
        importlib.import_module(module.stem)
    assert not calls
    module.write_text(text + "\n\n")
    importlib.invalidate_caches()
    importlib.import_module(module.stem)
    assert calls == [1]


def test_two_actions_wait_for_one_module(module: Path) -> None:
    calls: list[str] = []
    call_after_import(module.stem, lambda: calls.append("first"))
    call_after_import(module.stem, lambda: calls.append("second"))
    importlib.import_module(module.stem)
    assert sorted(calls) == ["first", "second"]
