"""Which rows of the suites are faster or slower than in a commit: `python -m benchmarks.compare COMMIT`.

`builds.py` compiles both versions, each in a folder of its own; `worker.py` is a process of one version,
which times the row that it is asked for; `rounds.py` lets two such processes take turns, and starts new
ones for every round; `report.py` shows the result; `self_check.py` compares a build with itself.

The rows are those of `pytest benchmarks` in this checkout, timed with both versions. A round is the unit of
the statistics: where a process has its memory shifts all times that it measures, so that more turns in the
same process would look more certain than they are.
"""
