/**
 * Generation: tokens arrive one by one, each with its column of the lens map, and go straight into the shared views.
 * Stopping ends the request and keeps what has arrived; another prompt ends it too, and takes nothing over.
 */
import { client } from '../api/client';
import { patternsBody, runBody } from '../api/requests';
import { TOP } from '../api/recorded_requests';
import type { Cell, Lens, RunEvent } from '../api/types';
import { app, LONG } from './app.svelte';

const subjectNow = (): string => JSON.stringify([app.s.model, app.s.chat, app.s.prompt, app.s.generated]);

class Generation {
  running = $state(false);
  error = $state<string | null>(null);
  count = $state(0);
  rate = $state(0);
  finish = $state('');
  private abort: AbortController | null = null;

  async start(): Promise<void> {
    this.stop();
    const abort = (this.abort = new AbortController());
    const { sampling, edits, model } = app.s;
    const subject = subjectNow();
    const began = performance.now();
    Object.assign(this, { running: true, error: null, count: 0, rate: 0, finish: '' });
    const body = { ...runBody(app.subject, sampling, edits, TOP), ...(model ? { model } : {}) };
    const ids: number[] = [...app.s.generated];
    try {
      const run = await client.generate(
        body,
        (event) => {
          if (abort.signal.aborted) return;
          ids.push(event.id);
          this.count++;
          this.rate = this.count / ((performance.now() - began) / 1000);
          this.arrive(event, ids);
        },
        abort.signal,
      );
      this.rate = run.timing?.decode_tokens_per_s ?? this.rate;
      this.finish = run.finish;
    } catch (error) {
      if (!abort.signal.aborted) this.error = error instanceof Error ? error.message : String(error);
    }
    if (this.abort !== abort) return;
    this.running = false;
    // Tokens that continue a text belong to no other: the address may have moved on while they came.
    if (ids.length > app.s.generated.length && subject === subjectNow()) app.go({ generated: ids }, true);
  }

  stop(): void {
    this.abort?.abort();
  }

  /** Grows the lens by one column: at once, so the map moves with the text. */
  private arrive(event: RunEvent, ids: number[]): void {
    const query = app.s.edits.length ? app.edited : app.lens;
    if (query.data) query.put(grown(query.data, event, app.s.follow));
    if (query !== app.lens && app.lens.data) app.lens.put(grown(app.lens.data, { ...event, lens: undefined }, ''));
    const prompt = app.tokenize.data?.ids;
    const short = prompt && prompt.length + ids.length <= LONG;
    // One at a time: the heads follow as fast as the model can say both.
    if (app.s.view === 'heads' && short && !app.patterns.busy) {
      app.patterns.ask({
        ...patternsBody({ prompt: '', chat: false, tokens: [...prompt, ...ids] }, app.s.edits),
        ...(app.s.model ? { model: app.s.model } : {}),
      });
    }
  }
}

/** A streamed cell names no followed token: it is found among the cell's first choices, or asked for once the text is done. */
function following(cell: Cell, follow: string): Cell {
  const place = follow && !cell.target ? cell.top.findIndex((c) => c.text === follow) : -1;
  return place < 0 ? cell : { ...cell, target: { id: cell.top[place].id, logprob: cell.top[place].logprob, rank: place + 1 } };
}

export function grown(lens: Lens, event: RunEvent, follow: string): Lens {
  const position = lens.tokens.length;
  const tokens = [...lens.tokens, { id: event.id, text: event.text }];
  if (!event.lens || event.lens.length !== lens.points.length) return { ...lens, tokens };
  const column = event.lens.map((cell) => following(cell, follow));
  return { ...lens, tokens, positions: [...lens.positions, position], cells: lens.cells.map((row, i) => [...row, column[i]]) };
}

export const generation = new Generation();
