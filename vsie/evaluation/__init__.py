"""What does each part of the latent know? One question per file; everything works on arrays, no model is needed.

`suite.evaluate` asks all of them; `inputs.Features` is what it is given.
"""

from __future__ import annotations
