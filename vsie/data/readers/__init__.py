"""Data sets as their authors release them: a file here lists the clips of one, `vsie.data.prepare` makes a manifest of them.

A new one is a file with a class named like it (a `base.Reader`), a YAML in `configs/data/`, and a test.
"""
