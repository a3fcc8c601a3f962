/** The faithfulness curve of a circuit: share of edges kept, logarithmic, against faithfulness with its interval. Pure. */
import type { Circuit } from '../api/circuit_types';
import { hexOf, mix, type Palette } from './colour';
import type { Table } from './export';
import { line, round, type Mark, type Scene } from './scene';
import { rangeOf, tick } from './scatter';

export type Faithfulness = NonNullable<Circuit['faithfulness']>;

/** Faithfulness of a share of the edges, between the points measured (straight over log k); null outside of them. */
export function faithfulnessAt(curve: Faithfulness, k: number): number | null {
  const known = curve.filter((p) => p.f !== null && p.k > 0).sort((a, b) => a.k - b.k);
  if (!known.length || k < known[0].k * 0.999 || k > known[known.length - 1].k * 1.001) return null;
  const i = known.findIndex((p) => p.k >= k * 0.999);
  const b = known[i],
    a = known[i - 1];
  if (!a || Math.abs(b.k - k) < 1e-3 * b.k) return b.f;
  const t = (Math.log(k) - Math.log(a.k)) / (Math.log(b.k) - Math.log(a.k));
  return (a.f as number) + t * ((b.f as number) - (a.f as number));
}

/** The share that a circuit of so many edges, dead ends left out, was cut at: the curve read by its edges. */
export function shareOf(curve: Faithfulness, edges: number, all: number): number {
  const known = curve.filter((p) => p.edges !== undefined && p.edges > 0).sort((a, b) => a.k - b.k);
  const i = known.findIndex((p) => (p.edges as number) >= edges);
  const b = known[i],
    a = known[i - 1];
  if (!b || !a) return b && b.edges === edges ? b.k : edges / all;
  const t = Math.log(edges / (a.edges as number)) / Math.log((b.edges as number) / (a.edges as number));
  return Math.exp(Math.log(a.k) + t * (Math.log(b.k) - Math.log(a.k)));
}

export function curveScene(curve: Faithfulness, marked: number | null, width: number, palette: Palette): Scene {
  const points = curve.filter((p) => p.f !== null && p.k > 0).sort((a, b) => a.k - b.k);
  const height = 190;
  const x0 = 40,
    x1 = width - 12,
    y0 = 20,
    y1 = height - 36;
  const marks: Mark[] = [];
  const low = Math.log(points[0]?.k ?? 0.001),
    high = Math.max(low + 1e-9, Math.log(points[points.length - 1]?.k ?? 1));
  const range = rangeOf([...points.flatMap((p) => [p.f as number, p.low ?? (p.f as number), p.high ?? (p.f as number)]), 1], 4);
  const x = (k: number) => x0 + ((Math.log(k) - low) / (high - low)) * (x1 - x0);
  const y = (f: number) => y1 - ((f - range.low) / (range.high - range.low)) * (y1 - y0);
  const text = { kind: 'text' as const, fill: palette.muted, size: 10 };
  for (const v of range.ticks) {
    marks.push(line(x0, y(v), x1, y(v), palette.line, v === 0 || v === 1 ? 1.4 : 0.7));
    marks.push({ ...text, x: x0 - 5, y: y(v) + 3.5, text: tick(v), anchor: 'end', mono: true });
  }
  let written = -Infinity;
  for (const p of points) {
    if (x(p.k) - written < 34) continue;
    written = x(p.k);
    marks.push({ ...text, x: written, y: y1 + 14, text: `${tick(p.k * 100)} %`, anchor: 'middle', mono: true });
  }
  const banded = points.filter((p) => p.low !== undefined && p.high !== undefined);
  if (banded.length > 1) {
    const up = banded.map((p, i) => `${i ? 'L' : 'M'}${round(x(p.k))} ${round(y(p.high as number))}`).join('');
    const down = [...banded].reverse().map((p) => `L${round(x(p.k))} ${round(y(p.low as number))}`);
    marks.push({ kind: 'path', d: `${up}${down.join('')}Z`, fill: hexOf(mix(palette.surface, palette.stain, 0.2)) });
  }
  const d = points.map((p, i) => `${i ? 'L' : 'M'}${round(x(p.k))} ${round(y(p.f as number))}`).join('');
  if (d) marks.push({ kind: 'path', d, stroke: palette.stain, width: 2 });
  const chance = points.filter((p) => p.random !== undefined);
  const null_ = chance.map((p, i) => `${i ? 'L' : 'M'}${round(x(p.k))} ${round(y(p.random as number))}`).join('');
  if (null_) marks.push({ kind: 'path', d: null_, stroke: palette.muted, width: 1.4, dash: '3 3' });
  for (const p of points)
    marks.push({ kind: 'rect', x: x(p.k) - 2.5, y: y(p.f as number) - 2.5, w: 5, h: 5, radius: 2.5, fill: palette.stain });
  const here = marked === null ? null : faithfulnessAt(curve, marked);
  if (marked !== null && here !== null) {
    marks.push(line(x(marked), y0, x(marked), y1, palette.focus, 1.5, '4 3'));
    marks.push({ kind: 'rect', x: x(marked) - 4, y: y(here) - 4, w: 8, h: 8, radius: 4, fill: palette.focus });
  }
  marks.push({ ...text, x: (x0 + x1) / 2, y: height - 4, text: 'share of all edges kept (log scale)', anchor: 'middle' });
  marks.push({ ...text, x: 0, y: 11, text: 'faithfulness' });
  return { width, height, marks };
}

export function curveTable(curve: Faithfulness): Table {
  return {
    columns: ['k', 'edges', 'f', 'low', 'high', 'random'],
    rows: curve.map((p) => [p.k, p.edges ?? null, p.f, p.low ?? null, p.high ?? null, p.random ?? null]),
  };
}
