"""Repeat the speed claims.

    python tools/benchmark.py                        # all of them
    python tools/benchmark.py what=render
    python tools/benchmark.py what=predictor seconds=10 out=predictor.json
"""

from __future__ import annotations

from vsie.config import hydra_main
from vsie.schemas import BenchmarkConfig


@hydra_main("benchmark")
def main(config: BenchmarkConfig) -> None:
    import json

    from vsie.benchmarks.base import run
    from vsie.files import write_text

    rows = run(config.what, config.seconds)
    for row in rows:
        bar = f"  (bar >= {row['bar']:g})" if "bar" in row else f"  (bar <= {row['most']:g})" if "most" in row else ""
        print(f"{row['what']:10s} {row['figure']:48s} {row['value']:12.4g} {row['unit']}{bar}")
    if config.out:
        write_text(config.out, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
