"""From flow to the motion of the object in the camera, one way a file, found by its name."""
