/** Signed bars, one a line: pairs of tokens, components of a logit, effects. Pure. */
import { type Palette } from './colour';
import { fitted, line, type Mark, type Scene } from './scene';

export interface Strip {
  name: string;
  value: number | null;
  /** Drawn fainter: a control. */
  faint?: boolean;
}

export interface StripOptions {
  width: number;
  label?: number;
  /** Bars reach their end at this absolute value. */
  high?: number;
  digits?: number;
  percent?: boolean;
}

export const STRIP = 20;

export function stripsScene(strips: Strip[], palette: Palette, o: StripOptions): Scene {
  const marks: Mark[] = [];
  const label = o.label ?? Math.min(180, o.width * 0.42);
  const figures = 52;
  const values = strips.map((s) => s.value ?? 0);
  const high = o.high ?? Math.max(1e-12, ...values.map(Math.abs));
  const both = values.some((v) => v < 0);
  const x0 = label + 8 + (both ? figures : 0),
    x1 = o.width - figures;
  const zero = both ? (x0 + x1) / 2 : x0;
  const span = both ? (x1 - x0) / 2 : x1 - x0;
  strips.forEach((s, i) => {
    const y = i * STRIP + 2;
    marks.push({
      kind: 'text',
      x: label,
      y: y + 12.5,
      text: fitted(s.name, label - 4, 11.5),
      fill: s.faint ? palette.muted : palette.ink,
      size: 11.5,
      anchor: 'end',
      mono: true,
    });
    if (s.value === null) {
      marks.push({ kind: 'text', x: zero + 6, y: y + 12, text: '–', fill: palette.muted, size: 11 });
      return;
    }
    const w = Math.max(1, Math.min(1, Math.abs(s.value) / high) * span);
    const x = s.value < 0 ? zero - w : zero;
    const colour = s.value < 0 ? palette.counter : palette.stain;
    marks.push(
      s.faint
        ? { kind: 'rect', x: x + 0.5, y: y + 3.5, w: Math.max(1, w - 1), h: 11, stroke: colour, width: 1, radius: 2 }
        : { kind: 'rect', x, y: y + 3, w, h: 12, fill: colour, radius: 2 },
    );
    const shown = o.percent
      ? `${s.value > 0 ? '+' : ''}${Math.round(s.value * 100)} %`
      : `${both && s.value > 0 ? '+' : ''}${s.value.toFixed(o.digits ?? 2)}`;
    marks.push({
      kind: 'text',
      x: s.value < 0 ? x - 5 : x + w + 5,
      y: y + 12.5,
      text: shown,
      fill: palette.ink,
      size: 10.5,
      anchor: s.value < 0 ? 'end' : 'start',
      mono: true,
    });
  });
  const height = Math.max(STRIP, strips.length * STRIP + 4);
  if (both) marks.unshift(line(zero, 0, zero, height, palette.line));
  return { width: o.width, height, marks };
}
