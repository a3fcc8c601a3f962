/**
 * A map of numbers, rows × columns, signed or not, with names along both edges: head scores, patching. Values fill in as they
 * come: null is drawn as an empty place. Pure.
 */
import { hexOf, inkOn, sequential, signed, type Palette } from './colour';
import type { Table } from './export';
import { fitted, type Mark, type Scene } from './scene';

export interface Heat {
  /** `[rows][columns]`; row 0 is drawn at the top, or at the bottom with `upwards`. */
  values: (number | null)[][];
  rows: string[];
  columns: string[];
  rowTitle: string;
  columnTitle: string;
  /** Colour reaches its end at this absolute value. */
  high: number;
  signed: boolean;
  upwards?: boolean;
}

export interface HeatLayout {
  x0: number;
  y0: number;
  cw: number;
  ch: number;
  rows: number;
  cols: number;
  upright: boolean;
  width: number;
  height: number;
  upwards: boolean;
}

export function heatLayout(heat: Heat, width: number, tallest: number, widest = 72): HeatLayout {
  const rows = heat.rows.length,
    cols = heat.columns.length;
  const longest = Math.max(5, ...heat.rows.map((r) => [...r].length));
  const x0 = Math.min(96, 12 + longest * 6.2),
    y0 = 16;
  const cw = Math.max(3, Math.min(widest, (width - x0 - 6) / Math.max(1, cols)));
  const longestColumn = Math.max(...heat.columns.map((c) => [...c].length), 0);
  const upright = cw < Math.min(9, longestColumn) * 6.6 + 4;
  const foot = upright ? 20 + Math.min(11, longestColumn) * 6.2 : 34;
  const ch = Math.max(3, Math.min(26, Math.floor(((tallest - y0 - foot) / Math.max(1, rows)) * 2) / 2));
  return {
    x0,
    y0,
    cw,
    ch,
    rows,
    cols,
    upright,
    width: x0 + cols * cw + 6,
    height: y0 + rows * ch + foot,
    upwards: heat.upwards === true,
  };
}

export function heatBox(l: HeatLayout, row: number, column: number) {
  const y = l.upwards ? l.rows - 1 - row : row;
  return { x: l.x0 + column * l.cw, y: l.y0 + y * l.ch, w: l.cw, h: l.ch };
}

export function heatAt(l: HeatLayout, x: number, y: number): { row: number; column: number } | null {
  const column = Math.floor((x - l.x0) / l.cw),
    at = Math.floor((y - l.y0) / l.ch);
  if (column < 0 || column >= l.cols || at < 0 || at >= l.rows) return null;
  return { row: l.upwards ? l.rows - 1 - at : at, column };
}

export function heatColour(heat: Heat, value: number, palette: Palette) {
  const t = heat.high > 0 ? value / heat.high : 0;
  return heat.signed ? signed(palette, t) : sequential(palette, t);
}

export const brief = (v: number): string =>
  Math.abs(v) >= 9.95
    ? v.toFixed(0)
    : Math.abs(v) >= 0.995
      ? v.toFixed(1)
      : v
          .toFixed(2)
          .replace(/^(-?)0/, '$1')
          .replace(/^-?\.00$/, '0');

export function heatScene(heat: Heat, l: HeatLayout, palette: Palette): Scene {
  const marks: Mark[] = [];
  const gap = l.cw > 7 && l.ch > 7 ? 1 : 0;
  // A frame: what is empty is still seen to be there.
  marks.push({
    kind: 'rect',
    x: l.x0 - 1.5,
    y: l.y0 - 1.5,
    w: l.cols * l.cw + 2,
    h: l.rows * l.ch + 2,
    stroke: palette.line,
    radius: 2,
  });
  for (let row = 0; row < l.rows; row++)
    for (let column = 0; column < l.cols; column++) {
      const box = heatBox(l, row, column);
      const value = heat.values[row]?.[column] ?? null;
      const base = { kind: 'rect' as const, x: box.x, y: box.y, w: box.w - gap, h: box.h - gap, radius: gap * 1.5 };
      if (value === null) {
        if (gap) marks.push({ ...base, x: box.x + 0.5, y: box.y + 0.5, w: box.w - 2, h: box.h - 2, stroke: palette.line });
        continue;
      }
      const fill = heatColour(heat, value, palette);
      marks.push({ ...base, fill: hexOf(fill) });
      // The sign in figures too: colour alone does not say it.
      if (l.cw >= 27 && l.ch >= 12 && Math.abs(value) >= 0.005)
        marks.push({
          kind: 'text',
          x: box.x + box.w / 2,
          y: box.y + box.h / 2 + 3.2,
          text: brief(value),
          fill: inkOn(fill),
          size: Math.min(10, l.ch * 0.68),
          anchor: 'middle',
          mono: true,
        });
    }
  return { width: l.width, height: l.height, marks: [...marks, ...axes(heat, l, palette)] };
}

function axes(heat: Heat, l: HeatLayout, palette: Palette): Mark[] {
  const marks: Mark[] = [];
  const text = { kind: 'text' as const, fill: palette.muted, size: 10, mono: true };
  const every = Math.max(1, Math.ceil(9.5 / l.ch));
  heat.rows.forEach((name, row) => {
    if (row % every) return;
    const box = heatBox(l, row, 0);
    marks.push({ ...text, x: l.x0 - 5, y: box.y + box.h / 2 + 3.5, text: fitted(name, l.x0 - 8, 10), anchor: 'end' });
  });
  const bottom = l.y0 + l.rows * l.ch;
  const thin = Math.max(1, Math.ceil((l.upright ? 9.5 : 6) / l.cw));
  heat.columns.forEach((name, column) => {
    if (column % thin) return;
    const x = l.x0 + (column + 0.5) * l.cw;
    if (l.upright) marks.push({ ...text, x: x + 3.5, y: bottom + 6, text: fitted(name, 74, 10), rotate: 90 });
    else marks.push({ ...text, x, y: bottom + 13, text: fitted(name, l.cw, 10), anchor: 'middle' });
  });
  marks.push({ kind: 'text', x: 0, y: 10, text: heat.rowTitle, fill: palette.muted, size: 10 });
  marks.push({ kind: 'text', x: l.x0, y: l.height - 2, text: heat.columnTitle, fill: palette.muted, size: 10 });
  return marks;
}

/** Largest absolute value, not less than `least`. */
export function extent(values: (number | null)[][], least = 1e-9): number {
  let high = least;
  for (const row of values) for (const v of row) if (v !== null && Math.abs(v) > high) high = Math.abs(v);
  return high;
}

/** As read out: one row of the map a row. */
export function heatReading(heat: Heat): Table {
  const rows = heat.rows.map((name, i) => [name, ...(heat.values[i] ?? []).map((v) => (v === null ? '' : v.toFixed(3)))]);
  return { columns: [`${heat.rowTitle} / ${heat.columnTitle}`, ...heat.columns], rows: heat.upwards ? rows.reverse() : rows };
}
