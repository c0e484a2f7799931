"""Pictures of several runs beside each other: Top-1 against pose error, both against images seen, a steering strip each."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vsie.report.figures import COLOURS, INK, QUIET, _figure, _picture, _plain, _save, _smooth, mark


def trade_off(
    points: Mapping[str, Sequence[tuple[float, float]]], out: Path | str, *, floor: tuple[float, float] | None = None,
    direct: Sequence[str] = (), xlabel: str = "rotation of a pair, median error in degrees (log scale)",
    ylabel: str = "Top-1",
) -> Path:  # fmt: skip
    """Top-1 against pose error: up and to the left is better. A large mark is the median of a method's seeds.

    Args:
        points: Method to (pose error in degrees, Top-1), one pair per seed.
        out: Where to.
        floor: Pose error and Top-1 of who looks at nothing, drawn as lines.
        direct: Methods with direct supervision: hollow marks.
        xlabel: Words.
        ylabel: Words.

    Raises:
        ValueError: When there is no point.
    """
    if not any(len(pairs) for pairs in points.values()):
        raise ValueError("no run has both a Top-1 and a pose error; nothing to draw")
    figure = _figure(7.6, max(4.4, 0.30 * len(points) + 1.2))
    axes = figure.add_subplot(1, 1, 1)
    handles = []
    for number, (name, pairs) in enumerate(points.items()):
        if not len(pairs):
            continue
        errors, accuracies = np.array(pairs, dtype=float).T
        colour, marker = mark(number)
        filled = "white" if name in direct else colour
        if len(pairs) > 1:
            axes.plot(errors, accuracies, marker, color=colour, markersize=4, alpha=0.55, linewidth=0, markerfacecolor=filled)
        style = {"markersize": 10, "linewidth": 0, "markerfacecolor": filled, "markeredgewidth": 1.8}
        handles += axes.plot(np.median(errors), np.median(accuracies), marker, color=colour, label=name, **style)
    axes.set_xscale("log")
    axes.margins(0.12)
    everything = np.concatenate([np.array(pairs, dtype=float).reshape(-1, 2) for pairs in points.values()])
    low, high = everything[:, 1].min(), everything[:, 1].max()
    pad = max(0.02, 0.15 * (high - low))
    axes.set_ylim(low - pad, min(1.005, high + pad))
    if floor is not None:
        axes.axvline(floor[0], color=QUIET, linewidth=1, linestyle="--", zorder=0)
        words = f"knows no pose ({floor[0]:.0f}°)"
        place = {"transform": axes.get_xaxis_transform(), "rotation": 90, "va": "bottom", "ha": "right", "fontsize": 8}
        axes.text(floor[0] * 0.985, 0.02, words, color=QUIET, **place)
        axes.set_title(f"knows no class: {floor[1]:.3f}", fontsize=8, color=QUIET, loc="right")
    first, last = axes.get_xlim()
    ticks = np.array([1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180])
    ticks = ticks[(ticks >= first) & (ticks <= last)]
    axes.set_xticks(ticks if len(ticks) > 1 else [first, last])
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:.3g}")
    _plain(axes)
    axes.set_xlabel(xlabel, fontsize=9, color=INK)
    axes.set_ylabel(ylabel, fontsize=9, color=INK)
    title = "hollow: direct supervision" if any(name in points for name in direct) else None
    figure.legend(handles=handles, loc="outside right upper", fontsize=8, frameon=False, title=title, title_fontsize=8)
    return _save(figure, out)


Curve = tuple[np.ndarray, np.ndarray]


def learning(
    panels: Mapping[str, Mapping[str, Sequence[Curve]]], out: Path | str, *, floors: Mapping[str, Sequence[float]] | None = None
) -> Path:
    """A measure during training against the images seen, a panel each: a thin line a seed, a thick one their median.

    Args:
        panels: Title to method to one curve per seed: images (N,) rising and values (N,). The median is drawn over the images
            that all seeds of a method have seen.
        out: Where to.
        floors: Title to what one gets who looks at nothing, dashed lines: several, where methods are not asked the same.

    Raises:
        ValueError: When there is no curve.
    """
    panels = {title: {name: seeds for name, seeds in methods.items() if seeds} for title, methods in panels.items()}
    panels = {title: methods for title, methods in panels.items() if methods}
    if not panels:
        raise ValueError("no run has a log of its training; nothing to draw")
    names = list(dict.fromkeys(name for methods in panels.values() for name in methods))
    figure = _figure(4.6 * len(panels) + 2.0, max(3.6, 0.30 * len(names) + 1.0))
    handles = {}
    for index, (title, methods) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), index + 1)
        for name, seeds in methods.items():
            number = names.index(name)
            drawn = {"color": COLOURS[number % len(COLOURS)], "linestyle": "-" if number < len(COLOURS) else "--"}
            seeds = [(images, _smooth(values)) for images, values in seeds]
            if len(seeds) > 1:
                for images, values in seeds:
                    axes.plot(images, values, linewidth=0.7, alpha=0.45, **drawn)
            grid = seeds[0][0]
            grid = grid[(grid >= max(images[0] for images, _ in seeds)) & (grid <= min(images[-1] for images, _ in seeds))]
            middle = np.median([np.interp(grid, images, values) for images, values in seeds], axis=0)
            (handles[name],) = axes.plot(grid, middle, linewidth=2.0, label=name, **drawn)
        for floor in (floors or {}).get(title, ()):
            axes.axhline(floor, color=QUIET, linewidth=1, linestyle="--", zorder=0)
        axes.set_title(title, fontsize=10, color=INK, loc="left")
        axes.set_xlabel("images seen", fontsize=9, color=INK)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:.3g} M" if value else "0")
        axes.set_xlim(left=0)
        axes.margins(y=0.08)
        _plain(axes)
    shown = any((floors or {}).values())
    legend = {"title": "dashed: looks at nothing", "title_fontsize": 8} if shown else {}
    figure.legend(handles=[handles[name] for name in names], loc="outside right upper", fontsize=8, frameon=False, **legend)
    return _save(figure, out)


def strips(
    sources: np.ndarray, truth: np.ndarray, found: Mapping[str, np.ndarray], wrong: Mapping[str, np.ndarray],
    angles_deg: Sequence[float], out: Path | str,
) -> Path:  # fmt: skip
    """For each source frame a block: the true views over a sweep of deltas, and a row per method with what it lands on.

    Args:
        sources: (R, H, W, 3) uint8 source frames.
        truth: (R, S, H, W, 3) what is truly there.
        found: Method to (R, S, H, W, 3) the nearest view to the steered latent.
        wrong: Method to (R, S) degrees between found and truth; up to 30 the frame is green.
        angles_deg: S angles of the sweep.
        out: Where to.
    """
    from matplotlib.gridspec import GridSpec

    blocks, steps = truth.shape[:2]
    lines = 1 + len(found)
    words = {name: textwrap.fill(name, 22) for name in ["truth", *found]}
    longest = max(len(line) for text in words.values() for line in text.splitlines())
    cell, left, top, gap = 0.78, 0.35 + 0.075 * longest, 0.32, 0.16
    width, height = left + cell * (steps + 1) + 0.1, top + blocks * (lines * cell + gap)
    figure = _figure(width, height)
    figure.set_layout_engine("none")
    grid = GridSpec(
        blocks * (lines + 1), steps + 1, figure=figure, height_ratios=([cell] * lines + [gap]) * blocks, left=left / width,
        right=1 - 0.05 / width, top=1 - top / height, bottom=0.0, wspace=0.06, hspace=0.06,
        width_ratios=[1.12] + [1] * steps,
    )  # fmt: skip
    for block in range(blocks):
        base = block * (lines + 1)
        axes = figure.add_subplot(grid[base, 0])
        _picture(axes, sources[block], INK)
        if block == 0:
            axes.set_title("source", fontsize=8, color=INK)
        for line, name in enumerate(["truth", *found]):
            for step in range(steps):
                axes = figure.add_subplot(grid[base + line, step + 1])
                if line == 0:
                    _picture(axes, truth[block, step], QUIET)
                    if block == 0:
                        axes.set_title(f"{angles_deg[step]:+.0f}°", fontsize=8, color=INK)
                    continue
                error = wrong[name][block, step]
                _picture(axes, found[name][block, step], COLOURS[2] if error <= 30 else COLOURS[1])
                box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
                style = {"fontsize": 6, "ha": "right", "va": "bottom", "color": INK, "bbox": box}
                axes.text(0.95, 0.05, f"{error:.0f}°", transform=axes.transAxes, **style)
            box = grid[base + line, 0].get_position(figure)
            anchor = (left - 0.08) / width if line == 0 else box.x1 - 0.04 / width
            figure.text(anchor, (box.y0 + box.y1) / 2, words[name], fontsize=8, color=INK, ha="right", va="center")
    return _save(figure, out)
