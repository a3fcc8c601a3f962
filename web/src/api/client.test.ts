import { afterAll, beforeAll, describe, expect, test } from 'vitest';
// @ts-expect-error plain JavaScript: the stand-in server has no types
import { serve } from '../../dev/mock-server.mjs';
import * as circuits from './circuit_types';
import {
  circuitBody,
  compositionBody,
  headsBody,
  neuronsBody,
  pairsBody,
  patchBody,
  pathsBody,
  spectrumBody,
} from './circuit_requests';
import experiment from '../experiment.json';
import traces from '../recorded/traces.json';
import { OPTIONS } from '../state/options';
import { parseNode } from '../marks/graph';
import { decodePatterns } from '../marks/patterns';
import { ApiError, Client } from './client';
import { commandLine, describeEdit, parseEdit, scaled, swapped, writeEdit } from './edits';
import { isPacked, keyOf, packLens, recall, unpackLens, type Recording } from './recorded';
import { lookBody, recordedRequests, start } from './recorded_requests';
import { exactBody, GREEDY, lensBody, patternsBody, runBody } from './requests';
import { array, number, object, ShapeError } from './shape';
import { events } from './sse';
import * as types from './types';

const BASE = (globalThis as unknown as { process: { env: Record<string, string | undefined> } }).process.env.MICROTOME_URL;
let server: { close(): void; address(): { port: number } } | undefined;
let client: Client;
const recordings = traces as unknown as Recording[];

beforeAll(async () => {
  if (!BASE) server = await serve(0);
  const base = BASE ?? `http://127.0.0.1:${server?.address().port}`;
  client = new Client(fetch, async () => recordings, `${base.replace(/\/$/, '')}/`);
});
afterAll(() => void server?.close());

const down = () =>
  new Client(
    async () => {
      throw new TypeError('no');
    },
    async () => recordings,
  );

describe('the server answers as the page expects', () => {
  test('health, models, inspect, tokenize', async () => {
    expect((await client.health()).status).toBe('ok');
    expect((await client.call('models', {}, types.models)).data.models.length).toBeGreaterThan(0);
    expect((await client.call('inspect', {}, types.inspect)).data.config.n_layers).toBeGreaterThan(0);
    const { data } = await client.call('tokenize', { prompt: experiment.prompt }, types.tokenize);
    expect(data.tokens.join('')).toBe(experiment.prompt);
    expect(data.ids).toHaveLength(data.tokens.length);
  });
  test('lens: a cell for every point and position, with and without edits', async () => {
    for (const edits of [[], scaled('layer', 3, 0, 0), [parseEdit(writeEdit(experiment.edit as types.Edit)) as types.Edit]]) {
      const { data } = await client.call('lens', lookBody(start, experiment.answer, edits), types.lens);
      expect(data.cells).toHaveLength(data.points.length);
      expect(data.cells[0]).toHaveLength(data.positions.length);
      expect(data.cells[0][0].target?.rank).toBeGreaterThan(0);
    }
  });
  test('lens: chosen positions come back as asked', async () => {
    const { data } = await client.call(
      'lens',
      lensBody(start, { positions: [1, 3], top: 5, target: '', allPoints: false }, []),
      types.lens,
    );
    expect(data.positions).toEqual([1, 3]);
    expect(data.cells[0][0].top).toHaveLength(5);
  });
  test('patterns: bytes of all heads agree with one head in full', async () => {
    const all = decodePatterns((await client.call('patterns', patternsBody(start, []), types.patterns)).data);
    const { data } = await client.call('patterns', exactBody(start, [], 4, 2), types.exactPattern);
    const T = all.tokens.length;
    expect(all.bytes[((4 * all.nHeads + 2) * T + 5) * T + 1] / 255).toBeCloseTo(data.pattern[5][1], 2);
    expect(data.pattern[5].reduce((a, b) => a + b)).toBeCloseTo(1, 3);
  });
  test('generation: each token with its column of the lens, then a summary', async () => {
    const seen: types.RunEvent[] = [];
    const run = await client.generate(
      runBody(start, { ...GREEDY, maxTokens: 3 }, [], 5),
      (e) => seen.push(e),
      AbortSignal.timeout(60_000),
    );
    expect(seen.map((e) => e.id)).toEqual(run.ids);
    expect(seen[0].text).toBe(experiment.answer);
    expect(seen[0].lens?.length).toBeGreaterThan(2);
  });
  test('what is refused is said in the server’s words', async () => {
    const bad = client.call('lens', lookBody(start, '', [{ site: 'blocks.99.hook_mlp_out', op: 'zero' }]), types.lens);
    await expect(bad).rejects.toMatchObject({ kind: 'refused', message: expect.stringMatching(/99/) });
  });
});

/** Long work is asked for as the page asks for it. A real server takes its time. */
const compute = async <T>(command: string, body: object, shape: (v: unknown, path: string) => T) => {
  const seen: circuits.Progress[] = [];
  const data = await client.compute(command, body, shape, (p) => seen.push(p), AbortSignal.timeout(280_000));
  return { data, seen };
};

describe('the commands about circuits answer as the page expects', { timeout: 300_000 }, () => {
  test('heads: a score of each detector for every head', async () => {
    const { data, seen } = await compute('heads', headsBody(OPTIONS, start), circuits.heads);
    const { config } = (await client.call('inspect', {}, types.inspect)).data;
    expect(data.heads).toHaveLength(config.n_layers * config.n_heads);
    expect(seen.length).toBeGreaterThan(0);
    for (const name of ['previous', 'induction', 'sink', 'copying']) expect(typeof data.heads[5].scores[name]).toBe('number');
  });
  test('weights: pairs of both circuits, a spectrum, partners of all kinds', async () => {
    const ov = (await compute('weights', pairsBody(17, 3, 'ov'), circuits.pairs)).data;
    expect(ov.rows[0].target?.text).toBeDefined();
    const qk = (await compute('weights', pairsBody(17, 3, 'qk'), circuits.pairs)).data;
    expect(qk.rows[0].via?.text).toBeDefined();
    const spectrum = (await compute('weights', spectrumBody(17, 3), circuits.spectra)).data;
    expect(spectrum.rows[0].eigenvalues[0]).toHaveLength(2);
    const { data } = await compute('weights', compositionBody(17, 3), circuits.composition);
    expect(new Set(data.rows.map((r) => r.kind))).toEqual(new Set(['q', 'k', 'v']));
  });
  test('tasks: the prompts of one', async () => {
    const { data } = await client.call('tasks', { show: 'ioi', n: 2 }, circuits.taskPrompts);
    expect(data.prompts).toHaveLength(2);
  });
  test('patch: values nested by the axes, with what stands on them', async () => {
    for (const o of [
      OPTIONS,
      { ...OPTIONS, site: 'z', axes: 'layer,head', direction: 'noise' },
      { ...OPTIONS, replace: 'zero' },
    ]) {
      const { data } = await compute('patch', patchBody(o, ''), circuits.patch);
      const values = data.values as number[][];
      const sizes = data.axes.map((a) => (data.ticks?.[a] as unknown[]).length);
      expect([values.length, values[0].length]).toEqual(sizes);
    }
  });
  test('patch: sides of unequal length are refused in the server’s words', async () => {
    const bad = compute('patch', patchBody({ ...OPTIONS, corrupted: 'short' }, ''), circuits.patch);
    await expect(bad).rejects.toMatchObject({ kind: 'refused', message: expect.stringMatching(/token/) });
  });
  test('circuit: edges whose ends are nodes, and a curve', async () => {
    const { data } = await compute('circuit', circuitBody({ ...OPTIONS, find: 'eap', edges: '100' }, ''), circuits.circuit);
    for (const e of data.edges) for (const end of [e.from, e.to]) expect(parseNode(end), end).not.toBeNull();
    expect(data.faithfulness?.length).toBeGreaterThan(3);
  });
  test('paths: components that sum to the total', async () => {
    const { data } = await compute('paths', pathsBody(OPTIONS, ''), circuits.paths);
    expect(data.components.reduce((s, c) => s + c.logit, 0)).toBeCloseTo(data.total ?? Number.NaN, 2);
  });
  test('neurons: facts with their neurons and the effect beside its controls', async () => {
    const two = { ...OPTIONS, pairs: 'Portugal = Lisbon\nJapan = Tokyo' };
    const { data } = await compute('neurons', neuronsBody(two, ''), circuits.neurons);
    expect(data.facts.map((f) => f.id)).toEqual(['Portugal', 'Japan']);
  });
  test('long work that is left stops with an error that is not shown', async () => {
    const abort = new AbortController();
    const left = client.compute('heads', headsBody(OPTIONS, start), circuits.heads, () => undefined, abort.signal);
    setTimeout(() => abort.abort(), 30);
    await expect(left).rejects.toMatchObject({ name: 'AbortError' });
  });
});

describe('without a server', () => {
  test('what the start page needs is recorded in the bundle', () => {
    for (const { command, body } of recordedRequests())
      expect(recall(recordings, command, body), keyOf(command, body)).toBeDefined();
  });
  test('the recorded experiment flips the answer, and its control does not', () => {
    const says = (edits: types.Edit[]) => {
      const lens = types.lens(recall(recordings, 'lens', lookBodyLast(edits)), 'recorded');
      return lens.cells[lens.cells.length - 1][0].top[0].text;
    };
    expect(says([])).toBe(experiment.answer);
    expect(says([experiment.edit as types.Edit])).toBe(experiment.flippedAnswer);
    expect(says([experiment.control as types.Edit])).toBe(experiment.answer);
  });
  test('recorded answers pass the same checks as live ones and are marked', async () => {
    const { data, recorded } = await down().call('lens', lookBody(start, experiment.answer, []), types.lens);
    expect(recorded).toBe(true);
    expect(data.tokens.map((t) => t.text).join('')).toBe(experiment.prompt);
  });
  test('what is not recorded fails with a way out', async () => {
    await expect(down().call('lens', { prompt: 'else' }, types.lens)).rejects.toThrow(/microtome serve/);
  });
  test('a page served without a microtome server falls back to the recordings', async () => {
    const files = new Client(
      async () => new Response('<html>', { status: 405 }),
      async () => recordings,
    );
    expect((await files.call('models', {}, types.models)).recorded).toBe(true);
  });
});

function lookBodyLast(edits: types.Edit[]): object {
  return lensBody(start, { positions: 'last', top: 10, target: experiment.answer, allPoints: false }, edits);
}

describe('shapes, recordings, streams, edits', () => {
  test('a drift names the place, what was found and what was expected', () => {
    const shape = object({ rows: array(object({ x: number })) });
    expect(() => shape({ rows: [{ x: 1 }, { x: 'two' }] }, 'lens')).toThrow(new ShapeError('lens.rows[1].x', 'a number', 'two'));
  });
  test('an error of kind refused is not papered over by a recording', async () => {
    const refusing = new Client(
      async () => new Response('{"error":{"message":"too long"}}', { status: 413 }),
      async () => recordings,
    );
    await expect(refusing.call('models', {}, types.models)).rejects.toBeInstanceOf(ApiError);
  });
  test('packing a lens keeps it', () => {
    const kept = recordings.find((r) => r.command === 'lens');
    expect(isPacked(kept?.answer)).toBe(true);
    const lens = recall(recordings, 'lens', kept?.body ?? {}) as types.Lens;
    expect(unpackLens(packLens(lens))).toEqual(lens);
  });
  test('the key does not depend on the order of fields or on the model', () => {
    expect(keyOf('lens', { a: 1, b: { c: 2, d: 3 } })).toBe(keyOf('lens', { model: 'x', b: { d: 3, c: 2 }, a: 1, e: undefined }));
  });
  test('events split anywhere are put together again', async () => {
    const bytes = new TextEncoder().encode('data: {"text":"é"}\n\n: comment\n\ndata: {"n":2}\r\n\r\ndata: [DONE]\n\n');
    const body = new ReadableStream<Uint8Array>({
      start(c) {
        for (const b of bytes) c.enqueue(Uint8Array.of(b));
        c.close();
      },
    });
    const out: unknown[] = [];
    for await (const e of events(body)) out.push(e);
    expect(out).toEqual([{ text: 'é' }, { n: 2 }]);
  });
  test('edits are written and read as the command line does', () => {
    for (const written of [
      'blocks.17.attn.hook_z,head=4=zero',
      'blocks.9.hook_resid_post,pos=3=from:The capital = of France@3',
      'blocks.2.hook_mlp_out,pos=1:4=scale:0.5',
      'smollm2-135m-jacobian@16,pos=3=swap: Portugal: France',
      'logit@3=ablate: Lisbon',
    ]) {
      expect(writeEdit(parseEdit(written) as types.Edit)).toBe(written);
    }
    expect(parseEdit('nonsense')).toBeNull();
    expect(parseEdit('blocks.1.hook_mlp_out=swap:a:b')).toBeNull();
    expect(parseEdit('logit@3=zero')).toBeNull();
    expect(parseEdit('blocks.1.hook_mlp_out=scale:much')).toBeNull();
  });
  test('a look is written as the command that gives the same numbers', () => {
    const s = { prompt: "it's", chat: false, follow: ' x', allPoints: true, edits: scaled('head', 1, 2, 0) };
    expect(commandLine('m', s)).toBe(
      "microtome lens m --prompt 'it'\\''s' --target ' x' --all-points --edit 'blocks.1.attn.hook_z,head=2=zero'",
    );
  });
  test('edits are described in words', () => {
    expect(scaled('layer', 5, 0, 0).map(describeEdit)).toEqual(['attention 5 off', 'MLP 5 off']);
    expect(scaled('head', 17, 4, 0.5).map(describeEdit)).toEqual(['head 17.4 × 0.5']);
    expect(describeEdit(swapped('logit', 12, ' Portugal', ' France'))).toBe('“ Portugal” ↔ “ France” after layer 12 (logit)');
    expect(describeEdit(experiment.edit as types.Edit)).toMatch(
      /state after layer 16 at 3 ← “The capital of France is the city of”@3/,
    );
  });
});
