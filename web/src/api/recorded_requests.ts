/**
 * What the bundle's recorded traces must hold: everything the start page asks, and the first look at its prompt.
 * `scripts/record_traces.mjs` asks a running server for exactly these; a test checks that the bundle has them.
 */
import experiment from '../experiment.json';
import { lensBody, patternsBody, type Subject } from './requests';
import type { Edit } from './types';

export const start: Subject = { prompt: experiment.prompt, chat: false, tokens: null };
export const startEdit = experiment.edit as Edit;
export const startControl = experiment.control as Edit;

export const TOP = 10;

export function riseBody(target: string, edits: Edit[]): object {
  return lensBody(start, { positions: 'last', top: TOP, target, allPoints: false }, edits);
}

export function lookBody(subject: Subject, target: string, edits: Edit[]): object {
  return lensBody(subject, { positions: 'all', top: TOP, target, allPoints: false }, edits);
}

export interface Request {
  command: string;
  body: object;
}

export function recordedRequests(): Request[] {
  const cases: Edit[][] = [[], [startEdit], [startControl]];
  const rises = cases.flatMap((edits) =>
    [experiment.answer, experiment.flippedAnswer].map((target) => ({ command: 'lens', body: riseBody(target, edits) })),
  );
  const looks = cases.slice(0, 2).map((edits) => ({ command: 'lens', body: lookBody(start, experiment.answer, edits) }));
  const others = experiment.examples
    .slice(1)
    .map((e) => ({ command: 'lens', body: lookBody({ ...start, prompt: e.prompt }, e.follow, []) }));
  const heads = [
    ...cases.slice(0, 1).map(() => start),
    ...experiment.examples.slice(1).map((e) => ({ ...start, prompt: e.prompt })),
  ].map((subject) => ({ command: 'patterns', body: patternsBody(subject, []) }));
  return [...rises, ...looks, ...others, ...heads, { command: 'models', body: {} }, { command: 'inspect', body: {} }];
}
