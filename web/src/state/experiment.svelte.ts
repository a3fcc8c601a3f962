/** The start page's experiment: three runs (as it is, changed, control), each read off for two answers. */
import * as types from '../api/types';
import { riseBody, startControl, startEdit } from '../api/recorded_requests';
import type { Edit, Lens } from '../api/types';
import type { Rise, Track } from '../marks/rise';
import experiment from '../experiment.json';
import { Query } from './query.svelte';

function trackOf(lens: Lens, text: string): Track {
  const cells = lens.cells.map((row) => row[row.length - 1]);
  return { text, logprobs: cells.map((c) => c.target?.logprob ?? null), ranks: cells.map((c) => c.target?.rank ?? 1) };
}

class Run {
  answer = new Query('lens', types.lens);
  flipped = new Query('lens', types.lens);
  rise = $derived.by<Rise | null>(() => {
    const a = this.answer.data,
      b = this.flipped.data;
    if (!a || !b) return null;
    const first = a.cells.map((row) => row[row.length - 1].top[0]?.text ?? '');
    return { points: a.points, first, tracks: [trackOf(a, experiment.answer), trackOf(b, experiment.flippedAnswer)] };
  });
  /** The model's answer: first choice at the end. */
  says = $derived(this.rise?.first[this.rise.first.length - 1] ?? '');
  recorded = $derived(this.answer.recorded);
  busy = $derived(this.answer.busy || this.flipped.busy);
  error = $derived(this.answer.error ?? this.flipped.error);

  constructor(private readonly edits: Edit[]) {}

  ask(fresh = false): void {
    this.answer.ask(riseBody(experiment.answer, this.edits), fresh);
    this.flipped.ask(riseBody(experiment.flippedAnswer, this.edits), fresh);
  }

  stop(): void {
    this.answer.stop();
    this.flipped.stop();
  }
}

export const runs = { base: new Run([]), edit: new Run([startEdit]), control: new Run([startControl]) };
