"""Encoders: a clip (B, C, T, H, W) -> per-step latents (B, S, D), one family of backbones a file.

Contract (`vsie.encoders.base.Encoder`): `.dim` is D; `.stride` is how many frames one step stands for (S = T / stride);
`.step_times(times)` says which instant each step stands for. A still image is a clip with T = 1 and every encoder takes it.

A file `name.py` here holds one class called by the file's name in CamelCase (`frame.py` -> `Frame`); the options are its
keyword-only constructor and `configs/encoder/name.yaml`. Nothing has to be registered.
"""
