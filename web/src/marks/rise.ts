/**
 * The answer rising: one row per lens point, the embedding at the bottom; to the right of the layer's first choice a
 * curve of one or two tokens' rank or probability. Pure.
 */
import { hexOf, mix, type Palette } from './colour';
import type { Table } from './export';
import { fitted, line, round, type Mark, type Scene } from './scene';
import { visible } from './tokens';

export interface Track {
  text: string;
  logprobs: (number | null)[];
  ranks: number[];
}
export interface Rise {
  points: string[];
  first: string[];
  tracks: Track[];
}

export type RiseScale = 'rank' | 'probability';

/** Position along the curve in [0, 1]; 1 is the first choice, or certainty. Rank is logarithmic over the vocabulary. */
export function reach(track: Track, point: number, scale: RiseScale, vocab: number): number {
  if (scale === 'probability') return Math.exp(track.logprobs[point] ?? -Infinity);
  return 1 - Math.log(Math.max(1, track.ranks[point])) / Math.log(vocab);
}

export interface RiseLayout {
  width: number;
  rowHeight: number;
  rows: number;
  x0: number;
  x1: number;
  y0: number;
  height: number;
}

export function riseLayout(rows: number, width: number, rowHeight: number): RiseLayout {
  return { width, rowHeight, rows, x0: 118, x1: width - 12, y0: 8, height: 8 + rows * rowHeight + 30 };
}

export interface RisePicture {
  rise: Rise;
  ghost?: Rise;
  scale: RiseScale;
  vocab: number;
  labels: string[];
  palette: Palette;
  layout: RiseLayout;
}

export function riseScene(p: RisePicture): Scene {
  const { rise, layout: l, palette, scale } = p;
  const marks: Mark[] = [];
  const y = (point: number) => l.y0 + (l.rows - 1 - point) * l.rowHeight + l.rowHeight / 2;
  const x = (t: number) => l.x0 + t * (l.x1 - l.x0);
  marks.push(...ticks(p, x));
  const colours = [palette.stain, palette.counter];
  const curve = (track: Track) =>
    rise.points.map((_, i) => `${i ? 'L' : 'M'}${round(x(reach(track, i, scale, p.vocab)))} ${round(y(i))}`).join('');
  rise.tracks.forEach((track, i) => {
    const area = `${curve(track)}L${round(l.x0)} ${round(y(l.rows - 1))}L${round(l.x0)} ${round(y(0))}Z`;
    if (i === 0 || scale === 'probability')
      marks.push({ kind: 'path', d: area, fill: hexOf(mix(palette.surface, colours[i], 0.16)), opacity: 0.75 });
  });
  p.ghost?.tracks.forEach((track, i) =>
    marks.push({ kind: 'path', d: curve(track), stroke: colours[i], width: 1.2, dash: '2 3', opacity: 0.55 }),
  );
  rise.tracks.forEach((track, i) =>
    marks.push({ kind: 'path', d: curve(track), stroke: colours[i], width: 2.2, dash: i ? '6 3' : undefined }),
  );
  for (let point = 0; point < l.rows; point++) {
    marks.push({
      kind: 'text',
      x: 26,
      y: y(point) + 3.5,
      text: p.labels[point],
      fill: palette.muted,
      size: 10,
      anchor: 'end',
      mono: true,
    });
    const hit = rise.tracks.findIndex((t) => t.text === rise.first[point]);
    const fill = hit < 0 ? palette.ink : colours[hit];
    marks.push({
      kind: 'text',
      x: 36,
      y: y(point) + 3.7,
      text: fitted(visible(rise.first[point] ?? ''), 74, 11),
      fill,
      bold: hit >= 0,
      size: 11,
      mono: true,
    });
  }
  rise.tracks.forEach((track, i) => {
    const top = l.rows - 1,
      at = x(reach(track, top, scale, p.vocab));
    marks.push(
      i
        ? { kind: 'rect', x: at - 3.5, y: y(top) - 3.5, w: 7, h: 7, fill: colours[i] }
        : { kind: 'path', d: `M${round(at - 4)} ${y(top)}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z`, fill: colours[i] },
    );
  });
  return { width: l.width, height: l.height, marks };
}

function ticks({ scale, vocab, palette, layout: l }: RisePicture, x: (t: number) => number): Mark[] {
  const at: [number, string][] =
    scale === 'probability'
      ? [
          [0, '0'],
          [0.5, '.5'],
          [1, '1'],
        ]
      : [1e4, 1e3, 100, 10, 1]
          .filter((r) => r < vocab)
          .map((r) => [1 - Math.log(r) / Math.log(vocab), r === 1 ? '1st' : r >= 1000 ? `${r / 1000}k` : String(r)]);
  const bottom = l.y0 + l.rows * l.rowHeight;
  return at
    .flatMap(([t, label]): Mark[] => [
      line(x(t), l.y0, x(t), bottom, palette.line),
      { kind: 'text', x: x(t), y: bottom + 13, text: label, fill: palette.muted, size: 10, anchor: t > 0.99 ? 'end' : 'middle' },
    ])
    .concat([
      {
        kind: 'text',
        x: l.x1,
        y: bottom + 26,
        text: scale === 'rank' ? 'rank among all tokens (log)' : 'probability',
        fill: palette.muted,
        size: 10,
        anchor: 'end',
      },
    ]);
}

export function riseTable(rise: Rise): Table {
  const columns = ['point', 'first_choice', ...rise.tracks.flatMap((t) => [`logprob ${t.text}`, `rank ${t.text}`])];
  const rows = rise.points.map((point, i) => [point, rise.first[i], ...rise.tracks.flatMap((t) => [t.logprobs[i], t.ranks[i]])]);
  return { columns, rows };
}
