/** One large attention pattern, as a matrix or as lines between two columns of tokens. Pure. */
import type { Token } from '../api/types';
import { hexOf, inkOn, mix, sequential, type Palette } from './colour';
import type { Table } from './export';
import { fitted, round, type Mark, type Scene } from './scene';
import { visible } from './tokens';

export interface MatrixLayout {
  x0: number;
  y0: number;
  step: number;
  T: number;
  width: number;
  height: number;
}

export function matrixLayout(T: number, width: number, tallest: number): MatrixLayout {
  const x0 = 92,
    y0 = 62;
  // A long text takes the whole width, and the height that it needs.
  const high = T > 40 ? width : tallest;
  const step = Math.max(1, Math.min(44, (width - x0 - 4) / T, (high - y0 - 4) / T));
  return { x0, y0, step, T, width: x0 + step * T + 4, height: y0 + step * T + 4 };
}

export function matrixAt(l: MatrixLayout, x: number, y: number): { query: number; key: number } | null {
  const key = Math.floor((x - l.x0) / l.step),
    query = Math.floor((y - l.y0) / l.step);
  return key < 0 || query < 0 || key >= l.T || query >= l.T ? null : { query, key };
}

function pixelsOf(pattern: number[][], T: number, palette: Palette): Uint8ClampedArray {
  const rgba = new Uint8ClampedArray(T * T * 4);
  for (let q = 0; q < T; q++)
    for (let k = 0; k <= q; k++) rgba.set([...sequential(palette, pattern[q]?.[k] ?? 0), 255], (q * T + k) * 4);
  return rgba;
}

export interface Focus {
  query: number | null;
  key: number | null;
}

export function matrixScene(pattern: number[][], tokens: Token[], l: MatrixLayout, palette: Palette, focus: Focus): Scene {
  const marks: Mark[] = [];
  const size = Math.min(11, l.step * 0.62),
    gap = l.step > 8 ? 1 : 0;
  if (!gap)
    marks.push({
      kind: 'pixels',
      x: l.x0,
      y: l.y0,
      w: l.step * l.T,
      h: l.step * l.T,
      cols: l.T,
      rows: l.T,
      rgba: pixelsOf(pattern, l.T, palette),
    });
  for (let q = 0; q < l.T && gap; q++) {
    for (let k = 0; k <= q; k++) {
      const value = pattern[q]?.[k] ?? 0;
      const fill = sequential(palette, value);
      const x = l.x0 + k * l.step,
        y = l.y0 + q * l.step;
      marks.push({ kind: 'rect', x, y, w: l.step - gap, h: l.step - gap, fill: hexOf(fill), radius: gap * 2 });
      if (l.step >= 25 && value >= 0.005) {
        marks.push({
          kind: 'text',
          x: x + l.step / 2,
          y: y + l.step / 2 + 3.5,
          text: value.toFixed(2).replace(/^0/, ''),
          fill: inkOn(fill),
          size: Math.min(10.5, l.step * 0.33),
          anchor: 'middle',
          mono: true,
        });
      }
    }
  }
  const thin = Math.max(1, Math.ceil(10 / l.step));
  tokens.forEach((token, i) => {
    if (i % thin) return;
    const strong = (on: number | null) => on === i;
    const label = fitted(visible(token.text), 76, Math.max(9, size));
    marks.push({
      kind: 'text',
      x: l.x0 - 8,
      y: l.y0 + i * l.step + l.step / 2 + 3.5,
      text: label,
      fill: strong(focus.query) ? palette.stain : palette.ink,
      bold: strong(focus.query),
      size: Math.max(9, size),
      anchor: 'end',
      mono: true,
    });
    marks.push({
      kind: 'text',
      x: l.x0 + i * l.step + l.step / 2 + 3,
      y: l.y0 - 7,
      text: fitted(label, 56, Math.max(9, size)),
      fill: strong(focus.key) ? palette.stain : palette.ink,
      bold: strong(focus.key),
      size: Math.max(9, size),
      mono: true,
      rotate: -60,
    });
  });
  if (focus.query !== null && focus.key !== null) {
    marks.push({
      kind: 'rect',
      x: l.x0 + focus.key * l.step - 1,
      y: l.y0 + focus.query * l.step - 1,
      w: l.step + 1,
      h: l.step + 1,
      stroke: palette.focus,
      width: 2,
      radius: 3,
    });
  }
  return { width: l.width, height: l.height, marks };
}

export const LINE_STEP = 24;

/** Lines from each query token (right) to the keys it reads (left); with a focus only that token's lines. */
export function linesScene(pattern: number[][], tokens: Token[], width: number, palette: Palette, focus: Focus): Scene {
  const marks: Mark[] = [];
  const T = tokens.length,
    left = width * 0.33,
    right = width * 0.67,
    top = 28;
  const y = (i: number) => top + i * LINE_STEP + LINE_STEP / 2;
  marks.push({ kind: 'text', x: left, y: 14, text: 'read from (key)', fill: palette.muted, size: 11, anchor: 'end' });
  marks.push({ kind: 'text', x: right, y: 14, text: 'reading (query)', fill: palette.muted, size: 11 });
  for (let q = 0; q < T; q++) {
    for (let k = 0; k <= q; k++) {
      const value = pattern[q]?.[k] ?? 0;
      const chosen = (focus.query === null || focus.query === q) && (focus.key === null || focus.key === k);
      if (value < 0.02 || !chosen) continue;
      const middle = (left + right) / 2;
      const stroke = hexOf(mix(palette.line, palette.stain, Math.min(1, 0.25 + value)));
      marks.push({
        kind: 'path',
        d: `M${round(left + 8)} ${y(k)}C${round(middle)} ${y(k)} ${round(middle)} ${y(q)} ${round(right - 8)} ${y(q)}`,
        stroke,
        width: 0.6 + 5 * value,
        opacity: 0.25 + 0.75 * value,
      });
    }
  }
  tokens.forEach((token, i) => {
    const label = fitted(visible(token.text), width * 0.3, 12);
    const weight = (side: 'key' | 'query') =>
      side === 'key' && focus.query !== null
        ? (pattern[focus.query]?.[i] ?? 0)
        : side === 'query' && focus.key !== null
          ? (pattern[i]?.[focus.key] ?? 0)
          : 0;
    for (const side of ['key', 'query'] as const) {
      const on = focus[side] === i || weight(side) > 0.15;
      marks.push({
        kind: 'text',
        x: side === 'key' ? left : right,
        y: y(i) + 4,
        text: label,
        fill: on ? palette.stain : palette.ink,
        bold: on,
        size: 12,
        anchor: side === 'key' ? 'end' : 'start',
        mono: true,
      });
    }
  });
  return { width, height: top + T * LINE_STEP + 6, marks };
}

export function lineAt(T: number, width: number, x: number, yPixel: number): Focus | null {
  const i = Math.floor((yPixel - 28) / LINE_STEP);
  if (i < 0 || i >= T) return null;
  return x < width / 2 ? { query: null, key: i } : { query: i, key: null };
}

/** All weights; with `only`, those of that query, which is what a long text can be read out as. */
export function patternTable(pattern: number[][], tokens: Token[], only: number | null = null): Table {
  const rows = pattern.flatMap((row, q) =>
    only !== null && only !== q ? [] : row.slice(0, q + 1).map((v, k) => [q, tokens[q]?.text ?? '', k, tokens[k]?.text ?? '', v]),
  );
  return { columns: ['query', 'query_token', 'key', 'key_token', 'attention'], rows };
}
