"""Seeing what was learned: measures, tables and figures; reads models and results, trains nothing."""
