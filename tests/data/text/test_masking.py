"""Vocabulary, packing and masks."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from raft.data.text import sequences as text_sequences
from raft.data.text.masking import MaskedSequences
from raft.data.text.sequences import IGNORED
from raft.data.text.tokens import train_tokenizer
from raft.data.text.unigram import UnigramModel
from raft.errors import InputError
from tests.data.text.packing import pack

TEXTS = [f"The Quick brown fox number {i} jumps over the lazy dogs of street {i * 7}." for i in range(120)]
TOKENIZER = train_tokenizer(TEXTS, 150, max_length=16)
SEQUENCES = pack(TEXTS, TOKENIZER, 16)


def test_tokenizer_is_lower_cased_and_loads_with_auto_tokenizer(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    encoded = again("THE fox", "the dogs")
    assert encoded.input_ids == TOKENIZER("the fox", "the dogs").input_ids
    tokens = again.convert_ids_to_tokens(encoded.input_ids)
    assert tokens[0] == "[CLS]"
    assert tokens.count("[SEP]") == 2
    assert max(encoded.token_type_ids) == 1
    assert len(again) <= 150


def test_packing_loses_nothing_but_the_rest() -> None:
    stream = [
        i
        for text in TEXTS
        for i in (*TOKENIZER(text, add_special_tokens=False).input_ids, TOKENIZER.sep_token_id)
    ]
    assert (SEQUENCES[:, 0] == TOKENIZER.cls_token_id).all()
    assert (SEQUENCES[:, -1] == TOKENIZER.sep_token_id).all()
    packed = SEQUENCES[:, 1:-1].ravel().tolist()
    assert packed == stream[: len(packed)]
    assert len(stream) - len(packed) < 14


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 2000))
def test_a_draw_is_a_function_of_seed_and_number(seed: int, number: int) -> None:
    one, other = (MaskedSequences(SEQUENCES, TOKENIZER, seed, draws=2001) for _ in range(2))
    other[0], torch.rand(3)  # whatever was drawn before must not matter
    assert all(torch.equal(one[number][key], other[number][key]) for key in one[number])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2000), min_size=1, max_size=40))
def test_a_batch_holds_what_its_draws_hold_alone(seed: int, numbers: list[int]) -> None:
    data = MaskedSequences(SEQUENCES, TOKENIZER, seed, draws=2001)
    together = data.__getitems__(numbers)
    inputs, labels = data.batch(numbers)
    for place, number in enumerate(numbers):
        alone = data[number]
        assert alone.keys() == together[place].keys() == {"input_ids", "labels"}
        assert all(torch.equal(alone[key], together[place][key]) for key in alone)
        assert torch.equal(inputs[place], alone["input_ids"])
        assert torch.equal(labels[place], alone["labels"])


def test_masks_do_not_depend_on_the_order_of_reading() -> None:
    draws = 3 * len(SEQUENCES)
    data = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=draws)
    inputs, labels = data.batch(range(draws))
    for order in (range(draws)[::-1], np.random.default_rng(0).permutation(draws).tolist()):
        other = MaskedSequences(SEQUENCES, TOKENIZER, 5, draws=draws)
        parts = [other.batch(order[start : start + 7]) for start in range(0, draws, 7)]
        assert torch.equal(torch.cat([part[0] for part in parts]), inputs[list(order)])
        assert torch.equal(torch.cat([part[1] for part in parts]), labels[list(order)])


def test_masks_differ_by_seed_epoch_and_sequence() -> None:
    n = len(SEQUENCES)
    same = np.tile(SEQUENCES[:1], (n, 1))  # what differs is the masks alone
    drawn = [MaskedSequences(same, TOKENIZER, seed, draws=2 * n).batch(range(2 * n)) for seed in (0, 1)]
    masks = [tuple(row.tolist()) for _, labels in drawn for row in labels != IGNORED]
    # 14 tokens have 2^14 masks, of which 15 % makes the small ones likely
    assert len(set(masks)) > 0.4 * len(masks)
    first = torch.stack([labels != IGNORED for _, labels in drawn]).view(4, n, -1).float()
    ordinary = first.mean(dim=(0, 1)) > 0
    for one, other in ((0, 1), (0, 2), (1, 3)):
        pair = torch.stack([first[one][:, ordinary].ravel(), first[other][:, ordinary].ravel()])
        assert abs(torch.corrcoef(pair)[0, 1]) < 0.1


@pytest.mark.parametrize("draws", [None, 300], ids=["in order", "shuffled"])
def test_memory_mapped_sequences_give_the_same_in_another_process(
    draws: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_sequences, "READS_BEFORE_RELEASE", 3)
    sequences = np.tile(SEQUENCES, (20, 1))
    sequences.tofile(tmp_path / "train")
    mapped = np.memmap(tmp_path / "train", sequences.dtype, "r", 0, sequences.shape)
    held = MaskedSequences(sequences, TOKENIZER, 4, draws=draws)
    data = MaskedSequences(mapped, TOKENIZER, 4, draws=draws)
    sent = pickle.dumps(data)
    assert len(sent) < sequences.nbytes / 10
    again = pickle.loads(sent)
    assert isinstance(again.sequences, np.memmap)
    for start in range(0, 300, 10):
        numbers = range(start, start + 10)
        for one, expected in zip(data.batch(numbers), held.batch(numbers), strict=True):
            assert torch.equal(one, expected)
        for one, expected in zip(again.batch(numbers), held.batch(numbers), strict=True):
            assert torch.equal(one, expected)


def resident() -> int:
    """Bytes of memory that count as this process's now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux, to see the memory held")
def test_reading_takes_no_memory_that_grows_with_the_file(tmp_path: Path) -> None:
    shape, size = (1_000_000, 128), 256_000_000
    with (tmp_path / "train").open("wb") as file:
        for _ in range(10):
            file.write(bytes(size // 10))
    mapped = np.memmap(tmp_path / "train", np.uint16, "r", 0, shape)
    data = MaskedSequences(mapped, TOKENIZER, 0, draws=len(mapped))
    before, held = resident(), []
    for start in range(0, 20_000, 500):
        data.batch(range(start, start + 500))
        held.append(resident())
    UnigramModel.fit(mapped, MaskedSequences(SEQUENCES, TOKENIZER, 0))
    held.append(resident())
    (tmp_path / "train").unlink()
    assert max(held) - before < 0.6 * size


@pytest.mark.parametrize("number", [-1, 300, 10**9])
def test_a_draw_that_is_not_there(number: int) -> None:
    with pytest.raises(IndexError, match=f"draw {number} of 300"):
        MaskedSequences(SEQUENCES, TOKENIZER, 4, draws=300)[number]


def test_what_cannot_be_masked_is_refused() -> None:
    for probability in (0.0, 1.1, float("nan")):
        with pytest.raises(InputError, match="--mlm_probability must be above 0 and at most 1"):
            MaskedSequences(SEQUENCES, TOKENIZER, 0, probability=probability)
    without = train_tokenizer(TEXTS, 150)
    without.mask_token = None
    with pytest.raises(InputError, match="no mask token"):
        MaskedSequences(SEQUENCES, without, 0)


def test_every_epoch_holds_every_sequence_once_with_new_masks() -> None:
    n = len(SEQUENCES)
    draws = MaskedSequences(SEQUENCES, TOKENIZER, 1, draws=2 * n)

    def originals(items: list[dict[str, torch.Tensor]]) -> list[list[int]]:
        return sorted(
            torch.where(i["labels"] != IGNORED, i["labels"], i["input_ids"]).tolist() for i in items
        )

    epochs = [[draws[i] for i in range(k * n, (k + 1) * n)] for k in (0, 1)]
    assert originals(epochs[0]) == originals(epochs[1]) == sorted(SEQUENCES.tolist())
    assert not torch.equal(epochs[0][0]["labels"], epochs[1][0]["labels"])


def test_each_epoch_has_an_order_of_its_own() -> None:
    n = 100
    numbered = np.repeat(np.arange(20, 20 + n)[:, None], 16, axis=1).astype(np.int32)
    orders = [tuple(range(20, 20 + n))]
    for seed in (1, 2):
        inputs, labels = MaskedSequences(numbered, TOKENIZER, seed, draws=3 * n).batch(range(3 * n))
        original = torch.where(labels != IGNORED, labels, inputs)
        assert (original == original[:, :1]).all()
        orders += [tuple(part.tolist()) for part in original[:, 0].split(n)]
    assert len(set(orders)) == 7
    assert all(sorted(order) == list(orders[0]) for order in orders)


def standard_error(share: float, count: int) -> float:
    """Of a share that is counted in so many independent draws."""
    return float(np.sqrt(share * (1 - share) / count))


@pytest.mark.parametrize("probability", [0.15, 0.4])
def test_shares_are_those_of_bert(probability: float) -> None:
    sequences = np.tile(SEQUENCES, (800, 1))
    data = MaskedSequences(sequences, TOKENIZER, 3, probability=probability)
    inputs, labels = data.batch(range(len(data)))
    original = torch.from_numpy(sequences.astype(np.int64))
    special = torch.isin(original, torch.tensor(TOKENIZER.all_special_ids))
    chosen = labels != IGNORED
    assert not (chosen & special).any()
    assert torch.equal(labels[chosen], original[chosen])
    assert torch.equal(inputs[~chosen], original[~chosen])

    ordinary, predicted = int((~special).sum()), int(chosen.sum())
    error = standard_error(probability, ordinary)
    assert 0.02 * probability > 10 * error  # a rate that is off by a fiftieth would be seen
    assert predicted / ordinary == pytest.approx(probability, abs=4 * error)

    given, wanted = inputs[chosen], original[chosen]
    size = len(TOKENIZER)
    # one random token in as many as there are is the mask, or the token itself
    for actual, share in (
        (given == TOKENIZER.mask_token_id, 0.8 + 0.1 / size),
        (given == wanted, 0.1 + 0.1 / size),
        ((given != wanted) & (given != TOKENIZER.mask_token_id), 0.1 * (1 - 2 / size)),
    ):
        error = standard_error(share, predicted)
        assert error < 0.002
        assert actual.double().mean().item() == pytest.approx(share, abs=4 * error)


def test_random_tokens_are_drawn_alike_from_the_whole_vocabulary() -> None:
    sequences = np.full((20_000, 16), 20, dtype=np.int32)
    inputs, _ = MaskedSequences(sequences, TOKENIZER, 3, probability=1.0).batch(range(len(sequences)))
    counts = torch.bincount(inputs.flatten(), minlength=len(TOKENIZER)).numpy()
    random = np.delete(counts, [20, TOKENIZER.mask_token_id])
    assert len(random) == len(TOKENIZER) - 2
    assert random.sum() == pytest.approx(0.1 * sequences.size, rel=0.05)
    assert stats.chisquare(random).pvalue > 1e-3


def test_unigram_loss_by_hand() -> None:
    tokenizer: PreTrainedTokenizerFast = TOKENIZER
    a, b = 20, 21
    train = np.array([[2, a, a, a, b, 3]], dtype=np.int32)
    held_out = MaskedSequences(
        np.array([[2, a, b, a, b, 3]] * 50, dtype=np.int32), tokenizer, 0, probability=1.0
    )
    ordinary = len(tokenizer) - len(tokenizer.all_special_ids)
    expected = -(np.log(4 / (ordinary + 4)) + np.log(2 / (ordinary + 4))) / 2
    assert UnigramModel.fit(train, held_out).loss(held_out) == pytest.approx(expected, rel=1e-9)


def test_a_vocabulary_without_room_is_refused() -> None:
    with pytest.raises(InputError, match="at least 100 tokens, not 7"):
        train_tokenizer(TEXTS, 7)
