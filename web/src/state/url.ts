/**
 * The whole state of the page as the address's fragment, and back: `#/look?prompt=…&follow=…&edit=…`. What equals the
 * default is left out; what cannot be read falls back to the default. Pure.
 */
import { parseEdit, writeEdit } from '../api/edits';
import { GREEDY, type Sampling } from '../api/requests';
import type { Edit } from '../api/types';
import { MEASURES, type Measure } from '../marks/lens';
import { OPTION_NAMES, OPTIONS, type Options } from './options';

export const VIEWS = ['start', 'look', 'heads', 'patch', 'circuits'] as const;
export type View = (typeof VIEWS)[number];
export type Show = 'after' | 'before' | 'difference' | 'both';
const SHOWS: Show[] = ['after', 'before', 'difference', 'both'];

export interface State {
  view: View;
  model: string;
  prompt: string;
  chat: boolean;
  /** Ids the model added to the prompt. */
  generated: number[];
  edits: Edit[];
  measure: Measure;
  /** Text of the followed token; empty: each cell's own first choice. */
  follow: string;
  allPoints: boolean;
  point: number | null;
  position: number | null;
  range: [number, number] | null;
  layer: number;
  head: number;
  /** Whether one head is shown large. */
  open: boolean;
  lines: boolean;
  show: Show;
  sampling: Sampling;
  experiment: boolean;
  /** Choices of the views about circuits. */
  options: Options;
}

export function initialState(prompt: string): State {
  return {
    view: 'start',
    model: '',
    prompt,
    chat: false,
    generated: [],
    edits: [],
    measure: 'probability',
    follow: '',
    allPoints: false,
    point: null,
    position: null,
    range: null,
    layer: 0,
    head: 0,
    open: false,
    lines: false,
    show: 'both',
    sampling: { ...GREEDY },
    experiment: false,
    options: { ...OPTIONS },
  };
}

const SAMPLING: [keyof Sampling, string][] = [
  ['maxTokens', 'max'],
  ['temperature', 'temp'],
  ['topK', 'topk'],
  ['topP', 'topp'],
  ['minP', 'minp'],
  ['seed', 'seed'],
  ['stop', 'stop'],
];

export function toHash(s: State, defaults: State): string {
  const q = new URLSearchParams();
  const put = (name: string, value: string, standard: string) => {
    if (value !== standard) q.append(name, value);
  };
  const flag = (name: string, value: boolean) => {
    if (value) q.append(name, '1');
  };
  put('model', s.model, defaults.model);
  if (s.view !== 'start') put('prompt', s.prompt, '\u0000');
  flag('chat', s.chat);
  put('gen', s.generated.join('.'), '');
  for (const e of s.edits) q.append('edit', writeEdit(e));
  put('colour', s.measure, defaults.measure);
  put('follow', s.follow, '');
  flag('points', s.allPoints);
  put('point', String(s.point ?? ''), '');
  put('pos', String(s.position ?? ''), '');
  put('range', s.range ? s.range.join('-') : '', '');
  put('head', `${s.layer}.${s.head}`, `${defaults.layer}.${defaults.head}`);
  flag('open', s.open);
  flag('lines', s.lines);
  put('show', s.show, defaults.show);
  for (const [key, name] of SAMPLING) put(name, String(s.sampling[key]), String(defaults.sampling[key]));
  flag('changed', s.experiment);
  for (const name of OPTION_NAMES) put(name, s.options[name], defaults.options[name]);
  const query = q.toString();
  return `#/${s.view}${query ? `?${query}` : ''}`;
}

function natural(text: string | null): number | null {
  return text !== null && /^\d{1,7}$/.test(text) ? Number(text) : null;
}

export function fromHash(hash: string, defaults: State): State {
  const [path, query = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s);
  const q = new URLSearchParams(query);
  const s: State = { ...defaults, sampling: { ...defaults.sampling }, options: { ...defaults.options } };
  if (VIEWS.includes(path as View)) s.view = path as View;
  s.model = q.get('model') ?? defaults.model;
  s.prompt = q.get('prompt') ?? defaults.prompt;
  s.chat = q.has('chat');
  s.generated = (q.get('gen') ?? '')
    .split('.')
    .map(natural)
    .filter((n) => n !== null);
  s.edits = q
    .getAll('edit')
    .map(parseEdit)
    .filter((e) => e !== null);
  const measure = q.get('colour') as Measure;
  if (MEASURES.includes(measure)) s.measure = measure;
  s.follow = q.get('follow') ?? '';
  if (s.measure === 'rank' && !s.follow) s.measure = 'probability';
  s.allPoints = q.has('points');
  s.point = natural(q.get('point'));
  s.position = natural(q.get('pos'));
  const range = (q.get('range') ?? '').split('-').map(natural);
  if (range.length === 2 && range[0] !== null && range[1] !== null && range[0] < range[1]) s.range = [range[0], range[1]];
  const [layer, head] = (q.get('head') ?? '').split('.').map(natural);
  if (layer !== null && layer !== undefined && head !== null && head !== undefined) Object.assign(s, { layer, head });
  s.open = q.has('open');
  s.lines = q.has('lines');
  const show = q.get('show') as Show;
  if (SHOWS.includes(show)) s.show = show;
  for (const [key, name] of SAMPLING) {
    const written = q.get(name);
    if (written === null) continue;
    if (key === 'stop') s.sampling.stop = written;
    else if (Number.isFinite(Number(written)) && Number(written) >= 0) s.sampling[key] = Number(written);
  }
  s.experiment = q.has('changed');
  for (const name of OPTION_NAMES) s.options[name] = q.get(name) ?? s.options[name];
  return s;
}
