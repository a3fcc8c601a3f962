/**
 * What the server answers, as checks and the types they imply. Fields are INTERFACE's `--json` fields; log-probabilities,
 * entropies and divergences are in nats, ranks start at 1. A drift on either side fails `client.test.ts`.
 */
import { array, number, nullable, object, oneOf, optional, text, type Checked } from './shape';

export const health = object({ status: oneOf('ok', 'loading'), model: optional(text) });
export type Health = Checked<typeof health>;

export const models = object({
  models: array(
    object({
      name: text,
      path: optional(text),
      family: optional(text),
      parameters: optional(number),
      bytes: optional(number),
      license: optional(text),
      sha256: optional(text),
    }),
  ),
});
export type Models = Checked<typeof models>;
export type ModelEntry = Models['models'][number];

export const inspect = object({
  config: object({
    family: text,
    n_layers: number,
    d_model: number,
    n_heads: number,
    n_kv_heads: number,
    d_head: number,
    d_mlp: optional(number),
    vocab: number,
    context: number,
  }),
  sites: optional(array(object({ name: text }))),
});
export type Inspect = Checked<typeof inspect>;
export type Config = Inspect['config'];

export const tokenize = object({ ids: array(number), tokens: array(text) });
export type Tokenize = Checked<typeof tokenize>;

const token = object({ id: number, text: text });
export type Token = Checked<typeof token>;

const candidate = object({ id: number, text: text, logprob: nullable(number) });
export type Candidate = Checked<typeof candidate>;

export const cell = object({
  top: array(candidate),
  entropy: nullable(number),
  kl_to_final: nullable(number),
  target: optional(object({ id: number, logprob: nullable(number), rank: number })),
});
export type Cell = Checked<typeof cell>;

/** `cells[point][position]`; `positions[i]` is the token that column i stands for. */
export const lens = object({
  tokens: array(token),
  points: array(text),
  positions: array(number),
  cells: array(array(cell)),
});
export type Lens = Checked<typeof lens>;

/** `patterns`: base64 of bytes `[n_layers, n_heads, T, T]` (query, key), each value / 255. */
export const patterns = object({
  n_layers: number,
  n_heads: number,
  tokens: array(token),
  layers: optional(array(number)),
  patterns: text,
});
export type PatternsJson = Checked<typeof patterns>;

export const exactPattern = object({ pattern: array(array(number)) });
export type ExactPattern = Checked<typeof exactPattern>;

export const runEvent = object({
  id: number,
  text: text,
  index: optional(number),
  top: optional(array(candidate)),
  lens: optional(array(cell)),
});
export type RunEvent = Checked<typeof runEvent>;

export const run = object({
  ids: array(number),
  text: text,
  finish: text,
  prompt_ids: optional(array(number)),
  timing: optional(object({ prompt_s: optional(number), decode_s: optional(number), decode_tokens_per_s: optional(number) })),
});
export type Run = Checked<typeof run>;

export const failure = object({ error: object({ type: optional(text), message: text, param: optional(text) }) });

/** One change inside the model, as INTERFACE §2 has it. `pos`, `head`, `neuron`: N, or "A:B" with B excluded. */
export type Slice = number | string;
/** `add`, `ablate`, `swap` with a text work through a lens: the site is LENS@LAYER. */
export type EditOp = 'zero' | 'mean' | 'scale' | 'add' | 'set' | 'from' | 'ablate' | 'swap';
export interface Edit {
  site: string;
  pos?: Slice;
  head?: Slice;
  neuron?: Slice;
  op: EditOp;
  value?: number | string;
}
