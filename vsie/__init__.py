"""vsie: video-based, 3D-aware self-supervised learning with a split latent."""

__version__ = "0.1.0"


def load(run, *, device="cpu"):
    """Load a trained run: see `vsie.features.load`."""
    from vsie.features import load as load_run

    return load_run(run, device=device)
