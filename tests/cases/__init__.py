"""Inputs that real users gave and that once went wrong, each with its right outcome.

``python -m tests.cases`` replays them through the installed package and prints a line for each.
"""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
