"""Networks that hold models of transformers, which are converted and saved their way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

import raft
from raft.learned_activation import learned_activations
from tests.hf.architectures import TINY
from tests.networks.zoo import outputs


class Classifier(nn.Module):
    """As a LightningModule with an encoder and a head of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = BertModel(BertConfig(**TINY))
        self.head = nn.Sequential(nn.Linear(TINY["hidden_size"], 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.head(states[:, 0])


def make() -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    return Classifier().eval(), torch.randint(3, 50, (8, 7))


def test_both_parts_are_converted_for_the_inputs_that_they_get() -> None:
    network, ids = make()
    before = outputs(network, ids)
    mask = torch.ones_like(ids)
    mask[:, 5:] = 0
    raft.convert(network, calibration=[{"input_ids": ids, "attention_mask": mask}])
    report = {row.site: row for row in network.conversion_report}
    layers = [site for site in report if site.startswith("encoder.encoder.layer")]
    assert len(layers) == TINY["num_hidden_layers"]
    assert report[layers[0]].inputs == 8 * 5 * TINY["intermediate_size"]  # without padding
    assert report["head.1"].inputs == 8 * 8
    assert network.encoder.config.raf is not None
    raft.revert(network)
    assert not learned_activations(network)
    assert torch.equal(outputs(network, ids), before)


def test_it_is_loaded_from_one_file_and_its_model_as_transformers_has_it(tmp_path: Path) -> None:
    network, ids = make()
    raft.convert(network, {"degrees": (4, 4)})
    raft.save(network, tmp_path / "rafs.safetensors")
    again = raft.load(make()[0], tmp_path / "rafs.safetensors")
    again.load_state_dict(network.state_dict())
    assert torch.equal(outputs(again, ids), outputs(network, ids))
    again.encoder.save_pretrained(tmp_path / "encoder")
    encoder = BertModel.from_pretrained(tmp_path / "encoder").eval()
    expected = network.encoder(ids).last_hidden_state
    assert torch.equal(encoder(ids).last_hidden_state, expected)
    with pytest.raises(ValueError, match="has no model at encoder"):
        raft.load(nn.Sequential(nn.ReLU()), tmp_path / "rafs.safetensors")


def test_models_of_transformers_keep_their_own_ways(tmp_path: Path) -> None:
    model = BertModel(BertConfig(**TINY))
    with pytest.raises(TypeError, match=r"sites=…, gates=… and dim=… are of other networks"):
        raft.convert(model, sites="layer")
    with pytest.raises(TypeError, match="is saved with its RAFs by save_pretrained"):
        raft.save(model, tmp_path / "rafs.safetensors")
    with pytest.raises(TypeError, match="is loaded with its RAFs by from_pretrained"):
        raft.load(model, tmp_path / "rafs.safetensors")


def test_an_adapter_within_is_refused() -> None:
    peft = pytest.importorskip("peft")
    network, _ = make()
    network.encoder = peft.get_peft_model(network.encoder, peft.LoraConfig(target_modules=["query"]))
    with pytest.raises(TypeError, match=r"an adapter of PEFT at encoder: convert it before"):
        raft.convert(network)
    with pytest.raises(TypeError, match="convert it before a wrapper, such as PEFT's, is put around it"):
        raft.convert(network.encoder)


def test_a_sentence_transformer_is_calibrated_with_texts(tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from raft.data.text.tokens import train_tokenizer

    words = "anna sees a friend in the old garden today"
    tokenizer = train_tokenizer([words] * 50, 100, max_length=16)
    BertModel(BertConfig(**{**TINY, "vocab_size": 100})).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    from sentence_transformers.sentence_transformer import modules

    transformer = modules.Transformer(str(tmp_path / "bert"))
    size = TINY["hidden_size"]
    network = sentence_transformers.SentenceTransformer(
        modules=[transformer, modules.Pooling(size), modules.Dense(size, 4)], device="cpu"
    )
    raft.convert(network, {"sites": ["ffn"]}, calibration=[words, "a friend"])
    assert [row.kind for row in network.conversion_report] == ["ffn"] * TINY["num_hidden_layers"]
    assert all(row.inputs for row in network.conversion_report)
    batch = dict(network.tokenizer([words, "a friend"], padding=True, return_tensors="pt"))
    again = raft.convert(raft.revert(network), {"sites": ["ffn"]}, calibration=[batch])
    assert all(row.inputs for row in again.conversion_report)
    expected = network.encode([words])
    network.save_pretrained(str(tmp_path / "saved"))
    again = sentence_transformers.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert (again.encode([words]) == expected).all()


@pytest.mark.parametrize("has_rafs", [False, True])
def test_a_conversion_that_fails_leaves_the_models_within_as_they_were(has_rafs: bool) -> None:
    network, ids = make()
    if has_rafs:
        raft.convert(network.encoder)
    before, state = outputs(network, ids), network.state_dict()
    wrong: list[dict[str, Any]] = [{"sites": "("}]
    if not has_rafs:
        wrong.append({"config": {"groups": 4}, "dim": 7, "calibration": [ids]})
    for options in wrong:
        with pytest.raises(ValueError, match=r"regular expression|cannot be cut"):
            raft.convert(network, **options)
        assert network.state_dict().keys() == state.keys()
        assert (getattr(network.encoder.config, "raf", None) is not None) == has_rafs
        assert torch.equal(outputs(network, ids), before)


def test_a_load_that_fails_leaves_the_models_within_as_they_were(tmp_path: Path) -> None:
    network, ids = make()
    raft.save(raft.convert(network), tmp_path / "rafs.safetensors")
    other, _ = make()
    other.head = nn.Linear(TINY["hidden_size"], 2)
    before = outputs(other, ids)
    with pytest.raises(raft.errors.InputError, match="of another network"):
        raft.load(other, tmp_path / "rafs.safetensors")
    assert not learned_activations(other)
    assert getattr(other.encoder.config, "raf", None) is None
    assert torch.equal(outputs(other, ids), before)
