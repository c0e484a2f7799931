"""Is a copy of 3DIEBench whole, and is it still what it was?

    python tools/verify.py root=DIR list=3diebench_sha256.csv     # the first time: checks everything and writes the list
    python tools/verify.py root=COPY list=3diebench_sha256.csv    # later, or elsewhere: compares with the list
    python tools/verify.py root=RENDERED list=sums.csv views=8    # anything in that layout
"""

from __future__ import annotations

from vsie.config import hydra_main
from vsie.schemas import VerifyConfig


@hydra_main("verify")
def main(config: VerifyConfig) -> None:
    from vsie.data.checksums import verify

    found = verify(config.root, config.list, views=config.views, rotations=config.rotations, workers=config.workers)
    what = "the numbers of 3DIEBench" if found.known else "not the numbers of 3DIEBench"
    done = f"written: {found.written}" if found.written else f"all as in {config.list}"
    print(f"{config.root}: whole, {found.objects} objects ({what}), {found.views} views, {found.bytes / 1e9:.3f} GB; {done}")


if __name__ == "__main__":
    main()
