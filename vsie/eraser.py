"""An eraser: an affine map of the latent that takes a concept out of it; kept beside a checkpoint, applied in extraction.

Notable: it is kept as the k directions that it removes, ``r(x) = x - L R^T (x - mean)``, so a file of a few hundred kilobytes
says exactly what is taken, and which encoder's latents it was fitted on: on another encoder's it would erase nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor

from vsie.files import atomic_path

FOLDER = "erasers"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Eraser:
    """``r(x) = x - (x - mean) R L^T`` for rows x (..., d).

    Attributes:
        mean: (d,) float64.
        left: L (d, k) float64.
        right: R (d, k) float64, with R^T L = 1: the map is a projection.
        name: What it erases and how, such as ``leace-rotation``.
        encoder: Digest of the weights of the encoder that it was fitted on; empty where that is not known.
    """

    mean: Tensor
    left: Tensor
    right: Tensor
    name: str
    encoder: str = ""

    def __post_init__(self) -> None:
        dims = self.mean.shape[-1]
        for field in ("left", "right"):
            found = tuple(getattr(self, field).shape)
            if found != (dims, self.right.shape[-1]):
                raise ValueError(f"eraser.{field} has shape {found}, expected {(dims, self.right.shape[-1])}")

    @property
    def dim(self) -> int:
        """d, the width of the latents that it takes."""
        return len(self.mean)

    @property
    def rank(self) -> int:
        """k, how many directions it removes."""
        return self.left.shape[1]

    def __call__(self, latents: Tensor) -> Tensor:
        """Erase from latents (..., d); computed in float64, given back in the latents' own precision.

        Raises:
            ValueError: The latents have another width.
        """
        if latents.shape[-1] != self.dim:
            raise ValueError(f"the eraser {self.name} takes latents of width {self.dim}, found {latents.shape[-1]}")
        mean, left, right = (part.to(latents.device) for part in (self.mean, self.left, self.right))
        values = latents.double()
        return (values - (values - mean) @ right @ left.mT).to(latents.dtype)

    def within(self, dim: int, first: int = 0) -> Eraser:
        """The eraser of latents of width `dim` that acts on the dimensions from `first` on and leaves the rest alone."""

        def pad(part: Tensor) -> Tensor:
            whole = part.new_zeros(dim, *part.shape[1:])
            whole[first : first + self.dim] = part
            return whole

        return replace(self, mean=pad(self.mean), left=pad(self.left), right=pad(self.right))


def save(eraser: Eraser, file: Path) -> Path:
    """Write an eraser to a .safetensors file, atomically."""
    with atomic_path(file) as temporary:
        # Left and right of an orthogonal projection are one tensor, which the format refuses.
        tensors = {name: getattr(eraser, name).cpu().contiguous().clone() for name in ("mean", "left", "right")}
        about = {"kind": "vsie eraser", "name": eraser.name, "encoder": eraser.encoder}
        temporary.write_bytes(serialised(tensors, metadata=about))  # save_file would keep it from others than its owner
    return file


def save_with(run: Path, eraser: Eraser) -> Path:
    """Keep an eraser with a run: ``RUN/erasers/<name>.safetensors``."""
    return save(eraser, Path(run) / FOLDER / f"{eraser.name}{SUFFIX}")


def find(run: Path, eraser: str | Path) -> Path:
    """The file of an eraser: one of the run's by its name, or any file.

    Raises:
        FileNotFoundError: There is none; those of the run are named.
    """
    own = Path(run) / FOLDER / f"{eraser}{SUFFIX}"
    for file in (own, Path(eraser)):
        if file.is_file():
            return file
    known = sorted(file.stem for file in (Path(run) / FOLDER).glob(f"*{SUFFIX}"))
    has = f"it has {', '.join(known)}" if known else "it has none: tools/evaluate.py protocol=[erasure] makes them"
    raise FileNotFoundError(f"{run} has no eraser {eraser}, and there is no such file; {has}")


def load(file: Path, *, encoder: str = "", dim: int | None = None) -> Eraser:
    """Read an eraser; nothing in the file is run.

    Args:
        file: As `save` wrote it.
        encoder: Digest of the encoder whose latents it is for; checked where both are known.
        dim: Width of these latents.

    Raises:
        ValueError: The file is no eraser, or one for other latents.
    """
    try:
        with safe_open(str(file), framework="pt") as stored:
            facts = stored.metadata() or {}
            if facts.get("kind") != "vsie eraser":
                raise ValueError(f"{file} holds no eraser")
            parts = {name: stored.get_tensor(name) for name in ("mean", "left", "right")}
    except SafetensorError as error:
        raise ValueError(f"{file} is not a readable eraser ({error})") from None
    eraser = Eraser(**parts, name=facts["name"], encoder=facts["encoder"])
    if dim is not None and eraser.dim != dim:
        raise ValueError(f"{file} erases from latents of width {eraser.dim}, the encoder's have {dim}")
    if encoder and eraser.encoder and encoder != eraser.encoder:
        raise ValueError(f"{file} was fitted on the encoder {eraser.encoder}, this one is {encoder}; fit it again")
    return eraser
