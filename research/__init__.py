"""Studies and benchmarks: how the figures in the documentation were measured; not installed.

A study is a YAML file in `studies`; `definition` says what one may hold. A room for each kind of
study, `training`, `stress`, `cost` and `dropped`, measures and reports; `measurement` keeps what it
found in `records`, and `catalogue` writes that into the documentation.
"""
