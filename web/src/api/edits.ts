/**
 * Edits as the command line writes them (INTERFACE §2), the form the address holds:
 *
 *     blocks.17.attn.hook_z,head=4=zero      blocks.9.hook_resid_post,pos=3=from:The capital of France@3
 *
 * and as words for people. Pure.
 */
import type { Through } from './requests';
import type { Edit, EditOp, Slice } from './types';

const HEAD =
  /^([A-Za-z0-9_.*-]+(?:@\d+)?)((?:,(?:pos|head|neuron)=[^,=]+)*)=(zero|mean|scale|add|set|from|ablate|swap)(?::([\s\S]*))?$/;

const slice = (s: string): Slice => (/^-?\d+$/.test(s) ? Number(s) : s);

export function parseEdit(written: string): Edit | null {
  const found = HEAD.exec(written);
  if (!found) return null;
  const edit: Edit = { site: found[1], op: found[3] as EditOp };
  for (const part of found[2].split(',').filter(Boolean)) {
    const [name, value] = part.split('=') as ['pos' | 'head' | 'neuron', string];
    edit[name] = slice(value);
  }
  const lens = edit.site.includes('@');
  if (lens !== (edit.op === 'swap' || edit.op === 'ablate') && edit.op !== 'add') return null;
  if (lens && !found[4]) return null;
  if (found[4] !== undefined) edit.value = edit.op === 'from' || lens ? found[4] : Number(found[4]);
  if (edit.op === 'from' ? !edit.value : edit.op === 'scale' && !Number.isFinite(edit.value)) return null;
  return edit;
}

export function writeEdit(e: Edit): string {
  const slices = (['pos', 'head', 'neuron'] as const)
    .filter((n) => e[n] !== undefined)
    .map((n) => `,${n}=${e[n]}`)
    .join('');
  return `${e.site}${slices}=${e.op}${e.value === undefined ? '' : `:${e.value}`}`;
}

/** The same look from a terminal. */
export function commandLine(
  model: string,
  s: { prompt: string; chat: boolean; follow: string; allPoints: boolean; edits: Edit[]; through?: Through | null },
): string {
  const quoted = (text: string) => `'${text.replace(/'/g, "'\\''")}'`;
  const words = ['microtome lens', model, '--prompt', quoted(s.prompt)];
  if (s.chat) words.push('--chat');
  if (s.through) words.push(`--${s.through.kind}`, s.through.name);
  if (s.follow) words.push('--target', quoted(s.follow));
  if (s.allPoints) words.push('--all-points');
  for (const e of s.edits) words.push('--edit', quoted(writeEdit(e)));
  return words.join(' ');
}

export interface Spot {
  layer: number | null;
  kind: string;
}

export function spotOf(site: string): Spot {
  const found = /^blocks\.(\d+)\.(.+)$/.exec(site);
  return found ? { layer: Number(found[1]), kind: found[2] } : { layer: null, kind: site };
}

const KINDS: Record<string, string> = {
  'attn.hook_z': 'attention',
  hook_attn_out: 'attention',
  hook_mlp_out: 'MLP',
  hook_resid_post: 'state',
  hook_resid_pre: 'state before',
  hook_resid_mid: 'state after attention',
};

/** One line, short enough for a chip: "head 17.4 off", "MLP 3 × 0.5", "state after layer 9 at 3 ← “The capital of France”@3". */
export function describeEdit(e: Edit): string {
  const through = /^(.+)@(\d+)$/.exec(e.site);
  if (through) {
    const [a = '', b = ''] = String(e.value).split(/:(?=.)/);
    const what = e.op === 'swap' ? `“${a}” ↔ “${b}”` : e.op === 'ablate' ? `without “${a}”` : `+ “${a}”`;
    return `${what} after layer ${through[2]}${e.pos === undefined ? '' : ` at ${e.pos}`} (${through[1]})`;
  }
  const { layer, kind } = spotOf(e.site);
  const name = KINDS[kind] ?? kind;
  let where = layer === null ? e.site : `${name} ${layer}`;
  if (kind === 'attn.hook_z' && typeof e.head === 'number') where = `head ${layer}.${e.head}`;
  if (kind === 'hook_resid_post') where = `state after layer ${layer}`;
  if (e.pos !== undefined) where += ` at ${e.pos}`;
  switch (e.op) {
    case 'zero':
      return `${where} off`;
    case 'mean':
      return `${where} → mean`;
    case 'scale':
      return `${where} × ${e.value}`;
    case 'from': {
      const [, text, at] = /^([\s\S]*?)(@-?\d+)?$/.exec(String(e.value)) ?? [];
      return `${where} ← “${text}”${at ?? ''}`;
    }
    default:
      return `${where} ${e.op} ${e.value ?? ''}`.trim();
  }
}

export type Part = 'head' | 'mlp' | 'attention' | 'layer';

/** Turns a part off (factor 0) or scales it. A layer is its attention and its MLP: two edits. */
export function scaled(part: Part, layer: number, head: number, factor: number, pos?: number): Edit[] {
  const how = factor === 0 ? { op: 'zero' as const } : { op: 'scale' as const, value: factor };
  const at = pos === undefined ? {} : { pos };
  const attention: Edit = { site: `blocks.${layer}.hook_attn_out`, ...at, ...how };
  const mlp: Edit = { site: `blocks.${layer}.hook_mlp_out`, ...at, ...how };
  switch (part) {
    case 'head':
      return [{ site: `blocks.${layer}.attn.hook_z`, ...at, head, ...how }];
    case 'attention':
      return [attention];
    case 'mlp':
      return [mlp];
    case 'layer':
      return [attention, mlp];
  }
}

/** The concept of one token for that of another, after a layer, through a lens; `control`: for a random token instead. */
export function swapped(lens: string, layer: number, a: string, b: string, control = false): Edit {
  return { site: `${lens}@${layer}`, op: 'swap', value: `${a}:${control ? '~' : ''}${b}` };
}

/** The state after a layer, at a position, replaced by the same state in a run of another prompt. */
export function patched(site: string, pos: number, from: string, fromPos: number): Edit {
  return { site, pos, op: 'from', value: `${from}@${fromPos}` };
}
