"""Train (or take) a grid of runs over seeds, judge them alike, and write one page that answers.

    python tools/study.py                                             # the answer: vicreg, sie, stills, clips; 3 seeds; hours
    python tools/study.py rows=[stills,vsie] seeds=[0] images=300000  # a part of it, shorter
    python tools/study.py 'take=[vsie=runs/vsie_*,stills=runs/stills_*]' train=false   # of runs that are there already
    python tools/study.py keep=found                                  # also what was found of each run, to be taken elsewhere
    python tools/study.py grid=ablation out=ablation                  # what each piece of vsie is for
    python tools/study.py overrides=[experiment=debug] rows=[stills,vsie] seeds=[0,1] out=toy   # all of it at toy size

Run the same command again to go on: what is trained and judged is not done twice. See configs/study.yaml for all keys.
"""

from __future__ import annotations

import re
import sys

from vsie.config import hydra_main
from vsie.schemas import StudyConfig


@hydra_main("study")
def main(config: StudyConfig) -> None:
    from vsie.study.runs import study

    page = study(
        grid=config.grid, out=config.out, rows=config.rows, seeds=config.seeds, images=config.images, take=config.take,
        train=config.train, again=config.again, jobs=config.jobs, threads=config.threads, protocol=config.protocol,
        data=config.data, overrides=config.overrides, kept=config.keep,
    )  # fmt: skip
    print(page)


def with_lists(arguments: list[str]) -> list[str]:
    """Arguments as Hydra takes them: every entry of take=[a=b,...] and overrides=[a=b,...] is quoted, its brackets left whole."""
    quoted = []
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key in ("take", "overrides") and value.startswith("[") and value.endswith("]"):
            entries = re.findall(r"""(?:"[^"]*"|'[^']*'|\[[^\]]*\]|[^,\["'])+""", value[1:-1])
            entries = [entry.strip() for entry in entries if entry.strip()]
            inside = [entry if entry[0] in "\"'" else "'" + entry.replace("'", "\\'") + "'" for entry in entries]
            argument = f"{key}=[{','.join(inside)}]"
        quoted.append(argument)
    return quoted


if __name__ == "__main__":
    sys.argv[1:] = with_lists(sys.argv[1:])
    main()
