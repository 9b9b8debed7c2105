--- The style of a suite's report, light and dark, on a desk and on a telephone.
return [[
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --paper: #fff; --line: #d8dee6; --box: #f5f7fa;
  --good: #1a7f4b; --bad: #c2303a; --odd: #9a6700; --bar: #3b82c4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9f0; --soft: #98a3b3; --paper: #12161c; --line: #2c3542; --box: #1a2029;
  --good: #57c98a; --bad: #ff7b80; --odd: #e3b341; --bar: #5aa2e0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 1.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: .8rem 0 .3rem; }
p.about { color: var(--soft); margin: 0 0 1rem; }
.counts { display: flex; flex-wrap: wrap; gap: .5rem; margin: 1rem 0; }
.counts div { border: 1px solid var(--line); border-radius: .5rem; padding: .4rem .9rem; background: var(--box); }
.counts b { font-size: 1.4rem; display: block; line-height: 1.2; }
.passed b, .passed .status { color: var(--good); } .failed b, .failed .status { color: var(--bad); }
.flaky b, .flaky .status, .skipped b, .skipped .status { color: var(--odd); }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .4rem 0; background: var(--box); }
details.failed { border-left: .3rem solid var(--bad); } details.flaky { border-left: .3rem solid var(--odd); }
summary { padding: .5rem .8rem; cursor: pointer; display: flex; flex-wrap: wrap; gap: 0 .8rem; align-items: baseline; }
summary:focus-visible, a:focus-visible { outline: 2px solid var(--bar); outline-offset: 2px; }
summary .status { font-weight: 600; min-width: 4rem; } summary .name { flex: 1 1 12rem; } summary .seconds { color: var(--soft); }
.inside { padding: 0 .8rem .8rem; border-top: 1px solid var(--line); }
pre { overflow-x: auto; background: var(--paper); border: 1px solid var(--line); border-radius: .4rem; padding: .6rem;
  font: 13px/1.45 ui-monospace, monospace; white-space: pre-wrap; }
table { border-collapse: collapse; width: 100%; } td { padding: .15rem .5rem; vertical-align: top; border-bottom: 1px solid var(--line); }
td.at { text-align: right; color: var(--soft); white-space: nowrap; font-variant-numeric: tabular-nums; width: 5.5rem; }
td .output { color: var(--soft); font: 13px/1.4 ui-monospace, monospace; white-space: pre-wrap; }
.line { display: grid; grid-template-columns: 7rem 1fr; gap: .5rem; align-items: center; margin: .2rem 0; }
.line .track { position: relative; height: 1rem; background: var(--paper); border: 1px solid var(--line); border-radius: .25rem; }
.line .span { position: absolute; top: 0; bottom: 0; min-width: 2px; background: var(--bar); border-radius: .2rem; }
.files { display: flex; flex-wrap: wrap; gap: .3rem 1rem; padding: 0; list-style: none; }
img { max-width: 100%; border: 1px solid var(--line); border-radius: .4rem; }
a { color: var(--bar); }
@media (max-width: 40rem) { body { padding: .6rem; font-size: 15px; } .line { grid-template-columns: 4.5rem 1fr; } td.at { width: 4rem; } }
]]
