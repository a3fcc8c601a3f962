import { describe, expect, test } from 'vitest';
import type { Circuit, Composition, Patch } from '../api/circuit_types';
import { controlHead, cellEdit, evalBody, factsOf, patchBody } from '../api/circuit_requests';
import type { Lens } from '../api/types';
import { OPTIONS } from '../state/options';
import type { Palette } from './colour';
import { curveScene, faithfulnessAt, shareOf } from './curve';
import { drawnCircuit, edgeCount, edgePath, graphLayout, graphScene, nodeAt, parseNode } from './graph';
import { extent, heatAt, heatBox, heatLayout, heatReading, heatScene, type Heat } from './heat';
import { at, namesOf, patchTable, sheetOf } from './nested';
import { componentsHeat, effectStrips, strongest } from './parts';
import { dotAt, labelled, plotLayout, plotX, plotY, rangeOf, spectrumScene } from './scatter';
import { stripsScene } from './strips';
import { costs, meanLoss, partnersHeat, scoreDots, scoreHeat } from './studies';

const PALETTE: Palette = {
  dark: false,
  surface: '#ffffff',
  ink: '#1b1a22',
  muted: '#5f5d6b',
  line: '#e2e0da',
  stain: '#453a94',
  counter: '#c02a5c',
  focus: '#d07a00',
};
const SHAPE = { nLayers: 6, nHeads: 6, nKvHeads: 2 };

const edge = (from: string, to: string, score: number) => ({ from, to, score });
const circuit = (...edges: Circuit['edges']): Circuit => ({ nodes: [], edges });

describe('heat maps', () => {
  const heat: Heat = {
    values: [
      [0, -2],
      [1, null],
    ],
    rows: ['0', '1'],
    columns: ['a', 'b'],
    rowTitle: 'layer',
    columnTitle: 'token',
    high: 2,
    signed: true,
    upwards: true,
  };
  test('a pixel inside a cell is that cell, upwards and downwards', () => {
    for (const upwards of [true, false]) {
      const l = heatLayout({ ...heat, upwards }, 300, 200);
      for (const row of [0, 1])
        for (const column of [0, 1]) {
          const box = heatBox(l, row, column);
          expect(heatAt(l, box.x + 1, box.y + 1)).toEqual({ row, column });
        }
      expect(heatAt(l, 0, 0)).toBeNull();
    }
    expect(heatBox(heatLayout(heat, 300, 200), 1, 0).y).toBeLessThan(heatBox(heatLayout(heat, 300, 200), 0, 0).y);
  });
  test('signs have different hues, and what was not run is left empty', () => {
    const rects = heatScene(heat, heatLayout(heat, 300, 200), PALETTE).marks.filter((m) => m.kind === 'rect');
    const fills = rects.map((m) => (m.kind === 'rect' ? m.fill : undefined));
    expect(fills).toContain(PALETTE.counter);
    expect(fills.filter((f) => f === undefined)).toHaveLength(2); // the frame and the empty cell
    expect(new Set(fills).size).toBe(4);
  });
  test('the read-out names rows and columns, the end first', () => {
    expect(heatReading(heat)).toEqual({
      columns: ['layer / token', 'a', 'b'],
      rows: [
        ['1', '1.000', ''],
        ['0', '0.000', '-2.000'],
      ],
    });
    expect(extent(heat.values)).toBe(2);
  });
  test('a map of 30 × 9 fits 1280 px, and one of 30 × 60 too', () => {
    const rows = Array.from({ length: 30 }, (_, i) => String(i));
    for (const n of [9, 60]) {
      const columns = Array.from({ length: n }, (_, i) => String(i));
      const l = heatLayout({ ...heat, rows, columns, values: [] }, 710, 560);
      expect(l.width).toBeLessThanOrEqual(710);
      expect(l.height).toBeLessThanOrEqual(560);
    }
  });
});

describe('patching', () => {
  const patch = (axes: string[], values: unknown, more: Partial<Patch> = {}): Patch => ({
    metric: 'logit-diff',
    clean: 2,
    corrupted: -2,
    axes,
    values,
    raw: values,
    macs: { plain: 1, planned: 1, executed: 1 },
    seconds: 1,
    ...more,
  });
  test('values are read by one index an axis; the last two axes make the map', () => {
    const p = patch(['layer', 'head', 'pos'], [[[0, 1]], [[2, 3]]]);
    expect(at(p.values, [1, 0, 1])).toBe(3);
    expect(at(p.values, [2, 0, 0])).toBeNull();
    const sheets = sheetOf(p, 1);
    expect(sheets.sheets).toEqual(['0', '1']);
    expect(sheets.heat.values).toEqual([[2, 3]]);
    expect(patchTable(p).rows).toHaveLength(4);
  });
  test('positions are named by role and token', () => {
    const p = patch(['layer', 'pos'], [[0, 1]], {
      ticks: { layer: [4], pos: [0, 3] },
      positions: [
        { position: 0, clean: ['When'], corrupted: ['When'], role: undefined },
        { position: 3, clean: [' John'], corrupted: [' Mary'], role: 'S2' },
      ],
    });
    expect(namesOf(p, 1)).toEqual(['0 When', 'S2 ·John']);
    expect(namesOf(p, 0)).toEqual(['4']);
  });
  test('noise is drawn as the distance from the clean run', () => {
    expect(sheetOf(patch(['layer', 'pos'], [[1, 0.25]], { baseline: 1 }), 0).heat.values).toEqual([[0, -0.75]]);
  });
  test('a cell is the edit that gives its value', () => {
    const p = patch(['layer', 'pos'], [[0]]);
    const body = { clean: 'a b', corrupted: 'a c', site: 'resid_pre', direction: 'denoise' };
    expect(cellEdit(p, body, [3, 1])).toEqual({
      host: 'a c',
      edit: { site: 'blocks.3.hook_resid_pre', op: 'from', pos: 1, value: 'a b@1' },
    });
    expect(cellEdit(p, { ...body, direction: 'noise' }, [3, 1])?.host).toBe('a b');
    const heads = patch(['layer', 'head'], [[0]]);
    expect(cellEdit(heads, { ...body, site: 'z', ablate: 'zero' }, [3, 2])).toEqual({
      host: 'a b',
      edit: { site: 'blocks.3.attn.hook_z', op: 'zero', head: 2 },
    });
    expect(cellEdit(patch(['layer', 'head', 'dst', 'src'], [[[[0]]]]), { ...body, site: 'pattern' }, [0, 0, 1, 0])).toBeNull();
  });
  test('the request leaves out what does not apply', () => {
    expect(patchBody({ ...OPTIONS, site: 'attn_out', axes: 'layer,head' }, '')).toMatchObject({
      by: 'layer,pos',
      direction: 'denoise',
    });
    const ablated = patchBody({ ...OPTIONS, replace: 'mean' }, 'm') as Record<string, unknown>;
    expect(ablated.direction).toBeUndefined();
    expect(ablated).toMatchObject({ ablate: 'mean', model: 'm' });
  });
});

describe('circuit graphs', () => {
  test('names are read as the circuit file writes them', () => {
    expect(parseNode('a5.h1<k>@S1')).toMatchObject({ id: 'a5.h1@S1', kind: 'head', layer: 5, head: 1, port: 'k', role: 'S1' });
    expect(parseNode('m12')).toMatchObject({ id: 'm12', kind: 'mlp', layer: 12 });
    expect(parseNode('input@S1+')).toMatchObject({ kind: 'input', role: 'S1+' });
    expect(parseNode('logits')?.kind).toBe('logits');
    expect(parseNode('b3')).toBeNull();
  });
  test('the default model has the edges that the specification counts', () => {
    expect(edgeCount({ nLayers: 30, nHeads: 9, nKvHeads: 3 })).toBe(70_651);
    expect(edgeCount({ nLayers: 12, nHeads: 12, nKvHeads: 12 })).toBe(32_491);
  });
  test('a key/value head is read by its query heads in the circuit; dead ends are left out', () => {
    const c = circuit(
      edge('input', 'a0.h1<q>', 5),
      edge('a0.h1', 'a3.h1<k>', -4), // key/value head 1 of 2: query heads 3, 4, 5
      edge('a3.h4', 'logits', 3),
      edge('a3.h0', 'logits', 2), // nothing leads to it
      edge('input', 'm2', 1), // leads nowhere
    );
    const d = drawnCircuit(c, 99, SHAPE);
    expect(d.edges.map((e) => `${e.from}>${e.to}`)).toEqual(['input>a0.h1', 'a0.h1>a3.h4', 'a3.h4>logits']);
    expect(d.nodes.map((n) => n.id)).toEqual(['input', 'a0.h1', 'a3.h4', 'logits']);
    expect(d.complete).toBe(true);
    // The two strongest reach no logits: they are shown as they are, and said to be incomplete.
    const cut = drawnCircuit(c, 2, SHAPE);
    expect([cut.complete, cut.edges.map((e) => `${e.from}>${e.to}`)]).toEqual([false, ['input>a0.h1']]);
  });
  test('layers stand above each other, and a node is found where it is drawn', () => {
    const d = drawnCircuit(circuit(edge('input', 'm1', 2), edge('m1', 'a4.h0<v>', 2), edge('a4.h2', 'logits', -1)), 9, SHAPE);
    const l = graphLayout(d, SHAPE, 600, 400);
    const y = d.nodes.map((n) => l.at.get(n.id)?.y ?? 0);
    expect([...y].sort((a, b) => b - a)).toEqual(y);
    for (const n of d.nodes) {
      const p = l.at.get(n.id) ?? { x: 0, y: 0 };
      expect(nodeAt(l, p.x, p.y)).toBe(n.id);
    }
    expect(d.edges.every((e) => edgePath(l, e).startsWith('M'))).toBe(true);
  });
  test('thickness grows with the score; hue and dash say its sign', () => {
    const d = drawnCircuit(circuit(edge('input', 'm1', -4), edge('m1', 'logits', 1)), 9, SHAPE);
    const paths = graphScene(d, graphLayout(d, SHAPE, 600, 400), PALETTE).marks.filter(
      (m) => m.kind === 'path' && m.d.includes('C'),
    );
    const [weak, strong] = paths as { width: number; dash?: string; stroke: string }[];
    expect(strong.width).toBeGreaterThan(weak.width * 2);
    expect([strong.dash, weak.dash]).toEqual([undefined, '5 3']);
    expect(strong.stroke).not.toBe(weak.stroke);
  });
  test('resolved by position, each role has its column', () => {
    const d = drawnCircuit(
      circuit(edge('input@S1', 'a0.h0<q>@S1', 1), edge('a0.h0@S1', 'a2.h0<v>@END', 1), edge('a2.h1@END', 'logits@END', 1)),
      9,
      SHAPE,
    );
    const l = graphLayout(d, SHAPE, 600, 400, ['S1', 'END']);
    expect(l.roles).toEqual(['S1', 'END']);
    expect(l.at.get('a0.h0@S1')?.x).toBeLessThan(l.at.get('logits@END')?.x ?? 0);
  });
  test('what is measured again is the part that is kept, in the file’s own words', () => {
    const c = { ...circuit(edge('input', 'a0.h1<q>', 5)), schema: 'microtome.circuit.v1', model_sha256: 'x', task: 'ioi' };
    expect(evalBody(c, c.edges, '')).toMatchObject({
      verb: 'eval',
      circuit: { nodes: ['input', 'a0.h1'], edges: [{ to: 'a0.h1<q>' }] },
    });
  });
  const curve = [
    { k: 0.001, f: 0.2, edges: 10 },
    { k: 0.01, f: 0.6, edges: 100, low: 0.5, high: 0.7, random: 0 },
    { k: 0.1, f: null },
    { k: 1, f: 1, edges: 10_000, low: 1, high: 1, random: 1 },
  ];
  test('faithfulness between measured points lies between them, outside it is unknown', () => {
    expect(faithfulnessAt(curve, 0.01)).toBeCloseTo(0.6);
    expect(faithfulnessAt(curve, Math.sqrt(0.001 * 0.01))).toBeCloseTo(0.4);
    expect(faithfulnessAt(curve, 0.0005)).toBeNull();
    expect(shareOf(curve, 100, 10_000)).toBeCloseTo(0.01);
    expect(shareOf(curve, 5, 10_000)).toBeCloseTo(0.001 / 2, 2);
    expect(curveScene(curve, 0.01, 400, PALETTE).marks.length).toBeGreaterThan(8);
    expect(() => curveScene([], null, 400, PALETTE)).not.toThrow();
  });
});

describe('heads', () => {
  const heads = {
    heads: [
      { layer: 0, head: 0, scores: { previous: 0.9, induction: 0.1 } },
      { layer: 1, head: 1, scores: { previous: null, induction: 0.7 } },
    ],
    icl: -1,
    prefix_matching: undefined,
    controls: undefined,
  };
  test('a head without both scores is no dot; the grid leaves gaps empty', () => {
    expect(scoreDots(heads, 'previous', 'induction').map((d) => d.name)).toEqual(['0.0']);
    expect(scoreHeat(heads, 'induction').values).toEqual([
      [0.1, null],
      [null, 0.7],
    ]);
  });
  test('dots lie inside the axes and are found where they are drawn', () => {
    const dots = [
      { x: 0.9, y: 0.1, name: 'a' },
      { x: -0.5, y: 0.7, name: 'b' },
      { x: 0.001, y: 0.001, name: 'c' },
    ];
    const l = plotLayout(dots, 400, 300);
    dots.forEach((d, i) => {
      expect(plotX(l, d.x)).toBeGreaterThanOrEqual(l.x0);
      expect(plotY(l, d.y)).toBeLessThanOrEqual(l.y1);
      expect(dotAt(dots, l, plotX(l, d.x) + 1, plotY(l, d.y))).toBe(i);
    });
    expect(labelled(dots, l, 9)).not.toContain(2);
    expect(rangeOf([0.13, 0.91]).ticks[0]).toBe(0);
    expect(rangeOf([0, 0])).toMatchObject({ low: 0 });
  });
  test('eigenvalues right and left of the middle differ in form', () => {
    const marks = spectrumScene(
      [
        [1, 0],
        [-0.5, 0.2],
      ],
      200,
      PALETTE,
    ).marks;
    expect(marks.filter((m) => m.kind === 'rect')).toHaveLength(1);
    expect(marks.filter((m) => m.kind === 'path' && m.fill === PALETTE.counter)).toHaveLength(1);
  });
  test('partners stand at their own place, whichever end they are', () => {
    const row = (from: [number, number], to: [number, number], score: number): Composition['rows'][number] => ({
      from: { layer: from[0], head: from[1] },
      to: { layer: to[0], head: to[1] },
      kind: 'k',
      score,
      baseline: 0.04,
      baseline_sd: 0.001,
    });
    const heat = partnersHeat({ rows: [row([0, 1], [2, 0], 0.14), row([2, 0], [3, 1], 0.02)] }, 'k', 2, 0, 4, 2);
    expect(heat.values[0][1]).toBeCloseTo(0.1);
    expect(heat.values[3][1]).toBeCloseTo(-0.02);
    expect(heat.values[2][0]).toBeNull();
  });
  test('the control is another head of the layer, always the same one', () => {
    for (let head = 0; head < 9; head++) {
      expect(controlHead(17, head, 9)).not.toBe(head);
      expect(controlHead(17, head, 9)).toBe(controlHead(17, head, 9));
      expect(controlHead(17, head, 9)).toBeLessThan(9);
    }
  });
  const lens = (...losses: (number | null)[]): Lens => ({
    tokens: losses.map((_, i) => ({ id: i, text: `t${i}` })),
    points: ['end'],
    positions: losses.map((_, i) => i),
    cells: [
      losses.map((x) => ({
        top: [],
        entropy: 0,
        kl_to_final: 0,
        target: x === null ? undefined : { id: 1, logprob: -x, rank: 1 },
      })),
    ],
  });
  test('what a head costs is the rise of the loss, token by token', () => {
    expect(meanLoss(lens(1, 3, null))).toBe(2);
    expect(costs(lens(1, 2, null), lens(1.5, 2, null), lens(1, 2.25, null)).map((c) => [c.off, c.control])).toEqual([
      [0.5, 0],
      [0, 0.25],
    ]);
  });
});

describe('sums and facts', () => {
  test('components stand at their layer, and the bars add up with the rest', () => {
    const paths = {
      components: [
        { name: 'embed', layer: undefined, head: undefined, logit: 1 },
        { name: 'a0.h1', layer: 0, head: 1, logit: -2 },
        { name: 'm0', layer: 0, head: undefined, logit: 3 },
        { name: 'm0.bias', layer: 0, head: undefined, logit: 0.5 },
      ],
      terms: undefined,
      orders: undefined,
      neurons: undefined,
      total: 2.5,
      logit: 2.5,
    };
    expect(componentsHeat(paths, 1, 2).values).toEqual([[null, -2, 3]]);
    const bars = strongest(paths, 2);
    expect(bars.map((b) => b.value)).toEqual([3, -2, 1.5]);
    expect(bars.reduce((s, b) => s + (b.value ?? 0), 0)).toBe(paths.total);
  });
  test('bars to both sides of zero, and a value that is missing as a dash', () => {
    const marks = stripsScene(
      [
        { name: 'a', value: 1 },
        { name: 'b', value: -1 },
        { name: 'c', value: null },
      ],
      PALETTE,
      { width: 400 },
    ).marks;
    const [a, b] = marks.filter((m) => m.kind === 'rect') as { x: number; w: number }[];
    expect(b.x + b.w).toBeCloseTo(a.x);
    expect(marks.some((m) => m.kind === 'text' && m.text === '–')).toBe(true);
  });
  test('facts are typed one a line; each phrasing gets the subject', () => {
    const facts = factsOf({
      ...OPTIONS,
      pairs: 'Portugal = Lisbon\n\nnonsense\nItaly=Rome',
      phrasings: 'The capital of {} is\nno place',
    });
    expect(facts.map((f) => [f.id, f.answer, f.prompts])).toEqual([
      ['Portugal', 'Lisbon', ['The capital of Portugal is']],
      ['Italy', 'Rome', ['The capital of Italy is']],
    ]);
  });
  test('controls of an effect are marked as such', () => {
    const strips = effectStrips({
      id: 'x',
      prompt: '',
      answer: '',
      relation: undefined,
      right: 1,
      prompts: 1,
      probability: 1,
      neurons: [],
      effect: { target: -0.6, paraphrases: -0.5, controls: 0, random: undefined, random_sd: undefined, most_active: -0.1 },
    });
    expect(strips.filter((s) => s.faint)).toHaveLength(3);
    expect(strips.at(-1)?.value).toBeNull();
  });
});
