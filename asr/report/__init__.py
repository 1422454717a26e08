"""A run folder as one HTML page, which needs neither network nor script.

In: a run folder with its training log, hypotheses, model and recordings, and maybe another one. Out: `report.html`. A
part whose files are missing is named on the page.
"""
