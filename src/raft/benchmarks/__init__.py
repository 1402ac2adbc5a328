"""Measurements of speed: functions in turn, in one process, beside a named peer."""
