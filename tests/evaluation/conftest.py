"""Tiny language models with random weights, and sentences that they know."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from raft.data.text.tokens import train_tokenizer
from raft.evaluation.language_model import LanguageModel, check_language_model

SENTENCES = [
    "the cats sleep in the garden .",
    "the cats sleeps in the garden .",
    "a dog runs .",
    "a dog run .",
    "what did the old friend see today ?",
    "what did see the old friend today ?",
    "dogs run .",
    "the garden sees deseeded dogs .",
]


@pytest.fixture(scope="session")
def causal() -> LanguageModel:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = "<|endoftext|>"
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=[special], initial_alphabet=alphabet)
    backend.train_from_iterator(SENTENCES * 5, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=special)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2, initializer_range=0.5,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return check_language_model(GPT2LMHeadModel(config), tokenizer, "gpt2")


@pytest.fixture(scope="session")
def masked() -> LanguageModel:
    tokenizer = train_tokenizer(SENTENCES[:-1] * 5, 100, max_length=48)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=48, initializer_range=0.5,
    )  # fmt: skip
    return check_language_model(BertForMaskedLM(config), tokenizer, "bert")
