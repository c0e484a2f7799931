"""An encoder that somebody else exported with torch.export (`.pt2`), for judging: `tools/evaluate.py encoder=FILE.pt2`.

Notable: such a file is read without running what is in it. `torch.export.load` alone falls back on unpickling anything, loads
compiled libraries, evaluates the text of shape expressions and looks functions up by their names; all four are refused
here before, or while, it reads.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from vsie.encoders.base import Encoder

TARGET = re.compile(r"torch\.ops(\.\w+)+|_?operator\.\w+|math\.\w+|torch\.sym_\w+")
CALLS = {"Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CeilDiv",
         "CleanDiv", "FloorToInt", "CeilToInt", "IntTrueDiv", "FloatTrueDiv", "ToFloat", "TruncToInt", "RoundToInt", "Where",
         "Equality", "Unequality", "LessThan", "StrictLessThan", "GreaterThan", "StrictGreaterThan", "Eq", "Ne", "Le", "Lt",
         "Ge", "Gt", "Abs", "Not", "And", "Or"}  # fmt: skip
ARITHMETIC = (ast.Expression, ast.Call, ast.Name, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp, ast.Compare, ast.operator,
              ast.unaryop, ast.cmpop, ast.Load)  # fmt: skip
SIDE, FRAMES = 64, 8  # of the trial clip, where the program leaves them open


def allowed(side: int | torch.SymInt, wanted: int, ranges: Mapping[Any, Any]) -> int:
    """The least size from `wanted` on that a program's side may have (else the largest), by the ranges of its symbols."""
    if isinstance(side, int):
        return side
    expression = side.node.expr
    symbol = next(iter(expression.free_symbols), None)
    if len(expression.free_symbols) != 1 or symbol not in ranges:
        return wanted  # a size made of several others: the program itself says whether it will do
    low, high = int(ranges[symbol].lower), ranges[symbol].upper
    sizes = (int(expression.subs(symbol, number)) for number in range(low, low + wanted + 1) if number <= high)
    size = low
    for size in sizes:
        if size >= wanted:
            break
    return size


class Exported(Encoder):
    """A program that takes images (B, 3, H, W), or clips (B, 3, T, H, W), float in [0, 1]; any normalisation is inside of it.

    It gives (B, D); of images also tokens (B, N, D) or feature maps (B, D, h, w), which are averaged; of clips also steps
    (B, S, D) or maps (B, D, S, h, w). Sizes that were exported as fixed are kept to: batches are filled up, a still (or the
    end of a clip) is held for as many frames as the program takes. One that gives no more steps for more frames is given 8 at a
    time. It runs on the CPU.

    Args:
        file: The `.pt2`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no exported program, holds code, or takes or gives something else.
    """

    def __init__(self, *, file: str) -> None:
        super().__init__()
        self.file = Path(file)
        program = load(self.file)
        module = program.module()
        self._program = (module,)  # in a tuple: nn.Module would pass the evaluation mode on, which exported modules refuse
        sides = self._input(program)
        shape = [side if isinstance(side, int) else None for side in sides]
        self.clips = len(shape) == 5
        self.batch, self.frames, self.size = shape[0], shape[2] if self.clips else None, shape[-2:]
        # what tells one file's features from another's, and the device
        digest = hashlib.sha256(self.file.read_bytes()).digest()
        self.register_buffer("digest", torch.frombuffer(bytearray(digest), dtype=torch.uint8).clone())
        self.place = nn.Parameter(torch.zeros(()), requires_grad=False)
        ranges = program.range_constraints
        trial = [allowed(sides[0], 2, ranges), 3, *(allowed(side, FRAMES, ranges) for side in sides[2:-2]),
                 *(allowed(side, SIDE, ranges) for side in sides[-2:])]  # fmt: skip
        with torch.no_grad():
            output = self._run(torch.zeros(trial))
            if self.clips and not self.frames:
                double = 2 * trial[2]
                fits = allowed(sides[2], double, ranges) == double
                if not fits or self._run(torch.zeros(*trial[:2], double, *trial[3:])).shape[1] != 2 * output.shape[1]:
                    self.frames = trial[2]  # no more steps for more frames: clips are cut into spans
        self.dim, self.stride = output.shape[-1], trial[2] // output.shape[1] if self.clips else 1
        if self.clips and trial[2] % output.shape[1]:
            raise ValueError(f"{file} gives {output.shape[1]} steps for {trial[2]} frames, expected a number that divides them")

    def _input(self, program: Any) -> list[int | torch.SymInt]:
        """The shape of the one input, symbols where it is open."""
        wanted = "images (B, 3, H, W) or clips (B, 3, T, H, W)"
        names = program.graph_signature.user_inputs
        values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
        if len(values) != 1 or not isinstance(values[0], Tensor):
            raise ValueError(f"{self.file} takes {len(values)} inputs, expected one: {wanted}")
        shape = list(values[0].shape)
        if len(shape) not in (4, 5) or (isinstance(shape[1], int) and shape[1] != 3) or values[0].dtype != torch.float32:
            raise ValueError(f"{self.file} takes {values[0].dtype} {tuple(values[0].shape)}, expected float32 {wanted}")
        return shape

    def _run(self, part: Tensor) -> Tensor:
        """One batch of the program's own shape: (B, S, D), S = 1 for images."""
        if self.batch and len(part) < self.batch:
            full = torch.cat([part, part[-1:].expand(self.batch - len(part), *part.shape[1:])])
            return self._run(full)[: len(part)]
        device, part = part.device, part.cpu()  # where the program is
        try:
            output = self._program[0](part)
        except (RuntimeError, AssertionError) as error:
            said = " ".join(str(error).split())[:300]
            raise ValueError(f"{self.file} could not encode {tuple(part.shape)}: {said}") from error
        if isinstance(output, (tuple, list)) and len(output) == 1:
            output = output[0]
        ranks = (2, 3, 5) if self.clips else (2, 3, 4)
        if not isinstance(output, Tensor) or output.ndim not in ranks or len(output) != len(part):
            found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"{self.file} gives {found} for {tuple(part.shape)}, expected one tensor: (B, D), (B, N, D) or maps")
        output = output.float().to(device)
        if self.clips:
            if output.ndim == 5:
                output = rearrange(output.mean((3, 4)), "b d s -> b s d")
            return output[:, None] if output.ndim == 2 else output
        return (output if output.ndim == 2 else output.mean(1) if output.ndim == 3 else output.mean((2, 3)))[:, None]

    def forward(self, clip: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> latents (B, T / stride, dim)."""
        self.check(clip)
        count, _, frames, *size = clip.shape
        if any(own not in (None, side) for own, side in zip(self.size, size, strict=True)):
            raise ValueError(f"{self.file} takes frames of {self.size[0]} x {self.size[1]}, found {size[0]} x {size[1]}; "
                             f"give size={self.size[0]}")  # fmt: skip
        if not self.clips:
            images = rearrange(clip, "b c t h w -> (b t) c h w")
            return rearrange(self._batches(images), "(b t) 1 d -> b t d", b=count)
        span = self.frames or (frames if frames > 1 else FRAMES)
        held = -(-frames // span) * span - frames
        clip = torch.cat([clip, clip[:, :, -1:].expand(-1, -1, held, -1, -1)], 2)
        steps = self._batches(rearrange(clip, "b c (n t) h w -> (b n) c t h w", t=span))
        if frames == 1:
            return steps.mean(1, keepdim=True)
        return rearrange(steps, "(b n) s d -> b (n s) d", b=count)[:, : self.steps(frames)]

    def _batches(self, inputs: Tensor) -> Tensor:
        return torch.cat([self._run(part) for part in inputs.split(self.batch or max(len(inputs), 1))])


def load(file: Path) -> Any:
    """The exported program of a `.pt2`; nothing in the file is unpickled or evaluated.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no exported program, or holds code.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there (encoder=)")
    check(file)
    try:
        with _weights_only():
            return torch.export.load(file)
    except Exception as error:  # torch.export raises whatever its reader ran into
        raise ValueError(f"{file} could not be read as an exported program ({' '.join(str(error).split())[:300]})") from None


def check(file: Path) -> None:
    """Refuse an archive that holds compiled code, functions that are no operators, or expressions that are more than numbers.

    Raises:
        ValueError: It says what was found.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            documents = [json.loads(archive.read(name)) for name in names if name.endswith(".json")]
    except (zipfile.BadZipFile, ValueError) as error:
        raise ValueError(f"{file} is not an exported program ({error}); torch.export.save writes them") from None
    compiled = [name for name in names if "aotinductor" in name or name.endswith((".so", ".py", ".cpp", ".o", ".cubin"))]
    if compiled:
        raise ValueError(f"{file} holds compiled code ({compiled[0]}), expected a program of torch.export.save alone")
    for document in documents:
        for key, text in _texts(document):
            if key == "target" and not TARGET.fullmatch(text):
                raise ValueError(f"{file} calls {text[:80]!r}, expected operators of torch (torch.ops...) only")
            if key == "expr_str" and not arithmetic(text):
                raise ValueError(f"{file} has the size {text[:80]!r}, expected arithmetic")


def arithmetic(text: str) -> bool:
    """Whether the text of a shape expression holds numbers, symbols and sums of them, and nothing else could be called."""
    try:
        nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError):
        return False
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    words = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return (
        all(isinstance(node, ARITHMETIC) for node in nodes)
        and all(isinstance(function, ast.Name) and function.id in CALLS for function in called)
        and all(re.fullmatch(r"[a-z]+\d*", word) for word in words)
    )


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """All texts of a JSON document, each with the key that it stands under; symbols' names count as expressions."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            if key == "range_constraints":
                yield "expr_str", name
            yield from _texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, key)


@contextlib.contextmanager
def _weights_only() -> Iterator[None]:
    """Whatever torch loads, it loads tensors only."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name) if before is None else os.environ.update({name: before})
