"""Rendered objects in the layout in which 3DIEBench (Garrido, Najman, LeCun, ICML 2023) is released.

    DIR/<class>/<object>/image_0.jpg .. image_49.jpg    one view each, with a light and floor of its own
    DIR/<class>/<object>/latent_0.npy .. latent_49.npy  float64 (7,): rotation x, y, z (extrinsic xyz Euler angles, radians),
                                                        floor_hue, spot_theta, spot_phi, spot_hue; 3DIEBench-T has (10,): and
                                                        translation x, y, z, in the object's own frame
    DIR/{train,val}_images.npy                          strings "/<class>/<object>"
    DIR/{train,val}_labels.npy                          int64
    DIR/all_objects.npy                                 strings (N, 2): class, object

With meshes from ShapeNet <class> is the synset. Beside these stand render.json, classes.txt and dataset.json of ours. A view
is drawn from a random stream of its own, keyed by (seed, object, view), so views are made in any order, and again after an
interruption, with the same bytes. Both files of a view are whole or not there; the image is written last. Red is red (in the
release it is probably blue, see `vsie.data.three_die_bench`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vsie.files import atomic_path
from vsie.render import Light, Mesh, Renderer
from vsie.render import trajectories as motion
from vsie.render.clips import ClipSettings, generator
from vsie.render.dataset import Item, Work
from vsie.render.scene import FLOOR_Z

VIEWS = 50
TRAJECTORIES = ("views", "ood", "turntable")
TRANSLATION = 0.5
"""3DIEBench-T (Konstantinou et al., EquiCaps, 2025) draws each translation from [-0.5, 0.5]."""
JPEG_QUALITY = 95


def check(settings: ClipSettings) -> None:
    """Refuse what this layout cannot hold: its latents know no camera, and its views no neighbours."""
    if settings.trajectory not in TRAJECTORIES:
        raise ValueError(
            f"trajectory is {settings.trajectory!r}, expected one of {', '.join(TRAJECTORIES)} with layout=3diebench"
        )
    if settings.frames != 1:
        raise ValueError(
            f"frames is {settings.frames}, expected 1 with layout=3diebench: clips_per_object is the number of views"
        )
    if settings.auxiliary:
        raise ValueError(f"auxiliary is {list(settings.auxiliary)}, expected [] with layout=3diebench")


def place(item: Item, classes: Sequence[str]) -> str:
    """``<class>/<object>`` of an item of the plan: the folder of its views."""
    name = classes[item.label]
    return f"{name}/{item.object.removeprefix(f'{name}_')}"


@dataclass(frozen=True)
class ViewsWork(Work):
    """`vsie.render.dataset.Work` that writes views; a "clip" of the pool is one view here.

    Attributes:
        classes: Names of the classes.
        translated: Whether objects are moved too, as in 3DIEBench-T.
    """

    classes: tuple[str, ...] = ()
    translated: bool = False

    def folder(self, item: Item) -> Path:
        """The folder of an object's views."""
        return self.out / place(item, self.classes)

    def clip(self, item: Item, clip: int) -> Path:
        """Path of a view's image."""
        return self.folder(item) / f"image_{clip}.jpg"

    def files(self, item: Item, clip: int) -> tuple[Path, Path]:
        """A view's image and latents."""
        return self.clip(item, clip), self.folder(item) / f"latent_{clip}.npy"

    def render_one(self, renderer: Renderer, item: Item, clip: int) -> int:
        """Render and write one view; 1."""
        image, latent = render_view(renderer, self.settings, generator(self.settings.seed, item.index, clip), self.translated)
        write_view(self.folder(item), clip, image, latent)
        return 1


def render_view(
    renderer: Renderer, settings: ClipSettings, rng: np.random.Generator, translated: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a rotation, a light and (`translated`) a translation, and render them.

    The translation t is that of 3DIEBench-T: ``x_world = R (x_object + t)``. Draws that put a part of the object below the
    floor are repeated: there Blender would hide it, and our renderer would not.

    Returns:
        The image (H, W, 3) uint8 RGB, and the latents float64 (7,) or (10,).
    """
    trajectory = motion.sample(settings.trajectory, 1, rng)
    light = motion.sample_light(rng)
    latent = np.concatenate([trajectory.angles[0], light])
    rotation = trajectory.rotations[0]
    if translated:
        moved = draw_translation(renderer.mesh, rotation, rng)
        latent = np.concatenate([latent, moved])
        renderer = renderer.moved(moved)
    return renderer.render(rotation, Light(*light)).rgb, latent


def draw_translation(mesh: Mesh, rotation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A translation (3,) in the object's frame, uniform over those that keep a rotated mesh above the floor."""
    while True:
        moved = rng.uniform(-TRANSLATION, TRANSLATION, 3)
        if ((mesh.vertices + moved) @ rotation[2]).min() > FLOOR_Z:
            return moved


def write_view(folder: Path, view: int, image: np.ndarray, latent: np.ndarray) -> None:
    """Write latent_V.npy, then image_V.jpg, each whole or not at all."""
    import cv2

    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise RuntimeError(f"OpenCV could not encode view {view} of {folder}")
    with atomic_path(folder / f"latent_{view}.npy") as temporary:
        np.save(temporary, latent)
    with atomic_path(folder / f"image_{view}.jpg") as temporary:
        temporary.write_bytes(data.tobytes())


def write_index(out: Path, items: Sequence[Item], classes: Sequence[str]) -> Path:
    """Write the five index files, in the plan's order; returns train_images.npy."""
    places = np.array([place(item, classes) for item in items])
    for split in ("train", "val"):
        mine = np.array([item.split == split for item in items])
        save(out / f"{split}_images.npy", np.char.add("/", places[mine]))
        save(out / f"{split}_labels.npy", np.array([item.label for item in items], dtype=np.int64)[mine])
    save(out / "all_objects.npy", np.array([name.split("/", 1) for name in places.tolist()]))
    return out / "train_images.npy"


def save(file: Path, values: np.ndarray) -> None:
    """np.save, atomically; a file that holds just that stays as it is, with its time: shards and features are known by it."""
    data = io.BytesIO()
    np.save(data, values)
    if not file.is_file() or file.read_bytes() != data.getvalue():
        with atomic_path(file) as temporary:
            temporary.write_bytes(data.getvalue())
