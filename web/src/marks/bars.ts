/** The next-token distribution as bars; with a second distribution, both under each other. Pure. */
import type { Candidate } from '../api/types';
import { hexOf, mix, type Palette } from './colour';
import type { Table } from './export';
import { fitted, type Mark, type Scene } from './scene';
import { visible } from './tokens';

export interface BarRow {
  id: number;
  text: string;
  after: number | null;
  before: number | null;
}

const probability = (c: Candidate | undefined) => (c ? Math.exp(c.logprob ?? -Infinity) : null);

/** The union of both lists, by the larger probability; a token that one list does not reach has null there. */
export function barRows(after: Candidate[], before: Candidate[] | null, count: number): BarRow[] {
  const ids = [...new Set([...after, ...(before ?? [])].map((c) => c.id))];
  const rows = ids.map((id) => {
    const a = after.find((c) => c.id === id),
      b = before?.find((c) => c.id === id);
    return { id, text: (a ?? b)?.text ?? '', after: probability(a), before: before ? probability(b) : null };
  });
  const weight = (r: BarRow) => Math.max(r.after ?? 0, r.before ?? 0);
  return rows.sort((x, y) => weight(y) - weight(x)).slice(0, count);
}

export const percent = (p: number | null) =>
  p === null ? '–' : p >= 0.0995 ? `${Math.round(p * 100)} %` : p >= 0.001 ? `${(p * 100).toFixed(1)} %` : '< .1 %';

export const BAR_ROW = 22;

export function barsScene(rows: BarRow[], paired: boolean, width: number, palette: Palette): Scene {
  const marks: Mark[] = [];
  const label = 92,
    x0 = label + 8,
    x1 = width - 50,
    span = x1 - x0;
  const high = paired ? BAR_ROW + 10 : BAR_ROW;
  rows.forEach((row, i) => {
    const y = i * high + 2;
    marks.push({
      kind: 'text',
      x: label,
      y: y + 14,
      text: fitted(visible(row.text), label - 4, 12),
      fill: palette.ink,
      size: 12,
      anchor: 'end',
      mono: true,
    });
    const bar = (value: number | null, top: number, h: number, fill: string, bold: boolean) => {
      marks.push({ kind: 'rect', x: x0, y: top, w: Math.max(1, span * (value ?? 0)), h, fill, radius: 2 });
      marks.push({
        kind: 'text',
        x: x0 + span * (value ?? 0) + 6,
        y: top + h - (h > 10 ? 3 : 1),
        text: percent(value),
        fill: bold ? palette.ink : palette.muted,
        size: h > 10 ? 11 : 10,
      });
    };
    if (paired) {
      bar(row.before, y + 2, 10, hexOf(mix(palette.surface, palette.muted, 0.5)), false);
      bar(row.after, y + 14, 10, palette.stain, true);
    } else bar(row.after, y + 3, 14, palette.stain, true);
  });
  return { width, height: Math.max(high, rows.length * high + 4), marks };
}

export function barsTable(rows: BarRow[], paired: boolean): Table {
  return paired
    ? {
        columns: ['id', 'token', 'probability_before', 'probability_after'],
        rows: rows.map((r) => [r.id, r.text, r.before, r.after]),
      }
    : { columns: ['id', 'token', 'probability'], rows: rows.map((r) => [r.id, r.text, r.after]) };
}
