"""The style of the page: light and dark, wide and narrow, and in print."""

from ...backends import NAMES
from .facts import PHASES

# Colours have a contrast to their background of at least 4.5 as text and 3 as areas. No information is in
# colour alone: the numbers of every picture are also in words or in a table.
_LIGHT = """
--back: #ffffff; --box: #f3f5f8; --line: #c9cfd8; --text: #1b1f24; --soft: #525b66; --link: #0b5cad;
--good: #146c3c; --bad: #b3201f;
--naive: #6b7280; --numba: #a35c00; --vectorized: #0072b2; --compiled: #b5306e;
--convert: #8a7400; --scores: #0072b2; --loss: #c04a00; --together: #6b4fa0; --update: #008060;
--waiting: #b0487f; --between: #5f6873; --outside: #8a919b;
"""
_DARK = """
--back: #14171c; --box: #1e232b; --line: #3c4552; --text: #e6e9ee; --soft: #a9b2be; --link: #7db8f5;
--good: #62cf93; --bad: #ff8a80;
--naive: #a3abb6; --numba: #e6a23c; --vectorized: #56b4e9; --compiled: #f083b4;
--convert: #e6c229; --scores: #56b4e9; --loss: #f0883e; --together: #b39ddb; --update: #2fbf9a;
--waiting: #e58fbf; --between: #b4bcc7; --outside: #737c88;
"""
_RULES = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text);
  font: 1.0625rem/1.6 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
header, main, footer { max-width: 62rem; margin: 0 auto; padding: 0 1rem; }
header { padding-top: 2rem; }
p, li, dd { max-width: 46rem; overflow-wrap: break-word; }
h1 { font-size: clamp(1.6rem, 1.2rem + 2vw, 2.4rem); line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.45rem; line-height: 1.3; margin: 3rem 0 .75rem; border-bottom: 1px solid var(--line);
  padding-bottom: .3rem; }
.lead { font-size: 1.15rem; }
.note { padding: .6rem 1rem; border: 1px solid var(--bad); border-left-width: 4px;
  border-radius: .25rem; }
a { color: var(--link); }
nav ol { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; padding-left: 1.3rem; }
nav li { margin-right: .75rem; }
figure { margin: 1.5rem 0; }
figcaption { color: var(--soft); font-size: .95rem; max-width: 46rem; margin-bottom: .5rem; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .4rem; }
.scroll:focus-visible { outline: 3px solid var(--link); }
table { border-collapse: collapse; width: 100%; font-size: .95rem; line-height: 1.35;
  font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .7rem; text-align: right; white-space: nowrap; }
th:first-child { text-align: left; }
thead th { background: var(--box); vertical-align: bottom; white-space: normal; }
tbody th { font-weight: 600; }
tbody tr + tr { border-top: 1px solid var(--line); }
tr:has(th strong) { background: var(--box); }
#limits-table tbody th { font-weight: 400; }
.text td { text-align: left; white-space: normal; min-width: 11rem; }
.text th { text-align: left; white-space: normal; min-width: 9rem; }
.none, .soft { color: var(--soft); }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 700; }
.formulas { list-style: none; margin: 1rem 0; padding: .75rem 1rem; background: var(--box);
  border-left: 4px solid var(--link); border-radius: .25rem; }
.formulas li { display: flex; flex-wrap: wrap; gap: 0 1rem; }
.formulas li > :first-child { flex: 0 0 14rem; color: var(--soft); }
.formula { font-family: Cambria, "STIX Two Text", "Times New Roman", serif; font-size: 1.15rem; }
dt { font-weight: 600; margin-top: 1rem; }
dd { margin: 0; }
.short dt { margin-top: .4rem; }
details { margin: .4rem 0; }
summary { cursor: pointer; color: var(--link); }
pre { margin: 0; padding: .75rem 1rem; background: var(--box); font-size: .8rem; line-height: 1.4; }
h3 { font-size: 1.15rem; margin: 1.5rem 0 .5rem; }
.bars { display: grid; grid-template-columns: max-content minmax(4rem, 1fr) max-content;
  gap: .5rem .75rem; align-items: center; font-size: .95rem; font-variant-numeric: tabular-nums; }
.bars svg { display: block; width: 100%; height: 1.5rem; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0;
  margin: .75rem 0; font-size: .95rem; }
.legend svg { width: .85rem; height: .85rem; margin-right: .4rem; vertical-align: -.05rem; }
.plot { display: block; width: 100%; max-width: 40rem; height: auto; }
.plot text { fill: var(--text); font-size: 11px; }
.plot .soft { fill: var(--soft); }
.plot .halo { paint-order: stroke; stroke: var(--back); stroke-width: 3px; stroke-linejoin: round; }
.grid { stroke: var(--line); stroke-width: .6; }
.frame { stroke: var(--soft); stroke-width: 1; fill: none; }
.roof { stroke: var(--text); stroke-width: 2; fill: none; }
.area { fill: var(--colour); }
.curve { stroke: var(--colour); fill: none; stroke-linejoin: round; stroke-linecap: round; }
.paper { background: #ffffff; padding: .5rem; border: 1px solid var(--line); border-radius: .4rem; }
.paper img { display: block; width: 100%; min-width: 40rem; max-width: 60rem; height: auto;
  margin: 0 auto; }
footer { margin-top: 3rem; padding-bottom: 3rem; color: var(--soft); font-size: .9rem; }
@media (max-width: 30rem) {
  body { font-size: 1rem; }
  .bars { grid-template-columns: 1fr max-content; grid-auto-flow: dense; gap: .15rem .75rem; }
  .bars svg { grid-column: 1 / -1; margin-bottom: .5rem; }
  .bars .amount { grid-column: 2; }
  .formulas li { display: block; margin-bottom: .4rem; }
  .formulas li > * { display: block; }
}
@media print {
  .paper img { min-width: 0; }
  body { font-size: 10pt; }
  nav { display: none; }
  header, main, footer { max-width: none; padding: 0; }
  .scroll { overflow: visible; }
  .plot { max-width: 11cm; }
  table { font-size: 8pt; }
  th, td { padding: .2rem .4rem; }
  h2, h3 { break-after: avoid; }
  figure, tr, .formulas, dt { break-inside: avoid; }
  dt { break-after: avoid; }
}
"""
_COLOURED = (*NAMES, *PHASES.values())


def style_sheet() -> str:
    """Return the style sheet; print uses the light colours."""
    classes = "".join(f".{name} {{ --colour: var(--{name}); }}\n" for name in _COLOURED)
    dark = f"@media screen and (prefers-color-scheme: dark) {{\n:root {{{_DARK}}}\n}}\n"
    return f":root {{ color-scheme: light dark;{_LIGHT}}}\n{dark}{_RULES}{classes}"
