"""Two tasks that need no labelled data, made from a corpus's held-out documents.

* word order: is the sentence intact, or were four adjacent words shuffled? (Matthews)
* next sentence: does the second sentence follow the first, or come from elsewhere? (accuracy)

Training pool and test set come from different documents, and both classes are equally frequent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from raft.data.tasks.task import Example, Task
from raft.errors import InputError

MIN_WORDS, MAX_WORDS = 6, 25
SHUFFLED_WORDS = 4
MOST_EXAMPLES = 1000
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])|\n+")


def sentences(document: str) -> list[str | None]:
    """A document's sentences in order; None for one that is too short or too long."""
    stripped = [sentence.strip() for sentence in _END.split(document) if sentence and sentence.strip()]
    return [s if MIN_WORDS <= len(s.split()) <= MAX_WORDS else None for s in stripped]


def sentence_tasks(documents: Sequence[str], needed: int, seed: int = 0) -> list[Task]:
    """Make the two tasks.

    Args:
        documents: held-out texts.
        needed: number of training examples that will be drawn.
        seed: of the split of documents and of all shuffling.

    Raises:
        InputError: where the documents hold too few sentences.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(documents))
    halves = [[documents[i] for i in order[0::2]], [documents[i] for i in order[1::2]]]
    split = [[sentences(document) for document in half] for half in halves]
    tasks = []
    for name, metric, make in (
        ("word order", "matthews", word_order),
        ("next sentence", "accuracy", next_sentence),
    ):
        train, test = (make(half, random)[:MOST_EXAMPLES] for half in split)
        if len(train) * 0.75 < needed or len(test) < needed:
            raise InputError(
                f"the held-out text gives {len(train)} + {len(test)} examples of {name}, too few to draw "
                f"{needed} from; use a larger corpus"
            )
        tasks.append(Task(name, metric, train, test))  # type: ignore[arg-type]
    return tasks


def word_order(documents: Sequence[Sequence[str | None]], random: np.random.Generator) -> list[Example]:
    """Sentences, every second one with four adjacent words shuffled."""
    usable = list(dict.fromkeys(sentence for document in documents for sentence in document if sentence))
    examples = []
    for number, i in enumerate(random.permutation(len(usable))):
        sentence = usable[i]
        if number % 2:
            examples.append(Example(sentence, None, 1))
        elif (mixed := _shuffled(sentence.split(), random)) is not None:
            examples.append(Example(mixed, None, 0))
    return _balanced(examples)


def _shuffled(words: list[str], random: np.random.Generator) -> str | None:
    start = int(random.integers(0, len(words) - SHUFFLED_WORDS + 1))
    span = words[start : start + SHUFFLED_WORDS]
    orders = [random.permutation(SHUFFLED_WORDS) for _ in range(10)]
    mixed = next((m for order in orders if (m := [span[i] for i in order]) != span), None)
    return None if mixed is None else " ".join([*words[:start], *mixed, *words[start + SHUFFLED_WORDS :]])


def next_sentence(documents: Sequence[Sequence[str | None]], random: np.random.Generator) -> list[Example]:
    """Adjacent sentences, and as many pairs whose second sentence comes from another pair."""
    pairs = [(document[i], document[i + 1]) for document in documents for i in range(0, len(document) - 1, 2)]
    whole = [(first, second) for first, second in pairs if first and second]
    order = random.permutation(len(whole))
    negative = [whole[i] for i in order[: len(order) // 2]]
    examples = [Example(whole[i][0], whole[i][1], 1) for i in order[len(order) // 2 :]]
    # rotate by one, so that no pair keeps its own second sentence
    examples += [Example(negative[i][0], negative[i - 1][1], 0) for i in range(len(negative))]
    return _balanced([examples[i] for i in random.permutation(len(examples))])


def _balanced(examples: list[Example]) -> list[Example]:
    """As many of one class as of the other, alternating."""
    negative, positive = ([e for e in examples if e.label == label] for label in (0, 1))
    return [example for pair in zip(negative, positive, strict=False) for example in pair]
