"""Studies: questions that the paper leaves open, each a list of what to measure and one command.

A study is a YAML file in this folder; `definition` says what one may hold, `run` measures its parts
and keeps what it found, and one file for each kind of study measures and reports.
"""
