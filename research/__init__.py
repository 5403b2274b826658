"""Studies and benchmarks that produce the figures in the documentation; not installed.

A study is a YAML file in `studies`, with the fields in `definition`. Each kind of study
(`training`, `stress`, `cost`, `dropped`) has a package that measures and reports. `measurement`
stores results in `records`, and `catalogue` writes them into the documentation.
"""
