/**
 * One thing asked of the server. Keeps the last good answer while the next is on its way and when it fails; asking anew
 * aborts what was asked before. Answers are remembered by key, so that going back is immediate.
 */
import { keyOf } from '../api/recorded';
import { client, type Answer } from '../api/client';
import type { Check } from '../api/shape';

const REMEMBERED = 48;
const memory = new Map<string, unknown>();

function remember(key: string, value: unknown): void {
  memory.delete(key);
  memory.set(key, value);
  for (const old of memory.keys()) if (memory.size > REMEMBERED) memory.delete(old);
}

export function forget(): void {
  memory.clear();
}

export class Query<T, V = T> {
  data = $state.raw<V | null>(null);
  recorded = $state(false);
  busy = $state(false);
  error = $state<string | null>(null);
  /** Key of the answer in `data`, and of the latest question. */
  answered = $state('');
  private asked = '';
  /** Raised when the model comes to answer, or a person tries again: what was asked may then be asked once more. */
  static epoch = 0;
  private abort: AbortController | null = null;

  constructor(
    private readonly command: string,
    private readonly shape: Check<T>,
    private readonly view: (data: T) => V = (d) => d as unknown as V,
  ) {}

  /** Asks, unless this is what was asked last; `fresh` asks even then. */
  ask(body: object, fresh = false): void {
    const key = keyOf(this.command, body);
    const asked = `${Query.epoch} ${key}`;
    if (asked === this.asked && !fresh) return;
    this.asked = asked;
    this.abort?.abort();
    this.error = null;
    const kept = memory.get(key) as V | undefined;
    if (kept !== undefined) {
      this.busy = false;
      this.accept(key, kept, false);
      return;
    }
    const abort = (this.abort = new AbortController());
    this.busy = true;
    if (this.data === null) void this.preview(key, body, abort);
    client.call(this.command, body, this.shape, abort.signal).then(
      (answer) => this.settle(key, abort, answer),
      (error: unknown) => {
        if (abort.signal.aborted) return;
        this.busy = false;
        this.error = error instanceof Error ? error.message : String(error);
      },
    );
  }

  /** Shows the recorded answer until the model's own arrives. */
  private async preview(key: string, body: object, abort: AbortController): Promise<void> {
    const kept = await client.recorded(this.command, body).catch(() => undefined);
    if (kept === undefined || this.data !== null || abort.signal.aborted) return;
    this.accept(key, this.view(this.shape(kept, this.command)), true);
  }

  /** Stops what is under way; the last answer stays. */
  stop(): void {
    if (!this.busy) return;
    this.abort?.abort();
    this.busy = false;
    this.asked = '';
  }

  /** Shows something that did not come from this query, such as cells that a stream has brought. */
  put(data: V): void {
    this.data = data;
  }

  clear(): void {
    this.stop();
    this.asked = '';
    this.data = this.error = null;
    this.answered = '';
  }

  private settle(key: string, abort: AbortController, answer: Answer<T>): void {
    if (abort.signal.aborted) return;
    this.busy = false;
    try {
      const data = this.view(answer.data);
      if (!answer.recorded) remember(key, data);
      this.accept(key, data, answer.recorded);
    } catch (error) {
      this.error = error instanceof Error ? error.message : String(error);
    }
  }

  private accept(key: string, data: V, recorded: boolean): void {
    this.data = data;
    this.recorded = recorded;
    this.answered = key;
  }
}
