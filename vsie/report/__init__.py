"""Tables and figures of what was measured; `write_report` makes all of them for a run."""

from __future__ import annotations

from vsie.report.write import write_report

__all__ = ["write_report"]
