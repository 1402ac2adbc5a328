"""Data: text corpora and their tokens, labelled tasks, SQuAD."""
