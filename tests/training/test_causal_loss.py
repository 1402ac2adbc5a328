"""The loss of causal language models is that of ``transformers``, with fewer logits at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, set_seed

import raft  # noqa: F401  # the raf block
from raft.data.text.causal import positions_in_documents
from raft.data.text.sequences import IGNORED
from raft.training.losses import causal_lm_loss, find_head

SIZES: dict[str, Any] = {
    "vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "bos_token_id": 1,
    "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
WIDE = {"intermediate_size": 48, "max_position_embeddings": 32}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_positions": 32, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "llama": WIDE,
    "qwen3": {**WIDE, "head_dim": 16, "num_key_value_heads": 2},
    "gpt_neox": {**WIDE, "hidden_dropout": 0.0, "attention_dropout": 0.0},
    # these scale or bound their logits
    "gemma2": {**WIDE, "head_dim": 16, "num_key_value_heads": 1, "final_logit_softcapping": 0.5},
    "cohere": {**WIDE, "logit_scale": 0.3},
}
TOKENS = torch.randint(2, 90, (3, 16), generator=torch.Generator().manual_seed(0))
LABELS = TOKENS.clone()
LABELS[:, 0] = IGNORED
LABELS[1, 7:9] = IGNORED


def model(architecture: str) -> PreTrainedModel:
    set_seed(0)
    config = AutoConfig.for_model(architecture, **SIZES, **ARCHITECTURES[architecture], raf={"init": "silu"})
    made: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        made.get_output_embeddings().weight.mul_(20)  # logits far from zero
    return made


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_and_gradients_are_those_of_transformers(architecture: str) -> None:
    net = model(architecture)
    theirs = net(input_ids=TOKENS, labels=LABELS).loss
    theirs.backward()
    gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    assert any("numerator" in name for name in gradients)
    net.zero_grad()
    head = find_head(net, TOKENS[:1])
    assert (head is None) == (architecture in ("gemma2", "cohere"))
    count = (LABELS[:, 1:] != IGNORED).sum()
    loss = causal_lm_loss(net, TOKENS, LABELS, head=head) / count
    loss.backward()
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    for name, parameter in net.named_parameters():
        if name in gradients:
            assert parameter.grad is not None
            assert torch.allclose(parameter.grad, gradients[name], rtol=1e-3, atol=1e-5), name


def test_losses_of_tokens_sum_to_the_loss() -> None:
    net = model("llama")
    each = causal_lm_loss(net, TOKENS, LABELS, reduction="none")
    assert each.shape == (3, 15)
    assert (each[1, 6:8] == 0).all()
    assert each.sum().item() == pytest.approx(causal_lm_loss(net, TOKENS, LABELS).item(), rel=1e-6)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3"])
def test_documents_are_read_as_if_they_were_alone(architecture: str) -> None:
    net = model(architecture).eval()
    packed = TOKENS[:1].clone()
    packed[0, [4, 10]] = 1
    positions = positions_in_documents(packed, end_token_id=1)
    together = causal_lm_loss(net, packed, packed, positions, reduction="none")
    for start, stop in ((0, 5), (5, 11), (11, 16)):
        document = packed[:, start:stop]
        alone = causal_lm_loss(net, document, document, reduction="none")
        assert torch.allclose(together[:, start : stop - 1], alone, atol=1e-5)
    assert not torch.allclose(together, causal_lm_loss(net, packed, packed, reduction="none"), atol=1e-2)


def test_a_bound_that_new_weights_do_not_reach_is_seen() -> None:
    sizes = {**SIZES, **ARCHITECTURES["gemma2"], "final_logit_softcapping": 30.0}
    net = AutoModelForCausalLM.from_config(AutoConfig.for_model("gemma2", **sizes))
    assert find_head(net, TOKENS[:1]) is None


def test_the_probe_leaves_the_model_and_the_random_numbers_as_they_were() -> None:
    net = model("gpt2").train()
    state = torch.get_rng_state()
    assert find_head(net, TOKENS[:1]) is net.lm_head
    assert net.training
    assert torch.equal(torch.get_rng_state(), state)


def test_half_precision_and_no_chunks_give_the_same_up_to_rounding() -> None:
    net = model("llama")
    exact = causal_lm_loss(net, TOKENS, LABELS, head=net.lm_head).item()
    half = causal_lm_loss(net.bfloat16(), TOKENS, LABELS, head=net.lm_head)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(exact, rel=2e-2)
