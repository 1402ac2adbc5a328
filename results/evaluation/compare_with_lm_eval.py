"""Accuracies on BLiMP by ``raft evaluate`` and by lm_eval, of one model on the same pairs.

lm_eval 0.4.13 has to be importable; it is no requirement of the project. Its task for BLiMP puts a space
before each sentence, which a byte-level vocabulary reads as other tokens: it is run with and without it.

    python results/evaluation/compare_with_lm_eval.py MODEL BLIMP --paradigms 5 --items 200
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from lm_eval import simple_evaluate
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

import raft  # noqa: F401  # models with RAFs
from raft.data.pairs.blimp import read_blimp
from raft.data.pairs.paradigms import Paradigm
from raft.evaluation.language_model import check_language_model
from raft.evaluation.tasks import make_pairs_test


def measure_theirs(model: HFLM, paradigm: Paradigm, delimiter: str, folder: Path) -> float:
    file = folder / f"{paradigm.name}.jsonl"
    rows = [{"sentence_good": good, "sentence_bad": bad} for good, bad in paradigm.pairs]
    file.write_text("\n".join(map(json.dumps, rows)))
    task = ConfigurableTask(
        config={
            "task": paradigm.name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"validation": str(file)}},
            "validation_split": "validation",
            "output_type": "multiple_choice",
            "doc_to_text": "",
            "doc_to_target": 0,
            "doc_to_choice": "{{[sentence_good, sentence_bad]}}",
            "target_delimiter": delimiter,
            "num_fewshot": 0,
            "metric_list": [{"metric": "acc"}],
        }
    )
    results: Any = simple_evaluate(model, tasks=[task], bootstrap_iters=0, verbosity="ERROR")
    return float(results["results"][paradigm.name]["acc,none"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("blimp")
    parser.add_argument("--paradigms", type=int, default=5)
    parser.add_argument("--items", type=int, default=200)
    options = parser.parse_args()
    network = AutoModelForCausalLM.from_pretrained(options.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    theirs = HFLM(pretrained=network, tokenizer=tokenizer, batch_size=16, device="cpu")
    ours = check_language_model(network, tokenizer, options.model)
    print("| paradigm | raft | lm_eval | ties | raft, a space before | lm_eval, a space before |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for paradigm in read_blimp(options.blimp, options.items)[: options.paradigms]:
            cells = []
            for delimiter in ("", " "):
                pairs = tuple((delimiter + good, delimiter + bad) for good, bad in paradigm.pairs)
                spaced = Paradigm(paradigm.name, paradigm.phenomenon, pairs)
                score = make_pairs_test("blimp", [spaced])(ours).overall
                reference = measure_theirs(theirs, paradigm, delimiter, Path(folder))
                cells.append((score.by_sum.value, reference, score.ties))
            (first, second, ties), (third, fourth, _) = cells
            print(f"| {paradigm.name} | {first:.4f} | {second:.4f} | {ties} | {third:.4f} | {fourth:.4f} |")


if __name__ == "__main__":
    main()
