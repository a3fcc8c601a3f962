// The page around the lens picture (lens_picture.cc): a format string with {model}, {prompt}, {svg}, {data} and {target_option}.
// The script only reads the data and sets text and classes: it makes no request and runs no text as markup.
#pragma once

namespace microtome::api {

inline constexpr const char* kTargetOptions =
    "<option value=\"target\">probability of the target</option><option value=\"rank\">rank of the target</option>";

inline constexpr const char* kLensPage = R"page(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>Logit lens of {model}</title>
<style>
:root{{color-scheme:light dark;--paper:#fbfbfa;--ink:#1b1f24;--faint:#59616b;--line:#c9ced4;--mark:#b3261e}}
@media (prefers-color-scheme:dark){{:root{{--paper:#14181d;--ink:#e8ebee;--faint:#a2abb5;--line:#3a424b;--mark:#ffb4ab}}}}
body{{margin:0;background:var(--paper);color:var(--ink);font:14px/1.45 system-ui,sans-serif}}
header,footer{{padding:12px 16px}}
h1{{font-size:18px;margin:0 0 4px}}
main{{display:flex;flex-wrap:wrap;gap:16px;padding:0 16px;align-items:flex-start}}
figure{{margin:0;overflow:auto;max-height:82vh;flex:1 1 480px;border:1px solid var(--line)}}
aside{{flex:0 1 300px;min-width:240px}}
.cell{{cursor:pointer}}
.cell.selected rect{{stroke:var(--mark);stroke-width:2.5}}
table{{border-collapse:collapse;font-family:'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:12px}}
td,th{{padding:1px 10px 1px 0;text-align:left}}td.n{{text-align:right}}
.faint{{color:var(--faint)}}
code{{white-space:pre-wrap;overflow-wrap:anywhere}}
:focus-visible{{outline:2px solid var(--mark)}}
</style>
</head>
<body>
<header>
<h1>Logit lens of {model}</h1>
<div>Prompt: <code>{prompt}</code></div>
<p class="faint">Each cell applies the model's final norm and unembedding to the residual stream at one layer (down) and position
(across): what the model would say next if it stopped there. Arrow keys move the selection.</p>
<label>Colour: <select id="by"><option value="top">probability of the most probable token</option>{target_option}<option
value="entropy">entropy (nats)</option><option value="kl">KL to the end (nats)</option></select></label>
</header>
<main>
<figure tabindex="0" id="picture">{svg}</figure>
<aside aria-live="polite"><h2 id="where" style="font-size:15px;margin:0 0 6px">Point at a cell</h2><table id="top"></table><p id="numbers"></p></aside>
</main>
<footer class="faint">Natural logarithms; KL(final ‖ point); ranks from 1. Made by microtome.</footer>
<script type="application/json" id="data">{data}</script>
<script>
'use strict';
const lens = JSON.parse(document.getElementById('data').textContent);
const cells = [...document.querySelectorAll('.cell')];
const at = (p, i) => cells[p * lens.positions.length + i];
const steps = 10;
const values = {{
  top: c => c.top.length ? Math.exp(c.top[0].logprob) : 0,
  target: c => c.target ? Math.exp(c.target.logprob) : 0,
  rank: c => c.target ? Math.max(0, 1 - Math.log10(c.target.rank) / 4) : 0,
  entropy: c => c.entropy,
  kl: c => c.kl_to_final,
}};
const names = {{
  top: 'probability of the most probable token', target: 'probability of the target', rank: 'rank of the target',
  entropy: 'entropy (nats)', kl: 'KL to the end (nats)',
}};
const visible = text => text.replace(/ /g, '·').replace(/\n/g, '↵').replace(/\t/g, '→')
  .replace(/[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]/g,
    c => '<U+' + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0') + '>');
const percent = logprob => (100 * Math.exp(logprob)).toPrecision(3) + ' %';
const number = x => x === null ? '?' : x.toFixed(3);

function colour(by) {{
  const all = lens.cells.map(row => row.map(c => values[by](c) ?? 0));
  const scaled = by === 'entropy' || by === 'kl';
  const most = scaled ? Math.max(1e-9, ...all.map(row => Math.max(...row))) : 1;
  all.forEach((row, p) => row.forEach((v, i) => {{
    const cell = at(p, i);
    cell.setAttribute('class', cell.getAttribute('class').replace(/\bc\d+\b/, 'c' + Math.round(steps * Math.min(1, v / most))));
  }}));
  document.querySelector('.legend-title').textContent = names[by];
  document.querySelector('.legend-low').textContent = by === 'rank' ? '10000 and more' : '0';
  document.querySelector('.legend-high').textContent = by === 'rank' ? '1' : scaled ? most.toFixed(2) : '1';
}}

let selected = null;
function select(p, i) {{
  p = Math.max(0, Math.min(lens.points.length - 1, p));
  i = Math.max(0, Math.min(lens.positions.length - 1, i));
  if (selected) at(...selected).classList.remove('selected');
  selected = [p, i];
  at(p, i).classList.add('selected');
  const cell = lens.cells[p][i], position = lens.positions[i];
  document.getElementById('where').textContent = lens.points[p] + ', position ' + position + ' after ' + visible(lens.tokens[position].text);
  const table = document.getElementById('top');
  table.replaceChildren();
  for (const t of cell.top) {{
    const row = table.insertRow();
    row.insertCell().textContent = visible(t.text);
    const n = row.insertCell();
    n.className = 'n';
    n.textContent = percent(t.logprob);
  }}
  let text = 'entropy ' + number(cell.entropy) + ' nats, KL to the end ' + number(cell.kl_to_final) + ' nats';
  if (cell.target) text += '; target ' + visible(cell.target.text) + ': ' + percent(cell.target.logprob) + ', rank ' + cell.target.rank;
  document.getElementById('numbers').textContent = text;
}}

cells.forEach(cell => {{
  const go = () => select(Number(cell.dataset.p), Number(cell.dataset.i));
  cell.addEventListener('mouseenter', go);
  cell.addEventListener('click', go);
}});
const moves = {{ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]}};
document.getElementById('picture').addEventListener('keydown', event => {{
  const move = moves[event.key];
  if (!move || !cells.length) return;
  event.preventDefault();
  const [p, i] = selected ?? [0, 0];
  select(p + move[0], i + move[1]);
  at(...selected).scrollIntoView({{block: 'nearest', inline: 'nearest'}});
}});
document.getElementById('by').addEventListener('change', event => colour(event.target.value));
if (cells.length) {{
  const target = document.querySelector('#by option[value=target]');
  if (target) document.getElementById('by').value = 'target';
  select(lens.points.length - 1, lens.positions.length - 1);
}}
</script>
</body>
</html>
)page";

}  // namespace microtome::api
