"""Scores against loops over tokens, one sentence at a time, in float64."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertLMHeadModel

from raft.errors import InputError
from raft.evaluation.language_model import LanguageModel, check_language_model
from raft.evaluation.scoring import score_sentences, score_tokens
from raft.evaluation.tasks import open_pairs
from tests.evaluation.conftest import SENTENCES

SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


@torch.no_grad()
def log_likelihood(language_model: LanguageModel, sentence: str) -> float:
    """Of all tokens after <|endoftext|>."""
    model = copy.deepcopy(language_model.model).double().eval()
    ids: list[int] = [0, *language_model.tokenizer(sentence, add_special_tokens=False)["input_ids"]]
    total = 0.0
    for place in range(1, len(ids)):
        logits = model(input_ids=torch.tensor([ids[:place]])).logits[0, -1]
        total += float(logits[ids[place]] - torch.logsumexp(logits, 0))
    return total


@torch.no_grad()
def pseudo_log_likelihood(language_model: LanguageModel, sentence: str, whole_words: bool) -> float:
    """Of all tokens between [CLS] and [SEP]; ``##`` begins a token that continues a word."""
    model, tokenizer = copy.deepcopy(language_model.model).double().eval(), language_model.tokenizer
    tokens = ["[CLS]", *tokenizer.tokenize(sentence), "[SEP]"]
    total = 0.0
    for place in range(1, len(tokens) - 1):
        hidden, end = list(tokens), place + 1
        while whole_words and tokens[end].startswith("##"):
            end += 1
        hidden[place:end] = ["[MASK]"] * (end - place)
        ids = torch.tensor([tokenizer.convert_tokens_to_ids(hidden)])
        logits = model(input_ids=ids).logits[0, place]
        total += float(logits[tokenizer.convert_tokens_to_ids(tokens[place])] - torch.logsumexp(logits, 0))
    return total


def test_causal_scores_are_the_chain_rule(causal: LanguageModel) -> None:
    expected = [log_likelihood(causal, sentence) for sentence in SENTENCES]
    scores = score_sentences(causal, SENTENCES)
    np.testing.assert_allclose(scores.sums, expected, rtol=2e-5)
    assert list(scores.tokens) == [len(causal.tokenizer.tokenize(sentence)) for sentence in SENTENCES]


@pytest.mark.parametrize("whole_words", [False, True])
def test_masked_scores_are_pseudo_log_likelihoods(masked: LanguageModel, whole_words: bool) -> None:
    assert any("##" in token for token in masked.tokenizer.tokenize(" ".join(SENTENCES)))
    expected = [pseudo_log_likelihood(masked, sentence, whole_words) for sentence in SENTENCES]
    scores = score_sentences(masked, SENTENCES, whole_words=whole_words)
    np.testing.assert_allclose(scores.sums, expected, rtol=2e-5)
    assert list(scores.tokens) == [len(masked.tokenizer.tokenize(sentence)) for sentence in SENTENCES]


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_batches_change_no_more_than_the_noise(kind: str, request: pytest.FixtureRequest) -> None:
    language_model = request.getfixturevalue(kind)
    one, all_at_once = (score_sentences(language_model, SENTENCES, tokens) for tokens in (1, 10_000))
    backwards = score_sentences(language_model, SENTENCES[::-1], 50)
    np.testing.assert_allclose(one.sums, all_at_once.sums, rtol=1e-5)
    np.testing.assert_allclose(one.sums, backwards.sums[::-1], rtol=1e-5)


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_equal_sentences_have_exactly_equal_scores(kind: str, request: pytest.FixtureRequest) -> None:
    language_model = request.getfixturevalue(kind)
    scores = score_sentences(language_model, [*SENTENCES, *SENTENCES], 30)
    assert np.array_equal(scores.sums[: len(SENTENCES)], scores.sums[len(SENTENCES) :])


def test_only_tokens_from_the_start_count(causal: LanguageModel) -> None:
    ids = [0, 5, 9, 7, 30]
    whole, first, rest = (
        score_tokens(causal, [tokens], [start]).sums[0]
        for tokens, start in ((ids, 1), (ids[:3], 1), (ids, 3))
    )
    assert whole == pytest.approx(first + rest, rel=1e-5)


def test_scoring_leaves_the_mode_and_works_in_bfloat16(causal: LanguageModel) -> None:
    model = copy.deepcopy(causal.model).bfloat16().train()
    half = check_language_model(model, causal.tokenizer, "half")
    scores = score_sentences(half, SENTENCES)
    assert model.training
    assert scores.sums.dtype == np.float64
    np.testing.assert_allclose(scores.sums, score_sentences(causal, SENTENCES).sums, rtol=0.05)


def test_long_sentences_and_whole_words_of_causal_models_are_refused(
    causal: LanguageModel, masked: LanguageModel
) -> None:
    for language_model in (causal, masked):
        with pytest.raises(InputError, match=f"takes {language_model.positions} tokens, but a sentence has"):
            score_sentences(language_model, [" ".join(SENTENCES * 3)])
    with pytest.raises(InputError, match="--whole_words is of masked models"):
        score_sentences(causal, SENTENCES, whole_words=True)


def test_models_that_cannot_be_scored_are_refused(causal: LanguageModel, masked: LanguageModel) -> None:
    config = BertConfig(**{**masked.model.config.to_dict(), "architectures": None})
    with pytest.raises(InputError, match="neither a causal nor a masked"):
        check_language_model(BertForSequenceClassification(config), masked.tokenizer, "classifier")
    with pytest.raises(InputError, match="so it is not causal"):
        check_language_model(BertLMHeadModel(config), masked.tokenizer, "encoder")
    config.is_decoder = True
    assert not check_language_model(BertLMHeadModel(config), masked.tokenizer, "decoder").is_masked
    with pytest.raises(InputError, match="no mask token"):
        check_language_model(
            BertForMaskedLM(BertConfig(**{**SIZE, "vocab_size": 400})), causal.tokenizer, "x"
        )
    with pytest.raises(InputError, match="the tokenizer of x has"):
        check_language_model(masked.model, causal.tokenizer, "x")
    broken: Any = copy.deepcopy(causal.model)
    with torch.no_grad():
        broken.transformer.h[0].ln_1.weight[3] = float("nan")
    with pytest.raises(InputError, match=r"transformer\.h\.0\.ln_1\.weight are not finite"):
        check_language_model(broken, causal.tokenizer, "broken")


def test_a_text_without_tokens_is_named(causal: LanguageModel) -> None:
    tokenizer = copy.deepcopy(causal.tokenizer)
    tokenizer.bos_token = tokenizer.eos_token = None
    with pytest.raises(InputError, match="has no token to score in"):
        score_sentences(dataclasses.replace(causal, tokenizer=tokenizer), ["a b", ""])


def test_no_pairs_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--items must be at least 1"):
        open_pairs("zorro", str(tmp_path), items=0)
