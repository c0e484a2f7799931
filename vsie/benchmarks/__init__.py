"""Every speed claim, repeatable: a file per claim, each with `rows(seconds)`; nothing is registered.

`base.run` is what `tools/benchmark.py` calls.
"""
