"""Methods: a published method = encoder + split + predictor + terms, one file each, the paper in the docstring.

A file `name.py` here holds one class called by the file's name (case apart) that derives from `vsie.methods.base.Method`;
its keyword-only constructor and `configs/method/name.yaml` are its options. Nothing has to be registered.
"""
