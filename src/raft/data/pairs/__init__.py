"""Minimal pairs: two sentences that differ in what makes one of them ungrammatical."""
