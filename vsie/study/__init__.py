"""Runs beside each other: trained or taken and judged alike, differences with intervals, the page that answers.

`runs` is the work, `verdicts` the differences and what they show, `page` what is written; `comparison` puts any runs that
are there side by side.
"""
