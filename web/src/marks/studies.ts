/** What is drawn of one head: token pairs, partners in composition, what its loss costs a text; and scores of all heads. Pure. */
import type { Composition, Heads, Pairs } from '../api/circuit_types';
import type { Lens } from '../api/types';
import type { Table } from './export';
import { extent, type Heat } from './heat';
import type { Dot } from './scatter';
import type { Strip } from './strips';
import { visible } from './tokens';

// --- all heads ---------------------------------------------------------------------------------------------------------------

/** Detectors that have a number for at least one head, in the order of the answer. */
export function detectorsOf(heads: Heads): string[] {
  const names = new Set<string>();
  for (const h of heads.heads) for (const [name, v] of Object.entries(h.scores)) if (v !== null) names.add(name);
  return [...names];
}

function emptyGrid(nLayers: number, nHeads: number): (number | null)[][] {
  return Array.from({ length: nLayers }, () => Array<number | null>(nHeads).fill(null));
}

/** Values of all heads, by layer and head, as a heat map without its sign. */
function headGrid(values: (number | null)[][]): Omit<Heat, 'signed'> {
  return {
    values,
    rows: values.map((_, i) => String(i)),
    columns: (values[0] ?? []).map((_, i) => String(i)),
    rowTitle: 'layer',
    columnTitle: 'head',
    high: extent(values, 0.01),
  };
}

const headed = (heads: Heads) =>
  heads.heads.filter((h) => h.layer !== null) as { layer: number; head: number; scores: Record<string, number | null> }[];

export function scoreDots(heads: Heads, x: string, y: string): (Dot & { layer: number; head: number })[] {
  return headed(heads).flatMap((h) => {
    const [a, b] = [h.scores[x], h.scores[y]];
    return typeof a === 'number' && typeof b === 'number'
      ? [{ x: a, y: b, name: `${h.layer}.${h.head}`, layer: h.layer, head: h.head }]
      : [];
  });
}

export function scoreHeat(heads: Heads, detector: string): Heat {
  const list = headed(heads);
  const nLayers = 1 + Math.max(0, ...list.map((h) => h.layer)),
    nHeads = 1 + Math.max(0, ...list.map((h) => h.head));
  const values = emptyGrid(nLayers, nHeads);
  for (const h of list) values[h.layer][h.head] = h.scores[detector] ?? null;
  return {
    ...headGrid(values),
    signed: values.some((row) => row.some((v) => v !== null && v < 0)),
  };
}

export function scoresTable(heads: Heads): Table {
  const names = detectorsOf(heads);
  return {
    columns: ['layer', 'head', ...names],
    rows: heads.heads.map((h) => [h.layer, h.head, ...names.map((n) => h.scores[n] ?? null)]),
  };
}

// --- one head ----------------------------------------------------------------------------------------------------------------

/** OV: reading the one, it writes the other. QK: at the one, it looks for the other. */
export function pairStrips(pairs: Pairs, count: number): Strip[] {
  return pairs.rows.slice(0, count).map((r) => ({
    name: `${visible(r.source.text)} → ${visible((r.target ?? r.via)?.text ?? '')}`,
    value: r.score,
  }));
}

export function pairsTable(pairs: Pairs, circuit: string): Table {
  return {
    columns: ['layer', 'head', 'circuit', 'source', circuit === 'ov' ? 'target' : 'via', 'score'],
    rows: pairs.rows.map((r) => [r.layer, r.head, circuit, r.source.text, (r.target ?? r.via)?.text ?? '', r.score]),
  };
}

/** All heads: those below by how the head reads them, those above by how they read it; score above the random baseline. */
export function partnersHeat(c: Composition, kind: string, layer: number, head: number, nLayers: number, nHeads: number): Heat {
  const values = emptyGrid(nLayers, nHeads);
  for (const r of c.rows) {
    if (r.kind !== kind) continue;
    const other = r.to.layer === layer && r.to.head === head ? r.from : r.to;
    if (other.layer < nLayers && other.head < nHeads) values[other.layer][other.head] = r.score - r.baseline;
  }
  return {
    ...headGrid(values),
    signed: true,
  };
}

export function compositionTable(c: Composition): Table {
  return {
    columns: ['from_layer', 'from_head', 'to_layer', 'to_head', 'kind', 'score', 'baseline', 'baseline_sd'],
    rows: c.rows.map((r) => [r.from.layer, r.from.head, r.to.layer, r.to.head, r.kind, r.score, r.baseline, r.baseline_sd]),
  };
}

// --- ablation ----------------------------------------------------------------------------------------------------------------

/** Loss at each token that has a next one, from a lens whose target was `next`. */
export function losses(lens: Lens): (number | null)[] {
  const row = lens.cells[lens.cells.length - 1] ?? [];
  return row.map((c) => (c.target && c.target.logprob !== null ? -c.target.logprob : null));
}

export function meanLoss(lens: Lens): number | null {
  const known = losses(lens).filter((x) => x !== null);
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
}

export interface Cost {
  position: number;
  token: string;
  next: string;
  off: number | null;
  control: number | null;
}

/** Rise of the loss at each token, without the head and without the control. */
export function costs(before: Lens, off: Lens, control: Lens | null): Cost[] {
  const [a, b, c] = [losses(before), losses(off), control ? losses(control) : []];
  return before.positions.flatMap((position, i) => {
    const [x, y, z] = [a[i], b[i], c[i]];
    if (x === null || x === undefined) return [];
    return [
      {
        position,
        token: before.tokens[position]?.text ?? '',
        next: before.tokens[position + 1]?.text ?? '',
        off: y === null || y === undefined ? null : y - x,
        control: z === null || z === undefined ? null : z - x,
      },
    ];
  });
}

/** The tokens at which the head matters most, each with its control below it. */
export function costStrips(all: Cost[], count: number): Strip[] {
  const size = (c: Cost) => Math.max(Math.abs(c.off ?? 0), Math.abs(c.control ?? 0));
  return [...all]
    .sort((a, b) => size(b) - size(a))
    .slice(0, count)
    .sort((a, b) => a.position - b.position)
    .flatMap((c) => [
      { name: `${c.position} ${visible(c.token)} → ${visible(c.next)}`, value: c.off },
      { name: 'control', value: c.control, faint: true },
    ]);
}
