"""Zero-shot tests of language models: minimal pairs, last words, perplexity."""
