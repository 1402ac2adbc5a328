"""Tokenizers, and documents packed into sequences of one length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from raft.data.files import is_path
from raft.errors import InputError, first_line
from raft.hf.calibration import knows_words
from raft.hf.loading import NO_REMOTE_CODE

MLM, CLM = "mlm", "clm"
OBJECTIVES = (MLM, CLM)
"""What a language model learns: masked tokens, or each token from those before it."""

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TOKENIZER_CHARACTERS = 20_000_000
"""Characters that a vocabulary is trained on; more change it little."""

END_OF_TEXT, PAD = "<|endoftext|>", "<|pad|>"


def train_tokenizer(
    documents: Iterable[str], vocab_size: int, max_length: int = 512
) -> PreTrainedTokenizerFast:
    """Train a lower-cased WordPiece tokenizer with BERT's special tokens on the first 20 MB of text.

    Args:
        documents: texts; no more are read than are needed.
        vocab_size: number of tokens; a small corpus may give fewer.
        max_length: ``model_max_length`` of the tokenizer.

    Raises:
        InputError: for a vocabulary without room for more than the special tokens.
    """
    if vocab_size < 100:
        raise InputError(f"the vocabulary must have at least 100 tokens, not {vocab_size}")
    tokenizer = _untrained(models.WordPiece(unk_token="[UNK]"))
    documents = list(_first_characters(documents, TOKENIZER_CHARACTERS))
    alphabet = _alphabet(documents, tokenizer.normalizer, min(1000, vocab_size // 4))
    # without these in the vocabulary, in this order, the trainer numbers the continuations differently in
    # each run, and breaks ties between merges by those numbers
    continuations = [f"##{character}" for character in alphabet]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=[*SPECIAL_TOKENS, *continuations],
        limit_alphabet=len(alphabet),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    # rebuilt, as the continuations are ordinary tokens
    tokenizer = _untrained(models.WordPiece(vocabulary, unk_token="[UNK]"))
    cls, sep = ((token, vocabulary[token]) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.BertProcessing(sep, cls)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def train_bpe_tokenizer(
    documents: Iterable[str], vocab_size: int, max_length: int = 1024
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, as GPT-2 has, on the first 20 MB of text.

    ``<|endoftext|>`` begins and ends texts, and ``<|pad|>`` pads; any text comes back from its tokens.

    Args:
        documents: texts; no more are read than are needed.
        vocab_size: number of tokens; a small corpus may give fewer.
        max_length: ``model_max_length`` of the tokenizer.

    Raises:
        InputError: for a vocabulary without room for more than the bytes and special tokens.

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.2.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    least = len(alphabet) + 3
    if vocab_size < least:
        raise InputError(f"a byte-level vocabulary must have at least {least} tokens, not {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, PAD],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_first_characters(documents, TOKENIZER_CHARACTERS), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=PAD,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
    )


def _untrained(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _alphabet(documents: Sequence[str], normalizer: normalizers.Normalizer, most: int) -> list[str]:
    """The most frequent characters of normalized text, in an order that does not depend on the run."""
    counts = Counter[str]()
    for document in documents:
        codes, frequencies = np.unique(np.array([document]).view(np.uint32), return_counts=True)
        counts.update(dict(zip(map(chr, codes.tolist()), frequencies.tolist(), strict=True)))
    normalized = Counter[str]()
    for character, count in counts.items():
        for part in normalizer.normalize_str(character):
            normalized[part] += count
    letters = (character for character in normalized if not character.isspace())
    return sorted(letters, key=lambda character: (-normalized[character], character))[:most]


def _first_characters(documents: Iterable[str], limit: int) -> Iterator[str]:
    read = 0
    for document in documents:
        yield document[:limit]  # one can be the whole corpus
        read += len(document)
        if read > limit:
            return


def encoder(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """A copy of the tokenizer's backend without truncation and padding, which saved ones often have."""
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def id_range(tokenizer: PreTrainedTokenizerBase) -> int:
    """The largest token id plus one: some vocabularies have gaps."""
    return int(max(tokenizer.get_vocab().values())) + 1


def token_dtype(tokenizer: PreTrainedTokenizerFast) -> np.dtype[Any]:
    """uint16 where the vocabulary allows, else int32; little-endian, as in files."""
    return np.dtype("<u2" if id_range(tokenizer) <= 2**16 else "<i4")


def end_token_id(tokenizer: PreTrainedTokenizerBase, objective: str = CLM) -> int:
    """The token that ends a document: ``[SEP]`` for masked, the end of text for causal language models.

    Raises:
        InputError: where the tokenizer has none.
    """
    kind = "sep" if objective == MLM else "eos"
    end: int | None = getattr(tokenizer, f"{kind}_token_id")
    if end is None:
        raise InputError(f"the tokenizer has no {kind} token, which ends a document")
    return end


class Packer:
    """Cuts a stream of tokens into sequences of one length: ``[CLS] … [SEP]``, or tokens alone.

    Args:
        tokenizer: gives the ids of the two.
        length: tokens of a sequence, the two special ones included.
        objective: ``"mlm"``, which has the two, or ``"clm"``.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, length: int, objective: str = MLM) -> None:
        self.length = length
        self.ends = (tokenizer.cls_token_id, tokenizer.sep_token_id) if objective == MLM else ()
        self.rest = np.zeros(0, dtype=token_dtype(tokenizer))

    def add(self, stream: NDArray[Any]) -> NDArray[Any]:
        """The next ``[sequences, length]``; an unfilled rest is kept for the next call."""
        stream = np.concatenate([self.rest, stream])
        body = self.length - len(self.ends)
        count = len(stream) // body
        packed = stream[: count * body].reshape(count, body)
        if self.ends:
            first, last = (np.full((count, 1), end, dtype=stream.dtype) for end in self.ends)
            packed = np.concatenate([first, packed, last], axis=1)
        self.rest = stream[count * body :]
        return packed


def check_folder(name: str, what: str) -> None:
    """Raise ``InputError`` for a name that can only be a path, and is no folder; a hub name passes."""
    path = Path(name).expanduser()
    if not path.is_dir() and (path.exists() or is_path(name)):
        reason = "it is a file, not a folder" if path.exists() else "the path does not exist"
        raise InputError(f"no {what} at {name}: {reason}")


def read_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of any model.

    Args:
        name: folder or hub name.

    Raises:
        InputError: where there is none, or one that knows no words.
    """
    check_folder(name, "tokenizer")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name, **NO_REMOTE_CODE)
    except Exception as error:  # without files, each tokenizer class fails in its own way
        raise InputError(f"no tokenizer can be loaded from {name}: {first_line(error)}") from error
    if not knows_words(tokenizer):
        raise InputError(f"{name} has no tokenizer: save the model's there too, by its save_pretrained")
    limit: Any = tokenizer.model_max_length
    if not isinstance(limit, (int, float)) or not limit >= 1 or limit % 1:
        raise InputError(
            f"the tokenizer of {name} has a model_max_length of {limit!r}: mend its configuration"
        )
    return tokenizer


def load_tokenizer(name: str, objective: str = MLM) -> PreTrainedTokenizerFast:
    """A saved tokenizer, for masked or causal language modelling.

    Args:
        name: folder or hub name.
        objective: ``"mlm"`` or ``"clm"``.

    Raises:
        InputError: where there is none, or it has no fast form or lacks one of the special tokens.
    """
    tokenizer = read_tokenizer(name)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise InputError(f"the tokenizer of {name} has no fast form, which is needed here")
    needed = {MLM: ("masked", ("cls", "sep", "mask")), CLM: ("causal", ("eos",))}
    modelling, kinds = needed[objective]
    for kind in kinds:
        if getattr(tokenizer, f"{kind}_token_id") is None:
            raise InputError(
                f"the tokenizer of {name} has no {kind} token; {modelling} language modelling needs one"
            )
    return tokenizer
