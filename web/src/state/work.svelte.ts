/**
 * Long work on the server: begun by a person, reports progress, can be cancelled; leaving the view it belongs to cancels it.
 * The last good answer stays while the next is on its way and when it fails or is cancelled.
 *
 *     const patch = new Work('patch', types.patch, 'patch');
 *     void patch.run(body);          // patch.progress, patch.data, patch.error; patch.cancel()
 */
import { client } from '../api/client';
import type { Progress } from '../api/circuit_types';
import { keyOf } from '../api/recorded';
import type { Check } from '../api/shape';
import type { View } from './url';

const all = new Set<Work<unknown>>();
const KEPT = 24;

export class Work<T> {
  data = $state.raw<T | null>(null);
  busy = $state(false);
  error = $state<string | null>(null);
  progress = $state.raw<Progress | null>(null);
  cancelled = $state(false);
  /** Body and key of the answer in `data`. */
  body = $state.raw<object | null>(null);
  answered = $state('');
  private abort: AbortController | null = null;
  private kept = new Map<string, T>();

  constructor(
    readonly command: string,
    private readonly shape: Check<T>,
    readonly view: View,
  ) {
    all.add(this as Work<unknown>);
  }

  /** Whether the answer is that to `body`. */
  isFor(body: object): boolean {
    return this.answered === keyOf(this.command, body);
  }

  /** Shows the answer to `body` if it was computed before: going back is immediate. */
  recall(body: object): boolean {
    const key = keyOf(this.command, body);
    const kept = this.kept.get(key);
    if (kept === undefined) return false;
    if (this.answered !== key) this.accept(key, body, kept);
    return true;
  }

  async run(body: object): Promise<void> {
    this.cancel();
    this.cancelled = false;
    this.error = null;
    if (this.recall(body)) return;
    const abort = (this.abort = new AbortController());
    this.busy = true;
    this.progress = null;
    try {
      const data = await client.compute(
        this.command,
        body,
        this.shape,
        (report) => {
          if (this.abort === abort) this.progress = report;
        },
        abort.signal,
      );
      if (abort.signal.aborted) return;
      const key = keyOf(this.command, body);
      this.kept.set(key, data);
      for (const old of this.kept.keys()) if (this.kept.size > KEPT) this.kept.delete(old);
      this.accept(key, body, data);
    } catch (error) {
      if (!abort.signal.aborted) this.error = error instanceof Error ? error.message : String(error);
    } finally {
      if (this.abort === abort) this.busy = false;
    }
  }

  put(body: object, data: T): void {
    this.cancel();
    this.error = null;
    this.accept('', body, data);
  }

  cancel(): void {
    if (!this.busy) return;
    this.abort?.abort();
    this.abort = null;
    this.busy = false;
    this.cancelled = true;
  }

  private accept(key: string, body: object, data: T): void {
    this.data = data;
    this.body = body;
    this.answered = key;
  }
}

/** Cancels what belongs to views other than the one that is open. */
export function leave(open: View): void {
  for (const work of all) if (work.view !== open) work.cancel();
}
