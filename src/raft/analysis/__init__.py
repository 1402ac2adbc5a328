"""Seeing what was learned; reads models and run folders, trains nothing."""
