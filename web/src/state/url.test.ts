import { expect, test } from 'vitest';
import { OPTIONS } from './options';
import { fromHash, initialState, toHash, type State } from './url';

const defaults = initialState('The capital of Portugal is the city of');

const full: State = {
  view: 'heads',
  model: 'gpt2',
  prompt: 'a & b =\n“c” #%+ 日本',
  chat: true,
  generated: [5, 17, 3],
  edits: [
    { site: 'blocks.3.attn.hook_z', head: 4, op: 'zero' },
    { site: 'blocks.9.hook_resid_post', pos: 3, op: 'from', value: 'x & y@2' },
  ],
  measure: 'rank',
  follow: ' Lisbon',
  allPoints: true,
  point: 12,
  position: 0,
  range: [4, 9],
  layer: 17,
  head: 4,
  open: true,
  lines: true,
  show: 'difference',
  sampling: { maxTokens: 7, temperature: 0.5, topK: 40, topP: 0.9, minP: 0.1, seed: 3, stop: '\n' },
  experiment: true,
  options: { ...OPTIONS, clean: 'a & b', answer: ' x', cell: '3.4' },
};

test('the address holds the whole state', () => {
  expect(fromHash(toHash(full, defaults), defaults)).toEqual(full);
});

test('an address without anything is the start page', () => {
  expect(fromHash('', defaults)).toEqual(defaults);
  expect(toHash(defaults, defaults)).toBe('#/start');
});

test('what cannot be read falls back to the default', () => {
  const s = fromHash('#/nowhere?colour=loud&pos=-3&point=x&range=9-4&head=a.b&edit=nonsense&temp=hot&gen=1..x', defaults);
  expect(s).toEqual({ ...defaults, generated: [1] });
});

test('reading an address leaves the defaults alone', () => {
  fromHash('#/look?max=3', defaults);
  expect(defaults.sampling.maxTokens).toBe(24);
});
