/** Answers of `patch`: numbers nested by axes, and what stands along each axis. Pure. */
import type { Patch } from '../api/circuit_types';
import type { Table } from './export';
import { extent, type Heat } from './heat';
import { visible } from './tokens';

/** The number at a place, one index an axis. */
export function at(values: unknown, place: number[]): number | null {
  const found = place.reduce<unknown>((v, i) => (Array.isArray(v) ? v[i] : undefined), values);
  return typeof found === 'number' ? found : null;
}

export function sizes(values: unknown): number[] {
  return Array.isArray(values) ? [values.length, ...sizes(values[0])] : [];
}

/** What stands along an axis, as words: layer and head numbers, tokens at positions, names. */
export function namesOf(patch: Patch, axis: number): string[] {
  const name = patch.axes[axis];
  const n = sizes(patch.values)[axis] ?? 0;
  const given = patch.ticks?.[name];
  const ticks = Array.isArray(given) ? given : Array.from({ length: n }, (_, i) => i);
  if (!['pos', 'dst', 'src'].includes(name)) return ticks.map(String);
  return ticks.map((t) => {
    const p = patch.positions?.find((q) => q.position === t);
    const token = p?.clean.length === 1 ? ` ${visible(p.clean[0])}` : '';
    return p?.role ? `${p.role}${token}` : `${t}${token}`;
  });
}

const TITLES: Record<string, string> = {
  pos: 'token',
  dst: 'reads at',
  src: 'reads from',
  layer: 'layer',
  head: 'head',
  neuron: 'neuron',
};
export const titleOf = (axis: string): string => TITLES[axis] ?? axis;

export interface Sheets {
  heat: Heat;
  /** Axes before the last two: one map for each of their places. */
  sheets: string[];
  sheetTitle: string;
}

/** The map of the last two axes; where there are more, that of one place on the axes before them. */
export function sheetOf(patch: Patch, sheet: number): Sheets {
  const n = sizes(patch.values);
  const rank = n.length;
  if (rank === 1)
    return {
      heat: heatOf(patch, [], namesOf(patch, 0), ['value'], (i) => [i]),
      sheets: [],
      sheetTitle: '',
    };
  const outer = n.slice(0, rank - 2);
  const places = product(outer);
  const place = places[Math.min(sheet, places.length - 1)] ?? [];
  const names = outer.map((_, a) => namesOf(patch, a));
  return {
    heat: heatOf(patch, place, namesOf(patch, rank - 2), namesOf(patch, rank - 1), (i, j) => [...place, i, j]),
    sheets: outer.length ? places.map((p) => p.map((i, a) => names[a][i]).join('.')) : [],
    sheetTitle: patch.axes
      .slice(0, rank - 2)
      .map(titleOf)
      .join('.'),
  };
}

function product(n: number[]): number[][] {
  return n.reduce<number[][]>((all, size) => all.flatMap((p) => Array.from({ length: size }, (_, i) => [...p, i])), [[]]);
}

function heatOf(
  patch: Patch,
  place: number[],
  rows: string[],
  columns: string[],
  index: (i: number, j: number) => number[],
): Heat {
  // Difference from what an ineffective patch gives, so that the background stands for "nothing".
  const base = patch.baseline ?? 0;
  const values = rows.map((_, i) =>
    columns.map((__, j) => {
      const v = at(patch.values, index(i, j));
      return v === null ? null : v - base;
    }),
  );
  const first = place.length;
  const rowAxis = patch.axes[first],
    columnAxis = patch.axes[first + 1];
  return {
    values,
    rows,
    columns,
    rowTitle: titleOf(rowAxis),
    columnTitle: columnAxis ? titleOf(columnAxis) : '',
    high: Math.min(extent(values, 0.05), 1.5),
    signed: true,
    upwards: rowAxis === 'layer',
  };
}

/** One row a cell: its place on every axis, value, interval, raw metric. */
export function patchTable(patch: Patch): Table {
  const names = patch.axes.map((_, a) => namesOf(patch, a));
  const rows = product(sizes(patch.values)).map((p) => [
    ...p.map((i, a) => names[a][i] ?? i),
    at(patch.values, p),
    at(patch.low, p),
    at(patch.high, p),
    at(patch.raw, p),
  ]);
  const columns = patch.axes.map((a, i) => (patch.axes.indexOf(a) === i ? a : `${a}_${i + 1}`));
  return { columns: [...columns, 'value', 'low', 'high', `raw_${patch.metric}`], rows };
}
