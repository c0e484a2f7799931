"""Rendering turntable clips of meshes with the look of 3DIEBench, without Blender.

    from vsie.render import Light, Mesh, render_frame
    frame = render_frame(mesh, rotation, light=Light(floor_hue=0.1, spot_theta=0.3, spot_phi=2.0, spot_hue=0.6))
"""

from vsie.render.flow import render_flow
from vsie.render.geometry import embree_clock
from vsie.render.raycast import Renderer, render_frame
from vsie.render.scene import Camera, Frame, Light, Mesh

__all__ = ["Camera", "Frame", "Light", "Mesh", "Renderer", "embree_clock", "render_flow", "render_frame"]
