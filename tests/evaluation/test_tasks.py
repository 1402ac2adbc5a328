"""Results of the tests against numbers worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from raft.data.pairs.paradigms import Paradigm
from raft.data.text.unigram import UnigramModel
from raft.errors import InputError
from raft.evaluation.intervals import Estimate, estimate_mean_over, estimate_ratio, estimate_share
from raft.evaluation.language_model import LanguageModel
from raft.evaluation.last_words import read_passages, score_last_words
from raft.evaluation.minimal_pairs import Outcomes, compare_pairs, judge_pairs, summarize_pairs
from raft.evaluation.perplexity import score_documents, sliding_windows, summarize_perplexity
from raft.evaluation.scoring import Scores, score_sentences, score_unigrams
from raft.evaluation.tasks import EvaluationOptions, evaluate, open_test
from tests.evaluation.conftest import SENTENCES


def test_wilsons_interval_is_that_of_his_table() -> None:
    share = estimate_share(np.array([1.0] * 8 + [0.0] * 2))  # R: prop.test(8, 10, correct = FALSE)
    assert (share.value, share.low, share.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)


def test_the_bootstrap_of_shares_is_as_wide_as_the_normal_interval() -> None:
    groups = [np.repeat([1.0, 0.0], [700, 300]), np.repeat([1.0, 0.5, 0.0], [400, 200, 400])]
    mean = estimate_mean_over(groups)
    error = np.sqrt(sum(group.var() / len(group) for group in groups)) / 2
    assert mean.value == pytest.approx(0.6)
    assert (mean.low, mean.high) == pytest.approx((0.6 - 1.96 * error, 0.6 + 1.96 * error), abs=0.003)


def test_of_one_item_nothing_is_known_but_its_value() -> None:
    for estimate in (
        estimate_ratio(np.array([6.0]), np.array([4.0])),
        estimate_mean_over([np.array([1.0]), np.array([2.0])]),
    ):
        assert estimate == Estimate(1.5, None, None)
        assert estimate.map(np.exp).value == pytest.approx(np.exp(1.5))
        assert estimate.map(np.exp).low is None


def test_a_tie_counts_half_and_paradigms_count_the_same() -> None:
    paradigms = [
        Paradigm("a-1", "a", (("x", "y"),) * 2),
        Paradigm("b-1", "b", (("x", "y"),) * 4),
        Paradigm("b-2", "b", (("x", "y"),)),
    ]
    values = {"a-1": [1, 0.5], "b-1": [0, 0, 0, 1], "b-2": [1]}
    outcome = {name: np.array(numbers, dtype=float) for name, numbers in values.items()}
    result = summarize_pairs(paradigms, Outcomes(outcome, outcome), "score")
    assert result.overall.by_sum.value == pytest.approx((0.75 + 0.25 + 1) / 3)
    assert result.phenomena["b"].by_sum.value == pytest.approx((0.25 + 1) / 2)
    assert (result.overall.items, result.overall.ties) == (7, 1)
    flipped = {name: 1 - numbers for name, numbers in outcome.items()}
    difference = compare_pairs(paradigms, Outcomes(outcome, outcome), Outcomes(flipped, flipped))
    assert difference.paradigms["a-1"].by_sum.value == pytest.approx(0.5)
    assert difference.overall.by_sum.value == pytest.approx(2 * result.overall.by_sum.value - 1)


def test_the_better_sentence_has_the_higher_score(masked: LanguageModel) -> None:
    good, bad, other, _ = SENTENCES[:4]
    scores = score_sentences(masked, [good, bad])
    paradigm = Paradigm("p", "p", ((good, bad), (bad, good), (other, other)))
    outcomes = judge_pairs([paradigm], partial(score_sentences, masked))
    right = float(scores.sums[0] > scores.sums[1])
    assert list(outcomes.by_sum["p"]) == [right, 1 - right, 0.5]
    right = float(scores.sums[0] / scores.tokens[0] > scores.sums[1] / scores.tokens[1])
    assert list(outcomes.by_mean["p"]) == [right, 1 - right, 0.5]


def test_sums_and_means_can_disagree() -> None:
    paradigm = Paradigm("p", "p", (("long", "short"), ("short", "long")))
    scores = {"long": (-10.0, 10), "short": (-9.0, 3)}

    def score(sentences: Sequence[str]) -> Scores:
        sums, tokens = zip(*(scores[sentence] for sentence in sentences), strict=True)
        return Scores(np.array(sums), np.array(tokens))

    outcomes = judge_pairs([paradigm], score)
    assert list(outcomes.by_sum["p"]) == [0, 1]
    assert list(outcomes.by_mean["p"]) == [1, 0]


def test_unigrams_know_no_order(causal: LanguageModel) -> None:
    tokenizer = causal.tokenizer
    unigram = UnigramModel(np.log(np.random.default_rng(0).dirichlet(np.ones(len(tokenizer)))))
    sentence, other = SENTENCES[:2]
    turned = sentence.split()[0] + "".join(f" {word}" for word in reversed(sentence.split()[1:]))
    scores = score_unigrams(unigram, tokenizer, [sentence, turned, other])
    ids = tokenizer(other)["input_ids"]
    assert scores.sums[2] == pytest.approx(sum(unigram.log_probabilities[token] for token in ids))
    assert scores.tokens[2] == len(ids)
    paradigm = Paradigm("p", "p", ((sentence, turned), (sentence, other), (other, sentence)))
    outcomes = judge_pairs([paradigm], partial(score_unigrams, unigram, tokenizer))
    right = float(scores.sums[0] > scores.sums[2])
    assert list(outcomes.by_sum["p"]) == [0.5, right, 1 - right]


def test_unknown_tokens_have_no_frequency(masked: LanguageModel) -> None:
    tokenizer = masked.tokenizer
    numbers = np.log(np.random.default_rng(0).dirichlet(np.ones(len(tokenizer))))
    numbers[tokenizer.all_special_ids] = -np.inf
    sentence, unknown = SENTENCES[0], f"{SENTENCES[0]} 龘"
    assert tokenizer.unk_token_id in tokenizer(unknown)["input_ids"]
    scores = score_unigrams(UnigramModel(numbers), tokenizer, [sentence, unknown])
    assert np.isfinite(scores.sums).all()
    assert scores.sums[0] == scores.sums[1]


def test_all_tokens_of_a_last_word_count(causal: LanguageModel) -> None:
    passage, context = "the old friendships", "the old"
    count = len(causal.tokenizer(passage)["input_ids"]) - len(causal.tokenizer(context)["input_ids"])
    assert count > 1
    words = score_last_words(causal, [passage])
    sums = score_sentences(causal, [passage, context]).sums
    assert words.losses[0] == pytest.approx(sums[1] - sums[0], rel=1e-5)


def test_a_last_word_is_right_where_it_is_the_models_choice(causal: LanguageModel) -> None:
    tokenizer = causal.tokenizer
    passage = "the old friend"
    ids = torch.tensor([[0, *tokenizer(passage)["input_ids"]]])
    with torch.no_grad():
        logits = causal.model.double().eval()(input_ids=ids).logits[0, -1]
    causal.model.float()
    words = [word for word in (" garden", " today") if len(tokenizer(word)["input_ids"]) == 1]
    assert words
    scores = score_last_words(causal, [passage + word for word in words])
    tokens = [tokenizer(word)["input_ids"][0] for word in words]
    np.testing.assert_allclose(scores.losses, -torch.log_softmax(logits, 0)[tokens].numpy(), rtol=1e-4)
    assert list(scores.is_right) == [float(token == int(logits.argmax())) for token in tokens]


def test_windows_predict_each_token_once_with_half_a_window_before() -> None:
    tokens = list(range(23))
    predicted = []
    for piece, start in sliding_windows(tokens, 8):
        assert len(piece) <= 8
        assert start >= 4 or piece[0] == 0
        predicted += piece[start:]
    assert predicted == tokens[1:]


def test_perplexity_within_one_window_is_the_log_likelihood(causal: LanguageModel) -> None:
    documents = ["the cats sleep in the gardén .", "a dog runs ."]
    result = summarize_perplexity(score_documents(causal, documents))
    scores = score_sentences(causal, documents)
    assert result.utf8_bytes == 31 + 12
    assert result.loss.value == pytest.approx(-scores.sums.sum() / scores.tokens.sum(), rel=1e-6)
    assert result.perplexity.value == pytest.approx(np.exp(result.loss.value))
    assert result.bits_per_byte.value == pytest.approx(-scores.sums.sum() / np.log(2) / 43, rel=1e-6)
    long = score_documents(causal, [" ".join(SENTENCES * 4)])
    assert long.tokens.sum() == len(causal.tokenizer.tokenize(" ".join(SENTENCES * 4)))


def test_masked_models_have_no_perplexity(masked: LanguageModel) -> None:
    with pytest.raises(InputError, match="is a masked language model"):
        score_documents(masked, ["a dog runs ."])
    with pytest.raises(InputError, match="is a masked one"):
        score_last_words(masked, ["a dog runs"])


def test_a_model_in_memory_is_evaluated_into_json(masked: LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "case-x.txt").write_text("a dog run .\na dog runs .\n")
    masked.model.train()
    masked.model.base_model.eval()
    modes = [module.training for module in masked.model.modules()]
    result = evaluate(masked.model, masked.tokenizer, "zorro", str(tmp_path), batch_tokens=64)
    assert [module.training for module in masked.model.modules()] == modes
    masked.model.eval()
    read = json.loads(json.dumps(asdict(result)))
    assert read["paradigms"]["case-x"]["items"] == 1
    assert read["score"] == "pseudo-log-likelihood"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "blim"}, "the nearest is 'blimp'"),
        ({"task": "perplexity", "whole_words": True}, "--whole_words is of"),
        ({"task": "zorro", "max_length": 9}, "are of perplexity"),
        ({"task": "perplexity"}, "needs --data_dir"),
        ({"task": "perplexity", "max_length": 1}, "--max_length must be"),
    ],
)
def test_options_of_other_tests_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_test(EvaluationOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["passages.tsv", "passages.csv"])
def test_a_table_holds_no_passages(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("domain\ttext\nNews\tHe gave the book to her\n")
    with pytest.raises(InputError, match="lambada is one file, jsonl or txt with a passage a line"):
        read_passages(str(tmp_path / name))


def test_items_without_parts_do_not_count() -> None:
    sums, sizes = np.array([2.0, 0.0, 9.0]), np.array([1, 0, 3])
    assert estimate_ratio(sums, sizes) == estimate_ratio(sums[[0, 2]], sizes[[0, 2]])
