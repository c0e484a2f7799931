"""Motion that nobody labelled: frames -> dense flow -> camera-frame deltas with a confidence -> poses beside the clips.

`flow/` holds one dense flow estimator a file, `egomotion/` one way a file from flow to the motion of the object in the
camera. A delta is of the object relative to the camera, whichever of the two moved: ``x_camera(t + 1) = D x_camera(t)``.
"""
