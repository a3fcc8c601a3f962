/**
 * Stands in for `microtome serve` while the page is built and tested: the same API over a model without weights.
 *
 *     node dev/mock-server.mjs [PORT]      serves ../dist and the API; MOCK_LOADING=SECONDS answers 503 for that long
 */
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { circuitCommands } from './mock-circuits.mjs';
import { CONFIG, cell, pattern, points, tokenize, tokensOf, idOf } from './mock-model.mjs';

const DIST = fileURLToPath(new URL('../dist/', import.meta.url));
const MODEL = 'smollm2-135m';
const began = Date.now();
const loading = () => Date.now() - began < 1000 * Number(process.env.MOCK_LOADING ?? 0);

class Refused extends Error {
  constructor(status, message, param = null) {
    super(message);
    Object.assign(this, { status, param });
  }
}

function json(res, status, value) {
  res.writeHead(status, { 'content-type': 'application/json' });
  res.end(JSON.stringify(value));
}

async function read(req) {
  let text = '';
  for await (const chunk of req) text += chunk;
  try {
    return JSON.parse(text || '{}');
  } catch {
    throw new Refused(400, 'request: the body is no JSON object');
  }
}

function tokensFor(body) {
  const tokens = tokensOf({ ...body, prompt: body.prompt ?? '' });
  if (!tokens.length) throw new Refused(400, 'prompt: it is empty; give at least one token', 'prompt');
  if (tokens.length > CONFIG.context)
    throw new Refused(413, `prompt: ${tokens.length} tokens, the model holds ${CONFIG.context}; shorten it`, 'prompt');
  for (const e of body.edits ?? []) {
    // Through a lens: LENS@LAYER. This server has none but the logit lens.
    if (/^logit@\d+$/.test(e.site)) continue;
    const layer = Number(/^blocks\.(\d+)\./.exec(e.site)?.[1] ?? -1);
    if (layer < 0 || layer >= CONFIG.n_layers)
      throw new Refused(422, `edits: site "${e.site}" does not exist; the layers are 0 to ${CONFIG.n_layers - 1}`, 'edits');
  }
  return tokens;
}

function lens(body) {
  for (const kind of ['tuned', 'jacobian'])
    if (body[kind]) throw new Refused(422, `no lens is called "${body[kind]}"; there are: none`, kind);
  const tokens = tokensFor(body);
  const names = points(body['all-points']);
  const positions =
    body.positions === 'last'
      ? [tokens.length - 1]
      : body.positions === 'all' || !body.positions
        ? tokens.map((_, i) => i)
        : String(body.positions).split(',').map(Number);
  const how = { top: body.top ?? 5, target: body.target, edits: body.edits ?? [] };
  const cells = names.map((_, i) => positions.map((p) => cell(tokens, p, i / (names.length - 1), how)));
  return { model: MODEL, tokens, points: names, positions, cells };
}

function patterns(body) {
  const tokens = tokensFor(body);
  const edits = body.edits ?? [];
  if (body.exact) return { pattern: pattern(tokens, body.layer, body.head, edits) };
  const layers = body.layers ?? Array.from({ length: CONFIG.n_layers }, (_, i) => i);
  const T = tokens.length;
  const bytes = Buffer.alloc(layers.length * CONFIG.n_heads * T * T);
  layers.forEach((layer, i) => {
    for (let head = 0; head < CONFIG.n_heads; head++) {
      pattern(tokens, layer, head, edits).forEach((row, q) =>
        row.forEach((v, k) => {
          bytes[((i * CONFIG.n_heads + head) * T + q) * T + k] = Math.round(v * 255);
        }),
      );
    }
  });
  return { n_layers: CONFIG.n_layers, n_heads: CONFIG.n_heads, tokens, layers, patterns: bytes.toString('base64') };
}

const RUN_FIELDS = [
  'prompt',
  'tokens',
  'chat',
  'bos',
  'max-tokens',
  'temperature',
  'top-k',
  'top-p',
  'min-p',
  'seed',
  'stop',
  'stream',
  'lens',
  'top',
  'edits',
  'model',
];

async function run(body, req, res) {
  for (const name of Object.keys(body)) if (!RUN_FIELDS.includes(name)) throw new Refused(400, `unknown field "${name}"`, name);
  const tokens = tokensFor(body);
  const prompt_ids = tokens.map((t) => t.id),
    ids = [];
  const names = points(body['all-points']);
  const how = { top: body.top ?? 5, target: body.target, edits: body.edits ?? [] };
  let gone = false;
  res.on('close', () => (gone = true));
  if (body.stream) res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  let text = '';
  for (let index = 0; index < (body['max-tokens'] ?? 16) && !gone; index++) {
    const top = cell(tokens, tokens.length - 1, 1, how).top;
    const next = { id: idOf(top[0].text), text: top[0].text };
    tokens.push(next);
    ids.push(next.id);
    text += next.text;
    const column = body.lens ? names.map((_, i) => cell(tokens, tokens.length - 1, i / (names.length - 1), how)) : undefined;
    if (body.stream) res.write(`data: ${JSON.stringify({ ...next, index, top, lens: column })}\n\n`);
    await new Promise((done) => setTimeout(done, Number(process.env.MOCK_TOKEN_MS ?? 30)));
  }
  const result = {
    model: MODEL,
    prompt_ids,
    ids,
    text,
    finish: 'length',
    timing: { prompt_s: 0.05, decode_s: ids.length * 0.03, decode_tokens_per_s: 33.3 },
  };
  if (!body.stream) return json(res, 200, result);
  if (!gone) res.end(`data: ${JSON.stringify({ done: true, ...result })}\n\n`);
}

/** A command about circuits: its answer, or events of its progress and then the answer. */
async function compute(name, body, res) {
  const { stream, model: _, ...options } = body;
  let gone = false;
  res.on('close', () => (gone = true));
  const began = Date.now();
  const send = (event) => {
    if (!res.headersSent) res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    res.write(`data: ${JSON.stringify(event)}\n\n`);
  };
  const step = async (task, done, total) => {
    await new Promise((next) => setTimeout(next, Number(process.env.MOCK_STEP_MS ?? 40)));
    if (gone) throw new Refused(499, 'the client has left');
    const seconds = (Date.now() - began) / 1000;
    if (stream) send({ progress: { task, done, total, seconds, seconds_left: (seconds / done) * (total - done) } });
  };
  const refuse = (status, message, param) => {
    throw new Refused(status, message, param);
  };
  try {
    const result = { model: MODEL, ...(await circuitCommands[name](options, step, refuse)) };
    if (!stream) return json(res, 200, result);
    send({ ...result, done: true });
    res.end();
  } catch (error) {
    if (!gone) throw error;
  }
}

const commands = {
  models: () => ({
    models: [
      {
        name: MODEL,
        path: 'SmolLM2-135M-Instruct.Q4_1.gguf',
        family: 'llama',
        parameters: 134515008,
        bytes: 98362432,
        license: 'Apache-2.0',
        sha256: '0'.repeat(64),
      },
    ],
  }),
  inspect: () => ({
    model: MODEL,
    config: CONFIG,
    tensors: [],
    sites: points(true).map((name) => ({ name, shape: ['T', CONFIG.d_model] })),
  }),
  tokenize: (body) => {
    const t = body.chat ? tokensOf(body) : tokenize(body.prompt ?? '');
    return { ids: t.map((x) => x.id), tokens: t.map((x) => x.text) };
  },
  lens,
  patterns,
};

/** Answers /healthz and /api/…; also mounted in Vite's development server. */
export async function handle(req, res) {
  const path = new URL(req.url, 'http://localhost').pathname;
  try {
    if (path === '/healthz') return json(res, 200, { status: loading() ? 'loading' : 'ok', model: MODEL });
    const name = /^\/api\/(\w+)$/.exec(path)?.[1];
    if (req.method !== 'POST') throw new Refused(404, `${path}: no such address`);
    const body = await read(req);
    if (loading()) throw new Refused(503, 'the model is still loading');
    if (name === 'run') return await run(body, req, res);
    if (Object.hasOwn(circuitCommands, name)) return await compute(name, body, res);
    if (!commands[name]) throw new Refused(404, `${path}: no such command`);
    json(res, 200, commands[name](body));
  } catch (error) {
    if (!(error instanceof Refused)) console.error(error);
    json(res, error.status ?? 500, {
      error: { type: 'invalid_request_error', message: error.message, param: error.param ?? null },
    });
  }
}

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
  '.txt': 'text/plain',
  '.json': 'application/json',
};

// The server's own policy, so that what it would forbid fails here too.
const POLICY =
  "default-src 'self'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data: blob:; " +
  "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

async function page(req, res) {
  const path = normalize(new URL(req.url, 'http://localhost').pathname).replace(/^(\.\.[/\\])+/, '');
  try {
    const file = await readFile(join(DIST, path === '/' ? 'index.html' : path));
    res.writeHead(200, {
      'content-type': TYPES[path === '/' ? '.html' : extname(path)] ?? 'application/octet-stream',
      'content-security-policy': POLICY,
    });
    res.end(file);
  } catch {
    json(res, 404, { error: { type: 'not_found', message: `${path}: no such file`, param: null } });
  }
}

export function serve(port = 0) {
  const server = createServer((req, res) =>
    req.url.startsWith('/api/') || req.url === '/healthz' ? handle(req, res) : page(req, res),
  );
  return new Promise((done) => server.listen(port, '127.0.0.1', () => done(server)));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await serve(Number(process.argv[2] ?? 8571));
  console.log(`http://127.0.0.1:${server.address().port}`);
}
