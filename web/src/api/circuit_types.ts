/**
 * What the commands about circuits answer, as checks and the types they imply: heads, weights, tasks, patch, circuit, paths,
 * neurons. Fields are INTERFACE's `--json` fields; those that a page can do without are optional.
 */
import { array, number, nullable, object, oneOf, optional, record, shaped, text, textOrTexts, type Checked } from './shape';

/** Of long work, before its answer: `total` and `seconds_left` are unknown at first. */
export const progress = object({
  progress: object({
    task: text,
    done: number,
    total: nullable(number),
    seconds: number,
    seconds_left: nullable(number),
  }),
});
export type Progress = Checked<typeof progress>['progress'];

export const headRef = object({ layer: number, head: number });
export type HeadRef = Checked<typeof headRef>;
const token = object({ id: number, text: text });

// --- heads -------------------------------------------------------------------------------------------------------------------

export const heads = object({
  heads: array(object({ layer: nullable(number), head: number, scores: record(nullable(number)) })),
  icl: optional(nullable(number)),
  prefix_matching: optional(shaped),
  controls: optional(shaped),
});
export type Heads = Checked<typeof heads>;

// --- weights -----------------------------------------------------------------------------------------------------------------

export const pairs = object({
  rows: array(
    object({
      layer: number,
      head: number,
      score: number,
      source: token,
      via: optional(token),
      target: optional(token),
    }),
  ),
});
export type Pairs = Checked<typeof pairs>;

export const spectra = object({
  null: optional(object({ draws: number, mean: number, sd: number })),
  rows: array(object({ layer: number, head: number, score: number, eigenvalues: array(array(number)) })),
});
export type Spectra = Checked<typeof spectra>;

export const composition = object({
  rows: array(
    object({
      from: headRef,
      to: headRef,
      kind: oneOf('q', 'k', 'v'),
      score: number,
      baseline: number,
      baseline_sd: number,
    }),
  ),
});
export type Composition = Checked<typeof composition>;

// --- tasks -------------------------------------------------------------------------------------------------------------------

export const tasks = object({
  tasks: array(
    object({
      name: text,
      n: number,
      metric: text,
      clean: nullable(number),
      corrupted: nullable(number),
      accuracy: nullable(number),
      ok: optional(shaped),
      summary: optional(text),
    }),
  ),
});
export type Tasks = Checked<typeof tasks>;

export const taskPrompts = object({
  prompts: array(object({ clean: text, corrupted: text, answer: textOrTexts, wrong: textOrTexts, positions: record(number) })),
});
export type TaskPrompts = Checked<typeof taskPrompts>;

// --- patch -------------------------------------------------------------------------------------------------------------------

export type Nested = (number | null)[] | Nested[];

export const patch = object({
  metric: text,
  clean: number,
  corrupted: number,
  axes: array(text),
  /** What stands at each place of an axis: layer numbers, positions, names. */
  ticks: optional(record(shaped)),
  values: shaped,
  low: optional(shaped),
  high: optional(shaped),
  raw: shaped,
  macs: object({ plain: number, planned: number, executed: number }),
  seconds: number,
  site: optional(text),
  direction: optional(text),
  baseline: optional(number),
  prompts: optional(number),
  positions: optional(array(object({ position: number, clean: array(text), corrupted: array(text), role: optional(text) }))),
  warnings: optional(array(text)),
});
export type Patch = Checked<typeof patch>;

// --- circuit -----------------------------------------------------------------------------------------------------------------

export const circuit = object({
  task: optional(text),
  metric: optional(text),
  ablation: optional(text),
  schema: optional(text),
  model_sha256: optional(text),
  roles: optional(array(text)),
  /** Edges that the graph has in all. */
  n_edges: optional(number),
  f: optional(number),
  f_low: optional(number),
  f_high: optional(number),
  nodes: array(shaped),
  edges: array(object({ from: text, to: text, score: nullable(number), exact: optional(number) })),
  missed: optional(shaped),
  faithfulness: optional(
    array(
      object({
        k: number,
        f: nullable(number),
        low: optional(number),
        high: optional(number),
        edges: optional(number),
        random: optional(number),
      }),
    ),
  ),
  completeness: optional(shaped),
  minimality: optional(shaped),
  kl: optional(shaped),
  cpr: optional(shaped),
  cmd: optional(shaped),
  warnings: optional(array(text)),
});
export type Circuit = Checked<typeof circuit>;

// --- paths -------------------------------------------------------------------------------------------------------------------

export const paths = object({
  terms: optional(array(object({ path: text, logit: number }))),
  components: array(object({ name: text, layer: optional(number), head: optional(number), logit: number })),
  neurons: optional(array(object({ name: text, layer: optional(number), neuron: optional(number), logit: number }))),
  orders: optional(array(object({ order: number, loss: nullable(number) }))),
  total: nullable(number),
  logit: nullable(number),
});
export type Paths = Checked<typeof paths>;

// --- neurons -----------------------------------------------------------------------------------------------------------------

/** Effects are relative changes of the right answer's probability: -1 is all of it gone. */
const neuron = object({ layer: number, index: number, score: number });
export type Neuron = Checked<typeof neuron>;

export const neurons = object({
  facts: array(
    object({
      id: text,
      prompt: text,
      answer: text,
      relation: optional(text),
      right: optional(number),
      prompts: optional(number),
      probability: optional(number),
      neurons: array(neuron),
      effect: optional(
        object({
          target: optional(number),
          paraphrases: optional(number),
          controls: optional(number),
          random: optional(number),
          random_sd: optional(number),
          most_active: optional(number),
        }),
      ),
    }),
  ),
  hubs: array(object({ layer: number, index: number, facts: optional(shaped) })),
  perplexity: object({ before: nullable(number), after: nullable(number) }),
  locality: nullable(number),
  warnings: optional(array(text)),
});
export type Neurons = Checked<typeof neurons>;
export type Fact = Neurons['facts'][number];
