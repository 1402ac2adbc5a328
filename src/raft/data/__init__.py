"""Text and tasks: corpora, tokens, masks, GLUE, low-data draws."""
