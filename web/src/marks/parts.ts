/** Components of a logit as a map layer × part, and as the strongest bars; knowledge neurons as a map fact × layer. Pure. */
import type { Neurons, Paths } from '../api/circuit_types';
import type { Table } from './export';
import { extent, type Heat } from './heat';
import type { Strip } from './strips';

type Component = Paths['components'][number];
const MLP = /^m\d+$/;

/** Where a component stands: column of its head, or the MLP's; null for what belongs to no layer (embedding, biases). */
export function placeOf(c: Component, nHeads: number): { layer: number; column: number } | null {
  if (c.layer === undefined) return null;
  if (c.head !== undefined) return { layer: c.layer, column: c.head };
  return MLP.test(c.name) ? { layer: c.layer, column: nHeads } : null;
}

export function componentsHeat(paths: Paths, nLayers: number, nHeads: number): Heat {
  const values: (number | null)[][] = Array.from({ length: nLayers }, () => Array<number | null>(nHeads + 1).fill(null));
  for (const c of paths.components) {
    const at = placeOf(c, nHeads);
    if (at && at.layer < nLayers && at.column <= nHeads)
      values[at.layer][at.column] = (values[at.layer][at.column] ?? 0) + c.logit;
  }
  return {
    values,
    rows: Array.from({ length: nLayers }, (_, i) => String(i)),
    columns: [...Array.from({ length: nHeads }, (_, i) => String(i)), 'MLP'],
    rowTitle: 'layer',
    columnTitle: 'head',
    high: extent(values, 1e-6),
    signed: true,
    upwards: true,
  };
}

export function strongest(paths: Paths, count: number): Strip[] {
  const all = [...paths.components].sort((a, b) => Math.abs(b.logit) - Math.abs(a.logit));
  const rest = all.slice(count).reduce((sum, c) => sum + c.logit, 0);
  const strips: Strip[] = all.slice(0, count).map((c) => ({ name: c.name, value: c.logit }));
  return all.length > count ? [...strips, { name: `${all.length - count} others`, value: rest, faint: true }] : strips;
}

export function componentsTable(paths: Paths): Table {
  return {
    columns: ['name', 'layer', 'head', 'logit'],
    rows: paths.components.map((c) => [c.name, c.layer ?? null, c.head ?? null, c.logit]),
  };
}

export function neuronsHeat(neurons: Neurons, nLayers: number): Heat {
  const values = neurons.facts.map((f) => {
    const row = Array<number | null>(nLayers).fill(0);
    for (const n of f.neurons) if (n.layer < nLayers) row[n.layer] = (row[n.layer] ?? 0) + 1;
    return row;
  });
  return {
    values,
    rows: neurons.facts.map((f) => f.id),
    columns: Array.from({ length: nLayers }, (_, i) => String(i)),
    rowTitle: 'fact',
    columnTitle: 'layer',
    high: extent(values, 1),
    signed: false,
  };
}

export function neuronsTable(neurons: Neurons): Table {
  return {
    columns: ['fact', 'prompt', 'answer', 'layer', 'index', 'score'],
    rows: neurons.facts.flatMap((f) => f.neurons.map((n) => [f.id, f.prompt, f.answer, n.layer, n.index, n.score])),
  };
}

export function effectStrips(fact: Neurons['facts'][number]): Strip[] {
  const e = fact.effect;
  if (!e) return [];
  return [
    { name: 'the fact itself', value: e.target ?? null },
    { name: 'held-out phrasings', value: e.paraphrases ?? null },
    { name: 'other facts', value: e.controls ?? null, faint: true },
    { name: 'most active neurons', value: e.most_active ?? null, faint: true },
    { name: 'random neurons', value: e.random ?? null, faint: true },
  ];
}
