"""Dense optical flow, one estimator a file, found by its name."""
