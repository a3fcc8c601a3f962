import { describe, expect, test } from 'vitest';
import type { Cell, Lens } from '../api/types';
import { barRows, percent } from './bars';
import { contrast, hexOf, inkOn, labOf, rgbOf, sequential, signed, type Palette } from './colour';
import { csvFile, svgFile } from './export';
import { cellAt, cellBox, change, depthOf, lensLayout, lensScene, patchSite, pointLabel, strength, visibleColumns } from './lens';
import { decodePatterns, gridLayout, headAt, headBox, headNumbers } from './patterns';
import { matrixAt, matrixLayout, matrixScene } from './matrix';
import { pngOf } from './png';
import { reach } from './rise';
import { fitted, type Mark } from './scene';
import { pieces, visible } from './tokens';

const LIGHT: Palette = {
  dark: false,
  surface: '#ffffff',
  ink: '#1b1a22',
  muted: '#5f5d6b',
  line: '#e2e0da',
  stain: '#453a94',
  counter: '#c02a5c',
  focus: '#d07a00',
};
const DARK: Palette = {
  dark: true,
  surface: '#17171e',
  ink: '#eceaf4',
  muted: '#a3a1b3',
  line: '#2c2c38',
  stain: '#b3a9ff',
  counter: '#ff8fb0',
  focus: '#ffb84d',
};

const cell = (text: string, p: number, rank = 1): Cell => ({
  top: [{ id: 1, text, logprob: Math.log(p) }],
  entropy: 1,
  kl_to_final: 2,
  target: { id: 1, logprob: Math.log(p), rank },
});
const lens: Lens = {
  tokens: [
    { id: 0, text: 'The' },
    { id: 1, text: ' sea' },
  ],
  positions: [0, 1],
  points: ['blocks.0.hook_resid_pre', 'blocks.1.hook_resid_pre', 'blocks.1.hook_resid_post'],
  cells: [
    [cell(' a', 0.1), cell(' b', 0.2)],
    [cell(' c', 0.3), cell(' d', 0.4)],
    [cell(' e', 0.9), cell(' f', 0.5)],
  ],
};

describe('colour', () => {
  test('sequential scale runs from the background to the stain in even steps of lightness', () => {
    for (const p of [LIGHT, DARK]) {
      expect(hexOf(sequential(p, 0))).toBe(p.surface);
      expect(hexOf(sequential(p, 1))).toBe(p.stain);
      const steps = Array.from(
        { length: 10 },
        (_, i) => labOf(hexOf(sequential(p, (i + 1) / 10)))[0] - labOf(hexOf(sequential(p, i / 10)))[0],
      );
      for (const s of steps) expect(Math.abs(s - steps[0])).toBeLessThan(0.012);
    }
  });
  test('signed scale has the background in the middle and two hues at its ends', () => {
    expect(hexOf(signed(LIGHT, 0))).toBe(LIGHT.surface);
    expect(hexOf(signed(LIGHT, -1))).toBe(LIGHT.counter);
    expect(hexOf(signed(LIGHT, 1))).toBe(LIGHT.stain);
  });
  test('text on any cell has at least 4.5 : 1', () => {
    for (const p of [LIGHT, DARK])
      for (let t = -1; t <= 1; t += 0.05) {
        const fill = signed(p, t);
        expect(contrast(fill, rgbOf(inkOn(fill)))).toBeGreaterThanOrEqual(4.5);
      }
  });
  test('words and lines on the surface have at least 4.5 : 1', () => {
    for (const p of [LIGHT, DARK])
      for (const c of [p.ink, p.muted, p.stain, p.counter])
        expect(contrast(rgbOf(c), rgbOf(p.surface))).toBeGreaterThanOrEqual(4.5);
  });
});

describe('tokens', () => {
  test('spaces, newlines and partial bytes are shown, text is kept', () => {
    expect(visible(' Lisbon')).toBe('·Lisbon');
    expect(visible('\n\n')).toBe('↵↵');
    expect(visible('<0xE2>')).toBe('E2');
    expect(pieces(' a b')).toEqual([
      { text: '·', faint: true },
      { text: 'a', faint: false },
      { text: '·', faint: true },
      { text: 'b', faint: false },
    ]);
  });
  test('invisible characters get their number, emptiness a sign', () => {
    expect(visible('\u200b')).toBe('<U+200B>');
    expect(visible('')).toBe('∅');
  });
});

describe('lens map', () => {
  const layout = lensLayout(3, 2, 300, 20);
  test('points are named by the layer that wrote them', () => {
    expect(lens.points.map(depthOf)).toEqual([-1, 0, 1]);
    expect(lens.points.map(pointLabel)).toEqual(['emb', '0', '1']);
    expect(pointLabel('blocks.4.hook_resid_mid')).toBe('4a');
    expect(patchSite('blocks.5.hook_resid_pre')).toBe('blocks.4.hook_resid_post');
  });
  test('the last point is drawn at the top, and clicks find the cell that is drawn there', () => {
    for (let point = 0; point < 3; point++)
      for (let column = 0; column < 2; column++) {
        const b = cellBox(layout, point, column);
        expect(cellAt(layout, b.x + b.w / 2, b.y + b.h / 2)).toEqual({ point, column });
      }
    expect(cellBox(layout, 2, 0).y).toBeLessThan(cellBox(layout, 0, 0).y);
    expect(cellAt(layout, 2, 2)).toBeNull();
  });
  test('the most probable cell has the colour farthest from the background', () => {
    const scene = lensScene({ lens, columns: [0, 1], measure: 'probability', followed: false, high: 1, palette: LIGHT, layout });
    const rects = scene.marks.filter((m): m is Extract<Mark, { kind: 'rect' }> => m.kind === 'rect');
    const darkest = [...rects].sort((a, b) => labOf(a.fill as string)[0] - labOf(b.fill as string)[0])[0];
    expect(cellAt(layout, darkest.x + 1, darkest.y + 1)).toEqual({ point: 2, column: 0 });
    expect(scene.marks.some((m) => m.kind === 'text' && m.text === '·e')).toBe(true);
  });
  test('rank is logarithmic with the first place strongest', () => {
    expect(strength(1, 'rank', 49152)).toBe(1);
    expect(strength(49152, 'rank', 49152)).toBeCloseTo(0);
    expect(strength(10, 'rank', 1e4)).toBeCloseTo(0.75);
  });
  test('a change is positive where the edit made the measure stronger', () => {
    const how = { measure: 'probability' as const, followed: false, high: 1 };
    expect(change(cell(' x', 0.9), cell(' x', 0.4), how)).toBeCloseTo(0.5);
    expect(change(cell(' x', 0.1), cell(' x', 0.4), how)).toBeCloseTo(-0.3);
  });
  test('sixty positions fit 700 pixels; a thousand show the last that fit, or the chosen range', () => {
    expect(visibleColumns(60, null, 700)).toHaveLength(60);
    const columns = visibleColumns(1000, null, 700);
    expect(columns[columns.length - 1]).toBe(999);
    expect(columns.length).toBeLessThan(140);
    expect(visibleColumns(1000, [5, 8], 700)).toEqual([5, 6, 7]);
  });
  test('text that does not fit is cut or left out', () => {
    expect(fitted('Lisbon', 100, 10)).toBe('Lisbon');
    expect(fitted('Lisbon', 30, 10)).toBe('Lisb…');
    expect(fitted('Lisbon', 20, 10)).toBe('');
  });
});

describe('heads', () => {
  test('30 × 9 heads stay readable within a 1280 px page and a click finds its head', () => {
    const g = gridLayout(30, 9, 700, 590);
    expect(g.size).toBeGreaterThanOrEqual(30);
    expect(g.width).toBeLessThanOrEqual(701);
    expect(g.height).toBeLessThanOrEqual(590);
    for (const [layer, head] of [
      [0, 0],
      [14, 8],
      [15, 0],
      [29, 8],
    ]) {
      const b = headBox(g, layer, head);
      expect(headAt(g, b.x + 2, b.y + 2)).toEqual({ layer, head });
    }
  });
  test('30 × 9 heads fit 360 px without scrolling sideways', () => {
    expect(gridLayout(30, 9, 340, 560).width).toBeLessThanOrEqual(341);
  });
  test('bytes of the wrong number are refused with both numbers', () => {
    const json = {
      n_layers: 1,
      n_heads: 1,
      tokens: [
        { id: 0, text: 'a' },
        { id: 1, text: 'b' },
      ],
      layers: undefined,
      patterns: btoa('abc'),
    };
    expect(() => decodePatterns(json)).toThrow(/3 bytes.*= 4/);
  });
  test('numbers tell a previous-token head from one that rests on the first token', () => {
    const previous = headNumbers([
      [1, 0, 0],
      [1, 0, 0],
      [0, 1, 0],
    ]);
    expect(previous).toMatchObject({ previous: 1, self: 0, first: 0.5 });
    expect(
      headNumbers([
        [1, 0, 0],
        [1, 0, 0],
        [1, 0, 0],
      ]).first,
    ).toBe(1);
    expect(
      headNumbers([
        [1, 0],
        [0.5, 0.5],
      ]).entropy,
    ).toBeCloseTo(Math.log(2));
  });
  test('the large pattern draws the lower triangle only', () => {
    const l = matrixLayout(3, 400, 400);
    const scene = matrixScene(
      [
        [1, 0, 0],
        [0.5, 0.5, 0],
        [0.2, 0.3, 0.5],
      ],
      [0, 1, 2].map((id) => ({ id, text: 'abc'[id] })),
      l,
      LIGHT,
      { query: null, key: null },
    );
    expect(scene.marks.filter((m) => m.kind === 'rect')).toHaveLength(6);
    expect(matrixAt(l, l.x0 + 1, l.y0 + l.step + 1)).toEqual({ query: 1, key: 0 });
  });
});

describe('bars, curve, export', () => {
  test('bars join both distributions, the larger first', () => {
    const rows = barRows([{ id: 1, text: 'a', logprob: Math.log(0.2) }], [{ id: 2, text: 'b', logprob: Math.log(0.7) }], 5);
    expect(rows.map((r) => r.id)).toEqual([2, 1]);
    expect(rows[0].after).toBeNull();
    expect(percent(0.5)).toBe('50 %');
  });
  test('the curve reaches its end at rank 1 and at certainty', () => {
    const track = { text: 'a', logprobs: [0, null], ranks: [1, 49152] };
    expect([reach(track, 0, 'rank', 49152), reach(track, 0, 'probability', 49152)]).toEqual([1, 1]);
    expect(reach(track, 1, 'rank', 49152)).toBeCloseTo(0);
    expect(reach(track, 1, 'probability', 49152)).toBe(0);
  });
  test('an exported picture says its title and caption, and text from the model stays text', () => {
    const svg = svgFile(
      { width: 10, height: 10, marks: [{ kind: 'text', x: 0, y: 0, text: '<script>"', fill: '#000000', size: 9 }] },
      'A & B',
      'of a model',
      LIGHT,
    );
    expect(svg).toContain('A &amp; B');
    expect(svg).toContain('of a model');
    expect(svg).not.toContain('<script>');
  });
  test('CSV quotes what needs quoting', () => {
    expect(
      csvFile({
        columns: ['a', 'b'],
        rows: [
          [' x', 'say "hi"'],
          [1, null],
        ],
      }),
    ).toBe('a,b\r\n" x","say ""hi"""\r\n1,\r\n');
  });
  test('a PNG has its signature, its size and three chunks', () => {
    const png = pngOf(2, 1, Uint8ClampedArray.of(1, 2, 3, 255, 4, 5, 6, 255));
    expect([...png.slice(0, 4)]).toEqual([0x89, 0x50, 0x4e, 0x47]);
    expect(new DataView(png.buffer).getUint32(16)).toBe(2);
    expect(new TextDecoder('latin1').decode(png)).toMatch(/IHDR.*IDAT.*IEND/s);
  });
});
