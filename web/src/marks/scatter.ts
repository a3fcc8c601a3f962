/** Heads as dots, two scores as axes; and the eigenvalues of one head in the complex plane. Pure. */
import { hexOf, mix, type Palette } from './colour';
import { line, round, type Mark, type Scene } from './scene';

export interface Dot {
  x: number;
  y: number;
  /** Written beside the dot where it stands out. */
  name: string;
}

export interface Range {
  low: number;
  high: number;
  ticks: number[];
}

/** Round ends and steps around the data; 0 is always inside. */
export function rangeOf(values: number[], steps = 5): Range {
  const finite = values.filter(Number.isFinite);
  let low = Math.min(0, ...finite),
    high = Math.max(0, ...finite);
  if (high - low < 1e-12) high = low + 1;
  const rough = (high - low) / steps;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((m) => m * power >= rough) ?? 10);
  low = Math.floor(low / step + 1e-9) * step;
  high = Math.ceil(high / step - 1e-9) * step;
  const ticks = Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) => round(low + i * step));
  return { low, high, ticks };
}

export interface PlotLayout {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
  width: number;
  height: number;
  x: Range;
  y: Range;
}

export function plotLayout(dots: { x: number; y: number }[], width: number, height: number): PlotLayout {
  const x = rangeOf(
    dots.map((d) => d.x),
    Math.max(2, Math.floor(width / 90)),
  );
  const y = rangeOf(
    dots.map((d) => d.y),
    Math.max(2, Math.floor(height / 60)),
  );
  return { x0: 46, y0: 20, x1: width - 14, y1: height - 38, width, height, x, y };
}

export const plotX = (l: PlotLayout, v: number) => l.x0 + ((v - l.x.low) / (l.x.high - l.x.low)) * (l.x1 - l.x0);
export const plotY = (l: PlotLayout, v: number) => l.y1 - ((v - l.y.low) / (l.y.high - l.y.low)) * (l.y1 - l.y0);

export const tick = (v: number): string => String(Number(v.toPrecision(3)));

export function plotAxes(l: PlotLayout, palette: Palette, xTitle: string, yTitle: string): Mark[] {
  const marks: Mark[] = [];
  const text = { kind: 'text' as const, fill: palette.muted, size: 10 };
  for (const v of l.x.ticks) {
    const x = plotX(l, v);
    marks.push(line(x, l.y0, x, l.y1, palette.line, v === 0 ? 1.5 : 0.75));
    marks.push({ ...text, x, y: l.y1 + 14, text: tick(v), anchor: 'middle', mono: true });
  }
  for (const v of l.y.ticks) {
    const y = plotY(l, v);
    marks.push(line(l.x0, y, l.x1, y, palette.line, v === 0 ? 1.5 : 0.75));
    marks.push({ ...text, x: l.x0 - 6, y: y + 3.5, text: tick(v), anchor: 'end', mono: true });
  }
  marks.push({ ...text, x: (l.x0 + l.x1) / 2, y: l.height - 4, text: xTitle, anchor: 'middle', fill: palette.ink, size: 11 });
  marks.push({ ...text, x: 2, y: 11, text: yTitle, fill: palette.ink, size: 11 });
  return marks;
}

/** The dots that stand out most: labelled one by one, farthest first, where a label has room. */
export function labelled(dots: Dot[], l: PlotLayout, most: number): number[] {
  const away = (d: Dot) => Math.hypot(d.x / (l.x.high - l.x.low), d.y / (l.y.high - l.y.low));
  const order = dots.map((_, i) => i).sort((a, b) => away(dots[b]) - away(dots[a]));
  const taken: { x: number; y: number }[] = [];
  const out: number[] = [];
  for (const i of order) {
    if (out.length >= most || away(dots[i]) < 0.25) break;
    const at = { x: plotX(l, dots[i].x), y: plotY(l, dots[i].y) };
    if (taken.some((t) => Math.abs(t.x - at.x) < 34 && Math.abs(t.y - at.y) < 12)) continue;
    taken.push(at);
    out.push(i);
  }
  return out;
}

export function scatterScene(dots: Dot[], l: PlotLayout, palette: Palette, xTitle: string, yTitle: string): Scene {
  const marks = plotAxes(l, palette, xTitle, yTitle);
  const fill = hexOf(mix(palette.surface, palette.stain, 0.72));
  for (const d of dots) {
    const x = plotX(l, d.x) - 3.5,
      y = plotY(l, d.y) - 3.5;
    marks.push({ kind: 'rect', x, y, w: 7, h: 7, radius: 3.5, fill, stroke: palette.surface, width: 1 });
  }
  for (const i of labelled(dots, l, 16)) {
    const x = plotX(l, dots[i].x);
    const left = x > l.x1 - 34;
    marks.push({
      kind: 'text',
      x: x + (left ? -7 : 7),
      y: plotY(l, dots[i].y) + 3.5,
      text: dots[i].name,
      fill: palette.ink,
      size: 10.5,
      anchor: left ? 'end' : 'start',
      mono: true,
    });
  }
  return { width: l.width, height: l.height, marks };
}

/** The dot nearest to a place, within reach. */
export function dotAt(dots: { x: number; y: number }[], l: PlotLayout, x: number, y: number, reach = 14): number | null {
  let best: number | null = null,
    distance = reach;
  dots.forEach((d, i) => {
    const away = Math.hypot(plotX(l, d.x) - x, plotY(l, d.y) - y);
    if (away < distance) [best, distance] = [i, away];
  });
  return best;
}

/** Eigenvalues over the largest one's size: right is copying, left its opposite. Ring: |λ| = largest. */
export function spectrumScene(eigenvalues: number[][], size: number, palette: Palette): Scene {
  const marks: Mark[] = [];
  const largest = Math.max(1e-12, ...eigenvalues.map(([re, im]) => Math.hypot(re, im)));
  const c = size / 2,
    r = c - 26;
  const ring = (radius: number, dash?: string): Mark => ({
    kind: 'path',
    d: `M${round(c - radius)} ${c}A${round(radius)} ${round(radius)} 0 1 0 ${round(c + radius)} ${c}A${round(radius)} ${round(radius)} 0 1 0 ${round(c - radius)} ${c}Z`,
    stroke: palette.line,
    width: 1,
    dash,
  });
  marks.push(ring(r), ring(r / 2, '2 3'), line(c - r, c, c + r, c, palette.line), line(c, c - r, c, c + r, palette.line));
  for (const [re, im] of eigenvalues) {
    const x = c + (re / largest) * r,
      y = c - (im / largest) * r;
    const fill = re >= 0 ? palette.stain : palette.counter;
    // A diamond left of the middle: the sign without colour.
    if (re >= 0) marks.push({ kind: 'rect', x: x - 3, y: y - 3, w: 6, h: 6, radius: 3, fill });
    else
      marks.push({
        kind: 'path',
        d: `M${round(x - 4)} ${round(y)}L${round(x)} ${round(y - 4)}L${round(x + 4)} ${round(y)}L${round(x)} ${round(y + 4)}Z`,
        fill,
      });
  }
  const text = { kind: 'text' as const, fill: palette.muted, size: 10 };
  marks.push({ ...text, x: c + r + 2, y: c - 5, text: 'Re', anchor: 'start' });
  marks.push({ ...text, x: c + 4, y: c - r - 4, text: 'Im', anchor: 'start' });
  marks.push({ ...text, x: c, y: size - 6, text: `ring: |λ| = ${largest.toPrecision(3)}`, anchor: 'middle' });
  return { width: size, height: size, marks };
}
