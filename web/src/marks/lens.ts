/**
 * The logit-lens map, layer × position, from the server's lens object to marks. Rows run from the embedding at the bottom
 * to the last layer at the top; a row is named by the layer that has just been read, because that is the layer that wrote
 * it. Pure.
 */
import type { Cell, Lens } from '../api/types';
import { inkOn, hexOf, sequential, signed, type Palette } from './colour';
import type { Table } from './export';
import { fitted, line, type Mark, type Scene } from './scene';
import { visible } from './tokens';

export type Measure = 'probability' | 'rank' | 'kl' | 'entropy';
export const MEASURES: Measure[] = ['probability', 'rank', 'kl', 'entropy'];

export interface MeasureInfo {
  title: string;
  unit: string;
  definition: string;
  low: string;
  high: string;
}

export function measureInfo(measure: Measure, followed: boolean, top = 0): MeasureInfo {
  const subject = followed ? 'the followed token' : "the row's first choice";
  switch (measure) {
    case 'probability':
      return {
        title: followed ? 'Probability of the followed token' : 'Probability of the first choice',
        unit: '',
        low: '0',
        high: '1',
        definition: `The chance that the model, if it stopped at this layer, would give to ${subject} as the next token.`,
      };
    case 'rank':
      return {
        title: 'Rank of the followed token',
        unit: '',
        low: 'far down',
        high: '1st',
        definition: 'Place of the followed token when all tokens are sorted by probability: 1 is the first choice.',
      };
    case 'kl':
      return {
        title: 'Distance to the final answer (KL)',
        unit: 'nats',
        low: '0',
        high: `${top.toFixed(1)} nats`,
        definition: 'KL(final ‖ layer): how far this layer’s distribution is from the one at the end. 0 means the same.',
      };
    case 'entropy':
      return {
        title: 'Entropy',
        unit: 'nats',
        low: '0 (certain)',
        high: `${top.toFixed(1)} nats`,
        definition: 'How spread out this layer’s distribution is: 0 is certain of one token.',
      };
  }
}

/** Layer named by a lens point: -1 for the embedding, L for the stream after layer L, L - 0.5 after L's attention. */
export function depthOf(point: string): number {
  const found = /^blocks\.(\d+)\.hook_resid_(pre|mid|post)$/.exec(point);
  if (!found) return Number.NaN;
  const layer = Number(found[1]);
  return found[2] === 'pre' ? layer - 1 : found[2] === 'mid' ? layer - 0.5 : layer;
}

export function pointLabel(point: string): string {
  const depth = depthOf(point);
  if (Number.isNaN(depth)) return point.includes('final') || point.includes('ln_f') ? 'end' : point;
  if (depth < 0) return 'emb';
  return Number.isInteger(depth) ? String(depth) : `${Math.ceil(depth)}a`;
}

export function pointPhrase(point: string): string {
  const depth = depthOf(point);
  if (depth < 0) return 'at the embedding';
  return Number.isInteger(depth) ? `after layer ${depth}` : `after the attention of layer ${Math.ceil(depth)}`;
}

/** The site whose value a patch at this point would replace. */
export function patchSite(point: string): string {
  const depth = depthOf(point);
  if (depth < 0) return 'blocks.0.hook_resid_pre';
  return Number.isInteger(depth) ? `blocks.${depth}.hook_resid_post` : point;
}

export function valueOf(cell: Cell | undefined, measure: Measure, followed: boolean): number {
  if (!cell) return Number.NaN;
  if (measure === 'entropy') return cell.entropy ?? Number.NaN;
  if (measure === 'kl') return cell.kl_to_final ?? Number.NaN;
  if (measure === 'rank') return followed ? (cell.target?.rank ?? Number.NaN) : 1;
  const logprob = followed ? (cell.target ? cell.target.logprob : undefined) : cell.top[0]?.logprob;
  return logprob === undefined ? Number.NaN : logprob === null ? 0 : Math.exp(logprob);
}

/** Strength of colour in [0, 1]; rank is logarithmic, 1st the strongest. */
export function strength(value: number, measure: Measure, high: number): number {
  if (Number.isNaN(value)) return 0;
  if (measure === 'rank') return 1 - Math.log(Math.max(1, value)) / Math.log(Math.max(2, high));
  return high > 0 ? Math.min(1, Math.max(0, value / high)) : 0;
}

export function highOf(lens: Lens, measure: Measure, followed: boolean): number {
  if (measure === 'probability') return 1;
  let high = measure === 'rank' ? 2 : 0;
  for (const row of lens.cells)
    for (const cell of row) {
      const v = valueOf(cell, measure, followed);
      if (v > high) high = v;
    }
  return high;
}

export interface LensLayout {
  x0: number;
  y0: number;
  cw: number;
  ch: number;
  cols: number;
  rows: number;
  width: number;
  height: number;
}

/** Columns narrower than this have their token written upright. */
const UPRIGHT = 38;

/** A layout for all rows and the given columns; columns share the width, and never get wider than `widest`. */
export function lensLayout(rows: number, cols: number, width: number, rowHeight: number, widest = 96): LensLayout {
  const x0 = 34,
    right = 6;
  const cw = Math.min(widest, (width - x0 - right) / Math.max(1, cols));
  const labels = cw >= UPRIGHT ? 26 : 62;
  const y0 = 17;
  return { x0, y0, cw, ch: rowHeight, cols, rows, width, height: y0 + rows * rowHeight + labels };
}

export function cellAt(l: LensLayout, x: number, y: number): { point: number; column: number } | null {
  const column = Math.floor((x - l.x0) / l.cw);
  const row = Math.floor((y - l.y0) / l.ch);
  if (column < 0 || column >= l.cols || row < 0 || row >= l.rows) return null;
  return { point: l.rows - 1 - row, column };
}

export function cellBox(l: LensLayout, point: number, column: number) {
  return { x: l.x0 + column * l.cw, y: l.y0 + (l.rows - 1 - point) * l.ch, w: l.cw, h: l.ch };
}

export interface LensPicture {
  lens: Lens;
  /** Before an edit: the picture then shows `lens` minus this. */
  before?: Lens;
  columns: number[];
  measure: Measure;
  followed: boolean;
  high: number;
  palette: Palette;
  layout: LensLayout;
}

/** Change of strength, in [-1, 1]: positive where the edit made the measure stronger. */
export function change(after: Cell, before: Cell | undefined, p: Pick<LensPicture, 'measure' | 'followed' | 'high'>): number {
  const a = strength(valueOf(after, p.measure, p.followed), p.measure, p.high);
  return a - strength(valueOf(before, p.measure, p.followed), p.measure, p.high);
}

/** `cell.top` with the first choice, or a followed token only where it is that first choice. */
export function lensScene(p: LensPicture): Scene {
  const { lens, layout: l, palette } = p;
  const marks: Mark[] = [];
  const gap = l.cw > 8 ? 1 : 0;
  const size = Math.min(11.5, l.ch * 0.66);
  for (let point = 0; point < l.rows; point++) {
    for (let i = 0; i < p.columns.length; i++) {
      const cell = lens.cells[point]?.[p.columns[i]];
      if (!cell) continue;
      const box = cellBox(l, point, i);
      const delta = p.before ? change(cell, p.before.cells[point]?.[p.columns[i]], p) : 0;
      const fill = p.before
        ? signed(palette, delta)
        : sequential(palette, strength(valueOf(cell, p.measure, p.followed), p.measure, p.high));
      marks.push({ kind: 'rect', x: box.x, y: box.y, w: box.w - gap, h: box.h - gap, fill: hexOf(fill), radius: gap ? 1.5 : 0 });
      const words = fitted(visible(cell.top[0]?.text ?? ''), l.cw - 7, size);
      if (words && l.cw >= 26 && l.ch >= 12) {
        marks.push({
          kind: 'text',
          x: box.x + 4,
          y: box.y + l.ch * 0.5 + size * 0.33,
          text: words,
          fill: inkOn(fill),
          size,
          mono: true,
        });
      }
    }
  }
  marks.push(...axes(p));
  return { width: l.width, height: l.height, marks };
}

function axes({ lens, layout: l, palette, columns }: LensPicture): Mark[] {
  const marks: Mark[] = [];
  const every = l.ch >= 11 ? 1 : 2;
  for (let point = 0; point < l.rows; point += every) {
    const y = cellBox(l, point, 0).y + l.ch / 2 + 3.5;
    marks.push({
      kind: 'text',
      x: l.x0 - 6,
      y,
      text: pointLabel(lens.points[point]),
      fill: palette.muted,
      size: 10,
      anchor: 'end',
      mono: true,
    });
  }
  const bottom = l.y0 + l.rows * l.ch;
  marks.push({ kind: 'text', x: l.x0 - 6, y: 11, text: 'layer', fill: palette.muted, size: 10, anchor: 'end' });
  marks.push({ kind: 'text', x: l.x0 - 6, y: bottom + 17, text: 'token', fill: palette.muted, size: 10, anchor: 'end' });
  marks.push(line(l.x0, bottom + 1.5, l.x0 + columns.length * l.cw, bottom + 1.5, palette.line));
  const upright = l.cw < UPRIGHT;
  const thin = Math.max(1, Math.ceil(9 / l.cw));
  columns.forEach((column, i) => {
    if (i % thin) return;
    const label = visible(lens.tokens[lens.positions[column]]?.text ?? '');
    const x = l.x0 + i * l.cw;
    if (upright) {
      marks.push({
        kind: 'text',
        x: x + l.cw / 2 + 3.5,
        y: bottom + 8,
        text: fitted(label, 52, 10),
        fill: palette.ink,
        size: 10,
        mono: true,
        rotate: 90,
      });
    } else {
      const text = fitted(label, l.cw - 5, 11.5);
      marks.push({ kind: 'text', x: x + 4, y: bottom + 17, text, fill: palette.ink, size: 11.5, mono: true });
    }
  });
  return marks;
}

/** The columns to draw: the chosen range, else all that fit at `narrowest` pixels, the last ones if they do not. */
export function visibleColumns(total: number, range: [number, number] | null, width: number, narrowest = 5): number[] {
  const [from, to] = range
    ? [Math.max(0, range[0]), Math.min(total, range[1])]
    : [Math.max(0, total - Math.floor((width - 36) / narrowest)), total];
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i);
}

export function lensTable(lens: Lens): Table {
  const rows = lens.points.flatMap((point, i) =>
    lens.positions.map((position, j) => {
      const c = lens.cells[i][j];
      const t = c.target;
      return [
        point,
        position,
        lens.tokens[position]?.text ?? '',
        c.top[0]?.text ?? '',
        c.top[0]?.logprob ?? null,
        c.entropy,
        c.kl_to_final,
        t?.id ?? null,
        t?.logprob ?? null,
        t?.rank ?? null,
      ];
    }),
  );
  return {
    rows,
    columns: [
      'point',
      'position',
      'token',
      'top_token',
      'top_logprob',
      'entropy_nats',
      'kl_to_final_nats',
      'target_id',
      'target_logprob',
      'target_rank',
    ],
  };
}

/** As read out: one row a layer, from the end down; each cell its first choice and the measure. */
export function lensReading(lens: Lens, columns: number[], measure: Measure, followed: boolean): Table {
  const rows = lens.points.map((point, i) => [
    pointPhrase(point),
    ...columns.map((c) => {
      const cell = lens.cells[i][c];
      const value = valueOf(cell, measure, followed);
      return `${visible(cell?.top[0]?.text ?? '')} ${Number.isNaN(value) ? '' : measure === 'rank' ? value : value.toFixed(3)}`;
    }),
  ]);
  return { columns: ['', ...columns.map((c) => visible(lens.tokens[lens.positions[c]]?.text ?? ''))], rows: rows.reverse() };
}
