/**
 * Recorded answers: a list of (command, body, answer) from a real model, shipped in the bundle so that the page is never
 * blank. Lens answers are packed: cells as rows of numbers, token texts in one table. `scripts/record_traces.mjs` uses
 * this same file to write them.
 */
import type { Cell, Lens } from './types';

export interface Recording {
  command: string;
  body: object;
  answer: unknown;
  provisional?: boolean;
}

/** [top ids, top log-probabilities, entropy, KL, target [id, logprob, rank] or null] */
type PackedCell = [number[], number[], number, number, [number, number, number] | null];
export interface PackedLens {
  packed: 'lens';
  tokens: Lens['tokens'];
  points: string[];
  positions: number[];
  texts: Record<string, string>;
  cells: PackedCell[][];
}

/** The same body always gives the same key, whatever the order of its fields; absent fields do not count. */
export function keyOf(command: string, body: object): string {
  const sorted = (v: unknown): unknown => {
    if (Array.isArray(v)) return v.map(sorted);
    if (typeof v !== 'object' || v === null) return v;
    const entries = Object.entries(v).filter(([name, value]) => value !== undefined && name !== 'model');
    return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([k, x]) => [k, sorted(x)]));
  };
  return `${command} ${JSON.stringify(sorted(body))}`;
}

export function recall(recordings: Recording[], command: string, body: object): unknown {
  const key = keyOf(command, body);
  const found =
    recordings.find((r) => keyOf(r.command, r.body) === key) ??
    // An answer that also follows a token answers the question without one.
    recordings.find((r) => keyOf(r.command, { ...r.body, target: undefined }) === key);
  if (!found) return undefined;
  return isPacked(found.answer) ? unpackLens(found.answer) : structuredClone(found.answer);
}

export function isPacked(answer: unknown): answer is PackedLens {
  return typeof answer === 'object' && answer !== null && (answer as PackedLens).packed === 'lens';
}

const short = (x: number | null) => (x === null ? -1e4 : Math.round(x * 1e4) / 1e4);

export function packLens(lens: Lens): PackedLens {
  const texts: Record<string, string> = {};
  const cells = lens.cells.map((row) =>
    row.map((cell): PackedCell => {
      for (const c of cell.top) texts[c.id] = c.text;
      const target = cell.target;
      return [
        cell.top.map((c) => c.id),
        cell.top.map((c) => short(c.logprob)),
        short(cell.entropy),
        short(cell.kl_to_final),
        target ? [target.id, short(target.logprob), target.rank] : null,
      ];
    }),
  );
  return { packed: 'lens', tokens: lens.tokens, points: lens.points, positions: lens.positions, texts, cells };
}

export function unpackLens(p: PackedLens): Lens {
  const cells = p.cells.map((row) =>
    row.map(
      ([ids, logprobs, entropy, kl, target]): Cell => ({
        top: ids.map((id, i) => ({ id, text: p.texts[id] ?? '', logprob: logprobs[i] })),
        entropy,
        kl_to_final: kl,
        target: target ? { id: target[0], logprob: target[1], rank: target[2] } : undefined,
      }),
    ),
  );
  return { tokens: p.tokens, points: p.points, positions: p.positions, cells };
}
