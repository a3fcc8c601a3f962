/**
 * The one door to the server. Every call checks the answer's shape, can be aborted, and fails with an ApiError whose
 * message is fit to show. While the model does not answer, calls that the bundle has recorded answers for are given
 * those (`recorded: true`), through the same checks.
 *
 *     const { data, recorded } = await client.call('lens', body, types.lens, signal);
 */
import { failure, health, runEvent, run as runShape, type Health, type Run, type RunEvent } from './types';
import { progress as progressEvent, type Progress } from './circuit_types';
import type { Check } from './shape';
import { recall, type Recording } from './recorded';
import { events } from './sse';

export class ApiError extends Error {
  constructor(
    message: string,
    readonly kind: 'refused' | 'unreachable' | 'broken',
    readonly status = 0,
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

export interface Answer<T> {
  data: T;
  recorded: boolean;
}

async function errorOf(response: Response, what: string): Promise<ApiError> {
  const body = await response.text();
  let message = '';
  let absent = [502, 503, 504].includes(response.status);
  try {
    message = failure(JSON.parse(body), what).error.message;
  } catch {
    // No microtome speaks here: a static file server, say, that has the page alone.
    absent = true;
    message = `${what}: the address answered ${response.status}, not as a microtome server does; start one with \`microtome serve\``;
  }
  return new ApiError(message, absent ? 'unreachable' : 'refused', response.status);
}

export class Client {
  private recordings: Promise<Recording[]> | null = null;

  constructor(
    private readonly fetcher: typeof fetch = (...args) => fetch(...args),
    private readonly load: () => Promise<Recording[]> = async () =>
      (await import('../recorded/traces.json')).default as Recording[],
    private readonly base = '',
  ) {}

  async health(signal?: AbortSignal): Promise<Health> {
    const response = await this.fetcher(`${this.base}healthz`, { signal });
    return health(await response.json(), 'healthz');
  }

  async call<T>(command: string, body: object, shape: Check<T>, signal?: AbortSignal): Promise<Answer<T>> {
    try {
      const response = await this.post(command, body, signal);
      return { data: shape(await response.json(), command), recorded: false };
    } catch (error) {
      if (!(error instanceof ApiError) || error.kind !== 'unreachable') throw error;
      const kept = await this.recorded(command, body);
      if (kept === undefined) throw error;
      return { data: shape(kept, command), recorded: true };
    }
  }

  /** The recorded answer, if the bundle has one: what the page paints before the model answers. */
  async recorded(command: string, body: object): Promise<unknown> {
    this.recordings ??= this.load();
    return recall(await this.recordings, command, body);
  }

  /** Streams a generation; each token is handed over as it arrives, the summary comes back at the end. */
  async generate(body: object, onToken: (event: RunEvent) => void, signal: AbortSignal): Promise<Run> {
    const response = await this.post('run', { ...body, stream: true }, signal);
    if (!response.body) throw new ApiError('run: the stream has no body', 'broken');
    for await (const data of events(response.body)) {
      const event = data as Record<string, unknown>;
      if (event.error) throw new ApiError(failure(event, 'run').error.message, 'refused');
      if (event.done) return runShape(event, 'run');
      onToken(runEvent(event, 'run'));
    }
    throw new ApiError('run: the stream ended before the model was done; generate again', 'broken');
  }

  /** Long work: what it reports on the way is handed over, its answer comes back at the end. Aborting stops the work. */
  async compute<T>(
    command: string,
    body: object,
    shape: Check<T>,
    onProgress: (report: Progress) => void,
    signal: AbortSignal,
  ): Promise<T> {
    const response = await this.post(command, { ...body, stream: true }, signal);
    if (!response.body) throw new ApiError(`${command}: the stream has no body`, 'broken');
    for await (const data of events(response.body)) {
      const event = data as Record<string, unknown>;
      if (event.error) throw new ApiError(failure(event, command).error.message, 'refused');
      if (event.done) return shape(event, command);
      if (event.progress) onProgress(progressEvent(event, command).progress);
    }
    throw new ApiError(`${command}: the stream ended before the work was done; run it again`, 'broken');
  }

  async blob(command: string, body: object, signal?: AbortSignal): Promise<Blob> {
    return (await this.post(command, body, signal)).blob();
  }

  private async post(command: string, body: object, signal?: AbortSignal): Promise<Response> {
    let response: Response;
    try {
      response = await this.fetcher(`${this.base}api/${command}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal,
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError('The model does not answer. Is `microtome serve` still running?', 'unreachable');
    }
    if (!response.ok) throw await errorOf(response, command);
    const json = response.headers.get('content-type')?.includes('html') !== true;
    if (!json) throw new ApiError('The address answers, but it is no microtome server.', 'unreachable', response.status);
    return response;
  }
}

export const client = new Client();
