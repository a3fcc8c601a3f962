/**
 * The bodies the page sends: built here and nowhere else, so that recorded answers are found under the same key. Pure.
 */
import type { Edit } from './types';

export interface Subject {
  prompt: string;
  chat: boolean;
  tokens: number[] | null;
}

/** A prompt as text, or as ids once the model has added tokens to it. */
export function subjectOf(s: Subject): object {
  if (s.tokens) return { tokens: s.tokens };
  return s.chat ? { prompt: s.prompt, chat: true } : { prompt: s.prompt };
}

export interface LensOptions {
  positions: 'all' | 'last' | number[];
  top: number;
  target: string;
  allPoints: boolean;
  /** A fitted lens registered on the server; absent: the logit lens. */
  through?: Through | null;
}

export interface Through {
  kind: 'tuned' | 'jacobian';
  name: string;
}

export function lensBody(s: Subject, o: LensOptions, edits: Edit[]): object {
  return {
    ...subjectOf(s),
    top: o.top,
    positions: Array.isArray(o.positions) ? o.positions.join(',') : o.positions,
    ...(o.target ? { target: o.target } : {}),
    ...(o.allPoints ? { 'all-points': true } : {}),
    ...(o.through ? { [o.through.kind]: o.through.name } : {}),
    ...(edits.length ? { edits } : {}),
  };
}

export function patternsBody(s: Subject, edits: Edit[], layers?: number[]): object {
  return { ...subjectOf(s), ...(layers ? { layers } : {}), ...(edits.length ? { edits } : {}) };
}

export function exactBody(s: Subject, edits: Edit[], layer: number, head: number): object {
  return { ...patternsBody(s, edits), layer, head, exact: true };
}

export interface Sampling {
  maxTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  seed: number;
  stop: string;
}

export const GREEDY: Sampling = { maxTokens: 24, temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0, stop: '' };

export function runBody(s: Subject, o: Sampling, edits: Edit[], top: number): object {
  return {
    ...subjectOf(s),
    'max-tokens': o.maxTokens,
    temperature: o.temperature,
    seed: o.seed,
    lens: true,
    top,
    ...(o.topK > 0 ? { 'top-k': o.topK } : {}),
    ...(o.topP < 1 ? { 'top-p': o.topP } : {}),
    ...(o.minP > 0 ? { 'min-p': o.minP } : {}),
    ...(o.stop ? { stop: o.stop } : {}),
    ...(edits.length ? { edits } : {}),
  };
}
