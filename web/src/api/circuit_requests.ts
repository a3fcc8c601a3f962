/** The bodies of the commands about circuits, and the edits that a cell of a patching map stands for. Pure. */
import type { Circuit, Patch } from './circuit_types';
import { subjectOf, type Subject } from './requests';
import type { Options } from '../state/options';
import type { Edit } from './types';

export interface SiteChoice {
  site: string;
  text: string;
  axes: string[];
}

/** What can be patched, and along which axes the page draws it. */
export const SITES: SiteChoice[] = [
  { site: 'resid_pre', text: 'the stream before each layer', axes: ['layer,pos'] },
  { site: 'resid_mid', text: 'the stream after attention', axes: ['layer,pos'] },
  { site: 'attn_out', text: 'what attention adds', axes: ['layer,pos'] },
  { site: 'mlp_out', text: 'what the MLP adds', axes: ['layer,pos'] },
  { site: 'z', text: 'each head’s output', axes: ['layer,head', 'layer,head,pos'] },
  { site: 'q', text: 'queries', axes: ['layer,head', 'layer,head,pos'] },
  { site: 'k', text: 'keys', axes: ['layer,head', 'layer,head,pos'] },
  { site: 'v', text: 'values', axes: ['layer,head', 'layer,head,pos'] },
  { site: 'pattern', text: 'attention patterns', axes: ['layer,head'] },
];

export const AXES: Record<string, string> = {
  'layer,pos': 'layer × token',
  'layer,head': 'layer × head',
  'layer,head,pos': 'one head at a time × token',
};

/** Prompts of a task that are patched together: enough for an interval. */
export const PROMPTS = 8;

export function patchBody(o: Options, model: string): object {
  const axes = SITES.find((s) => s.site === o.site)?.axes ?? [];
  const ablates = o.replace !== 'other';
  return {
    ...(model ? { model } : {}),
    ...(o.several
      ? { task: o.several, n: PROMPTS }
      : { clean: o.clean, corrupted: o.corrupted, answer: o.answer, wrong: o.wrong }),
    site: o.site,
    by: axes.includes(o.axes) ? o.axes : (axes[0] ?? o.axes),
    ...(ablates ? { ablate: o.replace } : { direction: o.direction }),
    ...(o.method !== 'exact' ? { method: o.method } : {}),
    ...(o.metric !== 'logit-diff' && !o.several ? { metric: o.metric } : {}),
  };
}

const HOOKS: Record<string, string> = {
  resid_pre: 'hook_resid_pre',
  resid_mid: 'hook_resid_mid',
  resid_post: 'hook_resid_post',
  attn_out: 'hook_attn_out',
  mlp_out: 'hook_mlp_out',
  z: 'attn.hook_z',
  q: 'attn.hook_q',
  k: 'attn.hook_k',
  v: 'attn.hook_v',
  pattern: 'attn.hook_pattern',
  mlp_post: 'mlp.hook_post',
};

/** The two prompts that a map is shown on: its own, or of a task's prompts the one that the address holds. */
export function pairOf(body: object | null, o: Options): Record<'clean' | 'corrupted' | 'answer' | 'wrong', string> {
  const b = (body ?? {}) as Partial<Options>;
  const { clean, corrupted, answer, wrong } = { ...o, ...b };
  return { clean, corrupted, answer, wrong };
}

/**
 * The edit that one cell is, on the prompt `host`, with values of the run of `other`; null where an edit cannot say it.
 * `place`: what stands on each axis at the cell.
 */
export function cellEdit(
  patch: Patch,
  body: Record<string, unknown>,
  place: (number | string)[],
): { host: string; edit: Edit } | null {
  const hook = HOOKS[String(body.site)];
  const where = Object.fromEntries(patch.axes.map((name, i) => [name, place[i]]));
  if (!hook || typeof where.layer !== 'number' || 'dst' in where || 'src' in where) return null;
  const noise = body.direction === 'noise' || body.ablate !== undefined;
  const [host, other] = noise ? [body.clean, body.corrupted] : [body.corrupted, body.clean];
  const edit: Edit = { site: `blocks.${where.layer}.${hook}`, op: 'from' };
  if (typeof where.pos === 'number') edit.pos = where.pos;
  if (typeof where.head === 'number') edit.head = where.head;
  if (typeof where.neuron === 'number') edit.neuron = where.neuron;
  if (body.ablate === 'zero') edit.op = 'zero';
  else if (body.ablate === 'mean') edit.op = 'mean';
  else edit.value = `${other as string}${typeof where.pos === 'number' ? `@${where.pos}` : ''}`;
  return { host: String(host), edit };
}

export function circuitBody(o: Options, model: string): object {
  return {
    ...(model ? { model } : {}),
    verb: 'find',
    method: o.find,
    task: o.task,
    edges: Number(o.edges) || 200,
    ...(o.positions ? { positions: true } : {}),
  };
}

/** Measures a circuit as it is drawn: of its file, only the edges that are kept. */
export function evalBody(c: Circuit, kept: Circuit['edges'], model: string): object {
  return {
    ...(model ? { model } : {}),
    verb: 'eval',
    circuit: {
      schema: c.schema,
      model_sha256: c.model_sha256,
      task: c.task,
      metric: c.metric,
      ablation: c.ablation,
      roles: c.roles ?? null,
      nodes: [...new Set(kept.flatMap((e) => [e.from, e.to.replace(/<[qkv]>/, '')]))],
      edges: kept.map((e) => ({ ...e, exact: e.exact ?? null })),
    },
  };
}

/** Six scores by default; the others each have a task of their own and take minutes. */
export const DETECTORS = [
  'previous',
  'current',
  'duplicate',
  'induction',
  'sink',
  'copying',
  'name_mover',
  'negative_mover',
  'successor',
  'copy_suppression',
  's_inhibition',
];

export function headsBody(o: Options, subject: Subject): object {
  return {
    ...(o.probe === 'text' ? subjectOf(subject) : {}),
    ...(o.detectors === 'all' ? { detectors: DETECTORS } : {}),
  };
}

export function pathsBody(o: Options, model: string): object {
  return {
    ...(model ? { model } : {}),
    prompt: o.clean,
    target: o.answer,
    ...(o.wrong ? { versus: o.wrong } : {}),
  };
}

/** Facts as the command reads them: each subject put into every phrasing. Lines that say nothing are left out. */
export function factsOf(
  o: Options,
): { id: string; relation: string; subject: string; answer: string; prompts: string[]; heldout: string[] }[] {
  const lines = (text: string) => text.split('\n').filter((l) => l.trim());
  const phrased = (text: string, subject: string) =>
    lines(text)
      .filter((l) => l.includes('{}'))
      .map((l) => l.replaceAll('{}', subject).replaceAll('\\n', '\n'));
  return lines(o.pairs).flatMap((l) => {
    const [subject, answer] = l.split('=').map((s) => s.trim());
    if (!subject || !answer) return [];
    const prompts = phrased(o.phrasings, subject);
    return [{ id: subject, relation: 'typed', subject, answer, prompts, heldout: phrased(o.heldout, subject) }];
  });
}

export function neuronsBody(o: Options, model: string): object {
  return { ...(model ? { model } : {}), facts: factsOf(o), [o.change]: true };
}

export const headName = (layer: number, head: number): string => `${layer}.${head}`;

export function pairsBody(layer: number, head: number, circuit: string): object {
  return { verb: 'pairs', heads: headName(layer, head), circuit, top: 24 };
}

export function spectrumBody(layer: number, head: number): object {
  return { verb: 'copying', heads: headName(layer, head) };
}

/** Every pair that the head is one end of. */
export function compositionBody(layer: number, head: number): object {
  return { verb: 'composition', heads: headName(layer, head), top: 0 };
}

/** Another head of the same layer: always the same one for the same head, so that a link shows the same control. */
export function controlHead(layer: number, head: number, nHeads: number): number {
  if (nHeads < 2) return head;
  const step = 1 + ((layer * 7919 + head * 104729) % (nHeads - 1));
  return (head + step) % nHeads;
}
